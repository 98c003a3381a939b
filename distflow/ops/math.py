"""Elementwise mathematics as TF2 names it: primitives under their public names, and composites."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.core.convert import convert_to_tensor, match
from distflow.core.tensor import EagerTensor, Tensor
from distflow.ops.prims import creation
from distflow.ops.prims import elementwise as p
from distflow.ops.prims.reduction import cumprod as _cumprod
from distflow.ops.prims.reduction import cumsum as _cumsum
from distflow.ops.strings import join

pi = float(np.pi)


# -- arithmetic ----------------------------------------------------------------------------


def add(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns x + y, element by element, with broadcasting; strings are joined."""
    try:
        return p.add(x, y)
    except errors.DtypeMismatchError:
        if not all(convert_to_tensor(v).dtype is dtypes.string for v in (x, y)):
            raise
    return join([x, y])


def subtract(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns x - y, element by element, with broadcasting."""
    return p.sub(x, y)


def multiply(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns x * y, element by element, with broadcasting."""
    return p.mul(x, y)


def divide(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns x / y as Python 3 divides: integers give float64 (8 and 16 bits: float32)."""
    x, y = match("divide", (x, y), None)
    if x.dtype is y.dtype and x.dtype.is_integer:
        wide = dtypes.float32 if x.dtype.size < 4 else dtypes.float64
        return p.div(p.cast(x, dtype=wide), p.cast(y, dtype=wide))
    return p.div(x, y)


truediv = divide


def div_no_nan(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns x / y, and 0 where y is 0."""
    x, y = pair(x, y)
    if isinstance(y, EagerTensor) and y.ndim == 0 and y.array != 0:
        return p.div(x, y)  # as below, in one operation instead of seven
    zero = p.eq(y, 0)
    safe = p.select(zero, y * 0 + 1, y)
    result = p.div(x, safe)
    return p.select(zero, result * 0, result)


divide_no_nan = div_no_nan


def multiply_no_nan(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns x * y, and 0 where y is 0, even if x is infinite or NaN there."""
    x, y = pair(x, y)
    zero = p.eq(y, 0)
    product = p.mul(x, y)
    return p.select(zero, zero_of(product), product)


def zero_of(x: Any) -> Any:
    """Returns the scalar 0 of the dtype of x."""
    return convert_to_tensor(np.zeros((), x.dtype.numpy))


def pair(x: Any, y: Any) -> tuple[Any, Any]:
    """Returns both as tensors of one dtype: that of the first tensor among them."""
    if isinstance(x, Tensor):
        return x, y if isinstance(y, Tensor) else convert_to_tensor(y, x.dtype)
    y = convert_to_tensor(y)
    return convert_to_tensor(x, y.dtype), y


def floordiv(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns floor(x / y)."""
    return p.floordiv(x, y)


def floormod(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns the remainder of floor division: it has the sign of y."""
    return p.mod(x, y)


mod = floormod


def pow(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns x to the power of y."""
    return p.pow_(x, y)


def maximum(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns the larger of x and y; NaN if either is NaN."""
    return p.max_(x, y)


def minimum(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns the smaller of x and y; NaN if either is NaN."""
    return p.min_(x, y)


def squared_difference(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns (x - y)^2."""
    return square(p.sub(x, y))


def negative(x: Any, name: Any = None) -> Tensor:
    """Returns -x."""
    return p.neg(x)


def abs(x: Any, name: Any = None) -> Tensor:
    """Returns |x|; for complex x the modulus, a real tensor."""
    x = convert_to_tensor(x)
    if x.dtype.is_complex:
        real, imag = p.real(x), p.imag(x)
        return p.sqrt(real * real + imag * imag)
    return p.abs_(x)


def square(x: Any, name: Any = None) -> Tensor:
    """Returns x * x."""
    x = convert_to_tensor(x)
    return p.mul(x, x)


def reciprocal(x: Any, name: Any = None) -> Tensor:
    """Returns 1 / x."""
    x = convert_to_tensor(x)
    return p.div(x * 0 + 1, x)


def reciprocal_no_nan(x: Any, name: Any = None) -> Tensor:
    """Returns 1 / x, and 0 where x is 0."""
    x = convert_to_tensor(x)
    return div_no_nan(convert_to_tensor(np.ones((), x.dtype.numpy)), x)


def add_n(inputs: Any, name: Any = None) -> Tensor:
    """Returns the sum of a list of tensors, added from the first to the last."""
    if not isinstance(inputs, list | tuple):
        return convert_to_tensor(inputs)
    if not inputs:
        raise errors.invalid("add_n", "at least one tensor is needed", "an empty list")
    total = convert_to_tensor(inputs[0])
    for term in inputs[1:]:
        total = p.add(total, term)
    return total


def scalar_mul(scalar: Any, x: Any, name: Any = None) -> Tensor:
    """Returns scalar * x."""
    return p.mul(scalar, x)


# -- functions of one argument -------------------------------------------------------------


def _public(primitive: Any, name: str, meaning: str) -> Any:
    def function(x: Any, name: Any = None) -> Tensor:
        return primitive(x)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Returns {meaning}, element by element."
    return function


sign = _public(p.sign, "sign", "-1, 0 or 1")
floor = _public(p.floor, "floor", "the largest integer <= x")
ceil = _public(p.ceil, "ceil", "the smallest integer >= x")
exp = _public(p.exp, "exp", "e to the power of x")
expm1 = _public(p.expm1, "expm1", "exp(x) - 1, exact near 0")
log = _public(p.log, "log", "the natural logarithm (NaN below 0, -inf at 0)")
log1p = _public(p.log1p, "log1p", "log(1 + x), exact near 0")
sqrt = _public(p.sqrt, "sqrt", "the square root (NaN below 0)")
rsqrt = _public(p.rsqrt, "rsqrt", "1 / sqrt(x)")
sin = _public(p.sin, "sin", "the sine of x radians")
cos = _public(p.cos, "cos", "the cosine of x radians")
tan = _public(p.tan, "tan", "the tangent of x radians")
asin = _public(p.asin, "asin", "the arc sine in radians")
acos = _public(p.acos, "acos", "the arc cosine in radians")
atan = _public(p.atan, "atan", "the arc tangent in radians")
tanh = _public(p.tanh, "tanh", "the hyperbolic tangent")
sigmoid = _public(p.sigmoid, "sigmoid", "1 / (1 + exp(-x))")
erf = _public(p.erf, "erf", "the Gauss error function")
erfinv = _public(p.erfinv, "erfinv", "the inverse of erf")
lgamma = _public(p.lgamma, "lgamma", "log |gamma(x)|")
digamma = _public(p.digamma, "digamma", "the derivative of lgamma")
ceiling = ceil


def round(x: Any, name: Any = None) -> Tensor:
    """Returns the nearest integer; ties go to the even one."""
    return p.round_(x)


rint = round


def sinh(x: Any, name: Any = None) -> Tensor:
    """Returns the hyperbolic sine."""
    x = convert_to_tensor(x)
    # (exp(x) - exp(-x)) / 2 by expm1, so that small x keep their digits.
    return _sinh(x) if x.dtype.is_complex else _odd(_sinh, x)


def _sinh(x: Any) -> Any:
    e = p.expm1(x)
    return 0.5 * (e + e / (e + 1))


def _odd(function: Any, x: Any) -> Any:
    """Returns f(x) for an odd f that is exact where x >= 0 only; 0 belongs to that side."""
    negative = p.lt(x, zero_of(x))
    y = function(p.select(negative, -x, x))
    return p.select(negative, -y, y)


def cosh(x: Any, name: Any = None) -> Tensor:
    """Returns the hyperbolic cosine."""
    x = convert_to_tensor(x)
    return 0.5 * p.exp(x) + 0.5 * p.exp(-x)


def asinh(x: Any, name: Any = None) -> Tensor:
    """Returns the inverse hyperbolic sine."""
    return _odd(lambda a: p.log1p(a + a * a / (1 + p.sqrt(a * a + 1))), convert_to_tensor(x))


def acosh(x: Any, name: Any = None) -> Tensor:
    """Returns the inverse hyperbolic cosine (NaN below 1)."""
    x = convert_to_tensor(x)
    return p.log(x + p.sqrt(x + 1) * p.sqrt(x - 1))


def atanh(x: Any, name: Any = None) -> Tensor:
    """Returns the inverse hyperbolic tangent."""
    x = convert_to_tensor(x)
    return 0.5 * (p.log1p(x) - p.log1p(-x))


def atan2(y: Any, x: Any, name: Any = None) -> Tensor:
    """Returns the angle of the point (x, y) in radians."""
    return p.atan2(y, x)


def softplus(x: Any, name: Any = None) -> Tensor:
    """Returns log(1 + exp(x)), without overflow."""
    x = convert_to_tensor(x)
    # By select, not max and abs: then the gradient at 0 is sigmoid(0), too.
    positive = p.lt(zero_of(x), x)
    tail = p.log1p(p.exp(p.select(positive, -x, x)))
    return p.add(p.select(positive, x, zero_of(x)), tail)


def log_sigmoid(x: Any, name: Any = None) -> Tensor:
    """Returns log(sigmoid(x)), without underflow."""
    return -softplus(-convert_to_tensor(x))


# -- comparison and logic ------------------------------------------------------------------


def equal(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns x == y, element by element, as bool."""
    return p.eq(x, y)


def not_equal(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns x != y, element by element, as bool."""
    return p.ne(x, y)


def less(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns x < y, element by element, as bool."""
    return p.lt(x, y)


def less_equal(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns x <= y, element by element, as bool."""
    return p.le(x, y)


def greater(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns x > y, element by element, as bool."""
    return p.lt(y, x)


def greater_equal(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns x >= y, element by element, as bool."""
    return p.le(y, x)


def logical_and(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns x and y, for bool tensors."""
    return p.and_(_boolean("logical_and", x), _boolean("logical_and", y))


def logical_or(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns x or y, for bool tensors."""
    return p.or_(_boolean("logical_or", x), _boolean("logical_or", y))


def logical_xor(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns whether exactly one of two bool tensors is true."""
    return p.xor(_boolean("logical_xor", x), _boolean("logical_xor", y))


def logical_not(x: Any, name: Any = None) -> Tensor:
    """Returns not x, for bool tensors."""
    return p.logical_not(_boolean("logical_not", x))


def _boolean(where: str, x: Any) -> Tensor:
    x = convert_to_tensor(x)
    if x.dtype is not dtypes.bool_:
        raise errors.DtypeMismatchError(f"{where}: expected bool; received {x.dtype.name}.")
    return x


def is_nan(x: Any, name: Any = None) -> Tensor:
    """Returns where x is NaN."""
    x = convert_to_tensor(x)
    return p.ne(x, x)


def is_inf(x: Any, name: Any = None) -> Tensor:
    """Returns where x is +inf or -inf."""
    return p.eq(p.abs_(convert_to_tensor(x)), float("inf"))


def is_finite(x: Any, name: Any = None) -> Tensor:
    """Returns where x is neither infinite nor NaN."""
    return p.lt(p.abs_(convert_to_tensor(x)), float("inf"))


# -- types ---------------------------------------------------------------------------------


def cast(x: Any, dtype: Any, name: Any = None) -> Tensor:
    """Returns x with another dtype; floats are truncated towards zero to become integers."""
    x = convert_to_tensor(x)
    dtype = dtypes.as_dtype(dtype)
    return x if x.dtype is dtype else p.cast(x, dtype=dtype)


def saturate_cast(value: Any, dtype: Any, name: Any = None) -> Tensor:
    """Returns `value` cast to dtype, with values outside its range set to the nearest limit."""
    value, dtype = convert_to_tensor(value), dtypes.as_dtype(dtype)
    low, high = max(value.dtype.min, dtype.min), min(value.dtype.max, dtype.max)
    return cast(clip_by_value(value, low, high), dtype)


def bitcast(input: Any, type: Any, name: Any = None) -> Tensor:
    """Returns the same bits read as another dtype of the same size."""
    return p.bitcast(input, dtype=dtypes.as_dtype(type))


def complex(real: Any, imag: Any, name: Any = None) -> Tensor:
    """Returns real + 1j * imag."""
    return p.complex_(real, imag)


def real(input: Any, name: Any = None) -> Tensor:
    """Returns the real part; a real tensor is its own."""
    input = convert_to_tensor(input)
    return p.real(input) if input.dtype.is_complex else input


def imag(input: Any, name: Any = None) -> Tensor:
    """Returns the imaginary part; zeros for a real tensor."""
    input = convert_to_tensor(input)
    return p.imag(input) if input.dtype.is_complex else input * 0


def conj(x: Any, name: Any = None) -> Tensor:
    """Returns the complex conjugate; a real tensor is its own."""
    return p.conj(convert_to_tensor(x))


def stop_gradient(input: Any, name: Any = None) -> Tensor:
    """Returns the value as a constant: no gradient flows through it."""
    return p.stop_gradient(input)


def clip_by_value(t: Any, clip_value_min: Any, clip_value_max: Any, name: Any = None) -> Tensor:
    """Returns t with values below the minimum or above the maximum set to them."""
    t = convert_to_tensor(t)
    return p.max_(p.min_(t, clip_value_max), clip_value_min)


# -- ranges and cumulative sums ------------------------------------------------------------


def range(start: Any, limit: Any = None, delta: Any = 1, dtype: Any = None,
          name: Any = None) -> Tensor:  # fmt: skip
    """Returns start, start + delta, ... up to but without limit, as a 1-D tensor."""
    if limit is None:
        start, limit = 0, start
    known = all(not isinstance(v, Tensor) or hasattr(v, "array") for v in (start, limit, delta))
    if known:
        values: Any = [np.asarray(v) for v in (start, limit, delta)]
        if any(v.shape for v in values):
            raise errors.invalid("range", "start, limit and delta must be scalars", str(values))
        wanted = (
            dtypes.as_dtype(dtype) if dtype is not None else _range_dtype((start, limit, delta))
        )
        if values[2] == 0:
            raise errors.invalid("range", "delta must not be 0", "0")
        return convert_to_tensor(np.arange(values[0], values[1], values[2]).astype(wanted.numpy))
    start, limit, delta = (convert_to_tensor(v) for v in (start, limit, delta))
    dtype = dtypes.as_dtype(dtype) if dtype is not None else limit.dtype
    start, limit, delta = (cast(v, dtype) for v in (start, limit, delta))
    span = limit - start
    count = -((-span) // delta) if dtype.is_integer else cast(ceil(span / delta), dtypes.int32)
    count = maximum(count, 0)
    steps = creation.iota(count, dtype=dtype, length=None)
    return start + steps * delta


def _range_dtype(values: Any) -> dtypes.DType:
    for value in values:
        if hasattr(value, "dtype"):
            return dtypes.as_dtype(value.dtype)
    return dtypes.float32 if any(isinstance(v, float) for v in values) else dtypes.int32


def cumsum(x: Any, axis: int = 0, exclusive: bool = False, reverse: bool = False,
           name: Any = None) -> Tensor:  # fmt: skip
    """Returns sums over x[..0..i..] along an axis; exclusive leaves x[i] itself out."""
    return _cumulate(_cumsum, x, axis, exclusive, reverse)


def cumprod(x: Any, axis: int = 0, exclusive: bool = False, reverse: bool = False,
            name: Any = None) -> Tensor:  # fmt: skip
    """Returns products over x[..0..i..] along an axis; exclusive leaves x[i] itself out."""
    return _cumulate(_cumprod, x, axis, exclusive, reverse)


def _cumulate(primitive: Any, x: Any, axis: Any, exclusive: bool, reverse: bool) -> Tensor:
    from_shapes = convert_to_tensor(x)
    axis = int(axis) % from_shapes.ndim if from_shapes.ndim else _no_axis(primitive.name)
    return primitive(from_shapes, axis=axis, exclusive=bool(exclusive), reverse=bool(reverse))


def _no_axis(name: str) -> int:
    raise errors.invalid(name, "the input must have at least one dimension", "a scalar")
