"""Choosing and ordering in `keras.ops`: where, take, sort, top_k, searchsorted, unique."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.keras.engine.keras_ops import operation
from distflow.keras.ops.dtype_rules import as_axes, floats, promoted, tensor
from distflow.ops import indexing, math, reduce, shaping, sorting
from distflow.ops.prims import host
from distflow.ops.prims.elementwise import select as _select


@operation("numpy.GetItem")
def get_item(x: Any, key: Any) -> Any:
    """Returns x[key]."""
    return tensor(x)[tuple(_index(k) for k in key) if isinstance(key, list) else key]


def _index(key: Any) -> Any:
    return slice(*key) if isinstance(key, dict) else key


@operation("numpy.Where")
def where(condition: Any, x1: Any = None, x2: Any = None) -> Any:
    """Returns x1 where the condition holds and x2 elsewhere; without them, where it holds.

    Raises:
      ValueError: if only one of x1 and x2 is given.
    """
    condition = math.cast(tensor(condition), "bool")
    if (x1 is None) != (x2 is None):
        raise ValueError(
            "`x1` and `x2` either both should be `None` or both should have non-None value."
        )
    if x1 is None:
        return _nonzero(condition)
    return indexing.where(condition, *promoted(x1, x2))


def _nonzero(x: Any) -> Any:
    found = indexing.where(math.not_equal(*promoted(x, 0)))
    return tuple(math.cast(found[:, i], "int32") for i in range(x.ndim))


@operation("numpy.Nonzero")
def nonzero(x: Any) -> Any:
    """Returns the positions of elements that are not 0: a vector for each axis, int32."""
    return _nonzero(tensor(x))


@operation("numpy.Select")
def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    """Returns the first choice whose condition holds, or the default."""
    *choices, result = promoted(*choicelist, default)
    for condition, choice in list(zip(condlist, choices))[::-1]:
        result = indexing.where(math.cast(tensor(condition), "bool"), choice, result)
    return result


@operation("numpy.Take", "axis")
def take(x: Any, indices: Any, axis: Any = None) -> Any:
    """Returns the slices at positions (negative ones from the end) along an axis."""
    x = tensor(x)
    if axis is None:
        x, axis = shaping.reshape(x, [-1]), 0
    at = tensor(indices)
    at = at if at.dtype.is_integer and at.dtype.size >= 4 else math.cast(at, "int32")
    return indexing.gather(x, _positive(at, x, axis), axis=axis)


def _positive(at: Any, x: Any, axis: int) -> Any:
    size = math.cast(shaping.shape(x)[axis], at.dtype)
    return _select(at < 0, at + size, at)


@operation("numpy.TakeAlongAxis", "axis")
def take_along_axis(x: Any, indices: Any, axis: Any = None) -> Any:
    """Returns, for each place of `indices`, the element of x at that index along the axis."""
    x, at = tensor(x), tensor(indices)
    at = at if at.dtype.is_integer and at.dtype.size >= 4 else math.cast(at, "int32")
    if axis is None:
        x, at, axis = shaping.reshape(x, [-1]), shaping.reshape(at, [-1]), 0
    (axis,) = as_axes(axis, x.ndim)
    x, at = _matched(x, at, axis)
    at = _positive(at, x, axis)
    order = [*[i for i in range(x.ndim) if i != axis], axis]
    back = np.argsort(order).tolist()
    found = indexing.gather(
        shaping.transpose(x, order), shaping.transpose(at, order), axis=-1, batch_dims=x.ndim - 1
    )
    return shaping.transpose(found, back)


def _matched(x: Any, at: Any, axis: int) -> tuple[Any, Any]:
    """Both repeated to one shape but for the axis, where that is known."""
    if None in (*x.shape, *at.shape):
        return x, at
    a, b = ([1 if i == axis else d for i, d in enumerate(v.shape)] for v in (x, at))
    shape = np.broadcast_shapes(tuple(a), tuple(b))
    x, at = (
        shaping.broadcast_to(v, [v.shape[i] if i == axis else d for i, d in enumerate(shape)])
        for v in (x, at)
    )
    return x, at


# -- order ---------------------------------------------------------------------------------------


@operation("numpy.Sort", "axis")
def sort(x: Any, axis: Any = -1) -> Any:
    """Returns the elements in rising order along an axis; of the flat tensor for None."""
    x = tensor(x)
    if axis is None:
        x, axis = shaping.reshape(x, [-1]), 0
    if x.dtype is dtypes.bool_:
        return math.cast(sorting.sort(math.cast(x, "int32"), axis), "bool")
    return sorting.sort(x, axis)


@operation("numpy.Argsort", "axis")
def argsort(x: Any, axis: Any = -1) -> Any:
    """Returns the positions in rising order of their elements, int32."""
    x = tensor(x)
    if x.dtype is dtypes.bool_:
        x = math.cast(x, "int32")
    if axis is None:
        x, axis = shaping.reshape(x, [-1]), 0
    return math.cast(sorting.argsort(x, axis, stable=True), "int32")


@operation("numpy.Argpartition", "kth", "axis")
def argpartition(x: Any, kth: int, axis: Any = -1) -> Any:
    """Returns positions of which the kth is right, smaller ones before it (they are sorted)."""
    x = tensor(x)
    if axis is None:
        x, axis = shaping.reshape(x, [-1]), 0
    return math.cast(sorting.argsort(x, axis, stable=True), "int32")


@operation("math.TopK", "k", "sorted")
def top_k(x: Any, k: int, sorted: bool = True) -> Any:
    """Returns the k largest elements of the last axis and their positions, int32."""
    return sorting.top_k(tensor(x), k, sorted)


@operation("math.InTopK", "k")
def in_top_k(targets: Any, predictions: Any, k: int) -> Any:
    """Returns whether each target is among the k largest predictions of its row."""
    return sorting.in_top_k(tensor(targets), tensor(predictions), k)


@operation("numpy.SearchSorted", "side")
def searchsorted(sorted_sequence: Any, values: Any, side: str = "left") -> Any:
    """Returns where values would be put into a rising vector to keep the order, int32."""
    edges, wanted = promoted(sorted_sequence, values)
    if edges.ndim != 1:
        raise ValueError(
            "`searchsorted` only supports 1-D sorted sequences. You can use "
            "`keras.ops.vectorized_map` to extend it to N-D sequences. Received: "
            f"sorted_sequence.shape={tuple(edges.shape)}"
        )
    found = sorting.searchsorted(edges, shaping.reshape(wanted, [-1]), side=side)
    return math.cast(shaping.reshape(found, shaping.shape(wanted)), "int32")


@operation("numpy.IsIn", "assume_unique", "invert")
def isin(x1: Any, x2: Any, assume_unique: bool = False, invert: bool = False) -> Any:
    """Returns which elements of x1 are in x2."""
    x, y = promoted(x1, x2)
    y = shaping.reshape(y, [-1])
    found = reduce.reduce_any(math.equal(shaping.expand_dims(x, -1), y), -1)
    return math.logical_not(found) if invert else found


@operation("numpy.UnravelIndex", "shape")
def unravel_index(indices: Any, shape: Any) -> Any:
    """Returns the positions along each axis of positions in the flat tensor."""
    rest = tensor(indices)
    found = []
    for size in reversed(tuple(shape)):
        found.append(math.floormod(rest, size))
        rest = math.floordiv(rest, size)
    return tuple(reversed(found))


@operation("numpy.Unique", "sorted", "return_index", "return_inverse", "return_counts", "axis",
           "size", "fill_value")  # fmt: skip
def unique(x: Any, sorted: bool = True, return_index: bool = False, return_inverse: bool = False,
           return_counts: bool = False, axis: Any = None, size: Any = None,
           fill_value: Any = None) -> Any:  # fmt: skip
    """Returns the distinct elements in rising order, and where and how often they are.

    Args:
      return_index, return_inverse, return_counts: also return the first positions, for each
        element its place among the distinct ones, and how often each occurs (int32).
      axis: distinct slices along an axis; None: elements.
      size: cuts, or fills with `fill_value` (default the smallest), to this number.
    """
    x = tensor(x)

    def run(array: Any) -> Any:
        values, *more = np.unique(array, True, True, True, axis=axis)
        index, inverse, counts = (np.asarray(part, np.int32) for part in more)
        return values, index, inverse.reshape(array.shape if axis is None else -1), counts

    found_shape = (None,) if axis is None else tuple(
        None if i == axis % x.ndim else d for i, d in enumerate(x.shape))  # fmt: skip
    inverse_shape = tuple(x.shape) if axis is None else (x.shape[axis],)
    values, index, inverse, counts = host.host_call(
        x, fn=run, dtypes=(x.dtype, dtypes.int32, dtypes.int32, dtypes.int32),
        shapes=(found_shape, (None,), inverse_shape, (None,)), gradient=None,
    )  # fmt: skip
    if size is not None:
        values, index, counts = _sized(values, index, counts, size, fill_value, axis or 0)
    results = [values]
    results += [r for r, wanted in ((index, return_index), (inverse, return_inverse),
                                    (counts, return_counts)) if wanted]  # fmt: skip
    return results[0] if len(results) == 1 else tuple(results)


def _sized(values: Any, index: Any, counts: Any, size: int, fill: Any, axis: int) -> Any:
    """Cuts or fills the results of `unique` to one size."""
    at = math.minimum(math.range(size), shaping.shape(values)[axis] - 1)
    there = math.range(size) < shaping.shape(values)[axis]
    first = indexing.gather(values, [0], axis=axis)
    filler = first if fill is None else first * 0 + tensor(fill, values.dtype)
    shape = [1] * values.ndim
    shape[axis] = size
    found = indexing.gather(values, at, axis=axis)
    values = _select(shaping.reshape(there, shape), found, filler + found * 0)
    index = _select(there, indexing.gather(index, at), index[0] + at * 0)
    return values, index, _select(there, indexing.gather(counts, at), at * 0)


@operation("numpy.Diff", "n", "axis")
def diff(a: Any, n: int = 1, axis: int = -1) -> Any:
    """Returns the differences of neighbours along an axis, n times."""
    x = tensor(a)
    (axis,) = as_axes(axis, x.ndim)
    for _ in range(n):
        before = (slice(None),) * axis
        later, sooner = x[(*before, slice(1, None))], x[(*before, slice(None, -1))]
        if x.dtype is dtypes.bool_:
            x = math.not_equal(later, sooner)
        else:
            x = later - sooner
    return x


@operation("numpy.Trapezoid", "x", "dx", "axis")
def trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    """Returns the integral of values at places x (or dx apart) by trapezoids."""
    (y,) = floats(y)
    (axis,) = as_axes(axis, y.ndim)
    before = (slice(None),) * axis
    later, sooner = y[(*before, slice(1, None))], y[(*before, slice(None, -1))]
    if x is None:
        width: Any = dx
    else:
        (places,) = floats(x)
        width = places[1:] - places[:-1] if places.ndim == 1 else diff(places, axis=axis)
        if places.ndim == 1:
            width = shaping.reshape(width, [-1] + [1] * (y.ndim - axis - 1))
    return reduce.reduce_sum((later + sooner) / 2 * width, axis)


def require_vector(where_: str, x: Any) -> None:
    """Raises InvalidArgumentError unless x has one axis."""
    if x.ndim != 1:
        raise errors.invalid(where_, "a vector", f"rank {x.ndim}")
