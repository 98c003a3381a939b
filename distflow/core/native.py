"""Native kernels for eager operations on large operands, which a room above may bring.

Small operands stay with the NumPy references: starting a kernel costs some microseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Elements that the largest operand must have for a kernel to be asked for, by primitive.
LEAST: dict[str, int] = {
    "dot_general": 512,
    "conv": 512,
    "reduce_window_max": 4096,
    "reduce_window_sum": 4096,
    "select_and_scatter_add": 4096,
}

Run = Callable[[Any, list[Any], dict[str, Any]], Any]


def _none(primitive: Any, arrays: list[Any], attributes: dict[str, Any]) -> None:
    return None


_run: Run = _none


def set_run(run: Run) -> None:
    """Sets what `run` does (called by the package for a start, then by the compiler)."""
    global _run
    _run = run


def run(primitive: Any, arrays: list[Any], attributes: dict[str, Any]) -> Any:
    """Returns a primitive's result as an array, or None where its reference must serve."""
    least = LEAST[primitive.name]
    for array in arrays:
        if array.size >= least:
            return _run(primitive, arrays, attributes)
    return None
