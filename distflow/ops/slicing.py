"""x[...]: NumPy-style indexing with ints, slices, Ellipsis, newaxis, tensors and bool masks."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.core import context
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import EagerTensor, Tensor
from distflow.ops.prims import creation, host, indexing, movement
from distflow.ops.prims.elementwise import cast, max_, min_, select


def getitem(self: Any, key: Any) -> Any:
    """Returns a part of a tensor; gradients flow through it.

    Raises:
      InvalidArgumentError: for too many indices, an index out of range, or a stride of 0.
    """
    state = context.state
    if type(self) is EagerTensor and not state.observers and not state.interpreters:
        # Nobody records: NumPy's own indexing means the same, and takes a tenth of the time.
        plain = _plain(key)
        if plain is not None:
            try:
                return EagerTensor(self.array[plain].copy())
            except (IndexError, ValueError):
                pass  # what follows says what is wrong
    x = convert_to_tensor(self)
    if _is_mask(key):
        return boolean_mask(x, key)
    return _index(x, _expand(key if isinstance(key, tuple) else (key,), x.ndim))


def _plain(key: Any) -> tuple[Any, ...] | None:
    """The key with a final '...', if it has ints and slices of ints only; else None."""
    keys = key if type(key) is tuple else (key,)
    for k in keys:
        if type(k) is slice:
            for bound in (k.start, k.stop, k.step):
                if bound is not None and type(bound) is not int:
                    return None
        elif type(k) is not int:
            return None
    return (*keys, ...)


def _is_mask(key: Any) -> bool:
    if isinstance(key, list):
        return bool(key) and isinstance(key[0], bool)
    return getattr(key, "ndim", 0) > 0 and dtypes.as_dtype(key.dtype) is dtypes.bool_


def _expand(key: tuple[Any, ...], rank: int) -> list[Any]:
    """Returns one entry for each dimension (and newaxis), with Ellipsis written out."""
    used = sum(1 for k in key if k is not None and k is not Ellipsis)
    if sum(k is Ellipsis for k in key) > 1:
        raise errors.invalid("indexing", "at most one '...'", repr(key))
    if used > rank:
        raise errors.invalid("indexing", f"at most {rank} indices", str(used))
    fill = [slice(None)] * (rank - used)
    result: list[Any] = []
    for k in key:
        result.extend(fill if k is Ellipsis else [k])
    if not any(k is Ellipsis for k in key):
        result.extend(fill)
    return result


def _index(x: Any, key: list[Any]) -> Any:
    starts, stops, strides, flips, dynamic, gathers = [], [], [], [], {}, {}
    drop: list[int] = []
    axis = 0
    for k in key:
        if k is None:
            continue
        start, stop, stride = 0, None, 1
        if isinstance(k, slice):
            if _is_dynamic(k):
                dynamic[axis] = k
            else:
                start, stop, stride, flipped = _static_slice(k, x.shape[axis])
                if flipped:
                    flips.append(axis)
        elif _is_scalar_index(k):
            start, stop = _static_index(int(k), x.shape[axis], axis)
            drop.append(axis)
        else:
            gathers[axis] = k
        starts.append(start)
        stops.append(stop)
        strides.append(stride)
        axis += 1
    if any(s != (0, None, 1) for s in zip(starts, stops, strides)):
        x = movement.slice_(x, starts=tuple(starts), stops=tuple(stops), strides=tuple(strides))
    if flips:
        x = movement.reverse(x, axes=tuple(flips))
    for axis, k in dynamic.items():
        x = _dynamic_slice(x, k, axis)
    scalar_gathers: list[int] = []
    vector_axes: list[int] = []
    for axis, k in sorted(gathers.items(), reverse=True):
        index = _index_tensor(k)
        x = indexing.gather(x, _wrap_negative(index, x, axis), axis=axis)
        (scalar_gathers if index.ndim == 0 else vector_axes).append(axis)
    if len(vector_axes) > 1 or any(convert_to_tensor(gathers[a]).ndim > 1 for a in vector_axes):
        raise errors.invalid(
            "indexing", "at most one 1-D index tensor", f"{len(vector_axes)} index tensors",
            "Use tf.gather_nd.",
        )  # fmt: skip
    return _reshape_result(x, key, set(drop), set(scalar_gathers))


def _index_tensor(k: Any) -> Any:
    index = None if isinstance(k, str | bytes | float) else convert_to_tensor(k)
    if index is None or not index.dtype.is_integer:
        raise errors.DtypeMismatchError(
            f"indexing: expected ints, slices, None, '...' or int tensors; received {k!r:.80}."
        )
    return index


def _reshape_result(x: Any, key: list[Any], drop: set[int], gone: set[int]) -> Any:
    """Drops dimensions indexed by an int, and puts new ones where the key says None."""
    if not drop and not any(k is None for k in key):
        return x
    dims: list[Any] = []
    source, axis = iter(range(x.ndim)), 0
    for k in key:
        if k is None:
            dims.append(1)
            continue
        if axis not in gone:
            position = next(source)
            if axis not in drop:
                dims.append((position, x.shape[position]))
        axis += 1
    shape = tuple(d if isinstance(d, int) else d[1] for d in dims)
    if sum(d is None for d in shape) <= 1 and 0 not in shape:
        return movement.reshape(x, shape=tuple(-1 if d is None else d for d in shape))
    if shapes.is_static(shape):
        return movement.reshape(x, shape=shape)
    full = movement.shape_tensor(x)
    pieces = [
        convert_to_tensor([d]) if isinstance(d, int)
        else movement.slice_(full, starts=(d[0],), stops=(d[0] + 1,), strides=(1,))
        for d in dims
    ]  # fmt: skip
    return movement.reshape(x, movement.concat(*pieces, axis=0), shape=shape)


def _is_scalar_index(k: Any) -> bool:
    if isinstance(k, bool):
        raise errors.invalid("indexing", "ints, slices, None, '...' or tensors", repr(k))
    if isinstance(k, int | np.integer):
        return True
    return isinstance(k, EagerTensor) and k.ndim == 0 and k.dtype.is_integer


def _is_dynamic(k: slice) -> bool:
    return any(
        (isinstance(v, Tensor) and not isinstance(v, EagerTensor)) or hasattr(v, "is_variable")
        for v in (k.start, k.stop, k.step)
    )


def _static_index(index: int, dim: Any, axis: int) -> tuple[int, Any]:
    if dim is not None and not -dim <= index < dim:
        raise errors.invalid("indexing", f"index of axis {axis} must be in [{-dim}, {dim})",
                             str(index))  # fmt: skip
    if index < 0:
        return (index + dim, index + dim + 1) if dim is not None else (index, index + 1 or None)
    return index, index + 1


def _static_slice(k: slice, dim: Any) -> tuple[int, Any, int, bool]:
    start, stop, step = (None if v is None else int(v) for v in (k.start, k.stop, k.step))
    step = 1 if step is None else step
    if step == 0:
        raise errors.invalid("indexing", "slice strides must not be 0", "0")
    if step > 0:
        return 0 if start is None else start, stop, step, False
    if dim is None:
        if start is None and stop is None and step == -1:
            return 0, None, 1, True
        raise errors.invalid("indexing", "negative strides need a known size or [::-1]", repr(k))
    # The same elements forwards, then mirrored.
    picked = range(*k.indices(dim) if k.step is step else slice(start, stop, step).indices(dim))
    if not len(picked):
        return 0, 0, 1, False
    return picked[-1], picked[0] + 1, -step, True


def _wrap_negative(index: Any, x: Any, axis: int) -> Any:
    dim = x.shape[axis]
    size: Any = dim if dim is not None else _size(x, axis, index.dtype)
    if isinstance(index, EagerTensor) and not bool((index.array < 0).any()):
        return index
    return select(index < 0, index + size, index)


def _size(x: Any, axis: int, dtype: Any = dtypes.int32) -> Any:
    dims = movement.shape_tensor(x, dtype)
    return movement.reshape(
        movement.slice_(dims, starts=(axis,), stops=(axis + 1,), strides=(1,)), shape=()
    )


def _dynamic_slice(x: Any, k: slice, axis: int) -> Any:
    """A slice whose bounds are tensors: gathers the positions start, start + step, ..."""
    size = _size(x, axis)
    step = 1 if k.step is None else k.step
    start = _bound(0 if k.start is None else k.start, size)
    stop = _bound(size if k.stop is None else k.stop, size)
    count = max_((stop - start + step - 1) // step, 0)
    rows = start + creation.iota(count, dtype=dtypes.int32, length=None) * step
    return indexing.gather(x, rows, axis=axis)


def _bound(value: Any, size: Any) -> Any:
    value = convert_to_tensor(value)
    value = value if value.dtype is dtypes.int32 else cast(value, dtype=dtypes.int32)
    value = select(value < 0, value + size, value)
    return max_(min_(value, size), 0)


def boolean_mask(tensor: Any, mask: Any, axis: Any = None, name: Any = None) -> Any:
    """Returns the entries of `tensor` where `mask` is true, flattened over the mask's axes.

    Args:
      tensor: shape [d0, ..., dn].
      mask: bool, its shape equal to that of `tensor` from `axis` on.
      axis: first axis that the mask covers, default 0.
    """
    x, mask = convert_to_tensor(tensor), convert_to_tensor(mask)
    at = 0 if axis is None else shapes.axis("boolean_mask", int(axis), x.ndim)
    if mask.ndim == 0:
        raise errors.invalid("boolean_mask", "mask cannot be scalar", "a scalar")
    shapes.merge("boolean_mask: mask", x.shape[at : at + mask.ndim], mask.shape)
    rest = (*x.shape[:at], -1, *x.shape[at + mask.ndim :])
    if not shapes.is_static(rest):
        if mask.ndim > 1:
            raise errors.invalid("boolean_mask", "other dimensions must be known",
                                 shapes.text(x.shape))  # fmt: skip
        flat = x
    else:
        flat = movement.reshape(x, shape=rest)
    return indexing.gather(flat, where_flat(mask), axis=at)


def where_flat(mask: Any) -> Any:
    """Returns the flat positions where a bool tensor is true, as int32 of unknown length."""
    (rows,) = host.host_call(
        mask,
        fn=lambda m: np.flatnonzero(m).astype(np.int32),
        dtypes=(dtypes.int32,),
        shapes=((None,),),
    )
    return rows
