"""Buckets of gradients in a plan: flat memory in which kernels write and communication adds up.

A bucket is one stretch of the arena. What makes a gradient writes it there, the replica's
communication puts the sums in the same place, and the update reads them: nothing is copied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distflow.compiler.cpu.operations import Arrival, Departure, Host, Native
from distflow.graph.ir import Node, Value

if TYPE_CHECKING:
    from distflow.compiler.cpu.plan import Plan

# Reads its operands only while it runs, though it has effects.
_ONCE = "once"


def is_bucket(node: Node, plan: Plan) -> bool:
    """Whether a node is a bucket whose sums may lie in the arena: nobody keeps them."""
    if node.primitive.name != "reduce_bucket":
        return False
    if any(plan.shapes.of(v) is None for v in (*node.inputs, *node.outputs)):
        return False
    results = set(node.outputs)
    if results.intersection(plan.views.root(v) for v in plan.graph.outputs):
        return False
    for reader in plan.graph.nodes:
        if reader.effect and reader.primitive.name not in (_ONCE, "assign_variable"):
            if results.intersection(plan.views.root(v) for v in reader.inputs):
                return False
    return True


def places(plan: Plan) -> dict[Value, tuple[Departure, int]]:
    """Returns where operands and results of buckets lie in them, in bytes.

    Operands that something else reads too are left out: they are copied when the bucket leaves.
    """
    makers = {v for o in plan.operations if isinstance(o, Native) for v in o.writes}
    kept = {plan.views.root(v) for v in plan.graph.outputs}
    readers: dict[Value, int] = {}
    for operation in plan.operations:
        for v in operation.reads:
            readers[v] = readers.get(v, 0) + 1
        if isinstance(operation, Host) and operation.keeps:
            kept.update(operation.reads)
    found: dict[Value, tuple[Departure, int]] = {}
    for operation in plan.operations:
        if isinstance(operation, Arrival):
            assert operation.departure is not None
            found.update(_at(operation.departure, operation.node.outputs))
        if isinstance(operation, Departure):
            for v, place in _at(operation, operation.node.inputs).items():
                own = v in makers and plan.memory_of(v) is v and v not in plan.parts
                if own and readers[v] == 1 and v not in kept and v not in found:
                    found[v] = place
                    operation.inside.add(v)
    return found


def _at(departure: Departure, values: Any) -> dict[Value, tuple[Departure, int]]:
    found, byte = {}, 0
    for v, count in zip(values, departure.num_elements):
        found[v] = (departure, byte)
        byte += count * v.dtype.numpy.itemsize
    return found


def num_bytes(departure: Departure) -> int:
    """Returns the size of a bucket."""
    return sum(departure.num_elements) * departure.node.inputs[0].dtype.numpy.itemsize
