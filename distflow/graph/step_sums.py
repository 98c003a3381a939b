"""Sums over the steps of a loop, taken out of it: sum_t a_t^T g_t is one product of stacks.

What a weight gets in each step of a recurrent network's gradient is a product over the batch.
Adding these up inside the loop would pass over an array of the weight's size in each step;
instead the factors are stacked, and contracted over (time, batch) at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from distflow.graph.ir import Graph, Node, Value
from distflow.ops.prims.contraction import dot_general
from distflow.ops.prims.elementwise import add
from distflow.ops.prims.reduction import reduce_sum

# From the stacks of `Total.rows` to the sum over the steps.
_Formula = Callable[[Mapping[Value, Any]], Any]


@dataclass(frozen=True)
class Total:
    """How the sum of one value over all steps is found from other values, stacked."""

    rows: tuple[Value, ...]
    formula: _Formula


class Totals:
    """Finds Totals in the body of a loop.

    Args:
      body: one step.
      invariant: its inputs that are the same in each step.
      stacked: its values of which the loop keeps all rows in any case.
    """

    def __init__(self, body: Graph, invariant: Collection[Value], stacked: Collection[Value]):
        self._maker = {v: node for node in body.nodes for v in node.outputs}
        self._varying = set(body.inputs).difference(invariant)
        for node in body.nodes:
            if node.effect or any(v in self._varying for v in node.inputs):
                self._varying.update(node.outputs)
        self._stacked = set(stacked)

    def of(self, term: Value) -> Total | None:
        """Returns the Total of a value; None unless it consists of products of rows."""
        node = self._maker.get(term)
        rule = _RULES.get(node.primitive.name) if node else None
        found = rule(self, node) if rule and node else None
        if found is not None:
            self._stacked.update(found.rows)
        return found

    def _dot(self, node: Node) -> Total | None:
        a, b = node.inputs
        contract, batch = node.attributes["contract"], node.attributes["batch"]
        if not contract[0] or not {a, b} <= self._varying:
            return None
        contract = tuple((0, *(i + 1 for i in side)) for side in contract)
        batch = tuple(tuple(i + 1 for i in side) for side in batch)
        return Total(
            (a, b), lambda stack: dot_general(stack[a], stack[b], contract=contract, batch=batch)
        )

    def _sum(self, node: Node) -> Total | None:
        (x,) = node.inputs
        if x not in self._stacked:
            return None
        axes = (0, *(i + 1 for i in node.attributes["axes"]))
        return Total((x,), lambda stack: reduce_sum(stack[x], axes=axes))

    def _add(self, node: Node) -> Total | None:
        a, b = (self.of(v) for v in node.inputs)
        if a is None or b is None:
            return None
        return Total(a.rows + b.rows, lambda stack: add(a.formula(stack), b.formula(stack)))

    def _moved(self, node: Node) -> Total | None:
        if len(node.inputs) != 1:
            return None
        inner = self.of(node.inputs[0])
        if inner is None:
            return None
        return Total(
            inner.rows, lambda stack: node.primitive(inner.formula(stack), **node.attributes)
        )


_RULES: dict[str, Callable[[Totals, Node], Total | None]] = {
    "dot_general": Totals._dot,
    "reduce_sum": Totals._sum,
    "add": Totals._add,
    "transpose": Totals._moved,
    "reshape": Totals._moved,
}
