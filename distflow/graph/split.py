"""Splits a Graph into a forward half and backward halves, with the values saved between.

The graph is replayed under a tape in a trace of its own; what the gradient rules emit is the
backward half, and the values of the forward half that it uses are saved. Results of nodes with
effects are always saved, so state is read and counters advance once. A backward half that needs
more than was saved (for second derivatives) computes it again from pure nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distflow.autodiff.tape import GradientTape
from distflow.base import dtypes, errors
from distflow.core import context
from distflow.graph.build import Trace, inline
from distflow.graph.ir import Graph, Node, Value
from distflow.ops.prims import movement


@dataclass(frozen=True)
class Backward:
    """A backward half.

    Its inputs: the gradients that arrive, then `Split.available` inputs of the forward half, then
    the saved values. Its outputs: the gradients of the inputs at `positions`.
    """

    graph: Graph
    positions: tuple[int, ...]


class Split:
    """The forward half of a graph, and its backward halves on demand.

    Args:
      graph: a finished graph.
      recorded: positions of inputs that the backward half will not have (the carried values of
        a loop); those it needs are saved like results.
    """

    def __init__(self, graph: Graph, recorded: Sequence[int] = ()):
        self.num_outputs = len(graph.outputs)
        self._recorded = tuple(recorded)
        self.available = [i for i in range(len(graph.inputs)) if i not in self._recorded]
        everything = tuple(v.is_differentiable for v in graph.outputs)
        wanted = tuple(i for i, v in enumerate(graph.inputs) if v.is_differentiable)
        joint = _Joint(graph, everything, wanted)
        self.saved = joint.values_to_save([joint.inputs[i] for i in self._recorded])
        # Which saved values a cond may leave blank (of size 0), the branch not being taken.
        blanks = joint.blanks()
        self.may_be_blank = tuple(v in blanks for v in self.saved)
        self.forward = Graph(graph.name, joint.inputs, joint.forward, [*joint.outputs, *self.saved])
        self._joints = {(everything, wanted): (joint, self.saved)}
        self._halves: dict[Any, Backward] = {}

    def backward(self, arriving: Sequence[bool], wanted: Sequence[int]) -> Backward:
        """Returns the backward half for given gradients.

        Args:
          arriving: for each output of `forward` (real ones, then saved) whether a gradient comes.
          wanted: positions of inputs whose gradient is asked for.
        """
        key = (tuple(arriving), tuple(wanted))
        if key not in self._halves:
            self._halves[key] = self._half(*key)
        return self._halves[key]

    def _half(self, arriving: tuple[bool, ...], wanted: tuple[int, ...]) -> Backward:
        wanted = tuple(i for i in wanted if self.forward.inputs[i].is_differentiable)
        real, saved = arriving[: self.num_outputs], arriving[self.num_outputs :]
        everything = tuple(i for i, v in enumerate(self.forward.inputs) if v.is_differentiable)
        if not any(saved) and (real, everything) in self._joints:
            joint, kept = self._joints[real, everything]
        else:
            joint = _Joint(self.forward, arriving, wanted)
            kept = joint.outputs[self.num_outputs :]
        known = [joint.inputs[i] for i in self.available]
        found = {i: joint.gradients[i] for i in wanted if joint.gradients.get(i) is not None}
        nodes = joint.backward_nodes([*joint.arriving, *known, *kept], list(found.values()))
        graph = Graph(
            f"{self.forward.name}_backward", [*joint.arriving, *known, *kept], nodes,
            [value for value in found.values() if value is not None],
        )  # fmt: skip
        return Backward(_distinct_inputs(graph), tuple(found))


def split_of(graph: Graph) -> Split:
    """Returns the split of a graph, made once."""
    if "split" not in graph.derived:
        graph.derived["split"] = Split(graph)
    return graph.derived["split"]


def split_of_body(graph: Graph, num_carried: int) -> Split:
    """Returns the split of a loop's body whose first inputs are carried, made once."""
    key = ("split", num_carried)
    if key not in graph.derived:
        graph.derived[key] = Split(graph, range(num_carried))
    return graph.derived[key]


class _Joint:
    """One trace of a graph's nodes followed by their gradients."""

    def __init__(self, graph: Graph, arriving: Sequence[bool], wanted: Sequence[int]):
        trace = Trace(graph.name, closed=True)
        symbols = [trace.input(v, v.name) for v in graph.inputs]
        self.inputs = list(trace.graph.inputs)
        self.gradients: dict[int, Value | None] = {}
        with context.without_observers(), context.use_interpreter(trace):
            with GradientTape(watch_accessed_variables=False) as tape:
                for i in wanted:
                    tape.watch(symbols[i])
                outputs = inline(graph, symbols)
            self.outputs = [trace.value_of(t) for t in outputs]
            boundary = len(trace.graph.nodes)
            targets = [t for t, comes in zip(outputs, arriving) if comes]
            given = [trace.input(Value(t.dtype, t.shape), "g") for t in targets]
            self.arriving = [g.ir for g in given]
            found = tape.gradient(targets, [symbols[i] for i in wanted], given)
            for i, gradient in zip(wanted, found):
                self.gradients[i] = None if gradient is None else trace.value_of(gradient)
        if trace.externals:
            raise errors.invalid(
                graph.name, "a gradient function may only read variables that its function reads",
                str([x.name for x in trace.externals]),
            )  # fmt: skip
        nodes = trace.graph.nodes
        self.forward, self.after = _hoist(self.inputs, nodes[:boundary], nodes[boundary:])

    def values_to_save(self, recorded: Sequence[Value]) -> list[Value]:
        """Returns the results of forward nodes (and recorded inputs) that gradients need.

        Unknown shapes of recorded inputs are among them, as second derivatives may need these.
        """
        shaped = {node.inputs[0] for node in self.forward if _is_shape(node)}
        for value in recorded:
            if None in value.shape and value.is_differentiable and value not in shaped:
                dims = Value(dtypes.int32, (len(value.shape),))
                node = Node(movement.shape_of, (value,), (dims,), {"dtype": dtypes.int32})
                self.forward.append(node)
        shape_nodes = [n for n in self.forward if _is_shape(n) and n.inputs[0] in recorded]
        always = {node.outputs[0] for node in shape_nodes}
        outputs = [v for v in self.gradients.values() if v is not None]
        used = set(outputs)
        for node in _needed(self.after, outputs, frozenset()):
            used.update(node.inputs)
        saved = [v for v in recorded if v in used]
        for node in self.forward:
            free = not node.inputs and not node.effect
            saved += [
                v for v in node.outputs if node.effect or v in always or (v in used and not free)
            ]
        return saved

    def blanks(self) -> set[Value]:
        """Returns the results of forward conds that only one of their branches computes."""
        return {
            value
            for node in self.forward
            if node.primitive.name == "cond" and node.attributes["splits"] is not None
            for value in node.outputs[node.attributes["splits"][0].num_outputs :]
        }

    def backward_nodes(self, known: Sequence[Value], outputs: Sequence[Any]) -> list[Node]:
        """Returns the nodes that compute `outputs` from `known`, pure forward ones included."""
        before = set(self.forward)
        nodes = [n for n in [*self.forward, *self.after] if n not in before or not n.effect]
        needed = _needed(nodes, outputs, frozenset(known))
        made = {v for node in needed for v in node.outputs}.union(known)
        for node in needed:
            for value in node.inputs:
                if value not in made:
                    raise errors.UnimplementedError(
                        f"gradient of {node.primitive.name}: needs a value of each step of a loop "
                        "that was not recorded."
                    )
        return needed


def _needed(nodes: Sequence[Node], outputs: Sequence[Value], known: frozenset[Value]) -> list[Node]:
    wanted = set(outputs) - known
    kept = []
    for node in reversed(nodes):
        if node.effect in ("write", "order") or any(v in wanted for v in node.outputs):
            kept.append(node)
            wanted.update(v for v in node.inputs if v not in known)
    return kept[::-1]


def _hoist(
    inputs: list[Value], forward: list[Node], after: list[Node]
) -> tuple[list[Node], list[Node]]:
    """Moves `shape_of` of forward values to the forward half, so that only shapes are saved."""
    made = {v for node in forward for v in node.outputs}.union(inputs)
    known = {(n.inputs[0], n.attributes["dtype"]): n.outputs[0] for n in forward if _is_shape(n)}
    same: dict[Value, Value] = {}
    forward, rest = list(forward), []
    for node in after:
        if not _is_shape(node) or node.inputs[0] not in made:
            rest.append(node.with_inputs([same.get(v, v) for v in node.inputs]))
            continue
        key = (node.inputs[0], node.attributes["dtype"])
        if key in known:
            same[node.outputs[0]] = known[key]
        else:
            known[key] = node.outputs[0]
            forward.append(node)
    return forward, rest


def _is_shape(node: Node) -> bool:
    return node.primitive.name == "shape_of"


def _distinct_inputs(graph: Graph) -> Graph:
    """Gives an input of its own to a value that stands twice among the inputs."""
    seen: set[Value] = set()
    inputs = []
    for value in graph.inputs:
        inputs.append(value.like() if value in seen else value)
        seen.add(value)
    graph.inputs = inputs
    return graph
