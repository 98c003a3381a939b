"""Element by element: 25 unary and 19 binary functions, select, cast and the complex parts.

Each record holds the meaning and the derivative. Gradients are written with public operations,
so they work on values, in traces, and on themselves.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.base.dtypes import BOOL, COMPLEX, FLOATING, INEXACT, INTEGER, NUMERIC, REAL
from distflow.core.primitive import Primitive
from distflow.ops.prims import reference as ref_
from distflow.ops.prims.factories import binary, check_dtype, check_same, unary, unbroadcast

_TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)


def _sigmoid(x: Any) -> Any:
    # Two branches so that exp never overflows.
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


# -- unary ---------------------------------------------------------------------------------

neg = unary("neg", accepts=NUMERIC, ref=np.negative, grad=lambda g, y, x: -g)
abs_ = unary("abs", accepts=REAL, ref=np.abs, grad=lambda g, y, x: g * sign(x))
sign: Primitive = unary("sign", accepts=REAL, ref=np.sign, grad=lambda g, y, x: g * 0)
floor = unary("floor", accepts=FLOATING, ref=np.floor, grad=None)
ceil = unary("ceil", accepts=FLOATING, ref=np.ceil, grad=None)
# Ties go to the even number, as in IEEE 754 and TF.
round_ = unary("round", accepts=REAL, ref=np.rint, grad=None)
logical_not = unary("not", accepts=BOOL | INTEGER, ref=np.invert, grad=None)

exp = unary("exp", accepts=INEXACT, ref=np.exp, grad=lambda g, y, x: g * conj(y))
expm1 = unary("expm1", accepts=INEXACT, ref=np.expm1, grad=lambda g, y, x: g * conj(y + 1))
log = unary("log", accepts=INEXACT, ref=np.log, grad=lambda g, y, x: g / conj(x))
log1p = unary("log1p", accepts=INEXACT, ref=np.log1p, grad=lambda g, y, x: g / conj(1 + x))
sqrt = unary("sqrt", accepts=INEXACT, ref=np.sqrt, grad=lambda g, y, x: g * 0.5 / conj(y))
rsqrt = unary(
    "rsqrt", accepts=INEXACT, ref=lambda x: 1 / np.sqrt(x),
    grad=lambda g, y, x: g * -0.5 * conj(y * y * y),
)  # fmt: skip
sin = unary("sin", accepts=INEXACT, ref=np.sin, grad=lambda g, y, x: g * conj(cos(x)))
cos: Primitive = unary("cos", accepts=INEXACT, ref=np.cos, grad=lambda g, y, x: -g * conj(sin(x)))
tan = unary("tan", accepts=INEXACT, ref=np.tan, grad=lambda g, y, x: g * conj(1 + y * y))
asin = unary("asin", accepts=FLOATING, ref=np.arcsin, grad=lambda g, y, x: g * rsqrt(1 - x * x))
acos = unary("acos", accepts=FLOATING, ref=np.arccos, grad=lambda g, y, x: -g * rsqrt(1 - x * x))
atan = unary("atan", accepts=FLOATING, ref=np.arctan, grad=lambda g, y, x: g / (1 + x * x))
tanh = unary("tanh", accepts=INEXACT, ref=np.tanh, grad=lambda g, y, x: g * conj(1 - y * y))
sigmoid = unary("sigmoid", accepts=FLOATING, ref=_sigmoid, grad=lambda g, y, x: g * (y * (1 - y)))
erf = unary(
    "erf", accepts=FLOATING, ref=ref_.erf,
    grad=lambda g, y, x: g * (_TWO_OVER_SQRT_PI * exp(-(x * x))),
)  # fmt: skip
erfinv = unary(
    "erfinv", accepts=FLOATING, ref=ref_.erfinv,
    grad=lambda g, y, x: g * (exp(y * y) * (1 / _TWO_OVER_SQRT_PI)),
)  # fmt: skip
lgamma = unary("lgamma", accepts=FLOATING, ref=ref_.lgamma, grad=lambda g, y, x: g * digamma(x))
digamma: Primitive = unary(
    "digamma", accepts=FLOATING, ref=ref_.digamma, grad=lambda g, y, x: g * _trigamma(x)
)

# -- binary --------------------------------------------------------------------------------


def _trigamma(x: Any) -> Any:
    """Returns the derivative of digamma, in public operations (it is not in the set).

    Recurrence to x + 10, the asymptotic series there, reflection below 1/2 (Abramowitz & Stegun
    6.4.6, 6.4.12, 6.4.7).
    """
    reflect = lt(x, 0.5)
    z = select(reflect, 1 - x, x)
    far = z + 10
    r = 1 / far
    s = r * r
    total = r + s / 2 + r * s * (1 / 6 - s * (1 / 30 - s * (1 / 42 - s * (1 / 30 - s * (5 / 66)))))
    for k in range(10):
        total = total + 1 / ((z + k) * (z + k))
    sine = sin(math.pi * select(reflect, x, x * 0 + 0.5))
    return select(reflect, (math.pi * math.pi) / (sine * sine) - total, total)


def _floordiv(x: Any, y: Any) -> Any:
    if x.dtype.kind in "iu" and np.any(y == 0):
        raise _division_by_zero("floordiv")
    # floor(x / y) as in TF: np.floor_divide corrects by the remainder, and inf // 2 is NaN.
    return np.floor_divide(x, y) if x.dtype.kind in "iu" else np.floor(np.divide(x, y))


def _mod(x: Any, y: Any) -> Any:
    if x.dtype.kind in "iu" and np.any(y == 0):
        raise _division_by_zero("mod")
    return np.mod(x, y)


def _pow(x: Any, y: Any) -> Any:
    if x.dtype.kind == "i" and np.any(y < 0):
        raise _invalid(
            "pow", "integers cannot be raised to negative powers", f"exponent {int(np.min(y))}"
        )
    return np.power(x, y)


def _pow_grad(g: Any, z: Any, x: Any, y: Any) -> tuple[Any, Any]:
    # d/dy = z log x; where x <= 0 the logarithm does not exist and 0 is the convention (TF's).
    gx = g * conj(y * pow_(x, y - 1))
    safe = x if x.dtype.is_complex else select(x > 0, x, x * 0 + 1)
    return gx, g * conj(z * log(safe))


def _div(x: Any, y: Any) -> Any:
    if x.dtype.kind in "iu":
        if np.any(y == 0):
            raise _division_by_zero("div")
        # Towards zero; not by way of floats, which do not hold all 64-bit integers.
        floor = np.floor_divide(x, y)
        return floor + ((floor < 0) & (floor * y != x))
    return np.divide(x, y)


def _extremum_grad(compare: Any) -> Any:
    # A tie gives the whole gradient to the first operand, as in TF.
    return (
        lambda g, z, x, y: select(compare(x, y), g, np.zeros((), g.dtype.numpy)),
        lambda g, z, x, y: select(compare(x, y), np.zeros((), g.dtype.numpy), g),
    )


add = binary("add", accepts=NUMERIC, ref=np.add, grad=lambda g, z, x, y: (g, g))
sub = binary(
    "sub", accepts=NUMERIC, ref=np.subtract,
    grad=(lambda g, z, x, y: g, lambda g, z, x, y: -g),
)  # fmt: skip
mul = binary(
    "mul", accepts=NUMERIC, ref=np.multiply,
    grad=(lambda g, z, x, y: g * conj(y), lambda g, z, x, y: g * conj(x)),
)  # fmt: skip
div = binary(
    "div", accepts=NUMERIC, ref=_div,
    grad=(lambda g, z, x, y: g / conj(y), lambda g, z, x, y: -g * conj(z / y)),
)  # fmt: skip
floordiv = binary("floordiv", accepts=REAL, ref=_floordiv, grad=None)
mod = binary("mod", accepts=REAL, ref=_mod, grad=lambda g, z, x, y: (g, -g * floordiv(x, y)))
pow_ = binary("pow", accepts=NUMERIC, ref=_pow, grad=_pow_grad)
atan2 = binary(
    "atan2", accepts=FLOATING, ref=np.arctan2,
    grad=lambda g, z, y, x: (g * x / (x * x + y * y), -g * y / (x * x + y * y)),
)  # fmt: skip
max_ = binary("max", accepts=REAL, ref=np.maximum, grad=_extremum_grad(lambda x, y: x >= y))
min_ = binary("min", accepts=REAL, ref=np.minimum, grad=_extremum_grad(lambda x, y: x <= y))
and_ = binary("and", accepts=BOOL | INTEGER, ref=np.bitwise_and, grad=None)
or_ = binary("or", accepts=BOOL | INTEGER, ref=np.bitwise_or, grad=None)
xor = binary("xor", accepts=BOOL | INTEGER, ref=np.bitwise_xor, grad=None)
shl = binary("shl", accepts=INTEGER, ref=np.left_shift, grad=None)
shr = binary("shr", accepts=INTEGER, ref=np.right_shift, grad=None)
eq = binary("eq", accepts=dtypes.ANY, ref=np.equal, grad=None, out=dtypes.bool_)
ne = binary("ne", accepts=dtypes.ANY, ref=np.not_equal, grad=None, out=dtypes.bool_)
lt = binary("lt", accepts=REAL, ref=np.less, grad=None, out=dtypes.bool_)
le = binary("le", accepts=REAL, ref=np.less_equal, grad=None, out=dtypes.bool_)

# -- select and type -----------------------------------------------------------------------


def _select_dtype(condition: Any, x: Any, y: Any) -> Any:
    check_dtype("select", BOOL, condition)
    return check_same("select", x, y)


def _select_grad(
    g: Any, z: Any, condition: Any, x: Any, y: Any, wanted: tuple[bool, ...] = (False, True, True)
) -> tuple[Any, ...]:
    # A constant, not g * 0: the side that was not chosen must not see an infinite g as NaN.
    zero = np.zeros((), g.dtype.numpy)
    return (
        None,
        unbroadcast(select(condition, g, zero), x, y, condition) if wanted[1] else None,
        unbroadcast(select(condition, zero, g), y, x, condition) if wanted[2] else None,
    )


def _cast_dtype(x: Any, *, dtype: Any) -> Any:
    if (x is dtypes.string) != (dtype is dtypes.string):
        check_dtype("cast", dtypes.STORED, dtypes.string)
    return dtype


def _cast_ref(x: Any, *, dtype: Any) -> Any:
    with np.errstate(all="ignore"):
        if x.dtype.kind == "c" and not dtype.is_complex:
            x = x.real
        return x.astype(dtype.numpy)


def _cast_grad(g: Any, y: Any, x: Any, *, dtype: Any) -> tuple[Any]:
    differentiable = x.dtype in INEXACT and dtype in INEXACT
    return (cast(g, dtype=x.dtype) if differentiable else None,)


def _bitcast_ref(x: Any, *, dtype: Any) -> Any:
    return np.asarray(x, order="C").view(dtype.numpy)


def _bitcast_shape(x: Any, *, dtype: Any) -> Any:
    return tuple(x)


def _bitcast_dtype(x: Any, *, dtype: Any) -> Any:
    if x.size != dtype.size or dtypes.string in (x, dtype):
        raise _invalid("bitcast", "both dtypes must have the same size", f"{x.name}, {dtype.name}")
    return dtype


select: Primitive = Primitive(
    "select",
    _select_dtype,
    lambda c, x, y: shapes.broadcast("select", c, x, y),
    np.where,
    _select_grad,
    family="select",
    match=(1, 2),
    selective=True,
)
stop_gradient = Primitive(
    "stop_gradient", lambda x: x, lambda x: tuple(x), lambda x: x, None, family="select"
)
cast: Primitive = Primitive(
    "cast", _cast_dtype, lambda x, *, dtype: tuple(x), _cast_ref, _cast_grad, family="select"
)
bitcast = Primitive("bitcast", _bitcast_dtype, _bitcast_shape, _bitcast_ref, None, family="select")

_COMPLEX_OF = {dtypes.float32: dtypes.complex64, dtypes.float64: dtypes.complex128}


def _complex_dtype(x: Any, y: Any) -> Any:
    return _COMPLEX_OF[check_dtype("complex", frozenset(_COMPLEX_OF), check_same("complex", x, y))]


complex_ = Primitive(
    "complex",
    _complex_dtype,
    lambda x, y: shapes.broadcast("complex", x, y),
    lambda x, y: x + np.asarray(1j, np.result_type(x, np.complex64)) * y,
    lambda g, z, x, y: (unbroadcast(real(g), x, y), unbroadcast(imag(g), y, x)),
    family="select",
    match=None,
)
real: Primitive = Primitive(
    "real", lambda x: check_dtype("real", COMPLEX, x).real_dtype, lambda x: tuple(x),
    lambda x: np.asarray(np.real(x), order="C"), lambda g, y, x: (complex_(g, g * 0),),
    family="select",
)  # fmt: skip
imag: Primitive = Primitive(
    "imag", lambda x: check_dtype("imag", COMPLEX, x).real_dtype, lambda x: tuple(x),
    lambda x: np.asarray(np.imag(x), order="C"), lambda g, y, x: (complex_(g * 0, g),),
    family="select",
)  # fmt: skip
conj_: Primitive = Primitive(
    "conj", lambda x: check_dtype("conj", COMPLEX, x), lambda x: tuple(x), np.conj,
    lambda g, y, x: (conj_(g),), family="select",
)  # fmt: skip


def conj(x: Any) -> Any:
    """Returns the complex conjugate; a real tensor is its own."""
    return conj_(x) if x.dtype.is_complex else x


def _invalid(where: str, expected: str, received: str) -> Exception:
    return errors.invalid(where, expected, received)


def _division_by_zero(name: str) -> Exception:
    return _invalid(name, "integer divisors must not be zero", "a divisor of 0")
