"""What each primitive becomes on the cpu executor: an expression, a kernel, or nothing.

ELEMENTWISE: primitives that fused loops compute, one row each: which dtypes of operands, and the
expression. REDUCTIONS: those that a loop ends with. LIBRARY: primitives with a kernel of their
own, made for concrete shapes. What has no row runs on its NumPy reference.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from distflow.compiler.cpu import math
from distflow.compiler.cpu.emit import REGISTER, Block, Operand

# A row of LIBRARY takes the node's attributes and the shapes and dtypes of its operands, and
# returns a function from arrays (of any strides, not to be written to) to the result, or None
# where it has no kernel for them.
Kernel = Callable[[Sequence[np.ndarray]], np.ndarray]
Prepare = Callable[[dict[str, Any], Sequence[tuple[int, ...]], Sequence[np.dtype]], "Kernel | None"]


def _kernel(file: str, function: str = "prepare") -> Prepare:
    """A row that imports its kernel on first use: without llvmlite this table is still read."""

    def prepare(attributes: Any, shapes: Any, dtypes: Any) -> Kernel | None:
        module = importlib.import_module(f"distflow.compiler.cpu.{file}")
        result: Kernel | None = getattr(module, function)(attributes, shapes, dtypes)
        return result

    return prepare


LIBRARY: dict[str, Prepare] = {
    "dot_general": _kernel("matmul"),
    "conv": _kernel("conv"),
    "reduce_window_max": _kernel("window", "prepare_max"),
    "reduce_window_sum": _kernel("window", "prepare_sum"),
    "select_and_scatter_add": _kernel("window", "prepare_scatter"),
}

Emit = Callable[..., Operand]  # (block, *operands, to=kind of the result) -> value


class Row(NamedTuple):
    """How a primitive is computed: dtypes of its (first matched) operand, and the expression."""

    dtypes: frozenset[str]
    emit: Emit


_FLOAT = frozenset({"float32", "float64"})
_INT = frozenset({"int32", "int64"})
_BOOL = frozenset({"bool"})
_NUMBER = _FLOAT | _INT
_ANY = _NUMBER | _BOOL
_BITS = {"i32": 32, "i64": 64}


def is_float(x: Operand) -> bool:
    """Whether a value is a floating-point one."""
    return x.kind in ("float", "double")


def _by_kind(for_floats: str, for_integers: str) -> Emit:
    return lambda b, x, y, to: b.op(for_floats if is_float(x) else for_integers, x, y)


def _compared(for_floats: str, for_integers: str) -> Emit:
    return lambda b, x, y, to: b.compare(
        f"fcmp {for_floats}" if is_float(x) else f"icmp {for_integers}", x, y
    )


def _neg(b: Block, x: Operand, to: str) -> Operand:
    return b.negate(x) if is_float(x) else b.op("sub", b.constant(x.kind, 0), x)


def _abs(b: Block, x: Operand, to: str) -> Operand:
    if is_float(x):
        return b.intrinsic("fabs", x)
    return b.select(b.compare("icmp slt", x, b.constant(x.kind, 0)), _neg(b, x, to), x)


def _sign(b: Block, x: Operand, to: str) -> Operand:
    zero, one, minus = (b.constant(x.kind, v) for v in (0, 1, -1))
    less, equal = ("fcmp olt", "fcmp oeq") if is_float(x) else ("icmp slt", "icmp eq")
    above = b.select(b.compare(less, zero, x), one, x)  # NaN stays
    above = b.select(b.compare(equal, x, zero), zero, above)
    return b.select(b.compare(less, x, zero), minus, above)


def _rounded(name: str) -> Emit:
    return lambda b, x, to: b.intrinsic(name, x) if is_float(x) else x


def _rsqrt(b: Block, x: Operand, to: str) -> Operand:
    return b.op("fdiv", b.constant(x.kind, 1), b.intrinsic("sqrt", x))


def _floordiv(b: Block, x: Operand, y: Operand, to: str) -> Operand:
    return b.intrinsic("floor", b.op("fdiv", x, y))


def extremum(name: str) -> Emit:
    """Returns max or min with NaN winning, the first operand where they are equal (as NumPy)."""

    def emit(b: Block, x: Operand, y: Operand, to: str) -> Operand:
        if not is_float(x):
            return b.select(b.compare("icmp sge" if name == "max" else "icmp sle", x, y), x, y)
        first = b.compare("fcmp oge" if name == "max" else "fcmp ole", x, y)
        return b.select(b.op("or", first, b.compare("fcmp uno", x, x)), x, y)

    return emit


def _shift(name: str) -> Emit:
    # As NumPy: shifting by the width or more leaves nothing (the sign, to the right).
    def emit(b: Block, x: Operand, y: Operand, to: str) -> Operand:
        bits = _BITS[x.kind]
        last = b.constant(x.kind, bits - 1)
        far = b.compare("icmp ugt", y, last)
        shifted = b.op(name, x, b.select(far, last, y))
        return shifted if name == "ashr" else b.select(far, b.constant(x.kind, 0), shifted)

    return emit


def _cast(b: Block, x: Operand, to: str) -> Operand:
    if x.kind == to:
        return x
    if to == "i1":
        zero = b.constant(x.kind, 0)
        return b.compare("fcmp une" if is_float(x) else "icmp ne", x, zero)
    if is_float(x):
        if to in _BITS:
            return _to_integer(b, x, to)
        return b.convert("fpext" if to == "double" else "fptrunc", x, to)
    if to in ("float", "double"):
        return b.convert("uitofp" if x.kind == "i1" else "sitofp", x, to)
    if x.kind == "i1":
        return b.convert("zext", x, to)
    return b.convert("sext" if to == "i64" else "trunc", x, to)


def _to_integer(b: Block, x: Operand, to: str) -> Operand:
    # What does not fit (and NaN) is the smallest integer, as x86 has it; LLVM leaves it open.
    edge = 2.0 ** (_BITS[to] - 1)
    inside = b.op(
        "and",
        b.compare("fcmp ogt" if _holds_less(x, to) else "fcmp oge", x, _lowest(b, x, to)),
        b.compare("fcmp olt", x, b.constant(x.kind, edge)),
    )
    safe = b.select(inside, x, b.constant(x.kind, 0))
    return b.select(inside, b.convert("fptosi", safe, to), b.constant(to, int(-edge)))


def _holds_less(x: Operand, to: str) -> bool:
    return x.kind == "double" and to == "i32"


def _lowest(b: Block, x: Operand, to: str) -> Operand:
    # float64 holds numbers between -2^31 - 1 and -2^31, which are cut to -2^31.
    edge = -(2.0 ** (_BITS[to] - 1))
    return b.constant(x.kind, edge - 1 if _holds_less(x, to) else edge)


def _own(name: str) -> Emit:
    return lambda b, *operands, to: math.FUNCTIONS[name](b, *operands)


def _select(b: Block, c: Operand, x: Operand, y: Operand, to: str) -> Operand:
    return b.select(c, x, y)


ELEMENTWISE: dict[str, Row] = {
    "neg": Row(_NUMBER, _neg),
    "abs": Row(_NUMBER, _abs),
    "sign": Row(_NUMBER, _sign),
    "floor": Row(_FLOAT, _rounded("floor")),
    "ceil": Row(_FLOAT, _rounded("ceil")),
    "round": Row(_NUMBER, _rounded("rint")),
    "not": Row(_INT | _BOOL, lambda b, x, to: b.op("xor", x, b.constant(x.kind, -1))),
    "sqrt": Row(_FLOAT, lambda b, x, to: b.intrinsic("sqrt", x)),
    "rsqrt": Row(_FLOAT, _rsqrt),
    "add": Row(_NUMBER, _by_kind("fadd", "add")),
    "sub": Row(_NUMBER, _by_kind("fsub", "sub")),
    "mul": Row(_NUMBER, _by_kind("fmul", "mul")),
    "div": Row(_FLOAT, _by_kind("fdiv", "")),
    "floordiv": Row(_FLOAT, _floordiv),
    "max": Row(_NUMBER, extremum("max")),
    "min": Row(_NUMBER, extremum("min")),
    "and": Row(_INT | _BOOL, _by_kind("", "and")),
    "or": Row(_INT | _BOOL, _by_kind("", "or")),
    "xor": Row(_INT | _BOOL, _by_kind("", "xor")),
    "shl": Row(_INT, _shift("shl")),
    "shr": Row(_INT, _shift("ashr")),
    "eq": Row(_ANY, _compared("oeq", "eq")),
    "ne": Row(_ANY, _compared("une", "ne")),
    "lt": Row(_NUMBER, _compared("olt", "slt")),
    "le": Row(_NUMBER, _compared("ole", "sle")),
    "select": Row(_ANY, _select),
    "cast": Row(_ANY, _cast),
    "stop_gradient": Row(_ANY, lambda b, x, to: x),
    "broadcast_to": Row(_ANY, lambda b, x, *target, to: x),
    **{name: Row(frozenset({"float32"}), _own(name)) for name in math.FUNCTIONS},
}


class Reduction(NamedTuple):
    """How a reduction ends a loop.

    Attributes:
      dtypes: of the operand.
      combine: (block, x, y) -> value; in the type that `accumulator` names.
      identity: of a dtype: combining with it leaves any value's bits alone.
    """

    dtypes: frozenset[str]
    combine: Emit
    identity: Callable[[str], float]


def _lowest_of(dtype: str) -> float:
    return -np.inf if dtype in _FLOAT else int(np.iinfo(dtype).min)


def _highest_of(dtype: str) -> float:
    return np.inf if dtype in _FLOAT else int(np.iinfo(dtype).max)


REDUCTIONS: dict[str, Reduction] = {
    # -0.0 is the identity of addition: 0.0 would turn a sum of -0.0 into 0.0.
    "reduce_sum": Reduction(_NUMBER, _by_kind("fadd", "add"), lambda d: -0.0),
    "reduce_max": Reduction(_NUMBER, extremum("max"), _lowest_of),
    "reduce_min": Reduction(_NUMBER, extremum("min"), _highest_of),
}


def accumulator(primitive: str, dtype: str) -> str:
    """Returns the dtype in which a reduction runs: sums of float32 in float64, rounded once."""
    return "float64" if (primitive, dtype) == ("reduce_sum", "float32") else dtype


# Rough cost in nanoseconds of one element of what is not a single cheap instruction.
_COST_NS = {"div": 0.1, "sqrt": 0.1, "rsqrt": 0.2, "floordiv": 0.15, "constant": 0.0}


def cost(primitive: str) -> float:
    """Returns the rough cost in nanoseconds of one element of a step."""
    return 0.8 if primitive in math.FUNCTIONS else _COST_NS.get(primitive, 0.02)


def why_not(primitive: str, dtypes: Sequence[str], result: str) -> str:
    """Returns why a fused loop cannot compute a primitive on these dtypes; "" if it can."""
    row: Row | Reduction | None = ELEMENTWISE.get(primitive) or REDUCTIONS.get(primitive)
    if row is None:
        return f"{primitive} has no row in the table"
    tested = dtypes[1:] if primitive == "select" else dtypes[:1]
    if result not in REGISTER or any(d not in row.dtypes for d in tested):
        return f"{primitive} has no row for {', '.join(dtypes)} -> {result}"
    return ""
