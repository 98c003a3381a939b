"""The modified Bessel function of order 0 in `keras.ops`.

I0(x) = exp(|x|) f(|x|): f on [0, 8], and sqrt(x) f(x) as a function of 1 / x beyond, are smooth,
so a Chebyshev series of each holds to a few units in the last place of float64.

Source: Clenshaw 1962, Chebyshev series for mathematical functions.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from distflow.base import dtypes
from distflow.keras import settings
from distflow.keras.engine.keras_ops import operation
from distflow.keras.ops.dtype_rules import tensor
from distflow.ops import math
from distflow.ops.prims.elementwise import select

__all__ = ["i0"]

_EDGE = 8.0


@operation("numpy.I0")
def i0(x: Any) -> Any:
    """Returns the modified Bessel function of order 0 of each element."""
    x = tensor(x)
    if x.dtype.name in ("int64", "float64"):
        own = dtypes.float64
    elif x.dtype.name in ("bfloat16", "float16"):
        own = x.dtype
    else:
        own = dtypes.as_dtype(settings.floatx())
    wide = dtypes.float64 if own is dtypes.float64 else dtypes.float32
    size = math.abs(math.cast(x, wide))
    near, far = math.minimum(size, _EDGE), math.maximum(size, _EDGE)
    low, high = _series()
    small = _clenshaw(near * (2 / _EDGE) - 1.0, low)
    large = _clenshaw(2 * _EDGE / far - 1.0, high) / math.sqrt(far)
    # In two halves, as exp overflows before the product does.
    half = math.exp(0.5 * size)
    return math.cast(half * select(size > _EDGE, large, small) * half, own)


def _clenshaw(t: Any, coefficients: tuple[float, ...]) -> Any:
    after: Any = t * 0.0
    last: Any = after
    for c in coefficients[:0:-1]:
        after, last = 2.0 * t * after - last + c, after
    return t * after - last + coefficients[0]


@functools.lru_cache(maxsize=1)
def _series() -> tuple[tuple[float, ...], tuple[float, ...]]:
    def low(t: Any) -> Any:
        x = (t + 1) * _EDGE / 2
        return np.i0(x) * np.exp(-x)

    def high(t: Any) -> Any:
        # Beyond 700 exp overflows; the function is nearly 1 / sqrt(2 pi) there.
        x = 2 * _EDGE / np.maximum(t + 1, 1e-300)
        z = 1 / (8 * x)
        # NumPy's I0 overflows with exp: the asymptotic series takes over well before.
        tail = 1 + z * (1 + z * (9 / 2 + z * (75 / 2 + z * (3675 / 8 + z * 59535 / 8))))
        tail /= np.sqrt(2 * np.pi)
        safe = np.minimum(x, 500.0)
        return np.where(x > 500.0, tail, np.i0(safe) * np.exp(-safe) * np.sqrt(safe))

    fit = np.polynomial.chebyshev.chebinterpolate
    return tuple(map(float, fit(low, 30))), tuple(map(float, fit(high, 30)))
