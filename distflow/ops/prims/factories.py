"""unary, binary, reduction: shared dtype and shape rules, and the one place that undoes broadcasts.

Rules of single operations never mention broadcasting: `binary` sums gradients back to the shapes
of the operands.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.core.primitive import Primitive, named


def check_dtype(
    name: str, accepts: frozenset[dtypes.DType], received: dtypes.DType
) -> dtypes.DType:
    """Returns `received`; raises DtypeMismatchError unless it is among `accepts`."""
    if received not in accepts:
        expected = ", ".join(d.name for d in dtypes.ALL if d in accepts)
        raise errors.DtypeMismatchError(
            f"{name}: expected a dtype among {expected}; received {received.name}.\n"
            f"Convert it with tf.cast(x, dtype)."
        )
    return received


def check_same(name: str, *received: dtypes.DType) -> dtypes.DType:
    """Returns the one dtype of all operands; raises DtypeMismatchError if they differ."""
    if any(d is not received[0] for d in received[1:]):
        raise errors.DtypeMismatchError(
            f"{name}: operands must have one dtype; received "
            f"{' and '.join(d.name for d in received)}.\n"
            f"Convert one of them with tf.cast(x, tf.{received[0].name})."
        )
    return received[0]


def check_axes(name: str, axes: Sequence[int], shape: Sequence[Any]) -> None:
    """Raises InvalidArgumentError unless the axes are non-negative and exist in the shape."""
    rank = len(shape)
    for axis in axes:
        if not 0 <= axis < rank:
            raise errors.invalid(name, f"axis must be in [0, {rank})", f"axis={axis}")


def quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a reference that gives IEEE results (inf, NaN) without NumPy's warnings, as TF.

    `__wrapped__` is the bare one, for programs that keep NumPy quiet all along.
    """

    @functools.wraps(function)
    def call(*args: Any, **attributes: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*args, **attributes)

    return call


def unary(
    name: str,
    *,
    accepts: frozenset[dtypes.DType],
    ref: Callable[[Any], Any],
    grad: Callable[[Any, Any, Any], Any] | None,
    out: dtypes.DType | None = None,
    source: str = "",
) -> Primitive:
    """Registers y = f(x), element by element. `grad(g, y, x)` gives the gradient of x."""

    def dtype_rule(x: dtypes.DType) -> dtypes.DType:
        return out if check_dtype(name, accepts, x) and out is not None else x

    @quiet
    def reference(x: Any) -> Any:
        return keep_dtype(ref(x), x.dtype if out is None else out.numpy)

    return Primitive(
        name,
        dtype_rule,
        lambda x: tuple(x),
        reference,
        None if grad is None else lambda g, y, x: (grad(g, y, x),),
        family="unary",
        match=None,
        source=source,
    )


def binary(
    name: str,
    *,
    accepts: frozenset[dtypes.DType],
    ref: Callable[[Any, Any], Any],
    grad: Callable[[Any, Any, Any, Any], tuple[Any, Any]] | tuple[Any, Any] | None,
    out: dtypes.DType | None = None,
) -> Primitive:
    """Registers z = f(x, y) with broadcasting.

    `grad(g, z, x, y)` gives both gradients; a pair of functions, each its own.
    """

    def dtype_rule(x: dtypes.DType, y: dtypes.DType) -> dtypes.DType:
        same = check_dtype(name, accepts, check_same(name, x, y))
        return same if out is None else out

    def gradient(
        g: Any, z: Any, x: Any, y: Any, wanted: tuple[bool, ...] = (True, True)
    ) -> tuple[Any, Any]:
        assert grad is not None
        if isinstance(grad, tuple):
            gx, gy = (f(g, z, x, y) if w else None for f, w in zip(grad, wanted))
        else:
            gx, gy = grad(g, z, x, y)
        return (
            unbroadcast(gx, x, y) if wanted[0] else None,
            unbroadcast(gy, y, x) if wanted[1] else None,
        )

    @quiet
    def reference(x: Any, y: Any) -> Any:
        return keep_dtype(ref(x, y), x.dtype if out is None else out.numpy)

    return Primitive(
        name,
        dtype_rule,
        lambda x, y: tuple(x) if x == y else shapes.broadcast(name, x, y),
        reference,
        None if grad is None else gradient,
        family="binary",
        match=None,
        selective=True,
    )


def reduction(
    name: str,
    *,
    accepts: frozenset[dtypes.DType],
    ref: Callable[..., Any],
    grad: Callable[..., Any] | None,
    out: Callable[[dtypes.DType], dtypes.DType] = lambda d: d,
) -> Primitive:
    """Registers a reduction over the attribute `axes` (sorted, distinct, not negative).

    The reduced dimensions disappear. `grad(g, y, x, axes)` gives the gradient of x, with g and y
    of the reduced shape.
    """

    def shape_rule(x: Any, *, axes: tuple[int, ...]) -> Any:
        check_axes(name, axes, x)
        return tuple(d for i, d in enumerate(x) if i not in axes)

    def reference(x: Any, *, axes: tuple[int, ...]) -> Any:
        return keep_dtype(ref(x, axes), x.dtype)

    return Primitive(
        name,
        lambda x, *, axes: out(check_dtype(name, accepts, x)),
        shape_rule,
        quiet(reference),
        None if grad is None else lambda g, y, x, *, axes: (grad(g, y, x, axes),),
        family="reduction",
    )


def keep_dtype(result: Any, dtype: Any) -> Any:
    """Returns a reference's result as an array of the dtype that the rule announced."""
    return np.asarray(result, dtype)


def unbroadcast(g: Any, like: Any, *others: Any) -> Any:
    """Returns the gradient of an operand that was broadcast: g summed to the shape of `like`.

    Args:
      g: gradient of the result, or None.
      like: the operand.
      others: the operands beside it. Where a dimension of `like` is unknown, it may be 1 and have
        been stretched only if another operand is not known to be 1 there.
    """
    if g is None:
        return None
    from_shape, to_shape = tuple(g.shape), tuple(like.shape)
    if from_shape == to_shape and None not in to_shape:
        return g
    extra = len(from_shape) - len(to_shape)
    if any(d is None and _may_stretch(len(to_shape) - i, like, others)
           for i, d in enumerate(to_shape)):  # fmt: skip
        target = named("shape_of")(like, dtype=dtypes.int32)
        return named("unbroadcast")(g, target, shape=to_shape)
    axes = tuple(range(extra)) + tuple(
        i + extra for i, d in enumerate(to_shape) if d == 1 and from_shape[i + extra] != 1
    )
    if not axes:
        return g
    g = named("reduce_sum")(g, axes=axes)
    if len(axes) == extra:
        return g
    if to_shape.count(None) < 2:
        return named("reshape")(g, shape=tuple(-1 if d is None else d for d in to_shape))
    return named("reshape")(g, named("shape_of")(like, dtype=dtypes.int32), shape=to_shape)


def _may_stretch(from_end: int, like: Any, others: tuple[Any, ...]) -> bool:
    return any(
        other is not like and len(other.shape) >= from_end and other.shape[-from_end] != 1
        for other in others
    )
