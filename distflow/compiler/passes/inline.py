"""Bodies in place of the nodes that hold them: calls, custom gradients, branches that are known.

A body may stand in several places, so its results become new values each time. Loops whose
condition is false at once are their initial values; short loops whose every step is known to
come are unrolled, so that the steps become part of the program around them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distflow.compiler.passes.fold import LARGEST_BYTES, computed, is_exact
from distflow.compiler.passes.rebuild import Rebuild, fits, is_static, num_bytes
from distflow.graph.ir import Graph, Node, Value
from distflow.ops.prims.creation import constant
from distflow.ops.prims.elementwise import stop_gradient

# A loop is unrolled up to so many steps, and so many nodes of its body in all of them.
_MOST_STEPS = 8
_MOST_NODES = 200


def inline(graph: Graph) -> Graph:
    """Puts bodies in the place of calls, and of conds and loops whose course is known."""
    if not any(node.primitive.family in ("control", "custom") for node in graph.nodes):
        return graph
    new = Rebuild(graph)
    for node in graph.nodes:
        _place(new, new.adopt(node))
    return new.finish()


def _place(new: Rebuild, node: Node) -> None:
    name = node.primitive.name
    results = None
    if name == "call":
        results = _body(new, node.attributes["graph"], node.inputs)
    elif name == "custom_call":
        results = _body(new, node.attributes["body"], node.inputs)
    elif name == "cond":
        predicate = new.array(node.inputs[0])
        if predicate is not None:
            taken = node.attributes["true_graph" if predicate else "false_graph"]
            results = _body(new, taken, node.inputs[1:])
    elif name == "while_loop":
        results = _steps(new, node)
    if results is None:
        new.keep(node)
        return
    for old, value in zip(node.outputs, results):
        new.replace(old, value if fits(value, old) else _shaped(new, value, old))


def _shaped(new: Rebuild, value: Value, old: Value) -> Value:
    """The value with what the caller knew of its shape, by an operation that does nothing."""
    result = old.like()
    new.keep(Node(stop_gradient, (value,), (result,), {}))
    return result


def _body(new: Rebuild, graph: Graph, operands: Sequence[Value]) -> list[Value]:
    """Appends a body's nodes on some operands; returns what its outputs are there."""
    table = dict(zip(graph.inputs, operands))
    for node in graph.nodes:
        inputs = [new.now(table[v]) for v in node.inputs]
        outputs = [Value(v.dtype, shape) for v, shape in zip(node.outputs, _shapes(node, inputs))]
        table.update(zip(node.outputs, outputs))
        _place(new, Node(node.primitive, inputs, outputs, node.attributes, node.origin))
    return [new.now(table[v]) for v in graph.outputs]


def _shapes(node: Node, inputs: Sequence[Value]) -> list[tuple[Any, ...]]:
    """The shapes of a node's results on other operands, and what was known of them before."""
    if all(new.shape == old.shape for new, old in zip(inputs, node.inputs)):
        return [v.shape for v in node.outputs]
    found = node.primitive.shape_rule(*[v.shape for v in inputs], **node.attributes)
    rows = found if isinstance(found, list) else [found]
    return [
        tuple(d if own is None else own for own, d in zip(value.shape, row))
        for value, row in zip(node.outputs, rows)
    ]


# -- loops ---------------------------------------------------------------------------------


def _steps(new: Rebuild, node: Node) -> list[Value] | None:
    """The carried values after all steps of a loop, if their number is known and small."""
    attributes = node.attributes
    if attributes["history"] is not None:
        return None
    condition, body, count = (attributes[k] for k in ("cond_graph", "body_graph", "num_vars"))
    carried, captured = list(node.inputs[:count]), node.inputs[count:]
    steps = _trip_count(condition, body, count, [new.array(v) for v in node.inputs])
    if steps is None:
        return None
    for _ in range(steps):
        carried = _body(new, body, [*carried, *captured])
    return carried


def _trip_count(condition: Graph, body: Graph, count: int, known: list[Any]) -> int | None:
    for step in range(_MOST_STEPS + 1):
        (go_on,) = _evaluated(condition, known)
        if go_on is None or condition.effect:
            return None
        if not go_on:
            return step
        if (step + 1) * len(body.nodes) > _MOST_NODES:
            return None
        known = [*_evaluated(body, known)[:count], *known[count:]]
    return None


def _evaluated(graph: Graph, known: Sequence[Any]) -> list[Any]:
    """The arrays of a body's outputs, None for those that depend on what is not known."""
    table: dict[Value, Any] = dict(zip(graph.inputs, known))
    for node in graph.nodes:
        if node.primitive is constant:
            table[node.outputs[0]] = node.attributes["value"]
        elif is_exact(node) and len(node.outputs) == 1 and is_static(*node.outputs):
            arrays = [table.get(v) for v in node.inputs]
            small = num_bytes(node.outputs[0]) <= LARGEST_BYTES
            if small and all(a is not None for a in arrays):
                table[node.outputs[0]] = computed(node, arrays)
    return [table.get(v) for v in graph.outputs]
