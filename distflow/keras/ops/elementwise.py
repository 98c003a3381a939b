"""Arithmetic, comparisons, logic, bits and elementary functions of `keras.ops`."""

from __future__ import annotations

import builtins
import math as _math
from collections.abc import Callable
from typing import Any

import numpy as np

from distflow.base import dtypes
from distflow.keras.engine.keras_ops import operation
from distflow.keras.ops.dtype_rules import floats, promoted, tensor
from distflow.ops import bitwise, math, reduce, shaping, special
from distflow.ops.prims.elementwise import select


def _two(kind: str, function: Callable[..., Any], text: str, prepare: Any = promoted) -> Any:
    def run(x1: Any, x2: Any) -> Any:
        return function(*prepare(x1, x2))

    return _named(kind, run, text)


def _float(kind: str, function: Callable[..., Any], text: str) -> Any:
    def run(x: Any) -> Any:
        return function(*floats(x))

    return _named(kind, run, text)


def _any(kind: str, function: Callable[..., Any], text: str) -> Any:
    def run(x: Any) -> Any:
        return function(tensor(x))

    return _named(kind, run, text)


def _named(kind: str, run: Any, text: str) -> Any:
    run.__doc__ = text
    run.__name__ = run.__qualname__ = kind.split(".")[1].lower()
    return operation(kind)(run)


def _logical(*values: Any) -> list[Any]:
    return [math.cast(tensor(x), dtypes.bool_) for x in values]


# -- arithmetic ----------------------------------------------------------------------------------

add = _two("numpy.Add", math.add, "Returns x1 + x2.")
subtract = _two("numpy.Subtract", math.subtract, "Returns x1 - x2.")
multiply = _two("numpy.Multiply", math.multiply, "Returns x1 * x2.")
divide = _two("numpy.Divide", math.divide, "Returns x1 / x2, a float.", floats)
true_divide = _two("numpy.TrueDivide", math.divide, "Returns x1 / x2, a float.", floats)
divide_no_nan = _two("numpy.DivideNoNan", math.div_no_nan,
                     "Returns x1 / x2, and 0 where x2 is 0.", floats)  # fmt: skip
power = _two("numpy.Power", math.pow, "Returns x1 to the power of x2.")
maximum = _two("numpy.Maximum", math.maximum, "Returns the larger one; NaN if one is NaN.")
minimum = _two("numpy.Minimum", math.minimum, "Returns the smaller one; NaN if one is NaN.")
arctan2 = _two("numpy.Arctan2", math.atan2, "Returns the angle of the point (x2, x1).", floats)
negative = _any("numpy.Negative", math.negative, "Returns -x.")
square = _any("numpy.Square", math.square, "Returns x * x.")
sign = _any("numpy.Sign", math.sign, "Returns -1, 0 or 1.")


def _absolute(x: Any) -> Any:
    return x if x.dtype is dtypes.bool_ else math.abs(x)


absolute = _any("numpy.Absolute", _absolute, "Returns the absolute value.")
abs = _any("numpy.Abs", _absolute, "Returns the absolute value.")
fabs = _float("numpy.Fabs", math.abs, "Returns the absolute value as a float.")


def _integers_or_floats(function: Callable[..., Any]) -> Callable[..., Any]:
    """bool counts as int32, as in NumPy's remainders."""

    def run(x: Any, y: Any) -> Any:
        if x.dtype is dtypes.bool_:
            x, y = math.cast(x, "int32"), math.cast(y, "int32")
        return function(x, y)

    return run


floor_divide = _two("numpy.FloorDivide", _integers_or_floats(math.floordiv),
                    "Returns floor(x1 / x2).")  # fmt: skip
mod = _two("numpy.Mod", _integers_or_floats(math.floormod),
           "Returns the remainder of floor division: it has the sign of x2.")  # fmt: skip
fmod = _two("numpy.Fmod", _integers_or_floats(special.truncatemod),
            "Returns the remainder of division towards 0: it has the sign of x1.")  # fmt: skip


def _reciprocal(x: Any) -> Any:
    return 1 / x


reciprocal = _float("numpy.Reciprocal", _reciprocal, "Returns 1 / x.")


def _pick(first: Callable[..., Any]) -> Callable[..., Any]:
    def run(x: Any, y: Any) -> Any:
        if not x.dtype.is_floating:
            return first(x, y)
        return select(math.is_nan(x), y, select(math.is_nan(y), x, first(x, y)))

    return run


fmax = _two("numpy.Fmax", _pick(math.maximum), "Returns the larger one, ignoring NaN.")
fmin = _two("numpy.Fmin", _pick(math.minimum), "Returns the smaller one, ignoring NaN.")


def _hypot(x: Any, y: Any) -> Any:
    x, y = math.abs(x), math.abs(y)
    large, small = math.maximum(x, y), math.minimum(x, y)
    ratio = math.div_no_nan(small, large)
    return large * math.sqrt(1 + ratio * ratio)


hypot = _two("numpy.Hypot", _hypot, "Returns sqrt(x1^2 + x2^2).", floats)


def _logaddexp(x: Any, y: Any) -> Any:
    # Equal infinities have no difference.
    gap = select(math.equal(x, y), math.zero_of(x), math.abs(x - y))
    return math.maximum(x, y) + math.log1p(math.exp(-gap))


logaddexp = _two("numpy.Logaddexp", _logaddexp, "Returns log(exp(x1) + exp(x2)).", floats)


def _logaddexp2(x: Any, y: Any) -> Any:
    gap = select(math.equal(x, y), math.zero_of(x), math.abs(x - y))
    return math.maximum(x, y) + math.log1p(math.exp(-gap * _math.log(2))) / _math.log(2)


logaddexp2 = _two("numpy.Logaddexp2", _logaddexp2, "Returns log2(2^x1 + 2^x2).", floats)


@operation("numpy.Heaviside")
def heaviside(x1: Any, x2: Any) -> Any:
    """Returns 0 below 0, 1 above it, and x2 at 0."""
    x, y = floats(x1, x2)
    return select(math.equal(x, 0), y + x * 0, math.cast(x > 0, x.dtype) + y * 0)


@operation("numpy.Ldexp")
def ldexp(x1: Any, x2: Any) -> Any:
    """Returns x1 * 2^x2."""
    (x,) = floats(x1)
    return x * math.pow(math.zero_of(x) + 2, math.cast(tensor(x2), x.dtype))


def _gcd(x: Any, y: Any) -> Any:
    """Euclid's algorithm, as many steps as the widest integers may need."""
    x, y = math.abs(x), math.abs(y)
    for _ in range(94 if x.dtype.size == 8 else 48):
        zero = math.equal(y, 0)
        x, y = select(zero, x, y), select(zero, y, math.floormod(x, select(zero, y + 1, y)))
    return x


gcd = _two("numpy.Gcd", _gcd, "Returns the greatest common divisor of integers.")


def _lcm(x: Any, y: Any) -> Any:
    common = _gcd(x, y)
    zero = math.equal(common, 0)
    return math.abs(math.floordiv(x, select(zero, common + 1, common)) * y)


lcm = _two("numpy.Lcm", _lcm, "Returns the least common multiple of integers.")

# -- comparisons and logic -----------------------------------------------------------------------

equal = _two("numpy.Equal", math.equal, "Returns whether x1 == x2.")
not_equal = _two("numpy.NotEqual", math.not_equal, "Returns whether x1 != x2.")
less = _two("numpy.Less", math.less, "Returns whether x1 < x2.")
less_equal = _two("numpy.LessEqual", math.less_equal, "Returns whether x1 <= x2.")
greater = _two("numpy.Greater", math.greater, "Returns whether x1 > x2.")
greater_equal = _two("numpy.GreaterEqual", math.greater_equal, "Returns whether x1 >= x2.")
logical_and = _two("numpy.LogicalAnd", math.logical_and, "Returns x1 and x2.", _logical)
logical_or = _two("numpy.LogicalOr", math.logical_or, "Returns x1 or x2.", _logical)
logical_xor = _two("numpy.LogicalXor", math.logical_xor, "Returns either x1 or x2.", _logical)


@operation("numpy.LogicalNot")
def logical_not(x: Any) -> Any:
    """Returns not x."""
    return math.logical_not(*_logical(x))


def _of_floats(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: function(x) if x.dtype.is_floating else function(math.cast(x, "float64"))


isnan = _any("numpy.Isnan", _of_floats(math.is_nan), "Returns where x is NaN.")
isinf = _any("numpy.Isinf", _of_floats(math.is_inf), "Returns where x is infinite.")
isfinite = _any("numpy.Isfinite", _of_floats(math.is_finite), "Returns where x is finite.")
isposinf = _any("numpy.Isposinf", _of_floats(lambda x: math.logical_and(math.is_inf(x), x > 0)),
                "Returns where x is +inf.")  # fmt: skip
isneginf = _any("numpy.Isneginf", _of_floats(lambda x: math.logical_and(math.is_inf(x), x < 0)),
                "Returns where x is -inf.")  # fmt: skip
isreal = _any("numpy.Isreal", lambda x: math.equal(math.imag(x), 0) if x.dtype.is_complex
              else math.equal(math.cast(x, "int32") * 0, 0), "Returns where x is real.",
              )  # fmt: skip
signbit = _any("numpy.Signbit", lambda x: _signbit(x), "Returns where the sign is minus.")


def _signbit(x: Any) -> Any:
    if not x.dtype.is_floating:
        return math.less(math.cast(x, "int64"), 0)
    # 1 / -0 is -inf: the sign of a zero shows in its reciprocal.
    return math.logical_or(x < 0, math.logical_and(math.equal(x, 0), 1 / x < 0))


@operation("numpy.Isclose", "equal_nan")
def isclose(x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8,
            equal_nan: bool = False) -> Any:  # fmt: skip
    """Returns where |x1 - x2| <= atol + rtol * |x2|."""
    x, y = floats(x1, x2)
    near = math.logical_or(math.equal(x, y), math.logical_and(
        math.is_finite(y), math.abs(x - y) <= atol + rtol * math.abs(y)))  # fmt: skip
    if equal_nan:
        near = math.logical_or(near, math.logical_and(math.is_nan(x), math.is_nan(y)))
    return near


# -- bits ----------------------------------------------------------------------------------------

bitwise_and = _two("numpy.BitwiseAnd", bitwise.bitwise_and, "Returns the bits of both.")
bitwise_or = _two("numpy.BitwiseOr", bitwise.bitwise_or, "Returns the bits of either.")
bitwise_xor = _two("numpy.BitwiseXor", bitwise.bitwise_xor, "Returns the bits of just one.")
bitwise_left_shift = _two("numpy.BitwiseLeftShift", bitwise.left_shift, "Returns x << y.")
bitwise_right_shift = _two("numpy.BitwiseRightShift", bitwise.right_shift, "Returns x >> y.")
left_shift = _two("numpy.LeftShift", bitwise.left_shift, "Returns x << y.")
right_shift = _two("numpy.RightShift", bitwise.right_shift, "Returns x >> y.")
bitwise_not = _any("numpy.BitwiseNot", bitwise.invert, "Returns ~x.")
bitwise_invert = _any("numpy.BitwiseInvert", bitwise.invert, "Returns ~x.")

# -- elementary functions ------------------------------------------------------------------------

exp = _float("numpy.Exp", math.exp, "Returns e^x.")
exp2 = _float("numpy.Exp2", lambda x: math.pow(math.zero_of(x) + 2, x), "Returns 2^x.")
expm1 = _float("numpy.Expm1", math.expm1, "Returns e^x - 1, exact near 0.")
log = _float("numpy.Log", math.log, "Returns the natural logarithm.")
log1p = _float("numpy.Log1p", math.log1p, "Returns log(1 + x), exact near 0.")
log2 = _float("numpy.Log2", lambda x: math.log(x) / _math.log(2), "Returns log2(x).")
log10 = _float("numpy.Log10", lambda x: math.log(x) / _math.log(10), "Returns log10(x).")
sqrt = _float("numpy.Sqrt", math.sqrt, "Returns the square root.")
rsqrt = _float("math.Rsqrt", math.rsqrt, "Returns 1 / sqrt(x).")
cbrt = _float("numpy.Cbrt", lambda x: math.sign(x) * math.pow(math.abs(x), 1 / 3),
              "Returns the cube root.")  # fmt: skip
sin = _float("numpy.Sin", math.sin, "Returns sin(x).")
cos = _float("numpy.Cos", math.cos, "Returns cos(x).")
tan = _float("numpy.Tan", math.tan, "Returns tan(x).")
sinh = _float("numpy.Sinh", math.sinh, "Returns sinh(x).")
cosh = _float("numpy.Cosh", math.cosh, "Returns cosh(x).")
tanh = _float("numpy.Tanh", math.tanh, "Returns tanh(x).")
arcsin = _float("numpy.Arcsin", math.asin, "Returns the inverse of sin.")
arccos = _float("numpy.Arccos", math.acos, "Returns the inverse of cos.")
arctan = _float("numpy.Arctan", math.atan, "Returns the inverse of tan.")
arcsinh = _float("numpy.Arcsinh", math.asinh, "Returns the inverse of sinh.")
arccosh = _float("numpy.Arccosh", math.acosh, "Returns the inverse of cosh.")
arctanh = _float("numpy.Arctanh", math.atanh, "Returns the inverse of tanh.")
deg2rad = _float("numpy.Deg2rad", lambda x: x * (_math.pi / 180), "Returns degrees as radians.")
rad2deg = _float("numpy.Rad2deg", lambda x: x * (180 / _math.pi), "Returns radians as degrees.")
erf = _float("math.Erf", math.erf, "Returns the error function.")
erfc = _float("math.Erfc", special.erfc, "Returns 1 - erf(x).")
erfinv = _float("math.Erfinv", math.erfinv, "Returns the inverse of erf.")


def _sinc(x: Any) -> Any:
    zero = math.equal(x, 0)
    safe = select(zero, x * 0 + 1, x) * _math.pi
    return select(zero, x * 0 + 1, math.sin(safe) / safe)


sinc = _float("numpy.Sinc", _sinc, "Returns sin(pi x) / (pi x), and 1 at 0.")

# -- rounding and limits -------------------------------------------------------------------------

floor = _float("numpy.Floor", math.floor, "Returns the largest integer <= x, as a float.")
ceil = _float("numpy.Ceil", math.ceil, "Returns the smallest integer >= x, as a float.")


@operation("numpy.Trunc")
def trunc(x: Any) -> Any:
    """Returns x without its fraction."""
    x = tensor(x)
    if not x.dtype.is_floating:
        return x
    return select(x < 0, math.ceil(x), math.floor(x))


@operation("numpy.Round", "decimals")
def round(x: Any, decimals: int = 0) -> Any:
    """Returns x rounded to a number of decimals, halves to even."""
    x = tensor(x)
    if not decimals or not x.dtype.is_floating:
        return math.round(x) if x.dtype.is_floating else x
    scale = builtins.pow(10.0, decimals)
    return math.round(x * scale) / scale


@operation("numpy.Clip", "x_min", "x_max")
def clip(x: Any, x_min: Any, x_max: Any) -> Any:
    """Returns x limited to [x_min, x_max]."""
    x = tensor(x)
    if x.dtype is dtypes.bool_:
        x = math.cast(x, "int32")
    low, high = (tensor(v) if isinstance(v, np.ndarray) else v for v in (x_min, x_max))
    return math.minimum(math.maximum(x, _like(low, x)), _like(high, x))


def _like(value: Any, x: Any) -> Any:
    if isinstance(value, int | float):
        return np.asarray(value).astype(x.dtype.numpy)
    return math.cast(tensor(value), x.dtype)


@operation("numpy.NanToNum", "nan", "posinf", "neginf")
def nan_to_num(x: Any, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    """Returns x with NaN replaced by `nan` and infinities by the largest numbers, or as given."""
    x = tensor(x)
    if not x.dtype.is_floating:
        return x
    largest = float(dtypes.as_dtype(x.dtype).max)
    high = largest if posinf is None else posinf
    low = -largest if neginf is None else neginf
    infinite = math.is_inf(x)
    y = select(math.is_nan(x), x * 0 + nan, x)
    y = select(math.logical_and(infinite, x > 0), _filled(x, high), y)
    y = select(math.logical_and(infinite, x < 0), _filled(x, low), y)
    return select(math.is_nan(x), _filled(x, nan), y)


def _filled(x: Any, value: float) -> Any:
    return select(math.equal(x, x), math.zero_of(x) + value, math.zero_of(x) + value)


@operation("numpy.Nextafter")
def nextafter(x1: Any, x2: Any) -> Any:
    """Returns the next float after x1 in the direction of x2."""
    x, y = floats(x1, x2)
    bits = {2: "int16", 4: "int32", 8: "int64"}[x.dtype.size]
    moved = math.bitcast(x, bits)
    up = math.equal(math.cast(y > x, bits), math.cast(x >= 0, bits))
    one = moved * 0 + 1
    stepped = math.bitcast(select(up, moved + one, moved - one), x.dtype)
    tiny = math.bitcast(one, x.dtype)
    stepped = select(math.equal(x, 0), select(y > 0, tiny, -tiny), stepped)
    nan = math.logical_or(math.is_nan(x), math.is_nan(y))
    return select(nan, x + y, select(math.equal(x, y), y, stepped))


# -- complex numbers -----------------------------------------------------------------------------

real = _any("numpy.Real", lambda x: math.real(x) if x.dtype.is_complex else x,
            "Returns the real part.")  # fmt: skip
imag = _any("numpy.Imag", lambda x: math.imag(x) if x.dtype.is_complex else x * 0,
            "Returns the imaginary part.")  # fmt: skip
conjugate = _any("numpy.Conjugate", math.conj, "Returns the complex conjugate.")
conj = _any("numpy.Conj", math.conj, "Returns the complex conjugate.")


@operation("numpy.Angle")
def angle(x: Any) -> Any:
    """Returns the angle of a complex number, in radians."""
    x = tensor(x)
    if not x.dtype.is_complex:
        (x,) = floats(x)
        return math.atan2(math.zero_of(x), x)
    return math.atan2(math.imag(x), math.real(x))


@operation("math.ViewAsComplex")
def view_as_complex(x: Any) -> Any:
    """Returns complex numbers from pairs (real, imaginary) in the last axis."""
    x = tensor(x)
    return math.complex(x[..., 0], x[..., 1])


@operation("math.ViewAsReal")
def view_as_real(x: Any) -> Any:
    """Returns pairs (real, imaginary) in a new last axis from complex numbers."""
    x = tensor(x)
    return shaping.stack([math.real(x), math.imag(x)], -1)


@operation("numpy.AllClose", "rtol", "atol", "equal_nan")
def allclose(x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8,
             equal_nan: bool = False) -> Any:  # fmt: skip
    """Returns whether all elements are close to each other, as `isclose` says."""
    return reduce.reduce_all(isclose(x1, x2, rtol, atol, equal_nan))
