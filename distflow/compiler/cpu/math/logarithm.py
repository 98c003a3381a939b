"""log and log1p of float32 and float64, each in its own precision, without branches.

x = 2^k (1 + f) with f around 0. float32: a minimax polynomial of log(1 + f). float64: one of
atanh(f / (2 + f)), put together as in fdlibm's e_log.c (Sun Microsystems 1993).
"""

from __future__ import annotations

import math

from distflow.compiler.cpu.math.real import Bits, Real

# (log(1 + f) - f) / f^2 for f in [-1/3, 1/3] (error below 4.7e-9), and [-1/4, 1/2] (5.0e-9).
_LOG32 = [
    -0.5, 0.3333321511745453, -0.24999801814556122, 0.2001044750213623, -0.16680333018302917,
    0.14005210995674133, -0.12186123430728912, 0.13987745344638824, -0.1288440078496933,
]  # fmt: skip
_LOG1P32 = [
    -0.5, 0.3333345055580139, -0.25000107288360596, 0.1999083161354065, -0.16646923124790192,
    0.1447799652814865, -0.13164222240447998, 0.10471391677856445, -0.045136429369449615,
]  # fmt: skip
# (2 atanh(s) / s - 2) / s^2 in s^2, for 1 + f in [sqrt(1/2), sqrt(2)]: error of log 1.3e-18.
_ATANH = [
    0.6666666666666734, 0.39999999999416685, 0.2857142874202693, 0.22222198603569268,
    0.1818356302811034, 0.15314077627887412, 0.1479573261007031,
]  # fmt: skip
_LN2 = (0.6931471803691238, 1.9082149292705877e-10)  # k times the first is exact in float64
_MAGIC_BITS = 0x4338000000000000  # of 1.5 * 2^52
# Bits of the smallest 1 + f: 2/3 and 3/4 of float32, sqrt(1/2) of float64.
_TWO_THIRDS, _THREE_QUARTERS, _SQRT_HALF = 0x3F2AAAAB, 0x3F400000, 0x3FE6A09E667F3BCD


def log(x: Real) -> Real:
    """Returns the natural logarithm; -inf of 0, NaN below."""
    places = x.fraction_bits
    subnormal = x.compare("olt", 2.0**-126 if x.is_single else 2.0**-1022)
    bits = x.where(subnormal, x * 2.0**places).bits()
    exponent = _exponent(bits, _TWO_THIRDS if x.is_single else _SQRT_HALF)
    k = power(exponent, x.like(0.0).where(subnormal, -float(places)))
    f = (bits - exponent).real() - 1.0
    return _with_limits(x, _put_together(k, f, _LOG32), 0.0)


def log1p(x: Real) -> Real:
    """Returns log(1 + x), accurate around 0."""
    exponent = _exponent((x + 1.0).bits(), _THREE_QUARTERS if x.is_single else _SQRT_HALF)
    # 1 + x = 2^k (1 + f): f is x 2^-k + (2^-k - 1), with 2^(2-k) in range for all k.
    inverse = (x.like(4.0).bits() - exponent).real()
    f = (x.bits() - exponent).real() + inverse.fma(0.25, -1.0)
    result = _put_together(power(exponent), f, _LOG1P32)
    return _with_limits(x, result, -1.0).where(x.compare("oeq", 0.0), x)


def _put_together(k: Real, f: Real, single: list[float]) -> Real:
    """k ln 2 + log(1 + f)."""
    if f.is_single:
        return k.fma(math.log(2), (f * f).fma(f.polynomial(single), f))
    s = f / (f + 2.0)
    square = s * s
    half = f * f * 0.5
    rest = square.fma(square.polynomial(_ATANH), half) * s
    high, low = _LN2
    return k.fma(high, f - (half - k.fma(low, rest)))


def _with_limits(x: Real, result: Real, lowest: float) -> Real:
    result = x.where(x.compare("olt", math.inf), result)  # inf and NaN are their own
    result = result.where(x.compare("olt", lowest), math.nan)
    return result.where(x.compare("oeq", lowest), -math.inf)


def _exponent(bits: Bits, lowest: int) -> Bits:
    """k as it stands in the bits, where the number is 2^k times one in [m, 2 m), m the lowest."""
    return (bits - lowest) & (-(1 << 23) if bits.kind == "float" else -(1 << 52))


def power(exponent: Bits, offset: Real | None = None) -> Real:
    """Returns k + offset from k as it stands in the bits."""
    if exponent.kind == "float":
        k = exponent.to_real()
        return k * 2.0**-23 if offset is None else k.fma(2.0**-23, offset)
    # 64-bit integers are not converted by all vector units: by way of the low bits.
    magic = 1.5 * 2.0**52
    stored = (exponent + (1023 << 52)) >> 52
    k = (stored + _MAGIC_BITS).real() - (magic + 1023.0)
    return k if offset is None else k + offset
