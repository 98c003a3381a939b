"""New tensors of `keras.ops`: zeros, ranges, grids and windows."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes
from distflow.core.convert import convert_to_tensor
from distflow.keras import settings
from distflow.keras.engine.keras_ops import operation
from distflow.keras.ops.dtype_rules import floats, result_type, tensor
from distflow.ops import creation, math, shaping


def zeros(shape: Any, dtype: Any = None) -> Any:
    """Returns zeros."""
    return creation.zeros(shape, dtypes.as_dtype(dtype or settings.floatx()))


def ones(shape: Any, dtype: Any = None) -> Any:
    """Returns ones."""
    return creation.ones(shape, dtypes.as_dtype(dtype or settings.floatx()))


def empty(shape: Any, dtype: Any = None) -> Any:
    """Returns a tensor whose values do not matter; they are zeros."""
    return zeros(shape, dtype)


@operation("numpy.Full", "shape", "dtype")
def full(shape: Any, fill_value: Any, dtype: Any = None) -> Any:
    """Returns a tensor that holds one value everywhere."""
    value = tensor(fill_value, dtype or settings.floatx())
    return shaping.broadcast_to(value, shape)


@operation("numpy.ZerosLike", "dtype")
def zeros_like(x: Any, dtype: Any = None) -> Any:
    """Returns zeros of the shape of x."""
    return creation.zeros_like(tensor(x), dtype)


@operation("numpy.OnesLike", "dtype")
def ones_like(x: Any, dtype: Any = None) -> Any:
    """Returns ones of the shape of x."""
    return creation.ones_like(tensor(x), dtype)


@operation("numpy.EmptyLike", "dtype")
def empty_like(x: Any, dtype: Any = None) -> Any:
    """Returns a tensor of the shape of x whose values do not matter; they are zeros."""
    return creation.zeros_like(tensor(x), dtype)


@operation("numpy.FullLike", "dtype")
def full_like(x: Any, fill_value: Any, dtype: Any = None) -> Any:
    """Returns a tensor of the shape of x that holds one value everywhere."""
    x = tensor(x)
    return creation.zeros_like(x, dtype or x.dtype) + tensor(fill_value, dtype or x.dtype)


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Any:
    """Returns a matrix with ones in diagonal k."""
    return convert_to_tensor(np.eye(N, M, k, dtypes.as_dtype(dtype or settings.floatx()).numpy))


def identity(n: int, dtype: Any = None) -> Any:
    """Returns the n x n unit matrix."""
    return eye(n, dtype=dtype)


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Any:
    """Returns a matrix with ones in and below diagonal k."""
    return convert_to_tensor(np.tri(N, M, k, dtypes.as_dtype(dtype or settings.floatx()).numpy))


@operation("numpy.Array", "dtype")
def array(x: Any, dtype: Any = None) -> Any:
    """Returns a value as a tensor."""
    return tensor(x, dtype)


@operation("numpy.Arange", "dtype")
def arange(start: Any, stop: Any = None, step: Any = None, dtype: Any = None) -> Any:
    """Returns start, start + step, ... up to (without) stop."""
    if stop is None:
        start, stop = 0, start
    step = 1 if step is None else step
    if dtype is None:
        kinds = [type(v) if isinstance(v, int | float) else tensor(v).dtype
                 for v in (start, stop, step)]  # fmt: skip
        dtype = result_type(*kinds)
    wanted = dtypes.as_dtype(dtype)
    if wanted.is_integer and wanted.size < 4:
        return math.cast(math.range(start, stop, step, "int32"), wanted)
    return math.range(*(tensor(v, wanted) for v in (start, stop, step)))


def _float_of(dtype: Any, *values: Any) -> Any:
    if dtype is not None:
        return dtypes.as_dtype(dtype)
    kinds = [type(v) if isinstance(v, int | float) else tensor(v).dtype for v in values]
    return dtypes.as_dtype(result_type(*kinds, float))


def _line(start: Any, stop: Any, num: int, endpoint: bool, dtype: Any) -> tuple[Any, Any]:
    wide = dtype if dtype.is_floating else dtypes.as_dtype(settings.floatx())
    a, b = tensor(start, wide), tensor(stop, wide)
    a, b = a + b * 0, b + a * 0
    intervals = num - 1 if endpoint else num
    step = (b - a) / max(intervals, 1)
    at = np.arange(num).astype(wide.numpy).reshape((num, *[1] * a.ndim))
    values = a + at * step
    if endpoint and num > 1:
        values = shaping.concat([values[:-1], shaping.expand_dims(b, 0)], 0)
    return values, step if intervals > 0 else step + float("nan")


def _placed(values: Any, axis: int, dtype: Any) -> Any:
    at = axis % values.ndim
    order = [*range(1, at + 1), 0, *range(at + 1, values.ndim)]
    return math.cast(shaping.transpose(values, order), dtype)


@operation("numpy.Linspace", "num", "endpoint", "retstep", "dtype", "axis")
def linspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False,
             dtype: Any = None, axis: int = 0) -> Any:  # fmt: skip
    """Returns num numbers at equal distances from start to stop (and the distance)."""
    wanted = _float_of(dtype, start, stop)
    values, step = _line(start, stop, num, endpoint, wanted)
    if wanted.is_integer:
        values = math.floor(values)
    placed = _placed(values, axis, wanted)
    return (placed, step) if retstep else placed


@operation("numpy.Logspace", "num", "endpoint", "base", "dtype", "axis")
def logspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10,
             dtype: Any = None, axis: int = 0) -> Any:  # fmt: skip
    """Returns base to the powers of num numbers at equal distances."""
    wanted = _float_of(dtype, start, stop)
    values, _ = _line(start, stop, num, endpoint, wanted)
    return _placed(math.pow(tensor(base, values.dtype), values), axis, wanted)


@operation("numpy.Geomspace", "num", "endpoint", "dtype", "axis")
def geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None,
              axis: int = 0) -> Any:  # fmt: skip
    """Returns num numbers with equal ratios from start to stop."""
    wanted = _float_of(dtype, start, stop)
    a, b = floats(start, stop)
    sign = math.sign(a)
    values, _ = _line(math.log(a * sign), math.log(b * sign), num, endpoint, wanted)
    return _placed(math.exp(values) * sign, axis, wanted)


# -- windows -------------------------------------------------------------------------------------


def _window(function: Any, x: Any, *more: Any) -> Any:
    return convert_to_tensor(function(int(tensor(x)), *more).astype(
        dtypes.as_dtype(settings.floatx()).numpy))  # fmt: skip


def bartlett(x: Any) -> Any:
    """Returns the triangular window of x points."""
    return _window(np.bartlett, x)


def blackman(x: Any) -> Any:
    """Returns Blackman's window of x points."""
    return _window(np.blackman, x)


def hamming(x: Any) -> Any:
    """Returns Hamming's window of x points."""
    return _window(np.hamming, x)


def hanning(x: Any) -> Any:
    """Returns von Hann's window of x points."""
    return _window(np.hanning, x)


def kaiser(x: Any, beta: float) -> Any:
    """Returns Kaiser's window of x points."""
    return _window(np.kaiser, x, beta)
