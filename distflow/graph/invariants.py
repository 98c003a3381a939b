"""Takes out of a loop's body what is the same in each step.

Reads of Variables, casts and slices of weights then happen once, before the loop. Otherwise the
records of the loop (`graph/loops.py`) would hold a copy of the weights for each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distflow.graph.build import inline
from distflow.graph.ir import Graph, Node, Value, has_side_effect, live_nodes

# Families whose nodes may be costly, may fail, or are the user's: they stay where they stand.
_STAY = {"control", "host", "custom", "collective", "state"}


@dataclass(frozen=True)
class Lifted:
    """A body without its invariants.

    Attributes:
      body: takes the varying inputs, then `rest` of the captured ones, then `before`'s outputs.
      before: from the captured inputs to the values that the body takes from it.
      rest: positions among the captured inputs.
    """

    body: Graph
    before: Graph
    rest: tuple[int, ...]

    def captured(self, given: Sequence[Any]) -> list[Any]:
        """Returns what the body closes over, for what the loop was given."""
        return [*(given[i] for i in self.rest), *inline(self.before, given)]


def lift_invariants(body: Graph, num_varying: int) -> Lifted:
    """Returns the body of a loop without what depends on captured inputs only, made once.

    Args:
      num_varying: how many of the inputs, the first ones, differ from step to step.
    """
    key = ("lifted", num_varying)
    if key not in body.derived:
        body.derived[key] = _lift(body, num_varying)
    return body.derived[key]


def _lift(body: Graph, num_varying: int) -> Lifted:
    captured = body.inputs[num_varying:]
    changing = _may_change(body)
    invariant = set(captured)
    free: set[Value] = set()
    before: list[Node] = []
    inside: list[Node] = []
    for node in body.nodes:
        known = [v in invariant or v in free for v in node.inputs]
        if not node.inputs and not node.effect:
            # Constants may be needed on both sides, and cost nothing on either.
            free.update(node.outputs)
            before.append(node)
            inside.append(node)
        elif all(known) and any(v in invariant for v in node.inputs) and _may_leave(node, changing):
            invariant.update(node.outputs)
            before.append(node)
        else:
            inside.append(node)
    lean = live_nodes(Graph(body.name, body.inputs, inside, body.outputs))
    needed = {v for node in lean for v in node.inputs}.union(body.outputs)
    made = [v for node in before for v in node.outputs if v in needed and v in invariant]
    rest = tuple(i for i, v in enumerate(captured) if v in needed)
    inputs = [*body.inputs[:num_varying], *(captured[i] for i in rest), *made]
    prelude = Graph(f"{body.name}_before", captured, before, made)
    prelude.nodes = live_nodes(prelude)
    return Lifted(Graph(body.name, inputs, lean, body.outputs), prelude, rest)


def _may_change(body: Graph) -> set[Value]:
    """Returns the Variables that a step may write, itself or by another name of theirs."""
    resources = [v for v in body.inputs if v.resource]
    if any(node.effect == "order" for node in body.nodes):
        return set(resources)
    written = {v for node in body.nodes if has_side_effect(node) for v in node.inputs if v.resource}
    return {
        v for v in resources
        if any(v.dtype is w.dtype and v.shape.is_compatible_with(w.shape) for w in written)
    }  # fmt: skip


def _may_leave(node: Node, changing: set[Value]) -> bool:
    if node.primitive.name == "read_variable":
        return node.inputs[0] not in changing
    # A broadcast is free where it is used and costs memory anywhere else.
    stays = node.primitive.family in _STAY or node.primitive.name == "broadcast_to"
    return not stays and not node.effect
