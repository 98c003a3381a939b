"""References for functions that NumPy lacks: erf, erfinv, lgamma, digamma.

Sources: math.erf and math.lgamma of the C library, applied per element in float64; erfinv by
Newton steps on erf from Giles' approximation (2012, "Approximating the erfinv function");
digamma by recurrence and its asymptotic series (Abramowitz & Stegun 6.3.5, 6.3.18).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

erf64 = np.vectorize(math.erf, otypes=[np.float64])


def erf(x: Any) -> Any:
    """Returns erf(x) = 2/sqrt(pi) * integral of exp(-t^2) from 0 to x."""
    return erf64(x.astype(np.float64)) if x.size else x


def erfinv(x: Any) -> Any:
    """Returns the inverse of erf; +-inf at +-1, NaN outside of [-1, 1]."""
    y = x.astype(np.float64)
    with np.errstate(all="ignore"):
        w = -np.log((1 - y) * (1 + y))
        central = _polynomial(_GILES_CENTRAL, w - 2.5)
        tail = _polynomial(_GILES_TAIL, np.sqrt(w) - 3)
        z = np.where(w < 5, central, tail) * y
        inside = np.abs(y) < 1
        for _ in range(3):
            step = (erf(z) - y) / (2 / math.sqrt(math.pi) * np.exp(-z * z)) if z.size else z
            z = np.where(inside & np.isfinite(step), z - step, z)
        z = np.where(np.abs(y) == 1, np.copysign(np.inf, y), z)
        return np.where(np.abs(y) > 1, np.nan, z)


def lgamma(x: Any) -> Any:
    """Returns log|gamma(x)|; +inf at 0, -1, -2, ..."""

    def one(v: float) -> float:
        if math.isinf(v):
            return math.inf
        try:
            return math.lgamma(v)
        except (ValueError, OverflowError):
            return math.inf

    return np.vectorize(one, otypes=[np.float64])(x.astype(np.float64)) if x.size else x


def digamma(x: Any) -> Any:
    """Returns the derivative of lgamma; NaN at 0, -1, -2, ..."""
    y = x.astype(np.float64)
    with np.errstate(all="ignore"):
        reflect = y < 0.5
        z = np.where(reflect, 1 - y, y)
        total = np.zeros_like(z)
        for _ in range(10):
            small = z < 10
            total = np.where(small, total - 1 / z, total)
            z = np.where(small, z + 1, z)
        inverse = 1 / (z * z)
        series = inverse * _polynomial(_STIRLING, inverse)
        total = total + np.log(z) - 0.5 / z - series
        total = np.where(reflect, total - math.pi / np.tan(math.pi * y), total)
        return np.where((y <= 0) & (y == np.floor(y)), np.nan, total)


def _polynomial(coefficients: tuple[float, ...], x: Any) -> Any:
    result = np.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        result = result * x + c
    return result


# Bernoulli numbers B(2k) / 2k, from k = 7 down: the next term is below 1e-16 from 10 upwards.
_STIRLING = (1 / 12, -691 / 32760, 1 / 132, -1 / 240, 1 / 252, -1 / 120, 1 / 12)
_GILES_CENTRAL = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
    -0.00125372503, -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip
_GILES_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
    -0.0076224613, 0.00943887047, 1.00167406, 2.83297682,
)  # fmt: skip
