"""What a contraction still does to its elements while they are in registers: bias, activation.

Each step rounds like the operation it stands for, so that a program has the same bits whether or
not its operations were joined to the contraction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir


@dataclass(frozen=True)
class Epilogue:
    """Elementwise steps on the elements of a contraction.

    Values are numbered: 0 is the contraction, 1 ... `extras` are further operands, then come the
    results of the steps. The last step's result is what is stored.

    Attributes:
      extras: number of further operands. They must not lie where the result is written.
      steps: (row of STEPS, number of each operand).
    """

    extras: int
    steps: tuple[tuple[Any, ...], ...]

    def __post_init__(self) -> None:
        for i, (name, *operands) in enumerate(self.steps):
            assert name in STEPS, f"no step {name!r}: there are {sorted(STEPS)}"
            assert all(0 <= o <= self.extras + i for o in operands), f"{name}: {operands}"

    def apply(self, builder: Any, values: Sequence[Any]) -> Any:
        """Returns the last step's result for vectors of the contraction and the operands."""
        found = list(values)
        for name, *operands in self.steps:
            found.append(STEPS[name](builder, *(found[i] for i in operands)))
        return found[-1] if self.steps else found[0]


def _zero(x: Any) -> Any:
    return ir.Constant(x.type, None)


def _extremum(builder: Any, test: str, x: Any, y: Any) -> Any:
    """NaN wins; the first operand where both are equal, as NumPy has it."""
    first = builder.or_(builder.fcmp_ordered(test, x, y), builder.fcmp_unordered("uno", x, x))
    return builder.select(first, x, y)


def _relu(builder: Any, x: Any) -> Any:
    """max(0, x): a zero of either sign gives +0, a NaN stays."""
    return builder.select(builder.fcmp_ordered("<=", x, _zero(x)), _zero(x), x)


def _where_positive(builder: Any, x: Any, sign: Any) -> Any:
    """x where the other is above 0, else +0: the gradient of relu from its result."""
    return builder.select(builder.fcmp_ordered(">", sign, _zero(sign)), x, _zero(x))


STEPS: dict[str, Callable[..., Any]] = {
    "add": lambda builder, x, y: builder.fadd(x, y),
    "sub": lambda builder, x, y: builder.fsub(x, y),
    "mul": lambda builder, x, y: builder.fmul(x, y),
    "max": lambda builder, x, y: _extremum(builder, ">=", x, y),
    "min": lambda builder, x, y: _extremum(builder, "<=", x, y),
    "relu": _relu,
    "where_positive": _where_positive,
}

NOTHING = Epilogue(0, ())
