"""`keras.ops.jvp`: how a function's values move with its arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distflow.autodiff import GradientTape, UnconnectedGradients
from distflow.base import errors, nest, shapes
from distflow.keras.ops.dtype_rules import tensor
from distflow.ops import creation, math

__all__ = ["jvp"]


def jvp(fun: Callable[..., Any], primals: Any, tangents: Any, has_aux: bool = False) -> Any:
    """Returns (fun(*primals), its derivative along `tangents`), and fun's second value if has_aux.

    The gradient of g -> (gradient of fun for the incoming g) is the derivative forward, so two
    reverse sweeps give it; the cost is about that of three gradients.

    Args:
      primals, tangents: lists of arguments and of directions, of the same structure and shapes.

    Raises:
      InvalidArgumentError: if structures or shapes differ.
    """
    at = [tensor(x) for x in nest.flatten(list(primals))]
    along = nest.flatten(list(tangents))
    if len(along) != len(at):
        raise errors.invalid("jvp", f"{len(at)} tangents, one for each primal", str(len(along)))
    directions = [math.cast(tensor(t), p.dtype) for t, p in zip(along, at)]
    for t, p in zip(directions, at):
        if tuple(t.shape) != tuple(p.shape):
            raise errors.invalid(
                "jvp", f"a tangent of the primal's shape {shapes.text(p.shape)}",
                shapes.text(t.shape),
            )  # fmt: skip
    aux = None
    with GradientTape(persistent=True) as outer:
        with GradientTape() as inner:
            inner.watch(at)
            found = fun(*nest.pack_sequence_as(list(primals), at))
            if has_aux:
                found, aux = found
            values = [tensor(v) for v in nest.flatten(found)]
        incoming = [creation.zeros_like(v) for v in values]
        outer.watch(incoming)
        back = inner.gradient(values, at, output_gradients=incoming)
    linked = [(g, t) for g, t in zip(back, directions) if g is not None]
    moved = outer.gradient(
        [g for g, _ in linked], incoming, output_gradients=[t for _, t in linked],
        unconnected_gradients=UnconnectedGradients.ZERO,
    ) if linked else [creation.zeros_like(v) for v in values]  # fmt: skip
    result = (found, nest.pack_sequence_as(found, moved))
    return (*result, aux) if has_aux else result
