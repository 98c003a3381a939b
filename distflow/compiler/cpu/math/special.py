"""erfinv and digamma of float64, without branches."""

from __future__ import annotations

import math

from distflow.compiler.cpu.math import logarithm, trig
from distflow.compiler.cpu.math.real import Real

# erfinv(x) / x with w = -log(1 - x^2): in w - 3 for w < 25/4 (error below 5.5e-17), then in
# sqrt(w) - 13/4 for w < 16 (2.9e-17), and in sqrt(w) - 5 (1.7e-17).
_CENTRE = [
    1.6235420064648298, 0.24163040416615822, -0.005738135221003148, -0.0008361817769084298,
    0.0001950613244003634, -1.2716422641715589e-05, -1.7480020717932451e-06,
    4.499854298437036e-07, -2.3688750345731685e-08, -5.46718241529134e-09, 1.1108112135417525e-09,
    -3.1423955846627656e-11, -1.733356552766037e-11, 2.698498261451367e-12, 7.401946560491934e-15,
    -5.2841500873305834e-14, 6.143530522181138e-15, 2.633261870642487e-16,
    -1.4162518625129307e-16, 1.3686063217636081e-17, 6.15318224905961e-19,
    -4.2630084290741573e-19, 4.582703933619087e-20, 4.9761631929959454e-21,
    -9.671039001128759e-22,
]  # fmt: skip
_SIDE = [
    3.0838856104922208, 1.0052589676941652, 0.005370914553524588, -0.0037512085082116813,
    0.0024914420997112392, -0.0016882755357532806, 0.0009532893023684798, -0.000355037810872864,
    2.4031957997776066e-05, 6.828710544453917e-05, -4.7323583554670495e-05,
    1.2465036545618555e-05, 2.944104963654321e-06, -3.985607821814874e-06, 1.4532669976067112e-06,
    -2.796677028746477e-08, -2.0341197487281325e-07, 1.3206106578511236e-07,
    -5.55332746677081e-08, -1.554231701665867e-08, 1.9784464653805746e-08,
]  # fmt: skip
_TAIL = [
    4.849906401408584, 1.0103004648645448, -0.00013871931838925237, -0.00021503011980369147,
    7.599527826709144e-05, -1.968177101025257e-05, 4.526051312421598e-06, -9.930276425285597e-07,
    2.2905698920476984e-07, -6.756132534714182e-08, 2.9011264900880015e-08,
    -1.524655890252453e-08, 7.827614449094083e-09, -3.479344824658657e-09, 1.3150312207658441e-09,
    -4.3355637665390005e-10, 6.779171576474547e-11, 4.204275307484637e-11,
    -1.9566812230137264e-11,
]  # fmt: skip
# B_2n / 2n of Stirling's series, signs included.
_STIRLING = [1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12, -3617 / 8160]
_FAR = 10  # the series starts here


def erfinv(x: Real) -> Real:
    """Returns the inverse of erf; +-inf at +-1, NaN outside of [-1, 1]."""
    w = -logarithm.log((1.0 - x) * (x + 1.0))
    root = w.sqrt()
    side = (root - 3.25).polynomial(_SIDE)
    factor = (root - 5.0).polynomial(_TAIL).where(w.compare("olt", 16.0), side)
    factor = factor.where(w.compare("olt", 6.25), (w - 3.0).polynomial(_CENTRE))
    result = x * factor
    return result.where(abs(x).compare("oeq", 1.0), x * math.inf)


def digamma(x: Real) -> Real:
    """Returns the derivative of log(gamma(x)); NaN at 0, -1, -2, ..."""
    reflected = x.compare("olt", 0.5)
    z = x.where(reflected, 1.0 - x)
    terms = []
    for _ in range(_FAR):
        near = z.compare("olt", float(_FAR))
        terms.append(z.like(0.0).where(near, 1.0 / z))
        z = z.where(near, z + 1.0)
    inverse = 1.0 / z
    square = inverse * inverse
    total = logarithm.log(z) - inverse.fma(0.5, square * square.polynomial(_STIRLING))
    # The small ones first, and the first term last: least is lost.
    first, *others, sum_ = terms
    for term in reversed(others):
        sum_ = sum_ + term
    total = total - sum_ - first
    fraction = x - (x + 0.5).floor()
    cotangent = math.pi / trig.tan(fraction * math.pi)
    result = total.where(reflected, total - cotangent)
    pole = x.block.op("and", x.compare("ole", 0.0), x.floor().compare("oeq", x))
    return result.where(pole, math.nan)
