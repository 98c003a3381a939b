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

from distflow.compiler.cpu import formats, integers, math
from distflow.compiler.cpu.emit import BITS, MEMORY, REGISTER, Block, Operand

# A row of LIBRARY takes a node's attributes, the layouts of its operands (strides >= 0) and that of
# its result (contiguous), and returns a `task.Kernel`, or None where there is none for them; a
# contraction also an `Epilogue`, whose operands then follow. Those
# of `lookup` with indices may be `lookup.Checked`: who runs one asks it afterwards whether an index
# was outside.
Lower = Callable[..., Any]


def _kernel(file: str, function: str = "lower") -> Lower:
    """A row that imports its kernel on first use: without llvmlite this table is still read."""

    def lower(*arguments: Any) -> Any:
        module = importlib.import_module(f"distflow.compiler.cpu.{file}")
        return getattr(module, function)(*arguments)

    return lower


LIBRARY: dict[str, Lower] = {
    "dot_general": _kernel("matmul"),
    "conv": _kernel("conv"),
    "reduce_window_max": _kernel("window", "lower_max"),
    "reduce_window_sum": _kernel("window", "lower_sum"),
    "select_and_scatter_add": _kernel("window", "lower_scatter"),
    # Movement that no view expresses.
    **{
        name: _kernel("movement", f"lower_{function}")
        for name, function in (
            ("reshape", "copy"), ("transpose", "copy"), ("broadcast_to", "copy"),
            ("concat", "concat"), ("slice", "slice"), ("pad", "pad"), ("reverse", "reverse"),
        )
    },
    **{
        name: _kernel("lookup", f"lower_{name}")
        for name in ("gather", "scatter", "argmax", "argmin")
    },
}  # fmt: skip

Emit = Callable[..., Operand]  # (block, *operands, to=dtype of the result) -> value


class Row(NamedTuple):
    """How a primitive is computed: dtypes of its (first matched) operand, and the expression."""

    dtypes: frozenset[str]
    emit: Emit


_FLOAT32 = frozenset({"float32", *formats.NARROW_FLOATS})
_FLOAT = _FLOAT32 | {"float64"}
_INT = frozenset(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
_BOOL = frozenset({"bool"})
_NUMBER = _FLOAT | _INT
_ANY = _NUMBER | _BOOL


def is_float(x: Operand) -> bool:
    """Whether a value is a floating-point one."""
    return x.kind in ("float", "double")


def _by_kind(for_floats: str, for_integers: str) -> Emit:
    return lambda b, x, y, to: b.op(for_floats if is_float(x) else for_integers, x, y)


def _compared(for_floats: str, for_integers: str) -> Emit:
    return lambda b, x, y, to: _compare(b, for_floats, for_integers, x, y)


def _compare(b: Block, for_floats: str, for_integers: str, x: Operand, y: Operand) -> Operand:
    if is_float(x):
        return b.compare(f"fcmp {for_floats}", x, y)
    if for_integers.startswith("s") and x.unsigned:
        for_integers = "u" + for_integers[1:]
    return b.compare(f"icmp {for_integers}", x, y)


def _neg(b: Block, x: Operand, to: str) -> Operand:
    return b.negate(x) if is_float(x) else b.op("sub", b.constant(x.kind, 0), x)


def _abs(b: Block, x: Operand, to: str) -> Operand:
    if is_float(x):
        return b.intrinsic("fabs", x)
    return b.select(_compare(b, "", "slt", x, b.constant(x.kind, 0)), _neg(b, x, to), x)


def _sign(b: Block, x: Operand, to: str) -> Operand:
    zero, one, minus = (b.constant(x.kind, v) for v in (0, 1, -1))
    below = _compare(b, "olt", "slt", x, zero)
    above = b.select(_compare(b, "ogt", "sgt", x, zero), one, x)  # NaN stays
    above = b.select(_compare(b, "oeq", "eq", x, zero), zero, above)
    return b.select(below, minus, above)


def _rounded(name: str) -> Emit:
    return lambda b, x, to: b.intrinsic(name, x) if is_float(x) else x


def _rsqrt(b: Block, x: Operand, to: str) -> Operand:
    return b.op("fdiv", b.constant(x.kind, 1), b.intrinsic("sqrt", x))


def _div(b: Block, x: Operand, y: Operand, to: str) -> Operand:
    return b.op("fdiv", x, y) if is_float(x) else integers.divide(b, x, y)


def _floordiv(b: Block, x: Operand, y: Operand, to: str) -> Operand:
    if not is_float(x):
        return integers.floor_divide(b, x, y)
    # The quotient of 16-bit floats is rounded before its floor is taken.
    return b.intrinsic("floor", formats.rounded(b, to, b.op("fdiv", x, y)))


def _mod(b: Block, x: Operand, y: Operand, to: str) -> Operand:
    if not is_float(x):
        return integers.modulo(b, x, y)
    rest, zero = b.op("frem", x, y), b.constant(x.kind, 0)
    moved = b.op("xor", b.compare("fcmp olt", rest, zero), b.compare("fcmp olt", y, zero))
    found = b.select(moved, b.op("fadd", rest, y), rest)
    # 0 has the sign of the divisor.
    none = b.select(b.compare("fcmp olt", y, zero), b.constant(x.kind, -0.0), zero)
    return b.select(b.compare("fcmp oeq", rest, zero), none, found)


def _pow(b: Block, x: Operand, y: Operand, to: str) -> Operand:
    return math.FUNCTIONS["pow"](b, x, y) if is_float(x) else integers.power(b, x, y)


def extremum(name: str) -> Emit:
    """Returns max or min with NaN winning, the first operand where they are equal (as NumPy)."""

    def emit(b: Block, x: Operand, y: Operand, to: str) -> Operand:
        if not is_float(x):
            return b.select(_compare(b, "", "sge" if name == "max" else "sle", x, y), x, y)
        first = b.compare("fcmp oge" if name == "max" else "fcmp ole", x, y)
        return b.select(b.op("or", first, b.compare("fcmp uno", x, x)), x, y)

    return emit


def _shl(b: Block, x: Operand, y: Operand, to: str) -> Operand:
    return integers.shift(b, "shl", x, y)


def _shr(b: Block, x: Operand, y: Operand, to: str) -> Operand:
    return integers.shift(b, "lshr" if x.unsigned else "ashr", x, y)


def _cast(b: Block, x: Operand, to: str) -> Operand:
    kind = REGISTER[to]
    if x.kind == kind:
        return x
    if kind == "i1":
        zero = b.constant(x.kind, 0)
        return b.compare("fcmp une" if is_float(x) else "icmp ne", x, zero)
    if is_float(x):
        if kind in BITS:
            return integers.from_float(b, x, to, kind)
        return b.convert("fpext" if kind == "double" else "fptrunc", x, kind)
    signless = x.unsigned or x.kind == "i1"
    if kind in ("float", "double"):
        return b.convert("uitofp" if signless else "sitofp", x, kind)
    if x.kind == "i1" or BITS[kind] > BITS[x.kind]:
        return b.convert("zext" if signless else "sext", x, kind)
    return b.convert("trunc", x, kind)


def bitcast(b: Block, x: Operand, source: str, to: str) -> Operand:
    """Returns the same bits as another dtype of that size."""
    held, wanted = formats.to_memory(b, source, x), MEMORY[to]
    if held.kind != wanted:
        held = b.convert("bitcast", held, wanted)
    return formats.to_register(b, to, held)


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
    "div": Row(_NUMBER, _div),
    "floordiv": Row(_NUMBER, _floordiv),
    "mod": Row(_NUMBER, _mod),
    "max": Row(_NUMBER, extremum("max")),
    "min": Row(_NUMBER, extremum("min")),
    "and": Row(_INT | _BOOL, _by_kind("", "and")),
    "or": Row(_INT | _BOOL, _by_kind("", "or")),
    "xor": Row(_INT | _BOOL, _by_kind("", "xor")),
    "shl": Row(_INT, _shl),
    "shr": Row(_INT, _shr),
    "eq": Row(_ANY, _compared("oeq", "eq")),
    "ne": Row(_ANY, _compared("une", "ne")),
    "lt": Row(_NUMBER, _compared("olt", "slt")),
    "le": Row(_NUMBER, _compared("ole", "sle")),
    "select": Row(_ANY, _select),
    "cast": Row(_ANY, _cast),
    "stop_gradient": Row(_ANY, lambda b, x, to: x),
    "broadcast_to": Row(_ANY, lambda b, x, *target, to: x),
    "bitcast": Row(_NUMBER, bitcast),
    **{name: Row(math.DTYPES[name] | _FLOAT32, _own(name)) for name in math.FUNCTIONS},
    "pow": Row(_FLOAT | _INT, _pow),
}
# They depend on where an element is; `sweep` writes them.
COUNTED = frozenset({"iota", "random_bits"})
# Their results are exact in any dtype: 16-bit floats need no rounding after them.
EXACT = frozenset({"neg", "abs", "sign", "floor", "ceil", "round", "max", "min", "select",
                   "stop_gradient", "broadcast_to"})  # fmt: skip


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
    "reduce_prod": Reduction(_NUMBER, _by_kind("fmul", "mul"), lambda d: 1.0),
    "reduce_max": Reduction(_NUMBER, extremum("max"), _lowest_of),
    "reduce_min": Reduction(_NUMBER, extremum("min"), _highest_of),
}


def accumulator(primitive: str, dtype: str) -> str:
    """Returns the dtype in which a reduction runs.

    Sums of float32 run in float64, sums and products of 16-bit floats in float32; they are rounded
    once.
    """
    if primitive in ("reduce_sum", "reduce_prod") and dtype in formats.NARROW_FLOATS:
        return "float32"
    return "float64" if (primitive, dtype) == ("reduce_sum", "float32") else dtype


# Rough cost in nanoseconds of one element of what is not a single cheap instruction.
_COST_NS = {
    "div": 0.1,
    "mod": 2.0,
    "random_bits": 0.5,
    "sqrt": 0.1,
    "rsqrt": 0.2,
    "floordiv": 0.15,
    "constant": 0.0,
}


def cost(primitive: str) -> float:
    """Returns the rough cost in nanoseconds of one element of a step."""
    return 0.3 if primitive in math.FUNCTIONS else _COST_NS.get(primitive, 0.02)


def why_not(primitive: str, dtypes: Sequence[str], result: str) -> str:
    """Returns why a fused loop cannot compute a primitive on these dtypes; "" if it can."""
    if primitive in COUNTED:
        return "" if result in REGISTER else f"{primitive} has no row for {result}"
    row: Row | Reduction | None = ELEMENTWISE.get(primitive) or REDUCTIONS.get(primitive)
    if row is None:
        return f"{primitive} has no row in the table"
    tested = dtypes[1:] if primitive == "select" else dtypes[:1]
    if result not in REGISTER or any(d not in row.dtypes for d in tested):
        return f"{primitive} has no row for {', '.join(dtypes)} -> {result}"
    return ""
