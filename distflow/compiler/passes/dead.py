"""Dead code: nodes that nobody needs, and results of branches and loops that nobody reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from distflow.compiler.passes.rebuild import Rebuild
from distflow.graph.ir import Graph, Node, Value, live_nodes, without_unused


def remove_dead(graph: Graph) -> Graph:
    """Drops nodes that no output needs and that have no side effect."""
    kept = live_nodes(graph)
    return graph if len(kept) == len(graph.nodes) else graph.with_nodes(kept)


def narrow(graph: Graph) -> Graph:
    """Drops results of conds and loops that nobody reads, and operands that no body needs.

    Loops that record what a gradient needs (`history`) keep all of it.
    """
    if not any(node.primitive.name in _NARROW for node in graph.nodes):
        return graph
    read = {v for node in graph.nodes for v in node.inputs}.union(graph.outputs)
    new = Rebuild(graph)
    for node in graph.nodes:
        node = new.adopt(node)
        make = _NARROW.get(node.primitive.name)
        found = make(node, [v in read for v in node.outputs]) if make else None
        if found is not None:
            new.drop()
        new.keep(found or node)
    return new.finish()


def _cond(node: Node, read: Sequence[bool]) -> Node | None:
    outputs = [v for v, r in zip(node.outputs, read) if r]
    branches = [
        branch.with_nodes(branch.nodes, [v for v, r in zip(branch.outputs, read) if r])
        for branch in (node.attributes["true_graph"], node.attributes["false_graph"])
    ]
    lean, kept = without_unused(branches)
    if len(outputs) == len(node.outputs) and len(kept) == len(node.inputs) - 1:
        return None
    attributes = {**node.attributes, "true_graph": lean[0], "false_graph": lean[1], "splits": None}
    inputs = [node.inputs[0], *(node.inputs[1 + i] for i in kept)]
    return Node(node.primitive, inputs, outputs, attributes, node.origin)


def _while(node: Node, read: Sequence[bool]) -> Node | None:
    """Drops carried values that nobody reads and that decide nothing."""
    attributes = node.attributes
    if attributes["history"] is not None:
        return None
    condition, body, count = (attributes[k] for k in ("cond_graph", "body_graph", "num_vars"))
    needed = {i for i, r in enumerate(read) if r}
    needed |= _positions(condition, condition.outputs) & set(range(count))
    while True:
        found = needed | _positions(body, [body.outputs[i] for i in sorted(needed)])
        found &= set(range(count))
        if found == needed:
            break
        needed = found
    if len(needed) == count:
        return None
    carried = sorted(needed)
    kept = [*carried, *range(count, len(node.inputs))]
    graphs = []
    for graph, outputs in (
        (condition, condition.outputs),
        (body, [body.outputs[i] for i in carried]),
    ):
        lean = graph.with_nodes(live_nodes(graph, outputs), outputs)
        lean.inputs = [graph.inputs[i] for i in kept]
        graphs.append(lean)
    return Node(
        node.primitive, [node.inputs[i] for i in kept], [node.outputs[i] for i in carried],
        {**attributes, "cond_graph": graphs[0], "body_graph": graphs[1], "num_vars": len(carried)},
        node.origin,
    )  # fmt: skip


def _positions(graph: Graph, outputs: Sequence[Value]) -> set[int]:
    """The inputs that some outputs, or nodes with side effects, depend on."""
    used = {v for node in live_nodes(graph, outputs) for v in node.inputs}.union(outputs)
    return {i for i, v in enumerate(graph.inputs) if v in used}


_NARROW: dict[str, Callable[[Node, Sequence[bool]], Any]] = {"cond": _cond, "while_loop": _while}
