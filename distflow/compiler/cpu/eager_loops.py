"""Large eager elementwise operations and reductions in machine code, each a program of one node.

Operations whose results NumPy gives to the bit become machine code when they come again and again
with the same shapes, so that a shape that comes once costs no compilation. A sum has other bits
than NumPy's, so that history must not decide: it is compiled at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes
from distflow.graph import evaluate
from distflow.graph.ir import Graph, Node, Value

# Correctly rounded, or exact, here and in NumPy. exp and its like are not: they stay with NumPy.
_SAME_BITS = frozenset({
    "abs", "add", "div", "eq", "le", "lt", "max", "min", "mul", "ne", "neg", "reduce_max",
    "reduce_min", "select", "sqrt", "sub",
})  # fmt: skip
_OTHER_BITS = frozenset({"reduce_sum"})
_KINDS = frozenset({"float32", "float64", "bool"})
# Calls before an operation is compiled; sums of so many shapes are.
_CALLS, _MOST_SUMS = 8, 256
_MOST_KEYS = 4096

_calls: dict[Any, int] = {}
_programs: dict[Any, Graph] = {}


def run(primitive: Any, arrays: list[Any], items: tuple[Any, ...]) -> Any:
    """Returns the result of an operation with hashable attributes; None: NumPy serves as well."""
    same_bits = primitive.name in _SAME_BITS
    if not same_bits and primitive.name not in _OTHER_BITS:
        return None
    key = primitive, tuple([(a.dtype, a.shape) for a in arrays]), items
    graph = _programs.get(key)
    if graph is None:
        if same_bits:
            calls = _calls[key] = _calls.get(key, 0) + 1
            if calls < _CALLS:
                if len(_calls) > _MOST_KEYS:
                    _calls.clear()
                return None
        elif len(_programs) >= _MOST_SUMS:
            return None
        if any(a.dtype.name not in _KINDS for a in arrays):
            return None
        if len(_programs) >= _MOST_KEYS:
            _programs.clear()
        graph = _programs[key] = _program(primitive, arrays, dict(items))
    return evaluate.run(graph, arrays)[0]


def _program(primitive: Any, arrays: list[np.ndarray], attributes: dict[str, Any]) -> Graph:
    inputs = [Value(dtypes.of_array(a), a.shape) for a in arrays]
    result = Value(
        primitive.dtype_rule(*[v.dtype for v in inputs], **attributes),
        primitive.shape_rule(*[v.shape for v in inputs], **attributes),
    )
    node = Node(primitive, inputs, [result], attributes)
    return Graph(primitive.name, inputs, [node], [result])
