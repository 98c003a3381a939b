"""Sums, means and extrema over segments of rows, counts of ints, confusion matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import EagerTensor, Tensor
from distflow.ops import dims
from distflow.ops import math as m
from distflow.ops.prims import elementwise as p
from distflow.ops.prims import indexing
from distflow.ops.reduce import reduce_max
from distflow.ops.shaping import expand_dims, reshape, stack
from distflow.ops.slicing import getitem


def _scatter(data: Any, ids: Any, number: Any, mode: str, start: Any) -> Any:
    """Rows of `start` with the data of each segment combined into them; ids < 0 are dropped."""
    x, ids = convert_to_tensor(data), convert_to_tensor(ids)
    shapes.merge("segment ids", x.shape[: ids.ndim], ids.shape)
    if ids.ndim != 1:
        x = dims.reshape(x, [dims.count(x, range(ids.ndim)), *dims.of(x)[ids.ndim :]])
        ids = reshape(ids, (-1,))
    known = dims.known(number)
    count = int(known) if known is not None else convert_to_tensor(number)
    total = count + 1 if isinstance(count, int) else m.add(count, 1)
    blank = EagerTensor(np.asarray(start, x.dtype.numpy))
    rows = dims.broadcast(blank, [total, *dims.of(x)[1:]])
    # Dropped rows go to one more segment at the end, which is cut off again.
    last = m.cast(count, ids.dtype)
    ids = p.select(p.lt(ids, 0), p.add(p.mul(ids, 0), last), ids)
    return getitem(indexing.scatter(rows, expand_dims(ids, 1), x, mode=mode), slice(0, count))


def unsorted_segment_sum(
    data: Any, segment_ids: Any, num_segments: Any, name: Any = None
) -> Tensor:
    """Returns, for each of num_segments, the sum of the rows whose id it is (0 for none)."""
    return _scatter(data, segment_ids, num_segments, "add", 0)


def _counts(data: Any, ids: Any, number: Any) -> Any:
    x, ids = convert_to_tensor(data), convert_to_tensor(ids)
    ones = p.add(p.mul(m.cast(ids, x.dtype), 0), 1)
    count = m.maximum(_scatter(ones, ids, number, "add", 0), 1)
    return dims.reshape(count, [dims.of(count)[0], *(1 for _ in range(x.ndim - ids.ndim))])


def unsorted_segment_mean(
    data: Any, segment_ids: Any, num_segments: Any, name: Any = None
) -> Tensor:
    """Returns the mean of each segment's rows (0 for none)."""
    total = unsorted_segment_sum(data, segment_ids, num_segments)
    return p.div(total, _counts(data, segment_ids, num_segments))


def unsorted_segment_sqrt_n(
    data: Any, segment_ids: Any, num_segments: Any, name: Any = None
) -> Tensor:
    """Returns the sum of each segment's rows divided by the root of their number."""
    total = unsorted_segment_sum(data, segment_ids, num_segments)
    return p.div(total, p.sqrt(_counts(data, segment_ids, num_segments)))


def unsorted_segment_max(
    data: Any, segment_ids: Any, num_segments: Any, name: Any = None
) -> Tensor:
    """Returns the maximum of each segment's rows (the lowest finite value for none)."""
    x = convert_to_tensor(data)
    return _scatter(x, segment_ids, num_segments, "max", x.dtype.min)


def unsorted_segment_min(
    data: Any, segment_ids: Any, num_segments: Any, name: Any = None
) -> Tensor:
    """Returns the minimum of each segment's rows (the highest finite value for none)."""
    x = convert_to_tensor(data)
    return _scatter(x, segment_ids, num_segments, "min", x.dtype.max)


def _segments(where: str, ids: Any) -> tuple[Any, Any]:
    ids = convert_to_tensor(ids)
    known = dims.known(ids)
    if known is None:
        return ids, p.add(reduce_max(ids), 1)
    if known.size and (np.any(np.diff(known) < 0) or known[0] < 0):
        raise errors.invalid(where, "segment ids must be >= 0 and not fall", f"{known!r:.80}")
    return ids, int(known[-1]) + 1 if known.size else 0


def segment_sum(data: Any, segment_ids: Any, name: Any = None) -> Tensor:
    """Returns the sums over runs of equal ids, which must not fall."""
    ids, number = _segments("segment_sum", segment_ids)
    return unsorted_segment_sum(data, ids, number)


def segment_mean(data: Any, segment_ids: Any, name: Any = None) -> Tensor:
    """Returns the means over runs of equal ids, which must not fall."""
    ids, number = _segments("segment_mean", segment_ids)
    return unsorted_segment_mean(data, ids, number)


def bincount(
    arr: Any, weights: Any = None, minlength: Any = None, maxlength: Any = None,
    dtype: Any = dtypes.int32, name: Any = None, axis: Any = None, binary_output: bool = False,
) -> Tensor:  # fmt: skip
    """Returns how often each int from 0 to the maximum occurs (or the sum of its weights).

    Args:
      minlength: shortest length of the result.
      maxlength: longest length; larger values are left out.
    """
    if axis is not None or binary_output:
        raise errors.UnimplementedError("bincount: axis and binary_output are not there yet.")
    values = reshape(convert_to_tensor(arr), (-1,))
    known = dims.known(values)
    if known is not None:
        size: Any = int(known.max()) + 1 if known.size else 0
        size = max(size, int(minlength or 0))
        size = size if maxlength is None else min(size, int(maxlength))
    else:
        size = m.cast(reduce_max(values) + 1, dtypes.int32)
        size = m.maximum(size, int(minlength or 0))
        size = size if maxlength is None else m.minimum(size, int(maxlength))
    if weights is None:
        parts = p.add(p.mul(m.cast(values, dtype), 0), 1)
    else:
        parts = reshape(convert_to_tensor(weights), (-1,))
    inside = p.lt(values, m.cast(size, values.dtype))
    return _scatter(parts, p.select(inside, values, p.sub(p.mul(values, 0), 1)), size, "add", 0)


def confusion_matrix(
    labels: Any, predictions: Any, num_classes: Any = None, weights: Any = None,
    dtype: Any = dtypes.int32, name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns [classes, classes]: how often each label (row) was predicted as each class."""
    rows, columns = (m.cast(t, dtypes.int64) for t in (labels, predictions))
    if num_classes is None:
        count = m.maximum(reduce_max(rows), reduce_max(columns)) + 1  # type: ignore[operator]
        known = dims.known(count)
        num_classes = count if known is None else int(known)
    ones = p.add(p.mul(m.cast(rows, dtype), 0), 1)
    parts = ones if weights is None else m.cast(weights, dtype)
    zeros = dims.broadcast(
        EagerTensor(np.zeros((), dtypes.as_dtype(dtype).numpy)), [num_classes, num_classes]
    )
    return indexing.scatter(zeros, stack([rows, columns], -1), parts, mode="add")
