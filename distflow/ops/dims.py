"""Sizes that a trace may not know: the shape arguments of composites, as ints where possible.

A *size* is an int, or a scalar int tensor, or an `Axis` (the size of one dimension of a tensor,
read only if it is needed). `parse` and `join` turn them into what the movement primitives take:
a static shape whose unknown dimensions are None, and the whole target as a tensor (or None).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import EagerTensor, Tensor
from distflow.ops.prims import movement
from distflow.ops.prims.elementwise import cast, mul


@dataclass(frozen=True, eq=False)
class Axis:
    """The size of one dimension of a tensor, which a trace does not know."""

    tensor: Any
    index: int


def of(x: Any) -> list[Any]:
    """Returns the sizes of a tensor's dimensions: ints, and Axis where unknown."""
    return [Axis(x, i) if d is None else d for i, d in enumerate(x.shape)]


def size(x: Any, index: int) -> Any:
    """Returns one dimension of x: an int, or a scalar int32 tensor where a trace needs one."""
    known = x.shape[index]
    return scalar(Axis(x, index)) if known is None else known


def scalar(entry: Any) -> Any:
    """Returns a size as an int or a scalar int32 tensor."""
    if isinstance(entry, Axis):
        return movement.reshape(_vector(entry), shape=())
    return entry


def count(x: Any, axes: Any = None) -> Any:
    """Returns the number of elements over some axes (default all): int, or int32 tensor."""
    total: Any = 1
    for entry in of(x) if axes is None else [of(x)[i] for i in axes]:
        value = scalar(entry)
        both = isinstance(total, int) and isinstance(value, int)
        total = total * value if both else mul(total, value)
    return total


def known(value: Any) -> Any:
    """Returns the NumPy array of a value that is at hand, None for a symbolic tensor."""
    if isinstance(value, EagerTensor):
        return value.array
    if isinstance(value, Tensor) or hasattr(value, "is_variable"):
        return None
    if isinstance(value, list | tuple):
        parts = [known(v) for v in value]
        return None if any(p is None for p in parts) else np.asarray(parts)
    return np.asarray(value)


def parse(where: str, shape: Any) -> tuple[tuple[Any, ...], Any]:
    """Returns (static shape, target tensor or None) for the shape argument of an operation.

    Args:
      where: the operation's name, for messages.
      shape: int, TensorShape, list of ints and scalar tensors, array, or 1-D int tensor. -1 is
        passed through.
    """
    if hasattr(shape, "is_variable"):
        shape = convert_to_tensor(shape)
    if isinstance(shape, shapes.TensorShape):
        if shape.rank is None or not shape.is_fully_defined():
            raise errors.invalid(where, "the shape must be fully known", str(shape))
        return tuple(shape), None
    if isinstance(shape, Tensor) and not isinstance(shape, EagerTensor):
        if not shape.dtype.is_integer or shape.ndim != 1 or shape.shape[0] is None:
            raise errors.invalid(
                where, "the shape must be an int vector of known length", repr(shape)
            )
        return (None,) * shape.shape[0], shape
    if isinstance(shape, list | tuple):
        return join([_entry(where, s) for s in shape])
    array = np.asarray(known(shape))
    if array.ndim > 1 or (array.dtype.kind not in "iu" and array.size):
        raise errors.invalid(where, "the shape must be a vector of ints", f"{shape!r:.80}")
    return tuple(int(d) for d in array.reshape(-1)), None


def _entry(where: str, value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    array = known(value)
    if array is None:
        return convert_to_tensor(value)
    if array.ndim or array.dtype.kind not in "iu":
        raise errors.invalid(where, "every dimension must be an int", repr(value))
    return int(array)


def join(entries: list[Any]) -> tuple[tuple[Any, ...], Any]:
    """Returns (static shape, target tensor or None) of a list of sizes."""
    static = tuple(e if isinstance(e, int) else None for e in entries)
    if None not in static:
        return static, None
    pieces = [_vector(e) for e in entries]
    return static, pieces[0] if len(pieces) == 1 else movement.concat(*pieces, axis=0)


def _vector(entry: Any) -> Any:
    """A size as an int32 vector of one element."""
    if isinstance(entry, int):
        return EagerTensor(np.asarray([entry], np.int32))
    if isinstance(entry, Axis):
        full = movement.shape_tensor(entry.tensor)
        return movement.slice_(full, starts=(entry.index,), stops=(entry.index + 1,), strides=(1,))
    entry = entry if entry.dtype is dtypes.int32 else cast(entry, dtype=dtypes.int32)
    return movement.reshape(entry, shape=(1,))


def vector(static: tuple[Any, ...], target: Any) -> Any:
    """Returns a parsed shape as an int vector."""
    return EagerTensor(np.asarray(static, np.int32)) if target is None else target


def reshape(x: Any, entries: list[Any]) -> Any:
    """Returns x with the given sizes; the only unknown one is inferred."""
    static = tuple(e if isinstance(e, int) else None for e in entries)
    if None not in static:
        return movement.reshape(x, shape=static)
    if static.count(None) == 1 and 0 not in static:
        return movement.reshape(x, shape=tuple(-1 if d is None else d for d in static))
    static, target = join(entries)
    return movement.reshape(x, target, shape=static)


def broadcast(x: Any, entries: list[Any]) -> Any:
    """Returns x broadcast to the given sizes."""
    static, target = join(entries)
    if target is None:
        return x if tuple(x.shape) == static else movement.broadcast_to(x, shape=static)
    return movement.broadcast_to(x, target, shape=static)
