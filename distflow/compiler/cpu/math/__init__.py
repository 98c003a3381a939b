"""The compiler's own functions of floating-point numbers, as operations on a block.

`FUNCTIONS` maps a primitive to what emits it, for the types in `DTYPES`; `ULP_BOUNDS` bounds the
error of each, in units in the last place. The bits are those of any CPU: only IEEE
operations and `llvm.fma`, which without the instruction is a call into the C library.
"""

from __future__ import annotations

from collections.abc import Callable

from distflow.compiler.cpu.emit import Block, Operand
from distflow.compiler.cpu.math import (
    error_function,
    exponential,
    inverse,
    logarithm,
    powers,
    special,
    trig,
)
from distflow.compiler.cpu.math.real import Real

Function = Callable[..., Real]
Emit = Callable[..., Operand]  # (block, *operands) -> value


def _plain(function: Function) -> Emit:
    """A function that computes in the precision of its operands."""

    def emit(block: Block, *operands: Operand) -> Operand:
        return function(*[Real(block, x) for x in operands]).value

    return emit


def _in_float64(function: Function, single: Function | None = None) -> Emit:
    """A function that computes float32 in float64, perhaps by a cheaper formula."""

    def emit(block: Block, *operands: Operand) -> Operand:
        given = [Real(block, x) for x in operands]
        if not given[0].is_single:
            return function(*given).value
        return (single or function)(*[x.wide() for x in given]).narrow().value

    return emit


FUNCTIONS: dict[str, Emit] = {
    "exp": _plain(exponential.exp),
    "expm1": _plain(exponential.expm1),
    "tanh": _plain(exponential.tanh),
    "sigmoid": _plain(exponential.sigmoid),
    "log": _plain(logarithm.log),
    "log1p": _plain(logarithm.log1p),
    "erf": _plain(error_function.erf),
    "sin": _plain(trig.sin),
    "cos": _plain(trig.cos),
    "tan": _in_float64(trig.tan),
    "asin": _in_float64(inverse.asin),
    "acos": _in_float64(inverse.acos),
    "atan": _in_float64(inverse.atan),
    "atan2": _in_float64(inverse.atan2),
    "erfinv": _in_float64(special.erfinv),
    "digamma": _in_float64(special.digamma),
    "pow": _in_float64(powers.pow64, powers.pow32),
}

DTYPES: dict[str, frozenset[str]] = dict.fromkeys(FUNCTIONS, frozenset({"float32", "float64"}))

# Largest error of float32 and float64, in units in the last place; 0.5 would be perfect. Of digamma
# in those of max(|result|, 1, log|x|): its zeros have no closed form to count from.
ULP_BOUNDS: dict[str, tuple[float, float]] = {
    "exp": (1.0, 1.0),
    "expm1": (1.4, 1.5),
    "tanh": (1.7, 2.0),
    "sigmoid": (2.0, 2.0),
    "log": (1.0, 1.0),
    "log1p": (1.3, 1.5),
    "erf": (1.4, 2.5),
    "sin": (1.6, 3.0),
    "cos": (1.6, 3.0),
    "tan": (0.501, 4.0),
    "asin": (0.501, 2.5),
    "acos": (0.501, 1.5),
    "atan": (0.501, 2.5),
    "atan2": (0.501, 2.5),
    "erfinv": (0.501, 3.0),
    "digamma": (0.501, 8.0),
    "pow": (0.501, 1.0),
}
