"""sin, cos, tan of float32 and float64.

Ordinary arguments lose multiples of pi/2 by fused multiply-adds (Cody & Waite). The rare large
ones call a function of their own: it looks up 2/pi times a power of 2, mod 4, by the exponent
(Payne & Hanek 1983), so that the error does not grow with the argument.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

from distflow.compiler.cpu.math.real import Bits, Real, rarely

# pi/2 in three parts of 24 bits, and of 53.
_HALF_PI32 = (1.57079637050628662109375, -4.37113900018624283e-08, -1.71512451630825e-15)
_HALF_PI64 = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591833e-33)
# Larger arguments are rare: up to here the reduction keeps all bits that the result needs.
_ORDINARY32, _ORDINARY64 = 65536.0, 2.0**25

# (sin(r) / r - 1) / r^2 and (cos(r) - 1 + r^2 / 2) / r^4 in r^2, for |r| <= pi/4.
_SIN32 = [-0.16666655242443085, 0.008332187309861183, -0.00019517897453624755]
_COS32 = [0.04166664555668831, -0.0013887309469282627, 2.4432327336398885e-05]
_SIN64 = [
    -0.16666666666666666, 0.008333333333333042, -0.00019841269840962576, 2.7557319074098762e-06,
    -2.505207096472552e-08, 1.6054317691278604e-10, -7.389774650181795e-13,
]  # fmt: skip
_COS64 = [
    0.041666666666666595, -0.0013888888888873303, 2.480158728896101e-05, -2.7557314201606063e-07,
    2.087570291840969e-09, -1.1358604872477293e-11,
]  # fmt: skip


def sin(x: Real) -> Real:
    """Returns the sine; NaN of +-inf."""
    return _of_quadrant(x, "sin", _sine).where(x.compare("oeq", 0.0), x)


def cos(x: Real) -> Real:
    """Returns the cosine; NaN of +-inf."""
    return _of_quadrant(x, "cos", lambda r, turns: _sine(r, turns + 1))


def tan(x: Real) -> Real:
    """Returns the tangent; NaN of +-inf."""
    return _of_quadrant(x, "tan", _tangent).where(x.compare("oeq", 0.0), x)


def _of_quadrant(x: Real, name: str, function: Callable[[Real, Bits], Real]) -> Real:
    """function(r, n) with r in [-pi/4, pi/4] and x = r + n pi/2 (mod 2 pi)."""

    def of_large(given: Real) -> Real:
        if given.is_single:
            result = function(*_payne_hanek32(given.wide())).narrow()
        else:
            result = function(*_payne_hanek64(given))
        return result.where(abs(given).compare("oeq", math.inf), math.nan)

    half_pi, limit = (_HALF_PI32, _ORDINARY32) if x.is_single else (_HALF_PI64, _ORDINARY64)
    result = function(*_cody_waite(x, half_pi))
    large = abs(x).compare("ogt", limit)
    return rarely(large, result, f"large_{name}_{x.value.kind}", of_large, x)


def _cody_waite(x: Real, half_pi: tuple[float, float, float]) -> tuple[Real, Bits]:
    shifted = x.fma(2 / math.pi, x.magic)
    n = shifted - x.magic
    r = x
    for part in half_pi:
        r = n.fma(-part, r)
    return r, shifted.bits()


def _sine_cosine(r: Real) -> tuple[Real, Real]:
    square = r * r
    sine, cosine = (_SIN32, _COS32) if r.is_single else (_SIN64, _COS64)
    of_sine = (r * square).fma(square.polynomial(sine), r)
    return of_sine, square.polynomial([1.0, -0.5, *cosine])


def _sine(r: Real, turns: Bits) -> Real:
    sine, cosine = _sine_cosine(r)
    result = cosine.where((turns & 1).compare("eq", 0), sine)
    return (result.bits() ^ ((turns & 2) << (30 if r.is_single else 62))).real()


def _tangent(r: Real, turns: Bits) -> Real:
    sine, cosine = _sine_cosine(r)
    odd = (turns & 1).compare("ne", 0)
    return sine.where(odd, -cosine) / cosine.where(odd, sine)


# -- large arguments -----------------------------------------------------------------------


def _payne_hanek32(x: Real) -> tuple[Real, Bits]:
    """Of a float64 that holds a float32 of at least 2^_LOWEST32, or inf, NaN (giving anything)."""
    high, middle, low = _parts(x, 24, 16, 128, (29, 29, 53))
    m = _mantissa(x, 24)
    # Products with the first two parts are exact: 24 bits times at most 29.
    product, rest = m * high, m * middle
    shifted = product + x.magic
    fraction = (product - (shifted - x.magic)) + rest + m * low
    return fraction * (math.pi / 2), shifted.bits()


def _payne_hanek64(x: Real) -> tuple[Real, Bits]:
    parts = _parts(x, 53, 25, 1024, (53, 53, 53, 53))
    m = _mantissa(x, 53)
    products = [m * part for part in parts]
    errors = [m.fma(part, -product) for part, product in zip(parts, products)]
    # Mod 4: the first product and its error are multiples of 2^-51; so is their sum, below 4.
    first = (products[0] * 0.25).floor().fma(-4.0, products[0]) + errors[0]
    total = first + products[1]
    virtual = total - first
    lost = (first - (total - virtual)) + (products[1] - virtual)
    shifted = total + x.magic
    fraction = (total - (shifted - x.magic)) + (lost + errors[1])
    fraction = fraction + products[2] + (errors[2] + products[3])
    return fraction * (math.pi / 2), shifted.bits()


def _parts(x: Real, bits: int, lowest: int, highest: int, widths: tuple[int, ...]) -> list[Real]:
    """2/pi * 2^(e + 1 - bits) mod 4 in parts, where e is the exponent of each lane's float64."""
    index = ((x.bits() >> 52) & 0x7FF) - (1023 + lowest)
    length = highest - lowest
    for outside in (index.compare("slt", 0), index.compare("sge", length)):
        index = index.where(outside, 0)
    tables = _two_over_pi(bits, lowest, highest, widths)
    return [index.look_up(table) for table in tables]


def _mantissa(x: Real, bits: int) -> Real:
    """The number as an integer of so many bits, with its sign."""
    fraction = x.bits() & (-(1 << 63) | ((1 << 52) - 1))
    return (fraction | ((1023 + bits - 1) << 52)).real()


@functools.cache
def _two_over_pi(
    bits: int, lowest: int, highest: int, widths: tuple[int, ...]
) -> tuple[tuple[float, ...], ...]:
    """Parts of 2/pi * 2^(e + 1 - bits) mod 4 for e in [lowest, highest), in so many bits each."""
    precision = highest + sum(widths) + 64
    quotient = (2 << (2 * precision)) // _pi(precision)  # 2/pi * 2^precision
    parts: tuple[list[float], ...] = tuple([] for _ in widths)
    for e in range(lowest + 1 - bits, highest + 1 - bits):
        rest = (quotient << e if e >= 0 else quotient >> -e) % (4 << precision)
        position = precision + 2  # the parts have fixed places: all exponents share the bounds
        for part, width in zip(parts, widths):
            position -= width
            part.append(math.ldexp(rest >> position, position - precision))
            rest %= 1 << position
    return tuple(tuple(part) for part in parts)


def _pi(precision: int) -> int:
    """Returns pi * 2^precision by Machin's formula."""
    guard = precision + 32

    def arctan_inverse(n: int) -> int:
        term = total = (1 << guard) // n
        k, sign = 1, -1
        while term:
            term //= n * n
            k += 2
            total += sign * (term // k)
            sign = -sign
        return total

    return (16 * arctan_inverse(5) - 4 * arctan_inverse(239)) >> (guard - precision)
