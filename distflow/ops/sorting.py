"""Order: sort, argsort, top_k, searchsorted, unique."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.core import convert
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import Tensor
from distflow.ops import dims
from distflow.ops import math as m
from distflow.ops.prims import elementwise as p
from distflow.ops.prims import host, sorting
from distflow.ops.reduce import reduce_sum
from distflow.ops.shaping import expand_dims, transpose


def _sorted(values: Any, axis: int, direction: str) -> Any:
    x = convert_to_tensor(values)
    if direction not in ("ASCENDING", "DESCENDING"):
        raise errors.invalid("sort", "direction must be ASCENDING or DESCENDING", repr(direction))
    at = shapes.axis("sort", int(axis), x.ndim)
    perm = [i for i in range(x.ndim) if i != at] + [at]
    back = np.argsort(perm).tolist()
    last = at == x.ndim - 1
    pair = sorting.sort(x if last else transpose(x, perm), descending=direction == "DESCENDING")
    return pair if last else tuple(transpose(y, back) for y in pair)


def sort(values: Any, axis: int = -1, direction: str = "ASCENDING", name: Any = None) -> Tensor:
    """Returns the values in order along an axis; NaN counts as the largest."""
    return _sorted(values, axis, direction)[0]


def argsort(
    values: Any, axis: int = -1, direction: str = "ASCENDING", stable: bool = False,
    name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the positions (int32) that sort the values; equal values keep their order."""
    return _sorted(values, axis, direction)[1]


class TopK(NamedTuple):
    """The result of `top_k`."""

    values: Any
    indices: Any


def top_k(
    input: Any, k: Any = 1, sorted: bool = True, index_type: Any = dtypes.int32, name: Any = None
) -> TopK:
    """Returns the k largest entries of the last dimension and their positions, largest first."""
    known = dims.known(k)
    if known is None:
        raise errors.invalid("top_k", "k must be known while tracing", repr(k))
    values, indices = sorting.top_k(convert_to_tensor(input), k=int(known))
    return TopK(values, m.cast(indices, index_type))


def in_top_k(targets: Any, predictions: Any, k: Any, name: Any = None) -> Tensor:
    """Returns whether the prediction for each target class is among the k largest.

    Args:
      targets: class ids, shape [batch].
      predictions: float, shape [batch, classes]. Rows with infinite values at the target, and
        targets out of range, give False.
    """
    scores, targets = convert_to_tensor(predictions), convert_to_tensor(targets)
    classes = dims.size(scores, 1)
    columns = expand_dims(m.range(classes), 0)
    hit = p.eq(expand_dims(m.cast(targets, dtypes.int32), 1), columns)
    zero = convert_to_tensor(np.zeros((), scores.dtype.numpy))
    target_score = reduce_sum(p.select(hit, scores, zero), 1, keepdims=True)
    higher = reduce_sum(m.cast(scores > target_score, dtypes.int32), 1)
    found = reduce_sum(m.cast(hit, dtypes.int32), 1) > 0
    finite = m.is_finite(reduce_sum(p.select(hit, scores, zero), 1))
    return m.logical_and(m.logical_and(higher < m.cast(k, dtypes.int32), found), finite)


def searchsorted(
    sorted_sequence: Any, values: Any, side: str = "left", out_type: Any = dtypes.int32,
    name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns where each value would be inserted to keep the order of the last dimension.

    Compares each value with the whole sequence: meant for short sequences (bucket boundaries).
    """
    if side not in ("left", "right"):
        raise errors.invalid("searchsorted", "side must be 'left' or 'right'", repr(side))
    edges, x = convert.match("searchsorted", (sorted_sequence, values), None)
    edges, x = expand_dims(edges, -2), expand_dims(x, -1)
    below = p.lt(edges, x) if side == "left" else p.le(edges, x)
    return reduce_sum(m.cast(below, out_type), -1)


class Unique(NamedTuple):
    """The result of `unique`."""

    y: Any
    idx: Any


class UniqueWithCounts(NamedTuple):
    """The result of `unique_with_counts`."""

    y: Any
    idx: Any
    count: Any


def unique(x: Any, out_idx: Any = dtypes.int32, name: Any = None) -> Unique:
    """Returns the distinct values of a vector in order of first occurrence, and each one's index.

    Runs on the host: the size of the result depends on the values.
    """
    y, idx, _ = unique_with_counts(x, out_idx)
    return Unique(y, idx)


def unique_with_counts(x: Any, out_idx: Any = dtypes.int32, name: Any = None) -> UniqueWithCounts:
    """Returns distinct values in order of first occurrence, each one's index, and the counts."""
    x, kind = convert_to_tensor(x), dtypes.as_dtype(out_idx)
    if x.ndim != 1:
        raise errors.invalid("unique", "a vector is needed", shapes.text(x.shape))
    result = host.host_call(
        x, fn=_distinct, dtypes=(x.dtype, kind, kind),
        shapes=((None,), tuple(x.shape), (None,)),
    )  # fmt: skip
    return UniqueWithCounts(*result)


def _distinct(array: Any) -> tuple[Any, Any, Any]:
    values, first, inverse, counts = np.unique(
        array, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return values[order], place[inverse.reshape(-1)], counts[order]


def invert_permutation(x: Any, name: Any = None) -> Tensor:
    """Returns y with y[x[i]] = i, for a vector x that is a permutation of 0..n-1."""
    return m.cast(argsort(x), convert_to_tensor(x).dtype)
