"""Assertions and check_numerics: checked at once if values are known, else when they run.

Inside a trace an assertion becomes a host operation; it keeps its place among other effects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.core import convert
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import EagerTensor, Tensor
from distflow.ops.prims import host
from distflow.ops.printing import text
from distflow.ops.shaping import identity

_SHOWN = 3


def _check(arrays: Any, test: Callable[..., Any], explain: Callable[..., str]) -> None:
    """Runs a test on values: now, or when the traced function runs."""

    def run(*values: Any) -> tuple[Any, ...]:
        if not np.all(test(*values)):
            raise errors.InvalidArgumentError(explain(*values))
        return ()

    if all(isinstance(a, EagerTensor) for a in arrays):
        run(*(a.array for a in arrays))
    else:
        host.host_call(*arrays, fn=run, dtypes=(), shapes=())


def _text(values: Any, limit: Any = None) -> str:
    flat = np.asarray(values).reshape(-1)
    limit = len(flat) if limit == -1 else (limit or _SHOWN)
    return f"First {min(limit, flat.size)} elements of"


def _first(values: Any, limit: Any) -> str:
    flat = np.asarray(values).reshape(-1)
    count = flat.size if limit == -1 else (limit or _SHOWN)
    return str(flat[:count])


def _comparison(name: str, symbol: str, test: Callable[..., Any]) -> Any:
    def assertion(
        x: Any, y: Any, message: Any = None, summarize: Any = None, name: Any = None
    ) -> None:
        static = _static_shapes(x, y)
        if static is not None:
            _compare_shapes(assertion.__name__, symbol, test, static, message)
            return
        a, b = convert.match(assertion.__name__, (x, y), None)
        shapes.broadcast(assertion.__name__, a.shape, b.shape)
        _check((a, b), test, lambda p, q: _mismatch(symbol, test, p, q, message, summarize))

    assertion.__name__ = assertion.__qualname__ = name
    assertion.__doc__ = (
        f"Raises InvalidArgumentError unless x {symbol} y for all elements, with broadcasting.\n\n"
        "    Shapes (a TensorShape beside a tuple) are compared as they stand, also in a trace."
    )
    return assertion


def _static_shapes(x: Any, y: Any) -> Any:
    if not (isinstance(x, shapes.TensorShape) or isinstance(y, shapes.TensorShape)):
        return None
    if isinstance(x, Tensor) or isinstance(y, Tensor):
        return None
    return shapes.TensorShape(x), shapes.TensorShape(y)


def _compare_shapes(where: str, symbol: str, test: Any, pair: Any, message: Any) -> None:
    x, y = pair
    if None in tuple(x) or None in tuple(y):
        agree = x.is_compatible_with(y) if symbol == "==" else True
    else:
        agree = len(x) == len(y) and bool(np.all(test(np.asarray(x), np.asarray(y))))
        agree = agree if symbol != "!=" else len(x) != len(y) or agree
    if not agree:
        text = f"Condition x {symbol} y did not hold; received x: {x}, y: {y}."
        raise errors.InvalidArgumentError(f"{message}\n{text}" if message else text)


def _mismatch(symbol: str, test: Any, x: Any, y: Any, message: Any, limit: Any) -> str:
    a, b = np.broadcast_arrays(x, y)
    wrong = np.argwhere(~np.asarray(test(a, b)))
    count = len(wrong) if limit == -1 else min(len(wrong), limit or _SHOWN)
    places = [tuple(row) for row in wrong[:count]]
    lines = [message] if message else []
    lines += [
        f"Condition x {symbol} y did not hold.",
        f"Indices of first {count} different values: {wrong[:count].tolist()}",
        f"Corresponding x values: {_values(a, places)}",
        f"Corresponding y values: {_values(b, places)}",
        f"{_text(x, limit)} x: {_first(x, limit)}",
        f"{_text(y, limit)} y: {_first(y, limit)}",
    ]
    return "\n".join(lines)


def _values(array: Any, places: Any) -> str:
    return str(np.asarray([array[p] for p in places]))


assert_equal = _comparison("assert_equal", "==", lambda x, y: x == y)
assert_none_equal = _comparison("assert_none_equal", "!=", lambda x, y: x != y)
assert_less = _comparison("assert_less", "<", lambda x, y: x < y)
assert_less_equal = _comparison("assert_less_equal", "<=", lambda x, y: x <= y)
assert_greater = _comparison("assert_greater", ">", lambda x, y: x > y)
assert_greater_equal = _comparison("assert_greater_equal", ">=", lambda x, y: x >= y)


def _sign(name: str, symbol: str, test: Callable[[Any], Any]) -> Any:
    def assertion(x: Any, message: Any = None, summarize: Any = None, name: Any = None) -> None:
        lead = f"{message}\n" if message else ""
        _check(
            (convert_to_tensor(x),),
            test,
            lambda v: (
                f"{lead}Condition x {symbol} 0 did not hold element-wise: "
                f"x = {_first(v, summarize)}"
            ),
        )

    assertion.__name__ = assertion.__qualname__ = name
    assertion.__doc__ = f"Raises InvalidArgumentError unless x {symbol} 0 for all elements."
    return assertion


assert_positive = _sign("assert_positive", ">", lambda x: x > 0)
assert_negative = _sign("assert_negative", "<", lambda x: x < 0)
assert_non_negative = _sign("assert_non_negative", ">=", lambda x: x >= 0)
assert_non_positive = _sign("assert_non_positive", "<=", lambda x: x <= 0)


def assert_near(
    x: Any, y: Any, rtol: Any = None, atol: Any = None, message: Any = None,
    summarize: Any = None, name: Any = None,
) -> None:  # fmt: skip
    """Raises InvalidArgumentError unless |x - y| <= atol + rtol * |y| everywhere.

    The tolerances default to ten times the dtype's epsilon.
    """
    a, b = convert.match("assert_near", (x, y), None)
    kind = a.dtype.real_dtype if a.dtype.is_floating or a.dtype.is_complex else dtypes.float64
    # bfloat16's epsilon is NumPy's unknown: its significand has 8 bits.
    epsilon = 2.0**-7 if kind is dtypes.bfloat16 else float(np.finfo(kind.numpy).eps)
    rtol, atol = (10 * epsilon if t is None else float(t) for t in (rtol, atol))

    def near(p: Any, q: Any) -> Any:
        return np.abs(p - q) <= atol + rtol * np.abs(q)

    _check((a, b), near, lambda p, q: _mismatch(
        f"(within rtol={rtol}, atol={atol} of)", near, p, q, message, summarize))  # fmt: skip


# -- shapes and types ----------------------------------------------------------------------


def assert_rank(x: Any, rank: Any, message: Any = None, name: Any = None) -> None:
    """Raises InvalidArgumentError unless x has the rank."""
    assert_rank_in(x, [rank], message)


def assert_rank_in(x: Any, ranks: Any, message: Any = None, name: Any = None) -> None:
    """Raises InvalidArgumentError unless the rank of x is among `ranks`."""
    shape = convert_to_tensor(x).shape
    wanted = [int(np.asarray(r)) for r in ranks]
    if len(shape) not in wanted:
        text = " or ".join(map(str, wanted))
        raise _wrong("assert_rank", f"rank must be {text}", shape, message)


def assert_rank_at_least(x: Any, rank: Any, message: Any = None, name: Any = None) -> None:
    """Raises InvalidArgumentError unless x has at least the rank."""
    shape = convert_to_tensor(x).shape
    if len(shape) < int(np.asarray(rank)):
        raise _wrong("assert_rank_at_least", f"rank must be at least {rank}", shape, message)


def assert_scalar(tensor: Any, message: Any = None, name: Any = None) -> Tensor:
    """Returns the tensor; raises InvalidArgumentError unless it is a scalar."""
    tensor = convert_to_tensor(tensor)
    if tensor.ndim:
        raise _wrong("assert_scalar", "a scalar is needed", tensor.shape, message)
    return tensor


def _wrong(where: str, expected: str, shape: Any, message: Any) -> Exception:
    text = errors.message(where, expected, f"shape {shapes.text(shape)}")
    return errors.InvalidArgumentError(f"{message}\n{text}" if message else text)


def assert_shapes(
    shapes: Any, data: Any = None, summarize: Any = None, message: Any = None, name: Any = None
) -> None:
    """Raises InvalidArgumentError unless tensors have the given symbolic shapes.

    Args:
      shapes: list of (tensor, shape) pairs, or a dict. A shape holds ints, letters (the same
        letter is the same size everywhere) and None or "." (any size); "..." may stand first.
    """
    sizes: dict[str, int] = {}
    for value, spec in shapes.items() if isinstance(shapes, dict) else shapes:
        value = value.deref() if hasattr(value, "deref") else value
        have = tuple(getattr(value, "shape", None) or convert_to_tensor(value).shape)
        wanted = (spec,) if isinstance(spec, int) else tuple(spec)
        if wanted[:1] in (("...",), (Ellipsis,)):
            wanted = wanted[1:]
            have_tail = have[len(have) - len(wanted) :] if len(have) >= len(wanted) else ()
        else:
            have_tail = have
        if len(have_tail) != len(wanted):
            raise _wrong("assert_shapes", f"rank must fit {spec}", have, message)
        for size, symbol in zip(have_tail, wanted):
            if symbol in (None, ".") or size is None:
                continue
            expected = symbol if isinstance(symbol, int) else sizes.setdefault(str(symbol), size)
            if expected != size:
                raise _wrong(
                    "assert_shapes", f"shape must be {spec} with {symbol} = {expected}", have,
                    message,
                )  # fmt: skip


def assert_type(tensor: Any, tf_type: Any, message: Any = None, name: Any = None) -> None:
    """Raises DtypeMismatchError (a TypeError) unless the tensor has the dtype."""
    have, wanted = convert_to_tensor(tensor).dtype, dtypes.as_dtype(tf_type)
    if have is not wanted:
        lead = f"{message}\n" if message else ""
        raise errors.DtypeMismatchError(
            f"{lead}assert_type: expected {wanted.name}; received {have.name}."
        )


def assert_integer(x: Any, message: Any = None, name: Any = None) -> None:
    """Raises DtypeMismatchError (a TypeError) unless x has an int dtype."""
    have = convert_to_tensor(x).dtype
    if not have.is_integer:
        lead = f"{message}\n" if message else ""
        raise errors.DtypeMismatchError(
            f"{lead}assert_integer: expected an int dtype; received {have.name}."
        )


def is_numeric_tensor(tensor: Any) -> bool:
    """Whether this is a tensor of numbers."""
    return isinstance(tensor, Tensor) and tensor.dtype.is_numeric


def assert_proper_iterable(values: Any) -> None:
    """Raises TypeError unless `values` is an iterable that is no tensor, array or string."""
    if isinstance(values, Tensor | np.ndarray | bytes | str) or not hasattr(values, "__iter__"):
        raise TypeError(f"Expected a list or tuple of values; received {type(values).__name__}.")


# -- values --------------------------------------------------------------------------------


def Assert(condition: Any, data: Any, summarize: Any = None, name: Any = None) -> None:
    """Raises InvalidArgumentError showing `data` unless the condition holds."""
    values = [convert_to_tensor(d) for d in data]
    _check(
        (convert_to_tensor(condition), *values),
        lambda c, *rest: c,
        lambda c, *rest: "Expected '" + str(bool(np.all(c))) + "' to be true. Summarized data: "
        + "\n".join(text(v, summarize or _SHOWN) for v in rest),
    )  # fmt: skip


def check_numerics(tensor: Any, message: str, name: Any = None) -> Tensor:
    """Returns the tensor; raises InvalidArgumentError if it holds NaN or infinity."""
    x = convert_to_tensor(tensor)
    if not x.dtype.is_floating:
        raise errors.DtypeMismatchError(
            f"check_numerics: expected a floating dtype; received {x.dtype.name}."
        )
    _check(
        (x,),
        lambda v: np.isfinite(v.astype(np.float64)),
        lambda v: f"{message} : Tensor had {_culprits(v)} values",
    )
    return identity(x)


def _culprits(values: Any) -> str:
    wide = values.astype(np.float64)
    found = [("Inf", np.isinf(wide).any()), ("NaN", np.isnan(wide).any())]
    return " and ".join(name for name, there in found if there)


def assert_all_finite(x: Any, message: str, name: Any = None) -> Tensor:
    """Returns the tensor; raises InvalidArgumentError if it holds NaN or infinity."""
    return check_numerics(x, message)
