"""asin, acos, atan, atan2 of float64, without branches."""

from __future__ import annotations

import math

from distflow.compiler.cpu.emit import Operand
from distflow.compiler.cpu.math.real import Real

# (atan(x) / x - 1) / x^2 in x^2 for |x| <= tan(pi/8): error below 1.4e-18.
_ATAN = [
    -0.3333333333333319, 0.19999999999952184, -0.14285714280054085, 0.11111110776300458,
    -0.09090897551064948, 0.07692056526603924, -0.06663061988389947, 0.05847582237695947,
    -0.05037916364219422, 0.038029165435771235, -0.01786831441646493,
]  # fmt: skip
# (asin(x) / x - 1) / x^2 in x^2 for |x| <= 1/2: error below 1.5e-17.
_ASIN = [
    0.16666666666665403, 0.0750000000033859, 0.044642856826940275, 0.03038195919713563,
    0.02237175654830779, 0.017359728196441482, 0.013884997118752003, 0.012170817876645047,
    0.006520862372472807, 0.019548158982072086, -0.016256109256171235, 0.03193452503262723,
]  # fmt: skip
_TAN_EIGHTH = 0.41421356237309503
# pi/2 and pi/4 are each a number and this much more.
_HALF_PI_LOW, _QUARTER_PI_LOW = 6.123233995736766e-17, 3.061616997868383e-17


def atan(x: Real) -> Real:
    """Returns the angle in [-pi/2, pi/2] whose tangent is x."""
    return atan2(x, x.like(1.0))


def atan2(y: Real, x: Real) -> Real:
    """Returns the angle of the point (x, y), in [-pi, pi]."""
    up, along = abs(y), abs(x)
    steep = up.compare("ogt", along)
    least, most = up.where(steep, along), along.where(steep, up)
    # Above pi/8 the angle is counted from pi/4.
    endless = least.compare("oeq", math.inf)
    far = x.block.op("or", endless, least.compare("ogt", most * _TAN_EIGHTH))
    scale = most.like(1.0).where(most.compare("ogt", 1.0), 0.25)  # the sum does not overflow
    above, below = least * scale, most * scale
    t = least.where(far, above - below) / most.where(far, above + below)
    t = t.where(most.compare("oeq", 0.0), 0.0)
    t = t.where(endless, 0.0)
    square = t * t
    angle = (t * square).fma(square.polynomial(_ATAN), t)
    # In quarters of pi; each fold counts from the other side.
    quarters = most.like(0.0).where(far, 1.0)
    behind = x.bits().compare("slt", 0)
    for fold, turns in ((steep, 2.0), (behind, 4.0)):
        quarters = quarters.where(fold, turns - quarters)
        angle = angle.where(fold, -angle)
    result = quarters.fma(math.pi / 4, quarters.fma(_QUARTER_PI_LOW, angle)).signed_as(y)
    return result.where(x.compare("uno", y), math.nan)


def asin(x: Real) -> Real:
    """Returns the angle in [-pi/2, pi/2] whose sine is x; NaN outside of [-1, 1]."""
    angle, large = _asin_of_half(x)
    from_top = math.pi / 2 - (angle + angle - _HALF_PI_LOW)
    return angle.where(large, from_top).signed_as(x)


def acos(x: Real) -> Real:
    """Returns the angle in [0, pi] whose cosine is x; NaN outside of [-1, 1]."""
    angle, large = _asin_of_half(x)
    negative = x.compare("olt", 0.0)
    signed = angle.where(negative, -angle)
    middle = math.pi / 2 - (signed - _HALF_PI_LOW)
    # 2 * angle, or pi - 2 * angle.
    half = angle.where(negative, middle.where(negative, math.pi / 2 - (angle - _HALF_PI_LOW)))
    return middle.where(large, half + half)


def _asin_of_half(x: Real) -> tuple[Real, Operand]:
    """asin(|x|), or asin(sqrt((1 - |x|) / 2)) where |x| > 1/2, and where that is."""
    size = abs(x)
    large = size.compare("ogt", 0.5)
    square = (x * x).where(large, (1.0 - size) * 0.5)
    y = size.where(large, square.sqrt())
    return (y * square).fma(square.polynomial(_ASIN), y), large
