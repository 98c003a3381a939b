"""pow of float32 (by way of float64) and of float64 (its logarithm in two float64)."""

from __future__ import annotations

import math

from distflow.compiler.cpu.math import exponential, logarithm
from distflow.compiler.cpu.math.real import Real

_LN2 = (0.6931471805598903, 5.497923018708371e-14)  # k times the first is exact
_TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)
# ((2 atanh(s) / s - 2) / s^2 - 2/3) / s^2 in s^2: error of log below 8e-23.
_REST = [
    0.3999999999999998, 0.2857142857144386, 0.222222222177827, 0.1818181884511579,
    0.15384558339526133, 0.13336268259809383, 0.11675699525195604, 0.11982458446075092,
]  # fmt: skip
# For float32: (2 atanh(s) / s - 2) / s^2 in s^2, and e^r; errors below 5e-12 and 1.2e-12.
_ATANH = [
    0.6666666564828122, 0.400003346989881, 0.28537332934220805, 0.2358178718657158,
]  # fmt: skip
_EXP = [
    0.5000000000428714, 0.16666666784797377, 0.04166666439703413, 0.008333281703747421,
    0.0013889197932138687, 0.00019909007680657693, 2.4708118379303587e-05,
]  # fmt: skip
_SQRT_HALF = 0x3FE6A09E667F3BCD


def pow32(x: Real, y: Real) -> Real:
    """Returns |x|^y of float32 values held in float64, to 36 bits or so."""
    size = abs(x)
    k, f = _split(size)
    s = f / (f + 2.0)
    square = s * s
    log = k.fma(math.log(2), s * square.fma(square.polynomial(_ATANH), 2.0))
    product = (y * log).at_least(-160.0).at_most(160.0)
    shifted = product.fma(math.log2(math.e), product.magic + 1023)
    n = shifted - (product.magic + 1023)
    r = n.fma(-math.log(2), product)
    result = r.polynomial([1.0, 1.0, *_EXP]) * (shifted.bits() << 52).real()
    return _with_limits(x, y, result)


def pow64(x: Real, y: Real) -> Real:
    """Returns |x|^y of float64 values."""
    size = abs(x)
    subnormal = size.compare("olt", 2.0**-1022)
    k, f = _split(size.where(subnormal, size * 2.0**52))
    k = k.where(subnormal, k - 52.0)
    high, low = _log(k, f)
    product = y * high
    lost = y.fma(high, -product) + y * low
    # Far outside of the range the second part would be inf - inf.
    lost = lost.where(abs(product).compare("ogt", 800.0), 0.0)
    result = exponential.exp_of_sum(product.at_least(-760.0).at_most(720.0), lost)
    return _with_limits(x, y, result)


def _split(size: Real) -> tuple[Real, Real]:
    """k and f with size = 2^k (1 + f), 1 + f in [sqrt(1/2), sqrt(2))."""
    bits = size.bits()
    exponent = (bits - _SQRT_HALF) & -(1 << 52)
    return logarithm.power(exponent), (bits - exponent).real() - 1.0


def _log(k: Real, f: Real) -> tuple[Real, Real]:
    """k ln 2 + log(1 + f) to 63 bits, as a sum of two."""
    # s = f / (2 + f), to twice the precision.
    below = f + 2.0
    lost = f - (below - 2.0)
    inverse = 1.0 / below
    s = f * inverse
    s_low = (-s).fma(lost, (-s).fma(below, f)) * inverse
    square = s * s
    square_low = s.fma(s, -square) + s * s_low * 2.0
    # log(1 + f) = s (2 + s^2 (2/3 + s^2 rest)).
    rest = square * square.polynomial(_REST)
    inner, inner_low = _sum(rest.like(_TWO_THIRDS[0]), rest)
    inner_low = inner_low + _TWO_THIRDS[1]
    factor, factor_low = _product(square, square_low, inner, inner_low)
    factor, lost = _sum(factor.like(2.0), factor)
    part, part_low = _product(s, s_low, factor, factor_low + lost)
    # The first is larger, or 0.
    high, lost = _sum(k * _LN2[0], part)
    return high, k.fma(_LN2[1], part_low + lost)


def _sum(x: Real, y: Real) -> tuple[Real, Real]:
    """x + y and what it lost, for |x| >= |y| or x = 0."""
    total = x + y
    return total, y - (total - x)


def _product(x: Real, x_low: Real, y: Real, y_low: Real) -> tuple[Real, Real]:
    product = x * y
    return product, x.fma(y, -product) + x.fma(y_low, x_low * y)


def _with_limits(x: Real, y: Real, result: Real) -> Real:
    block = x.block
    size = abs(x)
    # Powers of 0 and inf are 0 or inf.
    zero, endless = size.compare("oeq", 0.0), size.compare("oeq", math.inf)
    rising = block.op("xor", zero, y.compare("ogt", 0.0))
    edge = x.like(0.0).where(rising, math.inf)
    result = result.where(block.op("or", zero, endless), edge)
    whole = y.floor().compare("oeq", y)
    half = y * 0.5
    odd = block.op("and", whole, half.floor().compare("one", half))
    negative = x.bits().compare("slt", 0)
    result = result.where(block.op("and", negative, odd), -result)
    fractional = block.op("xor", whole, block.constant("i1", 1))
    below = block.op("and", x.compare("olt", 0.0), size.compare("olt", math.inf))
    result = result.where(block.op("and", below, fractional), math.nan)
    # NaN beats all but these: 1^y = 1, x^0 = 1, (-1)^(+-inf) = 1.
    result = result.where(x.compare("uno", y), math.nan)
    sure = block.op("and", size.compare("oeq", 1.0), abs(y).compare("oeq", math.inf))
    result = result.where(sure, 1.0)
    result = result.where(x.compare("oeq", 1.0), 1.0)
    return result.where(y.compare("oeq", 0.0), 1.0)
