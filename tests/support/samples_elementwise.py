"""Samples of the unary, binary, select and type families."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from distflow.base import dtypes
from distflow.base.errors import DtypeMismatchError, InvalidArgumentError
from tests.support.records import (
    BITS,
    COMPLEX,
    FLOATS,
    INEXACT,
    INTS,
    NUMERIC,
    REAL,
    BadInput,
    Extreme,
    Sample,
    distinct,
    each,
    given,
    normal,
    uniform,
)

nan, inf = math.nan, math.inf


def _math(name: str) -> Callable[[Any], Any]:
    return lambda v: getattr(cmath if isinstance(v, complex) else math, name)(v)


def _sigmoid(v: float) -> float:
    return 0.5 * (1 + math.tanh(v / 2))


def _erfinv(v: float) -> float:
    low, high = -6.0, 6.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erf(middle) < v else (low, middle)
    return (low + high) / 2


def _digamma(v: float, steps: int = 400_000) -> float:
    # Euler's series, summed in pairs with the integral of the rest.
    k = np.arange(steps)
    tail = (v - 1) / steps - (v - 1) * v / (2 * steps * steps)
    return float(-np.euler_gamma + np.sum(1 / (k + 1) - 1 / (k + v)) + tail)


def _expm1(v: Any) -> Any:
    return cmath.exp(v) - 1 if isinstance(v, complex) else math.expm1(v)


def _log1p(v: Any) -> Any:
    return cmath.log(1 + v) if isinstance(v, complex) else math.log1p(v)


# op, formula, draw, dtypes, differentiable
_UNARY = [
    ("neg", lambda v: -v, normal(2, 3), NUMERIC, True),
    ("abs", abs, distinct(2, 3), REAL, True),
    ("sign", lambda v: (v > 0) - (v < 0), distinct(2, 3), REAL, True),
    ("floor", math.floor, normal(2, 3), FLOATS, False),
    ("ceil", math.ceil, normal(2, 3), FLOATS, False),
    ("round", round, normal(2, 3), FLOATS, False),
    ("exp", _math("exp"), normal(2, 3), INEXACT, True),
    ("expm1", _expm1, normal(2, 3), INEXACT, True),
    ("log", _math("log"), uniform(0.1, 3, 2, 3), INEXACT, True),
    ("log1p", _log1p, uniform(-0.8, 3, 2, 3), INEXACT, True),
    ("sqrt", _math("sqrt"), uniform(0.1, 3, 2, 3), INEXACT, True),
    ("rsqrt", lambda v: 1 / _math("sqrt")(v), uniform(0.1, 3, 2, 3), INEXACT, True),
    ("sin", _math("sin"), normal(2, 3), INEXACT, True),
    ("cos", _math("cos"), normal(2, 3), INEXACT, True),
    ("tan", _math("tan"), uniform(-1, 1, 2, 3), INEXACT, True),
    ("asin", math.asin, uniform(-0.9, 0.9, 2, 3), FLOATS, True),
    ("acos", math.acos, uniform(-0.9, 0.9, 2, 3), FLOATS, True),
    ("atan", math.atan, normal(2, 3), FLOATS, True),
    ("tanh", _math("tanh"), normal(2, 3), INEXACT, True),
    ("sigmoid", _sigmoid, normal(2, 3), FLOATS, True),
    ("erf", math.erf, normal(2, 3), FLOATS, True),
    ("erfinv", _erfinv, uniform(-0.9, 0.9, 2, 3), FLOATS, True),
    ("lgamma", math.lgamma, uniform(0.2, 4, 2, 3), FLOATS, True),
    ("digamma", _digamma, uniform(0.2, 4, 2, 3), FLOATS, True),
]


def _minimum(x: Any, y: Any) -> Any:
    return x if x <= y else y


def _maximum(x: Any, y: Any) -> Any:
    return x if x >= y else y


# op, formula, draws, dtypes, differentiable
_PAIR = (normal(2, 3), normal(2, 3))
_SAFE = (normal(2, 3), uniform(0.5, 2, 2, 3))
_BINARY = [
    ("add", lambda x, y: x + y, _PAIR, NUMERIC, True),
    ("sub", lambda x, y: x - y, _PAIR, NUMERIC, True),
    ("mul", lambda x, y: x * y, _PAIR, NUMERIC, True),
    ("div", lambda x, y: x / y if not isinstance(x, int) else int(x / y), _SAFE, NUMERIC, True),
    ("floordiv", lambda x, y: math.floor(x / y), _SAFE, REAL, False),
    ("mod", lambda x, y: x - math.floor(x / y) * y, _SAFE, REAL, True),
    ("pow", lambda x, y: x**y, (uniform(0.4, 2, 2, 3), normal(2, 3)), INEXACT, True),
    ("atan2", math.atan2, _PAIR, FLOATS, True),
    ("max", _maximum, (distinct(2, 3), normal(2, 3)), REAL, True),
    ("min", _minimum, (distinct(2, 3), normal(2, 3)), REAL, True),
    ("and", lambda x, y: x & y, _PAIR, BITS, False),
    ("or", lambda x, y: x | y, _PAIR, BITS, False),
    ("xor", lambda x, y: x ^ y, _PAIR, BITS, False),
    ("shl", lambda x, y: x << y, (normal(2, 3), uniform(0, 1, 2, 3)), INTS, False),
    ("shr", lambda x, y: x >> y, (normal(2, 3), uniform(0, 1, 2, 3)), INTS, False),
    ("eq", lambda x, y: x == y, _PAIR, (*NUMERIC, "bool"), False),
    ("ne", lambda x, y: x != y, _PAIR, (*NUMERIC, "bool"), False),
    ("lt", lambda x, y: x < y, _PAIR, REAL, False),
    ("le", lambda x, y: x <= y, _PAIR, REAL, False),
]


def _unary_samples() -> list[Sample]:
    return [
        Sample(
            op,
            (_broadcasts(draw, *shape),),
            each(formula),
            label=label,
            dtypes=kinds if label == "" else kinds[-1:],
            differentiable=None if grad else (),
        )
        for op, formula, draw, kinds, grad in _UNARY
        for label, shape in (("", (2, 3)), ("scalar", ()), ("empty", (0, 3)))
    ]


def _broadcasts(draw: Any, *shape: int) -> Any:
    """The same distribution in another shape: the first elements, repeated."""
    return lambda rng: np.resize(draw(rng), shape)


def _binary_samples() -> list[Sample]:
    samples = []
    for op, formula, (x, y), kinds, grad in _BINARY:
        where = None if grad else ()
        samples.append(Sample(op, (x, y), each(formula), dtypes=kinds, differentiable=where))
        for label, a, b in (
            ("row", (2, 3), (3,)), ("column", (2, 1), (2, 3)), ("scalar", (), (2, 3)),
            ("outer", (4, 1, 3), (2, 1)), ("empty", (0, 3), (1, 3)),
        ):  # fmt: skip
            samples.append(
                Sample(
                    op, (_broadcasts(x, *a), _broadcasts(y, *b)), each(formula),
                    dtypes=kinds[-1:] if grad is False else ("float64",), differentiable=where,
                    label=label,
                )
            )  # fmt: skip
    return samples


def _choose(c: Any, x: Any, y: Any) -> Any:
    return x if c else y


_MASK = given([[True, False, True], [False, False, True]])

SAMPLES = [
    *_unary_samples(),
    *_binary_samples(),
    Sample("not", (normal(2, 3),), each(lambda v: not v if isinstance(v, bool) else ~v),
           dtypes=BITS, differentiable=()),
    Sample("select", (_MASK, normal(2, 3), normal(2, 3)), each(_choose), dtypes=NUMERIC),
    Sample("select", (_MASK, normal(3), normal(2, 1)), each(_choose), label="broadcast"),
    Sample("select", (given([True, False, True]), normal(2, 3), normal()), each(_choose),
           label="row"),
    Sample("stop_gradient", (normal(2, 3),), lambda x: x, dtypes=NUMERIC, differentiable=()),
    Sample("cast", (normal(2, 3),), lambda x, dtype: x.astype(np.float32),
           {"dtype": dtypes.float32}, dtypes=REAL, step=1e-2),
    Sample("cast", (normal(2, 3),), lambda x, dtype: x, {"dtype": dtypes.float64}, label="wide",
           dtypes=REAL),
    Sample("cast", (normal(2, 3),), lambda x, dtype: np.trunc(x).astype(np.int64),
           {"dtype": dtypes.int64}, label="int", differentiable=()),
    Sample("cast", (normal(2, 3),), lambda x, dtype: x + 0j, {"dtype": dtypes.complex128},
           label="complex", dtypes=("float64",)),
    Sample("bitcast", (given([1.0, -2.0], np.float32),),
           lambda x, dtype: np.asarray([0x3F800000, 0xC0000000], np.int64),
           {"dtype": dtypes.uint32}, differentiable=()),
    Sample("complex", (normal(2, 3), normal(3)), each(complex), dtypes=("float32", "float64")),
    Sample("real", (normal(2, 3),), each(lambda v: v.real), dtypes=COMPLEX),
    Sample("imag", (normal(2, 3),), each(lambda v: v.imag), dtypes=COMPLEX),
    Sample("conj", (normal(2, 3),), each(lambda v: v.conjugate()), dtypes=COMPLEX),
    Sample("real", (normal(),), each(lambda v: v.real), dtypes=COMPLEX[-1:], label="scalar"),
    Sample("imag", (normal(),), each(lambda v: v.imag), dtypes=COMPLEX[-1:], label="scalar"),
    Sample("bitcast", (given(1.0, np.float32),),
           lambda x, dtype: np.asarray(0x3F800000, np.int64),
           {"dtype": dtypes.uint32}, differentiable=(), label="scalar"),
]  # fmt: skip


def _f(*values: float) -> Any:
    return np.asarray(values, np.float32)


def _i(*values: int, dtype: Any = np.int32) -> Any:
    return np.asarray(values, dtype)


EXTREMES = [
    Extreme("neg", (_f(0.0, -0.0, inf, nan),), _f(-0.0, 0.0, -inf, nan)),
    Extreme("neg", (_i(-(2**31)),), _i(-(2**31))),
    Extreme("abs", (_f(-0.0, -inf, nan),), _f(0.0, inf, nan)),
    Extreme("abs", (_i(-(2**31)),), _i(-(2**31))),
    Extreme("sign", (_f(nan, 0.0, inf, -inf),), _f(nan, 0.0, 1, -1)),
    Extreme("floor", (_f(-0.5, -0.0, nan, inf),), _f(-1, -0.0, nan, inf)),
    Extreme("ceil", (_f(-0.5, nan, -inf),), _f(-0.0, nan, -inf)),
    Extreme("round", (_f(0.5, 1.5, -0.5, 2.5, inf, nan),), _f(0, 2, -0.0, 2, inf, nan)),
    Extreme("round", (_i(7, -7),), _i(7, -7)),
    Extreme("not", (_i(0, 1, -1),), _i(-1, -2, 0)),
    Extreme("exp", (_f(1e4, -1e4, inf, -inf, nan),), _f(inf, 0, inf, 0, nan)),
    Extreme("expm1", (_f(-0.0, 1e-20, 1e4, -inf),), _f(-0.0, 1e-20, inf, -1)),
    Extreme("log", (_f(0.0, -1, inf, nan, 1),), _f(-inf, nan, inf, nan, 0)),
    Extreme("log1p", (_f(-1, -2, 1e-20, inf),), _f(-inf, nan, 1e-20, inf)),
    Extreme("sqrt", (_f(0.0, -1, inf),), _f(0, nan, inf)),
    Extreme("rsqrt", (_f(0.0, -1, inf),), _f(inf, nan, 0)),
    Extreme("sin", (_f(inf, nan, 0.0),), _f(nan, nan, 0)),
    Extreme("cos", (_f(inf, nan, 0.0),), _f(nan, nan, 1)),
    Extreme("tan", (_f(inf, -0.0),), _f(nan, -0.0)),
    Extreme("asin", (_f(2, nan, -0.0),), _f(nan, nan, -0.0)),
    Extreme("acos", (_f(2, 1, nan),), _f(nan, 0, nan)),
    Extreme("atan", (_f(inf, -0.0),), _f(math.pi / 2, -0.0)),
    Extreme("tanh", (_f(1e4, -1e4, nan, -0.0),), _f(1, -1, nan, -0.0)),
    Extreme("sigmoid", (_f(1e4, -1e4, 0.0, nan, -80.0),), _f(1, 0, 0.5, nan, math.exp(-80))),
    Extreme("erf", (_f(inf, -inf, nan, -0.0),), _f(1, -1, nan, -0.0)),
    Extreme("erfinv", (_f(-1, 1, 2, 0, nan),), _f(-inf, inf, nan, 0, nan)),
    Extreme("lgamma", (_f(0.0, -1, inf, -inf, nan),), _f(inf, inf, inf, inf, nan)),
    Extreme("digamma", (_f(0.0, -1, inf),), _f(nan, nan, inf)),
    Extreme("add", (_f(inf, 3e38, nan), _f(-inf, 3e38, 1)), _f(nan, inf, nan)),
    Extreme("add", (_i(127, dtype=np.int8), _i(1, dtype=np.int8)), _i(-128, dtype=np.int8)),
    Extreme("sub", (_f(inf, -0.0), _f(inf, 0.0)), _f(nan, -0.0)),
    Extreme("mul", (_f(inf, 1e30, -0.0), _f(0.0, 1e30, 1)), _f(nan, inf, -0.0)),
    Extreme("div", (_f(1, -1, 0.0, inf), _f(0.0, 0.0, 0.0, inf)), _f(inf, -inf, nan, nan)),
    Extreme("div", (_i(-7, 7), _i(2, -2)), _i(-3, -3)),
    Extreme("div", (np.asarray([2**62 + 1]), np.asarray([1])), np.asarray([2**62 + 1])),
    Extreme("floordiv", (_f(-3, inf, nan, 1), _f(2, 2, 2, 0.0)), _f(-2, inf, nan, inf)),
    Extreme("floordiv", (_i(-7, 7, -(2**31)), _i(2, -2, -1)), _i(-4, -4, -(2**31))),
    Extreme("mod", (_f(-3, inf, 3, 3), _f(2, 2, inf, 0.0)), _f(1, nan, 3, nan)),
    Extreme("mod", (_i(-7, 7), _i(3, -3)), _i(2, -2)),
    Extreme("pow", (_f(-1, 0, inf, 0, nan), _f(0.5, 0, 0.5, -1, 0)), _f(nan, 1, inf, inf, 1)),
    Extreme("pow", (_i(2, -2, 0), _i(10, 3, 0)), _i(1024, -8, 1)),
    Extreme("atan2", (_f(0.0, -0.0, 1), _f(-1, -1, 0)), _f(math.pi, -math.pi, math.pi / 2)),
    Extreme("max", (_f(nan, 1, -inf), _f(1, nan, inf)), _f(nan, nan, inf)),
    Extreme("min", (_f(nan, 1, -inf), _f(1, nan, inf)), _f(nan, nan, -inf)),
    Extreme("shr", (_i(-8), _i(1)), _i(-4)),
    Extreme("eq", (_f(nan, 0.0, inf), _f(nan, -0.0, inf)), np.asarray([False, True, True])),
    Extreme("eq", (np.asarray([b"a", b"b"], object), np.asarray([b"a", b"c"], object)),
            np.asarray([True, False])),
    Extreme("ne", (_f(nan), _f(nan)), np.asarray([True])),
    Extreme("lt", (_f(nan, -inf), _f(1, inf)), np.asarray([False, True])),
    Extreme("le", (_f(nan, inf), _f(nan, inf)), np.asarray([False, True])),
    Extreme("select", (np.asarray([True, False]), _f(1, nan), _f(nan, 2)), _f(1, 2)),
    Extreme("cast", (_f(2.7, -2.7, -0.0),), _i(2, -2, 0), {"dtype": dtypes.int32}),
    Extreme("cast", (_f(0.0, -0.0, 0.5, nan),), np.asarray([False, False, True, True]),
            {"dtype": dtypes.bool_}),
    Extreme("cast", (_f(1e30),), np.asarray([inf], np.float16), {"dtype": dtypes.float16}),
    Extreme("cast", (_i(300),), _i(44, dtype=np.uint8), {"dtype": dtypes.uint8}),
    Extreme("bitcast", (_f(-0.0),), _i(-(2**31)), {"dtype": dtypes.int32}),
    Extreme("complex", (_f(inf, nan), _f(0.0, 1)), np.asarray([complex(inf, 0), complex(nan, 1)],
            np.complex64)),
]  # fmt: skip

_WORDS = np.asarray([b"a"], object)
_ONE, _TWO = _f(1, 2), _f(1, 2, 3)


def _generic_errors() -> list[BadInput]:
    rows = [
        BadInput(op, (_WORDS,), DtypeMismatchError, f"{op}: expected a dtype among")
        for op in (*(row[0] for row in _UNARY), "not", "real", "imag", "conj")
    ]
    for op, _, _, kinds, _ in _BINARY:
        x = np.ones(2, kinds[0])
        other = np.ones(2, kinds[-2])
        rows.append(BadInput(op, (x, other), DtypeMismatchError, f"{op}: operands must have one"))
        rows.append(BadInput(op, (np.ones((2, 3), kinds[0]), np.ones(4, kinds[0])),
                             InvalidArgumentError, f"{op}: shapes must broadcast"))  # fmt: skip
        if op not in ("eq", "ne"):
            rows.append(BadInput(op, (_WORDS, _WORDS), DtypeMismatchError,
                                 f"{op}: expected a dtype among"))  # fmt: skip
    return rows


ERRORS = [
    *_generic_errors(),
    BadInput("div", (_i(1), _i(0)), InvalidArgumentError, "div: integer divisors must not be zero"),
    BadInput("floordiv", (_i(1), _i(0)), InvalidArgumentError, "integer divisors must not be"),
    BadInput("mod", (_i(1), _i(0)), InvalidArgumentError, "mod: integer divisors must not be"),
    BadInput("pow", (_i(2), _i(-1)), InvalidArgumentError, "negative powers; received exponent -1"),
    BadInput("lt", (np.ones(1, np.complex64),) * 2, DtypeMismatchError, "received complex64"),
    BadInput("sqrt", (_i(1),), DtypeMismatchError, "sqrt: expected a dtype among float16"),
    BadInput("and", (_ONE, _ONE), DtypeMismatchError, "and: expected a dtype among int8"),
    BadInput("select", (_ONE, _ONE, _ONE), DtypeMismatchError, "select: expected a dtype among"),
    BadInput("select", (np.ones(2, bool), _ONE, _i(1, 2)), DtypeMismatchError, "select: operands"),
    BadInput("select", (np.ones(2, bool), _ONE, _TWO), InvalidArgumentError, "select: shapes must"),
    BadInput("cast", (_WORDS,), DtypeMismatchError, "received string", {"dtype": dtypes.float32}),
    BadInput("cast", (_ONE,), DtypeMismatchError, "cast: expected", {"dtype": dtypes.string}),
    BadInput("bitcast", (_ONE,), InvalidArgumentError, "same size", {"dtype": dtypes.int64}),
    BadInput("complex", (_i(1), _i(1)), DtypeMismatchError, "complex: expected a dtype among"),
    BadInput("complex", (_ONE, _TWO), InvalidArgumentError, "complex: shapes must broadcast"),
]  # fmt: skip
