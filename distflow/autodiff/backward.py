"""The reverse sweep: from gradients of targets to gradients of sources, over a list of records.

Gradients of a tensor with several uses are added in reverse order of those uses, so their bits do
not depend on anything else (Griewank & Walther 2008, Evaluating Derivatives, section 3.2).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distflow.base import errors, shapes
from distflow.core.tensor import EagerTensor
from distflow.ops.prims import movement
from distflow.ops.prims.elementwise import add


class UnconnectedGradients(enum.Enum):
    """What the gradient of a source is that no target depends on."""

    NONE = "none"
    ZERO = "zero"


@dataclass(eq=False, slots=True)  # not frozen: it is made for each operation, fast
class Record:
    """One operation as a tape saw it."""

    primitive: Any
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    attributes: dict[str, Any]


Sweep = Callable[
    [Sequence[Record], Sequence[Any], Sequence[Any], Sequence[Any], Any], "list[Any] | None"
]
# Tried first where operations run at once; None: it leaves this tape to `sweep`.
_faster: Sweep | None = None


def set_faster(sweep: Sweep | None) -> None:
    """Sets what `eager_sweep` tries first (called by the package, then by the compiler)."""
    global _faster
    _faster = sweep


def eager_sweep(
    records: Sequence[Record],
    targets: Sequence[Any],
    output_gradients: Sequence[Any],
    sources: Sequence[Any],
    tracked: Any,
) -> list[Any]:
    """Returns what `sweep` does, by a compiled program where there is one."""
    found = _faster and _faster(records, targets, output_gradients, sources, tracked)
    if found is None:
        found = sweep(records, targets, output_gradients, sources, tracked)
    return found


def sweep(
    records: Sequence[Record],
    targets: Sequence[Any],
    output_gradients: Sequence[Any],
    sources: Sequence[Any],
    tracked: Any,
) -> list[Any]:
    """Returns the gradient of each source, None where no target depends on it.

    Args:
      records: operations in the order they ran.
      targets, output_gradients: tensors and the gradients that flow into them.
      sources: tensors or Variables.
      tracked: `id(x) in tracked` says whether x depends on something watched.
    """
    gradients: dict[int, Any] = {}
    for target, gradient in zip(targets, output_gradients):
        _accumulate(gradients, target, gradient)
    wanted = {id(source) for source in sources}
    for record in reversed(records):
        arrived = []
        for output in record.outputs:
            key = id(output)
            arrived.append(gradients.get(key) if key in wanted else gradients.pop(key, None))
        if all(g is None for g in arrived):
            continue
        for value, gradient in zip(record.inputs, _input_gradients(record, arrived, tracked)):
            if gradient is not None and id(value) in tracked:
                _check(record, value, gradient)
                _accumulate(gradients, value, gradient)
    return [gradients.get(id(source)) for source in sources]


def _input_gradients(record: Record, arrived: list[Any], tracked: Any) -> Sequence[Any]:
    rule = record.primitive.gradient
    if rule is None:
        return (None,) * len(record.inputs)
    primitive = record.primitive
    if primitive.selective:
        wanted = tuple([id(value) in tracked for value in record.inputs])
        return rule(
            arrived[0], record.outputs[0], *record.inputs, wanted=wanted, **record.attributes
        )
    if primitive.family == "control":
        # Bodies are differentiated for what is wanted only, and know absent gradients from zeros.
        wanted = tuple([id(value) in tracked for value in record.inputs])
        return rule(
            tuple(arrived), record.outputs, *record.inputs, wanted=wanted, **record.attributes
        )
    if not _takes_tuples(primitive):
        return rule(arrived[0], record.outputs[0], *record.inputs, **record.attributes)
    filled = tuple(
        zeros_like(output) if g is None else g for g, output in zip(arrived, record.outputs)
    )
    return rule(filled, record.outputs, *record.inputs, **record.attributes)


def _takes_tuples(primitive: Any) -> bool:
    """Whether the rule takes tuples of gradients and outputs: families with several outputs."""
    return primitive.family in ("control", "host", "sorting", "custom", "collective")


def _check(record: Record, value: Any, gradient: Any) -> None:
    if type(value) is EagerTensor is type(gradient):
        if value._array.shape == gradient._array.shape:
            return
    shape = shapes.TensorShape(gradient.shape)
    assert shape.is_compatible_with(value.shape), (
        f"gradient of {record.primitive.name} has shape {shape}, its input {value.shape}"
    )


def _accumulate(gradients: dict[int, Any], value: Any, gradient: Any) -> None:
    if not (value.dtype.is_floating or value.dtype.is_complex):
        return
    before = gradients.get(id(value))
    gradients[id(value)] = gradient if before is None else add(before, gradient)


def zeros_like(x: Any) -> Any:
    """Returns zeros of the shape and dtype of x (known or traced)."""
    return _filled(x, 0)


def ones_like(x: Any) -> Any:
    """Returns ones of the shape and dtype of x (known or traced)."""
    return _filled(x, 1)


def _filled(x: Any, value: int) -> Any:
    if shapes.is_static(x.shape):
        return EagerTensor(np.full(tuple(x.shape), value, x.dtype.numpy))
    return movement.broadcast_like(EagerTensor(np.asarray(value, x.dtype.numpy)), x)


def check_unconnected(value: Any) -> UnconnectedGradients:
    """Returns the policy for a member of UnconnectedGradients or its text."""
    try:
        return UnconnectedGradients(value)
    except ValueError as error:
        raise errors.invalid(
            "gradient", "unconnected_gradients must be 'none' or 'zero'", repr(value)
        ) from error
