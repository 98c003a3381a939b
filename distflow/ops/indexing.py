"""Choosing and placing elements: where, gather, scatter, slice, partitions."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.core import convert
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import EagerTensor, Tensor
from distflow.ops import dims
from distflow.ops import math as m
from distflow.ops.creation import zeros
from distflow.ops.prims import creation, host, indexing, movement
from distflow.ops.prims import elementwise as p
from distflow.ops.reduce import reduce_max
from distflow.ops.shaping import concat, expand_dims, reshape, stack, transpose
from distflow.ops.slicing import boolean_mask, getitem, where_flat

__all__ = [
    "boolean_mask", "dynamic_partition", "dynamic_stitch", "gather", "gather_nd", "scatter_nd",
    "slice", "strided_slice", "tensor_scatter_nd_add", "tensor_scatter_nd_max",
    "tensor_scatter_nd_min", "tensor_scatter_nd_sub", "tensor_scatter_nd_update", "where",
]  # fmt: skip

_slice = slice


def where(condition: Any, x: Any = None, y: Any = None, name: Any = None) -> Tensor:
    """Returns x where the condition holds and y elsewhere, with broadcasting.

    Without x and y: the positions of true (or non-zero) elements, int64 of shape [n, rank].
    """
    condition = convert_to_tensor(condition)
    if condition.dtype is not dtypes.bool_:
        if x is not None or condition.dtype is dtypes.string:
            raise errors.DtypeMismatchError(
                f"where: expected a bool condition; received {condition.dtype.name}."
            )
        condition = p.ne(condition, EagerTensor(np.zeros((), condition.dtype.numpy)))
    if (x is None) != (y is None):
        raise errors.invalid("where", "x and y must both be given, or neither", "one of them")
    if x is not None:
        return p.select(condition, x, y)
    (positions,) = host.host_call(
        condition,
        fn=lambda c: np.argwhere(c).astype(np.int64),
        dtypes=(dtypes.int64,),
        shapes=((None, condition.ndim),),
    )
    return positions


# -- gather --------------------------------------------------------------------------------


def gather(
    params: Any, indices: Any, validate_indices: Any = None, axis: Any = None,
    batch_dims: int = 0, name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the slices of `params` along an axis that the indices name.

    Args:
      params: shape [..., size, ...].
      indices: int tensor; each in [0, size).
      axis: default `batch_dims`.
      batch_dims: number of leading dimensions that params and indices share.

    Raises:
      InvalidArgumentError: when an index is out of range, at the moment the gather runs.
    """
    x, at = convert_to_tensor(params), convert_to_tensor(indices)
    batch = int(batch_dims)
    batch = batch + at.ndim if batch < 0 else batch
    axis = batch if axis is None else shapes.axis("gather", int(dims.known(axis)), x.ndim)
    if x.ndim == 0:
        raise errors.invalid("gather", "params must have at least one dimension", "a scalar")
    if batch == 0:
        return indexing.gather(x, at, axis=axis)
    if not batch <= min(axis, at.ndim):
        raise errors.invalid(
            "gather", f"batch_dims must be <= axis {axis} and the rank of indices", str(batch)
        )
    shapes.merge("gather: batch dimensions of indices", x.shape[:batch], at.shape[:batch])
    return _gather_batched(x, at, axis, batch)


def _gather_batched(x: Any, at: Any, axis: int, batch: int) -> Any:
    """Gathers rows of [batch * size, ...]: row b * size + index."""
    perm = (*range(batch), axis, *range(batch, axis), *range(axis + 1, x.ndim))
    moved = x if axis == batch else movement.transpose(x, perm=perm)
    lead, rest = dims.of(moved)[:batch], dims.of(moved)[batch + 1 :]
    size = dims.size(moved, batch)
    # Checks each index against its own row, before the offset could hide a wrong one.
    at = indexing.gather(_iota(size, at.dtype), at, axis=0)
    rows = dims.count(moved, range(batch))
    offset = m.multiply(_iota(rows, at.dtype), m.cast(size, at.dtype))
    index_shape = dims.of(at)
    at = at + dims.reshape(offset, [*lead, *(1 for _ in index_shape[batch:])])
    total = m.multiply(rows, size) if not _ints(rows, size) else rows * size
    flat = dims.reshape(moved, [total, *rest])
    y = indexing.gather(flat, at, axis=0)
    if axis == batch:
        return y
    # [batch, indices, moved dims, rest] -> [batch, moved dims, indices, rest]
    inner, shift = at.ndim - batch, axis - batch
    order = (
        *range(batch),
        *range(batch + inner, batch + inner + shift),
        *range(batch, batch + inner),
        *range(batch + inner + shift, y.ndim),
    )
    return movement.transpose(y, perm=order)


def _ints(*values: Any) -> bool:
    return all(isinstance(v, int) for v in values)


def _iota(length: Any, dtype: dtypes.DType) -> Any:
    if isinstance(length, int):
        return creation.iota(dtype=dtype, length=length)
    return creation.iota(length, dtype=dtype, length=None)


def gather_nd(
    params: Any, indices: Any, batch_dims: int = 0, name: Any = None,
    bad_indices_policy: str = "",
) -> Tensor:  # fmt: skip
    """Returns params[indices[..., 0], indices[..., 1], ...].

    Args:
      params: shape [d0, ..., dn].
      indices: int tensor [..., k], k <= rank; the rest of each row comes as it is.
      batch_dims: leading dimensions that params and indices share.
    """
    x, at = convert_to_tensor(params), convert_to_tensor(indices)
    depth = at.shape[-1] if at.ndim else None
    if depth is None or depth + batch_dims > x.ndim:
        raise errors.invalid(
            "gather_nd", f"the last dimension of indices must be known and <= {x.ndim}",
            shapes.text(at.shape),
        )  # fmt: skip
    for level in range(batch_dims):
        at = _with_batch_column(at, level, batch_dims, x)
    if at.shape[-1] == 0:
        lead = dims.of(at)[:-1]
        return dims.broadcast(x, [*lead, *dims.of(x)])
    return indexing.gather_nd(x, _checked("gather_nd", at, x))


def _with_batch_column(at: Any, level: int, batch_dims: int, x: Any) -> Any:
    """Puts the position along batch dimension `level` in front of the index columns."""
    line = dims.reshape(
        _iota(dims.size(at, level), at.dtype),
        [dims.of(at)[level] if i == level else 1 for i in range(at.ndim)],
    )
    column = dims.broadcast(line, [*dims.of(at)[:-1], 1])
    done = getitem(at, (Ellipsis, _slice(0, level)))
    rest = getitem(at, (Ellipsis, _slice(level, None)))
    return movement.concat(done, column, rest, axis=at.ndim - 1)


def _checked(where: str, at: Any, x: Any) -> Any:
    """The indices, each checked against its dimension where they are used."""
    if isinstance(at, EagerTensor):
        for level in range(at.shape[-1]):
            limit = x.shape[level]
            if limit is not None and at.array.size:
                _check_column(where, at.array[..., level], limit, level)
        return at
    if at.shape[-1] == 1:
        return at  # gather itself checks a single column
    columns = [
        indexing.gather(
            _iota(dims.size(x, level), at.dtype), getitem(at, (Ellipsis, level)), axis=0
        )
        for level in range(at.shape[-1])
    ]
    return stack(columns, axis=-1)


def _check_column(where: str, column: Any, limit: int, level: int) -> None:
    bad = column[(column < 0) | (column >= limit)]
    if bad.size:
        raise errors.invalid(
            where, f"indices of dimension {level} must be in [0, {limit})", f"index {int(bad[0])}"
        )


# -- scatter -------------------------------------------------------------------------------


def scatter_nd(
    indices: Any, updates: Any, shape: Any, bad_indices_policy: str = "", name: Any = None
) -> Tensor:
    """Returns zeros of `shape` with updates added at the indices, in their order."""
    updates = convert_to_tensor(updates)
    return indexing.scatter(zeros(shape, updates.dtype), indices, updates, mode="add")


def _tensor_scatter(mode: str, meaning: str) -> Any:
    def scatter(
        tensor: Any, indices: Any, updates: Any, bad_indices_policy: str = "", name: Any = None
    ) -> Tensor:
        return indexing.scatter(tensor, indices, updates, mode=mode)

    scatter.__name__ = scatter.__qualname__ = f"tensor_scatter_nd_{mode}"
    scatter.__doc__ = f"Returns `tensor` with `updates` {meaning} the slices at `indices` [..., k]."
    return scatter


tensor_scatter_nd_add = _tensor_scatter("add", "added to")
tensor_scatter_nd_sub = _tensor_scatter("sub", "subtracted from")
tensor_scatter_nd_update = _tensor_scatter("update", "in the place of")
tensor_scatter_nd_max = _tensor_scatter("max", "taken as lower bounds of")
tensor_scatter_nd_min = _tensor_scatter("min", "taken as upper bounds of")

# -- slices --------------------------------------------------------------------------------


def slice(input_: Any, begin: Any, size: Any, name: Any = None) -> Tensor:
    """Returns the block of `size` elements from `begin`; a size of -1 takes all that remain.

    Raises:
      InvalidArgumentError: if the block does not lie within the tensor.
    """
    x = convert_to_tensor(input_)
    starts, sizes = dims.known(begin), dims.known(size)
    if starts is not None and sizes is not None:
        return _static_slice(x, starts.reshape(-1).tolist(), sizes.reshape(-1).tolist())
    if sizes is not None and -1 not in sizes.tolist():
        begin = m.cast(convert_to_tensor(begin), dtypes.int32)
        return indexing.dynamic_slice(x, begin, sizes=tuple(int(s) for s in sizes.reshape(-1)))
    begins = _elements(begin, x.ndim)
    key = []
    for axis, (start, length) in enumerate(zip(begins, _elements(size, x.ndim))):
        whole = isinstance(length, int) and length == -1
        key.append(_slice(start, dims.size(x, axis) if whole else m.add(start, length)))
    return getitem(x, tuple(key))


def _static_slice(x: Any, starts: list[int], sizes: list[int]) -> Any:
    if not len(starts) == len(sizes) == x.ndim:
        raise errors.invalid(
            "slice", f"begin and size must have {x.ndim} elements", f"{starts} and {sizes}"
        )
    for axis, (start, length, dim) in enumerate(zip(starts, sizes, x.shape)):
        if dim is not None and (start < 0 or length < -1 or start + max(length, 0) > dim):
            raise errors.invalid(
                "slice", f"begin + size of axis {axis} must lie within [0, {dim}]",
                f"begin {start}, size {length}",
            )  # fmt: skip
    stops = tuple(None if n == -1 else b + n for b, n in zip(starts, sizes))
    return movement.slice_(x, starts=tuple(starts), stops=stops, strides=(1,) * x.ndim)


def _elements(values: Any, count: int) -> list[Any]:
    if isinstance(values, list | tuple):
        return [v if dims.known(v) is None else int(dims.known(v)) for v in values]
    known = dims.known(values)
    if known is not None:
        return [int(v) for v in known]
    return [getitem(values, i) for i in range(count)]


def strided_slice(
    input_: Any, begin: Any, end: Any, strides: Any = None, begin_mask: int = 0,
    end_mask: int = 0, ellipsis_mask: int = 0, new_axis_mask: int = 0, shrink_axis_mask: int = 0,
    var: Any = None, name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns input_[begin:end:strides]; bit i of each mask changes what entry i means."""
    count = len(begin) if isinstance(begin, list | tuple) else convert_to_tensor(begin).shape[0]
    begins, ends = _elements(begin, count), _elements(end, count)
    steps = [1] * count if strides is None else _elements(strides, count)
    key: list[Any] = []
    for i in range(count):
        bit = 1 << i
        if ellipsis_mask & bit:
            key.append(Ellipsis)
        elif new_axis_mask & bit:
            key.append(None)
        elif shrink_axis_mask & bit:
            key.append(begins[i])
        else:
            start = None if begin_mask & bit else begins[i]
            key.append(_slice(start, None if end_mask & bit else ends[i], steps[i]))
    return getitem(convert_to_tensor(input_), tuple(key))


# -- partitions ----------------------------------------------------------------------------


def dynamic_partition(
    data: Any, partitions: Any, num_partitions: int, name: Any = None
) -> list[Tensor]:
    """Returns `num_partitions` tensors: the entries of data whose partition is 0, 1, ..."""
    x, which = convert_to_tensor(data), convert_to_tensor(partitions)
    known = dims.known(which)
    if known is not None and known.size and not 0 <= known.min() <= known.max() < num_partitions:
        raise errors.invalid(
            "dynamic_partition", f"partitions must be in [0, {num_partitions})",
            f"values from {known.min()} to {known.max()}",
        )  # fmt: skip
    shapes.merge("dynamic_partition: partitions", x.shape[: which.ndim], which.shape)
    if which.ndim != 1:
        x = _rows(x, which.ndim)
        which = reshape(which, (-1,))
    return [indexing.gather(x, where_flat(p.eq(which, i)), axis=0) for i in range(num_partitions)]


def dynamic_stitch(indices: Any, data: Any, name: Any = None) -> Tensor:
    """Returns the merge of data[k] at positions indices[k]; later entries win."""
    places = [convert_to_tensor(i) for i in indices]
    values = convert.match("dynamic_stitch", tuple(data), None)
    row = dims.of(values[0])[places[0].ndim :]
    flat = concat([reshape(i, (-1,)) for i in places], 0)
    rows = concat([_rows(v, i.ndim) for v, i in zip(values, places)], 0)
    known = dims.known(flat)
    if known is not None:
        size: Any = int(known.max()) + 1 if known.size else 0
    else:
        size = reduce_max(flat) + 1
    blank = dims.broadcast(EagerTensor(np.zeros((), rows.dtype.numpy)), [size, *row])
    return indexing.scatter(blank, expand_dims(flat, 1), rows, mode="update")


def _rows(x: Any, depth: int) -> Any:
    """x with its first `depth` dimensions as one."""
    return dims.reshape(x, [dims.count(x, range(depth)), *dims.of(x)[depth:]])


def reverse_sequence(
    input: Any, seq_lengths: Any, seq_axis: Any = None, batch_axis: Any = None, name: Any = None
) -> Tensor:
    """Returns x with the first seq_lengths[i] entries along seq_axis of batch entry i reversed."""
    x, lengths = convert_to_tensor(input), convert_to_tensor(seq_lengths)
    time = shapes.axis("reverse_sequence", 1 if seq_axis is None else int(seq_axis), x.ndim)
    batch = shapes.axis("reverse_sequence", int(batch_axis or 0), x.ndim)
    rest = [i for i in range(x.ndim) if i not in (batch, time)]
    perm = [batch, time, *rest]
    steps = expand_dims(_iota(dims.size(x, time), lengths.dtype), 0)
    lengths = expand_dims(lengths, 1)
    at = p.select(steps < lengths, lengths - 1 - steps, steps + lengths * 0)
    y = gather(transpose(x, perm), at, batch_dims=1)
    return transpose(y, np.argsort(perm))
