"""exp, log, tanh, erf, sin, pow ... of float32, as polynomials computed in float64.

Each is branch-free and rounds to float32 once, at the end: the error stays below ULP_BOUND (0.5
would be perfect), subnormal results included. No FMA, so that the bits are those of any CPU. The
range reductions are the classical ones (Muller 2016, "Elementary Functions", ch. 11; fdlibm for
log); Taylor coefficients where they converge fast, Chebyshev interpolants of erf (fitted to
math.erf in float64, degree 11 in x^2 below 1 and degree 24 on [1, 4]).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

from distflow.compiler.cpu.emit import Block, Operand

# Largest error of every function here, in units in the last place of the float32 result.
ULP_BOUND = 0.501

_MAGIC = 1.5 * 2.0**52  # adding it rounds a float64 to an integer, held in its low bits
_MAGIC_BITS = 0x4338000000000000
_ONE_BITS = 0x3FF0000000000000
_SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
_MANTISSA = (1 << 52) - 1

_EXPM1 = [1 / math.factorial(n) for n in range(1, 14)]
_SIN = [(-1) ** n / math.factorial(2 * n + 1) for n in range(9)]
_COS = [(-1) ** n / math.factorial(2 * n) for n in range(9)]
_ATANH = [2 / (2 * n + 1) for n in range(11)]
# erf(x) / x in k = 2 x^2 - 1, for |x| <= 1.
_ERF_NEAR = [
    0.9654687386698674, -0.1405360890227176, 0.019852496688987146, -0.002285485561134277,
    0.0002175171560149873, -1.7537169496681056e-05, 1.2233828157271873e-06,
    -7.511556561811153e-08, 4.115698188566251e-09, -2.0365094452831156e-10,
    9.230416208473875e-12, -3.334661422360677e-13,
]  # fmt: skip
# erf(x) in k = (x - 2.5) / 1.5, for 1 <= x <= 4; beyond, erf is 1 in float32.
_ERF_FAR = [
    0.9995930479825557, 0.0032674263455829827, -0.012252848795913839, 0.0281815522245804,
    -0.043650773824480266, 0.04645361316985488, -0.0318765521762706, 0.009267581930426483,
    0.006680694129849704, -0.009621791200801363, 0.0045440632095386626, 0.00044424003022367685,
    -0.0018267481775012017, 0.0009132665378810102, 5.270226395219582e-05,
    -0.0002814853286905284, 0.00011822641137376204, 1.8758483119102187e-05,
    -3.580885702840785e-05, 8.895998234591359e-06, 4.4735598745943035e-06,
    -2.7538774070355782e-06, -4.6049648362211285e-08, 2.915035120944283e-07,
    -4.091007349395702e-08,
]  # fmt: skip


class _Real:
    """float64 arithmetic on a block, so that formulas read as such."""

    def __init__(self, block: Block, value: Operand):
        self.block = block
        self.value = value

    def _with(self, name: str, other: _Real | float, swap: bool = False) -> _Real:
        given = other.value if isinstance(other, _Real) else self.block.constant("double", other)
        pair = (given, self.value) if swap else (self.value, given)
        return _Real(self.block, self.block.op(name, *pair))

    def __add__(self, other: _Real | float) -> _Real:
        return self._with("fadd", other)

    def __sub__(self, other: _Real | float) -> _Real:
        return self._with("fsub", other)

    def __rsub__(self, other: float) -> _Real:
        return self._with("fsub", other, swap=True)

    def __mul__(self, other: _Real | float) -> _Real:
        return self._with("fmul", other)

    def __truediv__(self, other: _Real | float) -> _Real:
        return self._with("fdiv", other)

    def __rtruediv__(self, other: float) -> _Real:
        return self._with("fdiv", other, swap=True)

    def __neg__(self) -> _Real:
        return _Real(self.block, self.block.negate(self.value))

    def __abs__(self) -> _Real:
        return _Real(self.block, self.block.intrinsic("fabs", self.value))

    def floor(self) -> _Real:
        return _Real(self.block, self.block.intrinsic("floor", self.value))

    def compare(self, name: str, other: _Real | float) -> Operand:
        given = other.value if isinstance(other, _Real) else self.block.constant("double", other)
        return self.block.compare(f"fcmp {name}", self.value, given)

    def where(self, condition: Operand, other: _Real | float) -> _Real:
        """Returns `other` where the condition holds, else itself."""
        given = other.value if isinstance(other, _Real) else self.block.constant("double", other)
        return _Real(self.block, self.block.select(condition, given, self.value))

    def clamp(self, low: float, high: float) -> _Real:
        """Returns the nearest number in [low, high]; NaN stays."""
        above = self.where(self.compare("olt", low), low)
        return above.where(above.compare("ogt", high), high)

    def bits(self) -> Operand:
        return self.block.convert("bitcast", self.value, "i64")

    def polynomial(self, coefficients: Sequence[float]) -> _Real:
        """Returns c0 + c1 x + c2 x^2 ... by Horner's rule."""
        result = self * coefficients[-1] + coefficients[-2]
        for c in reversed(coefficients[:-2]):
            result = result * self + c
        return result


def _from_bits(block: Block, bits: Operand) -> _Real:
    return _Real(block, block.convert("bitcast", bits, "double"))


def _integer(block: Block, value: int) -> Operand:
    return block.constant("i64", value)


def _split_exp(x: _Real) -> tuple[_Real, _Real]:
    """Returns q and 2^k with e^x = 2^k (1 + q), |q| < 0.42, for |x| <= 700; NaN gives NaN in q."""
    block = x.block
    shifted = x * math.log2(math.e) + _MAGIC
    k = shifted - _MAGIC
    # ln 2 in two parts: k times the first is exact.
    r = x - k * 0.6931471803691238 - k * 1.9082149292705877e-10
    biased = block.op("add", shifted.bits(), _integer(block, 1023))
    return r.polynomial(_EXPM1) * r, _from_bits(block, block.op("shl", biased, _integer(block, 52)))


def _exp(x: _Real) -> _Real:
    q, scale = _split_exp(x.clamp(-120.0, 120.0))
    return q * scale + scale


def _expm1(x: _Real) -> _Real:
    q, scale = _split_exp(x.clamp(-120.0, 120.0))
    return (q * scale + (scale - 1.0)).where(x.compare("oeq", 0.0), x)


def _log(x: _Real) -> _Real:
    """log of a float64 that is not subnormal: m 2^k with m in [sqrt(1/2), sqrt(2))."""
    block = x.block
    moved = block.op("add", x.bits(), _integer(block, _ONE_BITS - _SQRT_HALF_BITS))
    exponent = block.op("lshr", moved, _integer(block, 52))
    k = _from_bits(block, block.op("add", exponent, _integer(block, _MAGIC_BITS)))
    k = k - (_MAGIC + 1023.0)
    mantissa = block.op("and", moved, _integer(block, _MANTISSA))
    f = _from_bits(block, block.op("add", mantissa, _integer(block, _SQRT_HALF_BITS))) - 1.0
    s = f / (f + 2.0)
    result = k * math.log(2) + s * (s * s).polynomial(_ATANH)
    result = result.where(x.compare("oeq", math.inf), math.inf)
    result = result.where(x.compare("oeq", 0.0), -math.inf)
    return result.where(x.compare("ult", 0.0), math.nan)  # also where x is NaN


def _log1p(x: _Real) -> _Real:
    # 1 + x is exact in float64 for a float32 that is not tiny; there two terms are enough.
    tiny = abs(x).compare("olt", 2.0**-28)
    return _log(x + 1.0).where(tiny, x - x * x * 0.5)


def _tanh(x: _Real) -> _Real:
    e = _expm1(x.clamp(-12.0, 12.0) * 2.0)
    return e / (e + 2.0)


def _sigmoid(x: _Real) -> _Real:
    return 1.0 / (_exp(-x) + 1.0)


def _erf(x: _Real) -> _Real:
    size = abs(x).clamp(0.0, 4.0)
    far = ((size - 2.5) / 1.5).polynomial(_ERF_FAR)
    far = far.where(x.compare("olt", 0.0), -far)
    near = x * (x * x * 2.0 - 1.0).polynomial(_ERF_NEAR)
    return far.where(size.compare("olt", 1.0), near)


def _quarter_turns(x: _Real) -> tuple[_Real, Operand]:
    """Returns r in [-pi/4, pi/4] and n with x = r + n pi/2 (mod 2 pi), n in the low two bits."""
    block = x.block
    bits = x.bits()
    exponent = block.op("lshr", bits, _integer(block, 52))
    exponent = block.op("and", exponent, _integer(block, 0x7FF))
    lowest = 1023 - _LOWEST
    index = block.op("sub", exponent, _integer(block, lowest))
    length = _HIGHEST + _LOWEST + 1
    below = block.compare("icmp slt", index, _integer(block, 0))
    index = block.select(below, _integer(block, 0), index)
    above = block.compare("icmp sge", index, _integer(block, length))
    index = block.select(above, _integer(block, 0), index)
    mantissa = block.op("and", bits, _integer(block, (1 << 63) | _MANTISSA))
    # The mantissa as an integer: an integer times a multiple of 4 is one again.
    m = _from_bits(block, block.op("or", mantissa, _integer(block, (1023 + 23) << 52)))
    high, middle, low = (
        _Real(block, block.look_up(block.code.table(part), length, index))
        for part in _two_over_pi()
    )
    # Products with the first two parts are exact: 24 bits times at most 29.
    product, rest = m * high, m * middle
    shifted = product + _MAGIC
    fraction = (product - (shifted - _MAGIC)) + rest + m * low
    return fraction * (math.pi / 2), shifted.bits()


def _sine(x: _Real, quarter: int) -> _Real:
    block = x.block
    r, turns = _quarter_turns(x)
    square = r * r
    sine = r * square.polynomial(_SIN)
    cosine = square.polynomial(_COS)
    turns = block.op("add", turns, _integer(block, quarter))
    odd = block.compare("icmp ne", block.op("and", turns, _integer(block, 1)), _integer(block, 0))
    minus = block.op("shl", block.op("and", turns, _integer(block, 2)), _integer(block, 62))
    result = sine.where(odd, cosine)
    return _from_bits(block, block.op("xor", result.bits(), minus))


def _sin(x: _Real) -> _Real:
    result = _sine(x, 0).where(x.compare("oeq", 0.0), x)
    return result.where(abs(x).compare("ueq", math.inf), math.nan)


def _cos(x: _Real) -> _Real:
    result = _sine(x, 1).where(x.compare("oeq", 0.0), 1.0)
    return result.where(abs(x).compare("ueq", math.inf), math.nan)


def _pow(x: _Real, y: _Real) -> _Real:
    block = x.block
    size = abs(x)
    result = _exp(y * _log(size))
    whole = y.floor().compare("oeq", y)
    half = y * 0.5
    odd = block.op("and", whole, half.floor().compare("one", half))
    negative = block.compare("icmp slt", x.bits(), _integer(block, 0))
    result = result.where(block.op("and", negative, odd), -result)
    fractional = block.op("xor", whole, block.constant("i1", 1))
    below = block.op("and", x.compare("olt", 0.0), size.compare("olt", math.inf))
    result = result.where(block.op("and", below, fractional), math.nan)
    # NaN beats all but these: 1^y = 1, x^0 = 1, (-1)^(+-inf) = 1.
    result = result.where(y.compare("uno", y), y)
    sure = block.op("and", size.compare("oeq", 1.0), abs(y).compare("oeq", math.inf))
    result = result.where(sure, 1.0)
    result = result.where(x.compare("oeq", 1.0), 1.0)
    return result.where(y.compare("oeq", 0.0), 1.0)


# Exponents of float32, subnormals included.
_LOWEST, _HIGHEST = 149, 127


@functools.cache
def _two_over_pi() -> tuple[tuple[float, ...], ...]:
    """Returns 2^(e-23) * 2/pi mod 4 in parts of 29, 29 and 53 bits, for each exponent e."""
    precision = 640
    quotient = (2 << (2 * precision)) // _pi(precision)  # 2/pi * 2^precision
    parts: tuple[list[float], ...] = ([], [], [])
    for e in range(-_LOWEST - 23, _HIGHEST + 1 - 23):
        rest = (quotient << e if e >= 0 else quotient >> -e) % (4 << precision)
        for part, width in zip(parts, (29, 29, 53)):
            dropped = max(rest.bit_length() - width, 0)
            part.append(math.ldexp(rest >> dropped, dropped - precision))
            rest %= 1 << dropped
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


def _in_float64(function: Callable[..., _Real]) -> Callable[..., Operand]:
    def emit(block: Block, *operands: Operand) -> Operand:
        wide = [_Real(block, block.convert("fpext", x, "double")) for x in operands]
        return block.convert("fptrunc", function(*wide).value, "float")

    return emit


# Functions of float32 values, by the primitive's name.
FUNCTIONS: dict[str, Callable[..., Operand]] = {
    "exp": _in_float64(_exp),
    "expm1": _in_float64(_expm1),
    "log": _in_float64(_log),
    "log1p": _in_float64(_log1p),
    "tanh": _in_float64(_tanh),
    "sigmoid": _in_float64(_sigmoid),
    "erf": _in_float64(_erf),
    "sin": _in_float64(_sin),
    "cos": _in_float64(_cos),
    "pow": _in_float64(_pow),
}
