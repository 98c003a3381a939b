"""Reductions over segments, and frames of signals, in `keras.ops`."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import errors
from distflow.keras.engine.keras_ops import operation
from distflow.keras.ops.dtype_rules import floats, tensor
from distflow.ops import indexing, math, reduce, segment, shaping
from distflow.ops import matmul as products
from distflow.ops.prims.elementwise import select

__all__ = [
    "cdist", "extract_sequences", "segment_max", "segment_min", "segment_prod", "segment_sum",
]  # fmt: skip


def _over(function: Any, data: Any, segment_ids: Any, num_segments: Any) -> Any:
    x, ids = tensor(data), tensor(segment_ids, "int32")
    if ids.ndim != 1:
        raise ValueError(
            f"Argument `segment_ids` should be an 1-D vector, got shape: {tuple(ids.shape)}."
        )
    count = reduce.reduce_max(ids) + 1 if num_segments is None else num_segments
    return function(x, ids, count)


@operation("math.SegmentSum", "num_segments", "sorted")
def segment_sum(data: Any, segment_ids: Any, num_segments: Any = None, sorted: bool = False) -> Any:
    """Returns the sum of the rows of each segment; 0 for a segment without rows."""
    return _over(segment.unsorted_segment_sum, data, segment_ids, num_segments)


@operation("math.SegmentMax", "num_segments", "sorted")
def segment_max(data: Any, segment_ids: Any, num_segments: Any = None, sorted: bool = False) -> Any:
    """Returns the largest of the rows of each segment."""
    return _over(segment.unsorted_segment_max, data, segment_ids, num_segments)


@operation("math.SegmentMin", "num_segments", "sorted")
def segment_min(data: Any, segment_ids: Any, num_segments: Any = None, sorted: bool = False) -> Any:
    """Returns the smallest of the rows of each segment."""
    return _over(segment.unsorted_segment_min, data, segment_ids, num_segments)


@operation("math.SegmentProd", "num_segments", "sorted")
def segment_prod(
    data: Any, segment_ids: Any, num_segments: Any = None, sorted: bool = False
) -> Any:
    """Returns the product of the rows of each segment; 1 for a segment without rows."""

    def run(x: Any, ids: Any, count: Any) -> Any:
        member = math.equal(shaping.expand_dims(ids, 0), shaping.expand_dims(math.range(count), 1))
        for _ in range(x.ndim - 1):
            member = shaping.expand_dims(member, -1)
        wide = shaping.expand_dims(x, 0)
        return reduce.reduce_prod(select(member, wide, wide * 0 + 1), 1)

    return _over(run, data, segment_ids, num_segments)


@operation("math.ExtractSequences", "sequence_length", "sequence_stride")
def extract_sequences(x: Any, sequence_length: int, sequence_stride: int) -> Any:
    """Returns the windows [..., windows, length] of the last axis that start `stride` apart."""
    x = tensor(x)
    size = x.shape[-1]
    if size is None:
        raise errors.invalid("extract_sequences", "a known last axis", "None")
    starts = np.arange(0, size - sequence_length + 1, sequence_stride, dtype=np.int32)
    at = starts[:, None] + np.arange(sequence_length, dtype=np.int32)
    return indexing.gather(x, at, axis=-1)


@operation("math.CDist")
def cdist(x: Any, y: Any) -> Any:
    """Returns the distances of all rows of x from all rows of y."""
    a, b = floats(x, y)
    squares = (
        reduce.reduce_sum(math.square(a), -1, True)
        + shaping.expand_dims(reduce.reduce_sum(math.square(b), -1), -2)
        - 2 * products.matmul(a, b, transpose_b=True)
    )
    return math.sqrt(math.maximum(squares, 0))
