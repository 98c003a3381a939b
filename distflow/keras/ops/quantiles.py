"""Medians, quantiles, histograms and counts of `keras.ops`."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.keras.engine.keras_ops import operation
from distflow.keras.ops.dtype_rules import as_axes, as_float, floats, tensor
from distflow.keras.ops.reductions import without_nan
from distflow.ops import creation, indexing, math, reduce, segment, shaping, sorting
from distflow.ops.prims.elementwise import select

_METHODS = ("linear", "lower", "higher", "nearest", "midpoint")


def _sorted_last(x: Any, axis: Any) -> tuple[Any, tuple[int, ...]]:
    """x sorted over axes, which are one axis at the end now; and which axes they were."""
    axes = as_axes(axis, x.ndim)
    rest = [i for i in range(x.ndim) if i not in axes]
    moved = shaping.transpose(x, [*rest, *axes])
    sizes = [-1 if moved.shape[i] is None else moved.shape[i] for i in range(len(rest))]
    count = int(np.prod([x.shape[i] for i in axes]))
    return sorting.sort(shaping.reshape(moved, [*sizes, count]), -1), axes


def _between(x: Any, place: Any, method: str) -> Any:
    """Elements of sorted rows [..., n] at float places, which broadcast to [..., k]."""
    low, high = math.floor(place), math.ceil(place)
    if method == "nearest":
        return _taken(x, math.round(place))
    if method == "lower":
        return _taken(x, low)
    if method == "higher":
        return _taken(x, high)
    part = math.cast(place - low, x.dtype) if method == "linear" else 0.5
    if method == "midpoint":
        part = math.cast(math.not_equal(low, high), x.dtype) * 0.5
    a, b = _taken(x, low), _taken(x, high)
    return a + (b - a) * part


def _taken(x: Any, at: Any) -> Any:
    at = math.cast(at, "int32")
    if at.ndim == 1:
        return indexing.gather(x, at, axis=-1)
    return indexing.gather(x, at, axis=-1, batch_dims=x.ndim - 1)


def _quantile(x: Any, q: Any, axis: Any, method: str, keepdims: bool, skip_nan: bool) -> Any:
    if method not in _METHODS:
        raise errors.invalid("quantile", f"method among {_METHODS}", repr(method))
    (x,) = floats(x)
    q = tensor(q, x.dtype)
    flat_q = shaping.reshape(q, [-1])
    if skip_nan:
        values, there = without_nan(x, float("inf"))
        rows, axes = _sorted_last(values, axis)
        count = reduce.reduce_sum(math.cast(there, x.dtype), list(axes), False)
        place = shaping.expand_dims(math.maximum(count - 1, 0), -1) * flat_q
        found = _between(rows, place, method)
        found = select(shaping.expand_dims(math.equal(count, 0), -1), found * 0 + np.nan, found)
    else:
        rows, axes = _sorted_last(x, axis)
        found = _between(rows, flat_q * (rows.shape[-1] - 1), method)
        bad = reduce.reduce_any(math.is_nan(rows), -1, True)
        found = select(bad, found * 0 + np.nan, found)
    if keepdims:
        shape = [1 if i in axes else x.shape[i] for i in range(x.ndim)]
        found = shaping.reshape(found, [-1 if d is None else d for d in shape] + [flat_q.shape[0]])
    if q.ndim == 0:
        return found[..., 0]
    order = [found.ndim - 1, *range(found.ndim - 1)]
    found = shaping.transpose(found, order)
    return shaping.reshape(found, [*q.shape, *found.shape[1:]]) if q.ndim > 1 else found


@operation("numpy.Quantile", "axis", "method", "keepdims")
def quantile(x: Any, q: Any, axis: Any = None, method: str = "linear",
             keepdims: bool = False) -> Any:  # fmt: skip
    """Returns the elements that parts q of the others do not exceed; q's axes come first."""
    return _quantile(x, q, axis, method, keepdims, False)


@operation("numpy.Nanquantile", "axis", "method", "keepdims")
def nanquantile(x: Any, q: Any, axis: Any = None, method: str = "linear",
                keepdims: bool = False) -> Any:  # fmt: skip
    """Returns quantiles of what is not NaN."""
    return _quantile(x, q, axis, method, keepdims, True)


@operation("numpy.Percentile", "axis", "method", "keepdims")
def percentile(x: Any, q: Any, axis: Any = None, method: str = "linear",
               keepdims: bool = False) -> Any:  # fmt: skip
    """Returns quantiles for q in percent."""
    return _quantile(x, as_float(q) / 100, axis, method, keepdims, False)


@operation("numpy.Nanpercentile", "axis", "method", "keepdims")
def nanpercentile(x: Any, q: Any, axis: Any = None, method: str = "linear",
                  keepdims: bool = False) -> Any:  # fmt: skip
    """Returns quantiles of what is not NaN, for q in percent."""
    return _quantile(x, as_float(q) / 100, axis, method, keepdims, True)


@operation("numpy.Median", "axis", "keepdims")
def median(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns the middle element, or the mean of the two in the middle."""
    return _quantile(x, 0.5, axis, "linear", keepdims, False)


@operation("numpy.Nanmedian", "axis", "keepdims")
def nanmedian(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns the median of what is not NaN."""
    return _quantile(x, 0.5, axis, "linear", keepdims, True)


@operation("numpy.Bincount", "weights", "minlength", "sparse")
def bincount(x: Any, weights: Any = None, minlength: int = 0, sparse: bool = False) -> Any:
    """Returns how often each integer 0, 1, ... occurs, or the sum of its weights.

    x is [n], or [batch, n] for counts of each row.
    """
    if sparse:
        raise errors.UnimplementedError("bincount: sparse tensors are not there yet.")
    x = tensor(x, "int32")
    w = None if weights is None else tensor(weights)
    return segment.bincount(
        x, w, minlength=minlength or None, dtype="int32" if w is None else w.dtype,
        axis=-1 if x.ndim == 2 else None,
    )  # fmt: skip


@operation("numpy.Digitize")
def digitize(x: Any, bins: Any) -> Any:
    """Returns the number of the bin of each element: how many of the rising `bins` are <= it."""
    x = tensor(x)
    edges = tensor(bins)
    wide, edges = floats(x, edges)
    flat = shaping.reshape(wide, [-1])
    found = sorting.searchsorted(edges, flat, side="right")
    return math.cast(shaping.reshape(found, shaping.shape(x)), dtypes.int32)


@operation("numpy.Histogram", "bins", "range")
def histogram(x: Any, bins: int = 10, range: Any = None) -> Any:
    """Returns the counts in equally wide bins, and the bins' edges."""
    if not isinstance(bins, int) or bins <= 0:
        raise ValueError(f"Argument `bins` should be a non-negative integer. Received: bins={bins}")
    (x,) = floats(shaping.reshape(tensor(x), [-1]))
    if range is None:
        low, high = reduce.reduce_min(x), reduce.reduce_max(x)
    else:
        low, high = tensor(float(range[0]), x.dtype), tensor(float(range[1]), x.dtype)
    flat = math.equal(low, high)
    low, high = select(flat, low - 0.5, low), select(flat, high + 0.5, high)
    edges = creation.linspace(low, high, bins + 1)
    at = math.cast(sorting.searchsorted(edges, x, side="right"), "int32") - 1
    at = select(math.equal(x, high), at * 0 + bins - 1, at)  # the last bin has both its edges
    inside = math.logical_and(x >= low, x <= high)
    at = select(inside, at, at * 0 + bins)
    counts = segment.unsorted_segment_sum(math.cast(inside, "int32"), at, bins + 1)
    return counts[:bins], edges
