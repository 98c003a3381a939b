"""exp, expm1, tanh, sigmoid of float32 and float64, each in its own precision.

Branch-free: x = n ln 2 + r by fused multiply-adds, and a minimax polynomial of e^r (found by
Remez' exchange, the coefficients rounded one after the other), so that the bits are those of any
CPU. Source of the reduction: Muller 2016, "Elementary Functions", ch. 11.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from distflow.compiler.cpu.math.real import Real


class _Constants(NamedTuple):
    """What differs between the two types.

    Attributes:
      bias: stored exponent of 1.0.
      ln2: in two parts; x less n times the first is exact as a fused multiply-add.
      exp: (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2, fitted to the error of e^r.
      expm1: the same, fitted to the error of e^r - 1.
      lowest, highest: beyond them e^x is 0, or inf.
      minus_one: below it e^x - 1 is -1.
      one: from it on tanh is 1.
      up: exponent of a power of 2 that brings e^lowest among the normal numbers.
      tiny: below it e^x - 1 is x.
    """

    bias: int
    ln2: tuple[float, float]
    exp: list[float]
    expm1: list[float]
    lowest: float
    highest: float
    minus_one: float
    one: float
    up: int
    tiny: float


# Errors: e^r below 3.2e-9, e^r - 1 below 1.4e-8.
_FLOAT32 = _Constants(
    bias=127,
    ln2=(0.693147182464599609375, -1.904654323148236017e-09),
    exp=[
        0.4999999403953552, 0.1666652113199234, 0.04166826605796814, 0.008368689566850662,
        0.0013821132015436888,
    ],
    expm1=[
        0.4999999701976776, 0.1666654646396637, 0.041667431592941284, 0.008366260677576065,
        0.001387096242979169,
    ],
    lowest=-104.0, highest=89.0, minus_one=-18.0, one=9.1, up=64, tiny=2.0**-25,
)  # fmt: skip
# Error: 3e-19.
_EXP64 = [
    0.5, 0.16666666666666677, 0.041666666666666685, 0.008333333333321785,
    0.0013888888888892914, 0.00019841269885375337, 2.48015872816465e-05,
    2.7557245119086463e-06, 2.755732660004809e-07, 2.5108697692538207e-08,
    2.0894955728996256e-09,
]  # fmt: skip
_FLOAT64 = _Constants(
    bias=1023,
    ln2=(0.6931471805599453, 2.3190468138462996e-17),
    exp=_EXP64, expm1=_EXP64,
    lowest=-746.0, highest=710.0, minus_one=-38.0, one=19.1, up=600, tiny=2.0**-54,
)  # fmt: skip


def exp(x: Real) -> Real:
    """Returns e^x."""
    c = _constants(x)
    # A product that underflows takes a CPU a hundred times as long as others, and attention masks
    # scores by adding -1e9: those are not computed.
    none = x.compare("olt", c.lowest)
    return exp_of_sum(x.where(none, 0.0).at_most(c.highest)).where(none, 0.0)


def expm1(x: Real) -> Real:
    """Returns e^x - 1, accurate around 0."""
    c = _constants(x)
    half = _half_expm1(x.at_least(c.minus_one).at_most(c.highest), 1)
    # Doubling would not bring back the last bit of a subnormal, nor the sign of -0.
    return (half + half).where(abs(x).compare("olt", c.tiny), x)


def tanh(x: Real) -> Real:
    """Returns e / (e + 1) with e = (exp(2 |x|) - 1) / 2, with the sign of x."""
    e = _half_expm1(abs(x).at_most(_constants(x).one), 2)
    below = e + 1.0
    lost = e - (below - 1.0)
    inverse = 1.0 / below
    result = e * inverse
    # What the sum and the quotient lost is put back.
    rest = (-result).fma(lost, (-result).fma(below, e))
    return rest.fma(inverse, result).signed_as(x)


def sigmoid(x: Real) -> Real:
    """Returns e / (1 + e) with e = exp(-|x|), or what is left to 1."""
    c = _constants(x)
    y = (-abs(x)).at_least(c.lowest)
    n, shifted = _nearest(y, 1, c.bias + c.up)
    # e is scaled by 2^up, so that it is not subnormal.
    scaled = _exp_of_rest(_rest(y, n, 1)) * (shifted.bits() << x.fraction_bits).real()
    down = 2.0**-c.up
    below = scaled.fma(down, 1.0)
    lost = scaled.fma(down, 1.0 - below)
    small = scaled / below * down
    # What the sum lost is put back: 1 / (1 + e) is 1 - small.
    small = (-lost).fma((-small).fma(small, small), small)
    return (1.0 - small).where(x.compare("olt", 0.0), small)


def exp_of_sum(x: Real, low: Real | None = None) -> Real:
    """Returns e^(x + low) for x in the range of results, rounded once where it is subnormal."""
    n, shifted = _nearest(x, 1, 2 * _constants(x).bias)
    r = _rest(x, n, 1)
    if low is not None:
        r = r + low
    result = _exp_of_rest(r)
    # 2^n as a product of two powers, of which each exists.
    both = shifted.bits()
    half = both >> 1
    places = x.fraction_bits
    return result * (half << places).real() * ((both - half) << places).real()


def _half_expm1(x: Real, factor: int) -> Real:
    """(e^(factor x) - 1) / 2: half, since 2 to the highest n does not exist."""
    c = _constants(x)
    n, shifted = _nearest(x, factor, c.bias - 1)
    r = _rest(x, n, factor)
    square = r * r * r.polynomial([a * factor**i for i, a in enumerate(c.expm1, 2)])
    half = (shifted.bits() << x.fraction_bits).real()
    return square.fma(half, (r * factor).fma(half, half - 0.5))


def _nearest(x: Real, factor: int, offset: int) -> tuple[Real, Real]:
    """The integer n next to factor * x / ln 2, and a number with n + offset in its lowest bits."""
    shifted = x.fma(factor * math.log2(math.e), x.magic + offset)
    return shifted - (x.magic + offset), shifted


def _rest(x: Real, n: Real, factor: int) -> Real:
    """x - n ln(2) / factor."""
    high, low = _constants(x).ln2
    return n.fma(-low / factor, n.fma(-high / factor, x))


def _exp_of_rest(r: Real) -> Real:
    return r.polynomial([1.0, 1.0, *_constants(r).exp])


def _constants(x: Real) -> _Constants:
    return _FLOAT32 if x.is_single else _FLOAT64
