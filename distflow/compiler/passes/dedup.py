"""Dead code removal, and one computation instead of several equal ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.graph.ir import Graph, Node, Value, live_nodes

_COMPARED_BYTES = 1024  # larger constants are equal only if they are the same object


def remove_dead(graph: Graph) -> Graph:
    """Drops nodes that no output needs and that have no side effect."""
    return graph.with_nodes(live_nodes(graph))


def share_equal(graph: Graph) -> Graph:
    """Computes pure nodes with equal operands and attributes once.

    Reads of a Variable are equal as long as nothing is written in between.
    """
    replaced: dict[Value, Value] = {}
    seen: dict[Any, Node] = {}
    epoch = 0
    nodes = []
    for node in graph.nodes:
        node = node.with_inputs([replaced.get(v, v) for v in node.inputs])
        if node.effect in ("write", "order"):
            epoch += 1
            nodes.append(node)
            continue
        key = (
            id(node.primitive), tuple(map(id, node.inputs)), _key(node.attributes),
            epoch if node.effect else 0, tuple(v.shape for v in node.outputs),
        )  # fmt: skip
        twin = seen.setdefault(key, node)
        if twin is node:
            nodes.append(node)
        else:
            replaced.update(zip(node.outputs, twin.outputs))
    return graph.with_nodes(nodes, [replaced.get(v, v) for v in graph.outputs])


def _key(value: Any) -> Any:
    """A hashable key that tells 0 from False, 1 from 1.0 and 0.0 from -0.0."""
    if isinstance(value, dict):
        return tuple((k, _key(v)) for k, v in value.items())
    if isinstance(value, list | tuple):
        return (type(value), *map(_key, value))
    if isinstance(value, np.ndarray):
        if value.dtype == object or value.nbytes > _COMPARED_BYTES:
            return ("array", id(value))
        return ("array", value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, bool | int | float | str | bytes) or value is None:
        return (type(value), repr(value))
    return ("object", id(value))
