"""Functions with special cases, as composites: x log y, truncated division, polynomials, erfc."""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import Tensor
from distflow.ops.math import pair, pi, zero_of
from distflow.ops.prims import elementwise as p


def xlogy(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns x * log(y), and 0 where x is 0."""
    x, y = pair(x, y)
    zero = p.eq(x, 0)
    safe = p.select(zero, y * 0 + 1, y)
    return x * p.log(safe)


def xlog1py(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns x * log(1 + y), and 0 where x is 0."""
    x, y = pair(x, y)
    zero = p.eq(x, 0)
    safe = p.select(zero, y * 0, y)
    return x * p.log1p(safe)


def xdivy(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns x / y, and 0 where x is 0."""
    x, y = pair(x, y)
    zero = p.eq(x, 0)
    return p.select(zero, x * 0, p.div(x, p.select(zero, y * 0 + 1, y)))


def erfc(x: Any, name: Any = None) -> Tensor:
    """Returns 1 - erf(x)."""
    return 1 - p.erf(convert_to_tensor(x))


def angle(input: Any, name: Any = None) -> Tensor:
    """Returns the argument of complex numbers; 0 or pi for real ones."""
    x = convert_to_tensor(input)
    if x.dtype.is_complex:
        return p.atan2(p.imag(x), p.real(x))
    zero = zero_of(x)
    return p.select(p.lt(x, zero), p.add(x * 0, pi), x * 0)


def polyval(coeffs: Any, x: Any, name: Any = None) -> Tensor:
    """Returns coeffs[0] * x^(n-1) + ... + coeffs[n-1], by Horner's rule."""
    x = convert_to_tensor(x)
    if not isinstance(coeffs, list):
        raise errors.invalid("polyval", "coeffs must be a list", type(coeffs).__name__)
    total: Any = x * 0
    for coefficient in coeffs:
        total = total * x + coefficient
    return total


def truncatediv(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns x / y rounded towards zero."""
    x, y = pair(x, y)
    quotient = p.div(x, y)
    if x.dtype.is_integer:
        return quotient
    return p.select(p.lt(quotient, 0), p.ceil(quotient), p.floor(quotient))


def truncatemod(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns the remainder of truncated division: it has the sign of x."""
    x, y = pair(x, y)
    return x - truncatediv(x, y) * y
