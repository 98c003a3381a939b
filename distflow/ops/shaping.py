"""Layout of tensors: reshape, transpose, join, split, repeat, pad, roll, and asking for shapes."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.core import convert
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import EagerTensor, Tensor
from distflow.ops import dims
from distflow.ops import math as m
from distflow.ops.prims import elementwise as p
from distflow.ops.prims import movement
from distflow.ops.slicing import getitem

# -- asking --------------------------------------------------------------------------------


def shape(input: Any, out_type: Any = None, name: Any = None) -> Tensor:
    """Returns the shape as a 1-D tensor (int32): a constant wherever it is known."""
    return movement.shape_tensor(convert_to_tensor(input), _int_type(out_type))


def _int_type(out_type: Any) -> dtypes.DType:
    return dtypes.int32 if out_type is None else dtypes.as_dtype(out_type)


def shape_n(input: Any, out_type: Any = None, name: Any = None) -> list[Tensor]:
    """Returns the shape of each tensor of a list."""
    return [shape(x, out_type) for x in input]


def size(input: Any, out_type: Any = None, name: Any = None) -> Tensor:
    """Returns the number of elements as a scalar (int32)."""
    number = dims.count(convert_to_tensor(input))
    return m.cast(convert_to_tensor(number, dtypes.int32), _int_type(out_type))


def rank(input: Any, name: Any = None) -> Tensor:
    """Returns the number of dimensions as an int32 scalar."""
    return EagerTensor(np.asarray(convert_to_tensor(input).ndim, np.int32))


def broadcast_static_shape(shape_x: Any, shape_y: Any) -> shapes.TensorShape:
    """Returns the shape that two static shapes broadcast to."""
    return shapes.TensorShape(
        shapes.broadcast(
            "broadcast_static_shape", shapes.TensorShape(shape_x), shapes.TensorShape(shape_y)
        )
    )


def broadcast_dynamic_shape(shape_x: Any, shape_y: Any) -> Tensor:
    """Returns the shape, as a tensor, that two shape tensors broadcast to."""
    x, y = (convert_to_tensor(s, dtype_hint=dtypes.int32) for s in (shape_x, shape_y))
    a, b = dims.known(x), dims.known(y)
    if a is not None and b is not None:
        both = shapes.broadcast("broadcast_dynamic_shape", a.tolist(), b.tolist())
        return convert_to_tensor(np.asarray(both, a.dtype))
    length = max(x.shape[0], y.shape[0])
    x, y = (pad(s, [[length - s.shape[0], 0]], constant_values=1) for s in (x, y))
    # A size of 1 gives way to the other; equal sizes (0 too) stay.
    return p.select(p.eq(x, 1), y, x)


def ensure_shape(x: Any, shape: Any, name: Any = None) -> Tensor:
    """Returns x; raises InvalidArgumentError unless it has the shape (None: any size)."""
    x, wanted = convert_to_tensor(x), shapes.TensorShape(shape)
    if not wanted.is_compatible_with(x.shape):
        raise errors.invalid("ensure_shape", f"shape must be {shapes.text(wanted)}",
                             shapes.text(x.shape))  # fmt: skip
    if wanted.rank is None or all(w is None or d is not None for w, d in zip(wanted, x.shape)):
        return x
    # A size that becomes known here is checked by the reshape, when it runs.
    entries = [w if w is not None else d for w, d in zip(wanted, dims.of(x))]
    static, target = dims.join(entries)
    return _reshape(x, static, target)


# -- reshape -------------------------------------------------------------------------------


def identity(input: Any, name: Any = None) -> Tensor:
    """Returns a tensor of its own with the same value; gradients pass."""
    x = convert_to_tensor(input)
    return _reshape(x, *dims.join(dims.of(x)))


def _reshape(x: Any, static: Any, target: Any) -> Any:
    if target is None:
        return movement.reshape(x, shape=static)
    return movement.reshape(x, target, shape=tuple(None if d == -1 else d for d in static))


def reshape(tensor: Any, shape: Any, name: Any = None) -> Tensor:
    """Returns the elements, in order, in another shape; one dimension may be -1."""
    static, target = dims.parse("reshape", shape)
    if min((d for d in static if d is not None), default=0) < -1:
        raise errors.invalid("reshape", "dimensions must be >= -1", shapes.text(static))
    return _reshape(convert_to_tensor(tensor), static, target)


def expand_dims(input: Any, axis: Any, name: Any = None) -> Tensor:
    """Returns x with a new dimension of size 1 at `axis` (negative counts from the end)."""
    x = convert_to_tensor(input)
    at = shapes.axis("expand_dims", _static_int("expand_dims", axis), x.ndim + 1)
    entries = dims.of(x)
    return dims.reshape(x, [*entries[:at], 1, *entries[at:]])


def _static_int(where: str, value: Any) -> int:
    array = dims.known(value)
    if array is None or array.size != 1:
        raise errors.invalid(where, "axis must be one int, known while tracing", repr(value))
    return int(array.reshape(()))


def squeeze(input: Any, axis: Any = None, name: Any = None) -> Tensor:
    """Returns x without dimensions of size 1: all that are known to be, or those at `axis`."""
    x = convert_to_tensor(input)
    if axis is None or (isinstance(axis, list | tuple) and not axis):
        gone = tuple(i for i, d in enumerate(x.shape) if d == 1)
    else:
        gone = shapes.axes("squeeze", np.reshape(dims.known(axis), -1).tolist(), x.ndim)
    for i in gone:
        if x.shape[i] not in (1, None):
            raise errors.invalid("squeeze", f"dimension {i} must be 1", shapes.text(x.shape))
    return dims.reshape(x, [d for i, d in enumerate(dims.of(x)) if i not in gone])


def transpose(a: Any, perm: Any = None, conjugate: bool = False, name: Any = "transpose") -> Tensor:
    """Returns x with its dimensions in the order `perm` (default: reversed)."""
    x = convert_to_tensor(a)
    order = range(x.ndim)[::-1] if perm is None else np.reshape(dims.known(perm), -1).tolist()
    if len(order) != x.ndim:
        raise errors.invalid(
            "transpose", f"perm must be a permutation of 0..{x.ndim - 1}", str(list(order)),
        )  # fmt: skip
    y = movement.transpose(x, perm=tuple(shapes.axis("transpose", int(i), x.ndim) for i in order))
    return m.conj(y) if conjugate else y


def broadcast_to(input: Any, shape: Any, name: Any = None) -> Tensor:
    """Returns x repeated along dimensions of size 1 (or new leading ones) to the shape."""
    x = convert_to_tensor(input)
    static, target = dims.parse("broadcast_to", shape)
    if -1 in static:
        lead = len(static) - x.ndim
        entries = [dims.of(x)[i - lead] if d == -1 else d for i, d in enumerate(static)]
        static, target = dims.join(entries)
    if target is None:
        return movement.broadcast_to(x, shape=static)
    return movement.broadcast_to(x, target, shape=static)


# -- join and split ------------------------------------------------------------------------


def concat(values: Any, axis: Any, name: Any = "concat") -> Tensor:
    """Returns the tensors one after another along an axis; other dimensions must agree."""
    if not isinstance(values, list | tuple):
        values = [values]
    if not values:
        raise errors.invalid("concat", "at least one tensor is needed", "an empty list")
    tensors = convert.match("concat", tuple(values), None)
    if any(t.ndim != tensors[0].ndim for t in tensors) or not tensors[0].ndim:
        raise errors.invalid(
            "concat", "all tensors must have one rank, at least 1",
            " and ".join(shapes.text(t.shape) for t in tensors), "tf.stack makes a new axis.",
        )  # fmt: skip
    at = shapes.axis("concat", _static_int("concat", axis), tensors[0].ndim)
    return tensors[0] if len(tensors) == 1 else movement.concat(*tensors, axis=at)


def stack(values: Any, axis: int = 0, name: Any = "stack") -> Tensor:
    """Returns tensors of one shape joined along a new axis."""
    if not isinstance(values, list | tuple):
        values = list(values)
    if not values:
        raise errors.invalid("stack", "at least one tensor is needed", "an empty list")
    tensors = convert.match("stack", tuple(values), None)
    for t in tensors:
        if not t.shape.is_compatible_with(tensors[0].shape):
            raise errors.invalid(
                "stack", "all tensors must have one shape",
                " and ".join(shapes.text(t.shape) for t in tensors),
            )  # fmt: skip
    at = shapes.axis("stack", int(axis), tensors[0].ndim + 1)
    return movement.concat(*(expand_dims(t, at) for t in tensors), axis=at)


convert.set_stacker(stack)


def unstack(value: Any, num: Any = None, axis: int = 0, name: Any = "unstack") -> list[Tensor]:
    """Returns the slices along an axis, without that axis."""
    x = convert_to_tensor(value)
    at = shapes.axis("unstack", int(axis), x.ndim)
    number = x.shape[at]
    if number is None:
        number = num
    if number is None or (num is not None and num != number):
        raise errors.invalid(
            "unstack", f"num must be the size of axis {at}, {x.shape[at]}", str(num)
        )
    return [getitem(x, (slice(None),) * at + (i,)) for i in range(number)]


def split(
    value: Any, num_or_size_splits: Any, axis: Any = 0, num: Any = None, name: Any = "split"
) -> list[Tensor]:
    """Returns equal parts (an int) or parts of the given sizes (a list; one may be -1)."""
    x = convert_to_tensor(value)
    at = shapes.axis("split", _static_int("split", axis), x.ndim)
    wanted = dims.known(num_or_size_splits)
    lead = (slice(None),) * at
    if wanted is None:
        sizes = unstack(num_or_size_splits, num)
        ends = [m.add_n(sizes[: i + 1]) for i in range(len(sizes))]
        return [getitem(x, (*lead, slice(b, e))) for b, e in zip([0, *ends], ends)]
    if wanted.ndim == 0:
        return _split_equally(x, int(wanted), at, lead)
    bounds = _bounds(wanted.tolist(), x.shape[at])
    return [getitem(x, (*lead, slice(b, e))) for b, e in zip([0, *bounds], bounds)]


def _split_equally(x: Any, parts: int, at: int, lead: Any) -> list[Any]:
    known = x.shape[at]
    if parts < 1 or (known is not None and known % parts):
        raise errors.invalid(
            "split", f"the number of parts must divide the size {known} of axis {at}", str(parts)
        )
    step = dims.size(x, at) // parts
    return [getitem(x, (*lead, slice(i * step, (i + 1) * step))) for i in range(parts)]


def _bounds(sizes: list[int], known: Any) -> list[int]:
    total = sum(s for s in sizes if s >= 0)
    fits = known is None or (total <= known if -1 in sizes else total == known)
    if sizes.count(-1) > 1 or not fits or (known is None and -1 in sizes):
        raise errors.invalid("split", f"sizes must add up to {known}", str(sizes))
    full = [known - total if s == -1 else s for s in sizes]
    return np.cumsum(full, dtype=np.int64).tolist()


# -- reverse and pad ---------------------------------------------------------------------


def reverse(tensor: Any, axis: Any, name: Any = None) -> Tensor:
    """Returns x with the order of elements reversed along the axes."""
    x = convert_to_tensor(tensor)
    axes = shapes.axes("reverse", np.reshape(dims.known(axis), -1).tolist(), x.ndim)
    return movement.reverse(x, axes=axes)


def pad(
    tensor: Any, paddings: Any, mode: str = "CONSTANT", constant_values: Any = 0, name: Any = None
) -> Tensor:
    """Returns x with elements added around it.

    Args:
      tensor: shape [d0, ..., dn].
      paddings: [n, 2]: how many elements before and after, for each dimension.
      mode: "CONSTANT", "REFLECT" (mirrored without the edge) or "SYMMETRIC" (with the edge).
      constant_values: the scalar that CONSTANT fills in.
    """
    x = convert_to_tensor(tensor)
    rows = dims.known(paddings)
    kind = mode.upper()
    if kind not in ("CONSTANT", "REFLECT", "SYMMETRIC"):
        raise errors.invalid("pad", "mode must be CONSTANT, REFLECT or SYMMETRIC", repr(mode))
    if rows is None:
        return _pad_dynamic(x, paddings, kind, constant_values)
    if rows.shape != (x.ndim, 2) or (rows.size and rows.min() < 0):
        raise errors.invalid("pad", f"paddings must be >= 0 and of shape [{x.ndim}, 2]",
                             str(rows.tolist()))  # fmt: skip
    if kind == "CONSTANT":
        value = convert_to_tensor(constant_values, dtype_hint=x.dtype)
        config = tuple((int(low), int(high), 0) for low, high in rows)
        return movement.pad(x, m.cast(value, x.dtype), config=config)
    for axis, (low, high) in enumerate(rows.tolist()):
        x = _mirror(x, axis, low, high, 1 if kind == "REFLECT" else 0)
    return x


def _mirror(x: Any, axis: int, low: int, high: int, edge: int) -> Any:
    known = x.shape[axis]
    if known is not None and max(low, high) > known - edge:
        raise errors.invalid(
            "pad", f"mirrored paddings of axis {axis} must be at most {known - edge}",
            str([low, high]),
        )  # fmt: skip
    lead = (slice(None),) * axis
    parts = [x]
    if low:
        before = getitem(x, (*lead, slice(edge, low + edge)))
        parts.insert(0, movement.reverse(before, axes=(axis,)))
    if high:
        after = getitem(x, (*lead, slice(-high - edge, -edge if edge else None)))
        parts.append(movement.reverse(after, axes=(axis,)))
    return x if len(parts) == 1 else movement.concat(*parts, axis=axis)


def _pad_dynamic(x: Any, paddings: Any, kind: str, value: Any) -> Any:
    if kind != "CONSTANT":
        raise errors.invalid("pad", f"paddings of mode {kind} must be known", repr(paddings))
    filling = m.cast(convert_to_tensor(value, dtype_hint=x.dtype), x.dtype)
    rows = [sizes(row) for row in (
        paddings if isinstance(paddings, list | tuple) else unstack(paddings))]  # fmt: skip
    for axis, row in enumerate(rows):
        entries = dims.of(x)
        sides = [dims.broadcast(filling, [*entries[:axis], n, *entries[axis + 1 :]]) for n in row]
        x = movement.concat(sides[0], x, sides[1], axis=axis)
    return x


def sizes(values: Any) -> list[Any]:
    """Returns a vector argument as a list of ints and scalar tensors."""
    if isinstance(values, list | tuple):
        return [v if dims.known(v) is None else int(dims.known(v)) for v in values]
    known = dims.known(values)
    if known is not None:
        return [int(v) for v in known.reshape(-1)]
    return unstack(values)
