"""Sums, means, extremes and cumulative sums of `keras.ops`, also without the NaN among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distflow.base import dtypes, errors
from distflow.keras.engine.keras_ops import operation
from distflow.keras.ops.dtype_rules import as_axes, as_float, floats, promoted, tensor
from distflow.ops import math, reduce, shaping
from distflow.ops.prims.elementwise import select

# -- sums and means ------------------------------------------------------------------------------


def _summable(x: Any) -> Any:
    """Narrow integers are summed in 32 bits, as in NumPy."""
    x = tensor(x)
    if x.dtype is dtypes.bool_ or (x.dtype.is_integer and x.dtype.size < 4):
        return math.cast(x, "uint32" if x.dtype.name.startswith("u") else "int32")
    return x


@operation("numpy.Sum", "axis", "keepdims")
def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns the sum over axes; bool and narrow integers are summed in 32 bits."""
    return reduce.reduce_sum(_summable(x), axis, keepdims)


@operation("numpy.Prod", "axis", "keepdims", "dtype")
def prod(x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Any:
    """Returns the product over axes."""
    x = _summable(x) if dtype is None else tensor(x, dtype)
    return reduce.reduce_prod(x, axis, keepdims)


@operation("numpy.Mean", "axis", "keepdims")
def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns the mean over axes, a float."""
    return reduce.reduce_mean(as_float(x), axis, keepdims)


@operation("numpy.Var", "axis", "keepdims")
def var(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns the variance over axes (divided by the number of elements)."""
    return reduce.reduce_variance(as_float(x), axis, keepdims)


@operation("numpy.Std", "axis", "keepdims")
def std(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns the standard deviation over axes."""
    return reduce.reduce_std(as_float(x), axis, keepdims)


@operation("numpy.Average", "axis")
def average(x: Any, axis: Any = None, weights: Any = None) -> Any:
    """Returns the mean weighted by `weights`, which have the shape of x or of the one axis."""
    if weights is None:
        return reduce.reduce_mean(as_float(x), axis)
    x, w = floats(x, weights)
    if w.ndim == 1 and x.ndim > 1 and isinstance(axis, int):
        shape = [1] * x.ndim
        shape[axis] = -1
        w = shaping.reshape(w, shape)
    w = w + x * 0
    return reduce.reduce_sum(x * w, axis) / reduce.reduce_sum(w, axis)


@operation("math.Logsumexp", "axis", "keepdims")
def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns log(sum(exp(x))), computed without overflow."""
    return reduce.reduce_logsumexp(as_float(x), axis, keepdims)


@operation("numpy.CountNonzero", "axis")
def count_nonzero(x: Any, axis: Any = None) -> Any:
    """Returns the number of elements that are not 0, int32."""
    return reduce.reduce_sum(math.cast(math.not_equal(*promoted(x, 0)), "int32"), axis)


@operation("nn.Moments", "axes", "keepdims", "synchronized")
def moments(x: Any, axes: Any, keepdims: bool = False, synchronized: bool = False) -> Any:
    """Returns mean and variance over axes; over the replicas too if `synchronized`."""
    if synchronized:
        raise errors.UnimplementedError(
            "moments: synchronized=True is not there outside of BatchNormalization."
        )
    return reduce.moments(tensor(x), list(as_axes(axes, tensor(x).ndim)), keepdims=keepdims)


# -- extremes ------------------------------------------------------------------------------------


def _extreme(function: Any, pair: Any) -> Callable[..., Any]:
    def run(x: Any, axis: Any, keepdims: bool, initial: Any = None) -> Any:
        x = tensor(x)
        result = function(x, axis, keepdims)
        return result if initial is None else pair(result, math.cast(tensor(initial), x.dtype))

    return run


_max, _min = _extreme(reduce.reduce_max, math.maximum), _extreme(reduce.reduce_min, math.minimum)


@operation("numpy.Max", "axis", "keepdims", "initial")
def max(x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Any:
    """Returns the largest element over axes, at least `initial`."""
    return _max(x, axis, keepdims, initial)


@operation("numpy.Min", "axis", "keepdims", "initial")
def min(x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Any:
    """Returns the smallest element over axes, at most `initial`."""
    return _min(x, axis, keepdims, initial)


@operation("numpy.Amax", "axis", "keepdims")
def amax(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns the largest element over axes."""
    return _max(x, axis, keepdims)


@operation("numpy.Amin", "axis", "keepdims")
def amin(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns the smallest element over axes."""
    return _min(x, axis, keepdims)


@operation("numpy.Ptp", "axis", "keepdims")
def ptp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns the largest less the smallest element."""
    return _max(x, axis, keepdims) - _min(x, axis, keepdims)


@operation("numpy.All", "axis", "keepdims")
def all(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns whether all elements are true (not 0)."""
    return reduce.reduce_all(math.cast(tensor(x), "bool"), axis, keepdims)


@operation("numpy.Any", "axis", "keepdims")
def any(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns whether an element is true (not 0)."""
    return reduce.reduce_any(math.cast(tensor(x), "bool"), axis, keepdims)


def position(function: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    """Returns the position of an extreme, int32; of the flat tensor for axis None."""
    x = tensor(x)
    if x.dtype is dtypes.bool_:
        x = math.cast(x, "int32")
    if axis is None:
        found = function(shaping.reshape(x, [-1]), 0, dtypes.int32)
        return shaping.reshape(found, [1] * x.ndim) if keepdims else found
    found = function(x, axis, dtypes.int32)
    return shaping.expand_dims(found, axis) if keepdims else found


@operation("numpy.Argmax", "axis", "keepdims")
def argmax(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns where the (first) largest element is, int32."""
    return position(reduce.argmax, x, axis, keepdims)


@operation("numpy.Argmin", "axis", "keepdims")
def argmin(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns where the (first) smallest element is, int32."""
    return position(reduce.argmin, x, axis, keepdims)


# -- cumulative ----------------------------------------------------------------------------------


def _cumulated(function: Any, x: Any, axis: Any, dtype: Any) -> Any:
    x = tensor(x) if dtype is None else tensor(x, dtype)
    if x.dtype is dtypes.bool_:
        x = math.cast(x, "int32")
    if axis is None:
        x, axis = shaping.reshape(x, [-1]), 0
    return function(x, axis)


@operation("numpy.Cumsum", "axis", "dtype")
def cumsum(x: Any, axis: Any = None, dtype: Any = None) -> Any:
    """Returns the sums of the first 1, 2, ... elements; of the flat tensor for axis None."""
    return _cumulated(math.cumsum, x, axis, dtype)


@operation("numpy.Cumprod", "axis", "dtype")
def cumprod(x: Any, axis: Any = None, dtype: Any = None) -> Any:
    """Returns the products of the first 1, 2, ... elements."""
    return _cumulated(math.cumprod, x, axis, dtype)


# -- without NaN ---------------------------------------------------------------------------------


def without_nan(x: Any, instead: float) -> tuple[Any, Any]:
    """Returns x with a number in place of NaN, and where a number was."""
    x = tensor(x)
    if not x.dtype.is_floating:
        return x, math.equal(x, x)
    there = math.logical_not(math.is_nan(x))
    return select(there, x, math.zero_of(x) + instead), there


@operation("numpy.Nansum", "axis", "keepdims")
def nansum(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns the sum of what is not NaN."""
    return reduce.reduce_sum(_summable(without_nan(x, 0)[0]), axis, keepdims)


@operation("numpy.Nanprod", "axis", "keepdims")
def nanprod(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns the product of what is not NaN."""
    return reduce.reduce_prod(_summable(without_nan(x, 1)[0]), axis, keepdims)


@operation("numpy.Nanmean", "axis", "keepdims")
def nanmean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns the mean of what is not NaN; NaN if there is nothing."""
    return _nanmean(as_float(x), axis, keepdims)


def _nanmean(x: Any, axis: Any, keepdims: bool) -> Any:
    values, there = without_nan(x, 0)
    count = reduce.reduce_sum(math.cast(there, values.dtype), axis, keepdims)
    return reduce.reduce_sum(values, axis, keepdims) / count


@operation("numpy.Nanvar", "axis", "keepdims")
def nanvar(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns the variance of what is not NaN."""
    (x,) = floats(x)
    return _nanmean(math.square(x - _nanmean(x, axis, True)), axis, keepdims)


@operation("numpy.Nanstd", "axis", "keepdims")
def nanstd(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns the standard deviation of what is not NaN."""
    (x,) = floats(x)
    return math.sqrt(_nanmean(math.square(x - _nanmean(x, axis, True)), axis, keepdims))


def _nan_extreme(function: Any, x: Any, axis: Any, keepdims: bool, worst: float) -> Any:
    values, there = without_nan(x, worst)
    found = function(values, axis, keepdims)
    if not values.dtype.is_floating:
        return found
    return select(reduce.reduce_any(there, axis, keepdims), found, found * 0 + float("nan"))


@operation("numpy.Nanmax", "axis", "keepdims")
def nanmax(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns the largest of what is not NaN."""
    return _nan_extreme(reduce.reduce_max, x, axis, keepdims, float("-inf"))


@operation("numpy.Nanmin", "axis", "keepdims")
def nanmin(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns the smallest of what is not NaN."""
    return _nan_extreme(reduce.reduce_min, x, axis, keepdims, float("inf"))


def _nan_position(function: Any, x: Any, axis: Any, keepdims: bool, worst: float) -> Any:
    values, there = without_nan(x, worst)
    found = position(function, values, axis, keepdims)
    return select(reduce.reduce_any(there, axis, keepdims), found, found * 0 - 1)


@operation("numpy.Nanargmax", "axis", "keepdims")
def nanargmax(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns where the largest of what is not NaN is; -1 if there is nothing."""
    return _nan_position(reduce.argmax, x, axis, keepdims, float("-inf"))


@operation("numpy.Nanargmin", "axis", "keepdims")
def nanargmin(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns where the smallest of what is not NaN is; -1 if there is nothing."""
    return _nan_position(reduce.argmin, x, axis, keepdims, float("inf"))


@operation("numpy.Nancumsum", "axis", "dtype")
def nancumsum(x: Any, axis: Any = None, dtype: Any = None) -> Any:
    """Returns the sums of the first elements, in which NaN counts as 0."""
    return _cumulated(math.cumsum, without_nan(x, 0)[0], axis, dtype)


@operation("numpy.Nancumprod", "axis", "dtype")
def nancumprod(x: Any, axis: Any = None, dtype: Any = None) -> Any:
    """Returns the products of the first elements, in which NaN counts as 1."""
    return _cumulated(math.cumprod, without_nan(x, 1)[0], axis, dtype)
