"""Native code for eager operations on large operands, which a room above may bring.

Small operands stay with the NumPy references: starting a kernel costs some microseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Elements that the largest operand must have for native code to be asked for.
_BY_NAME = {
    "dot_general": 512,
    "conv": 1,
    "reduce_window_max": 4096,
    "reduce_window_sum": 4096,
    "select_and_scatter_add": 4096,
}
_BY_FAMILY = {"unary": 1 << 16, "binary": 1 << 16, "select": 1 << 16, "reduction": 1 << 16}

Run = Callable[[Any, list[Any], dict[str, Any]], Any]


def least(name: str, family: str) -> int:
    """Returns the size of the largest operand from which `run` may have code; 0: it never has."""
    return _BY_NAME.get(name) or _BY_FAMILY.get(family, 0)


def _none(primitive: Any, arrays: list[Any], attributes: dict[str, Any]) -> None:
    return None


_run: Run = _none


def set_run(run: Run) -> None:
    """Sets what `run` does (called by the package for a start, then by the compiler)."""
    global _run
    _run = run


def run(primitive: Any, arrays: list[Any], attributes: dict[str, Any]) -> Any:
    """Returns a primitive's result as an array, or None where its reference must serve."""
    return _run(primitive, arrays, attributes)
