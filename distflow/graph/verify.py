"""Checks that a Graph is well formed: every value made before it is used, every type derived anew.

A pass that breaks a program is caught here, with the neighbourhood of the first bad node.
"""

from __future__ import annotations

from typing import Any

from distflow.base import errors, shapes
from distflow.graph import text
from distflow.graph.ir import Graph, Node, Value, subgraphs

_NEIGHBOURS = 3


def verify(graph: Graph, checked: set[Node] | None = None) -> None:
    """Raises InternalError, showing the nodes around the first bad one, unless all is well.

    A node's results must have the dtypes of its primitive's rule, and shapes that know no less
    than the rule does and do not contradict it. Nodes in `checked` were found well typed before and
    are not typed again; the others are added to it.
    """
    checked = set() if checked is None else checked
    known: set[Value] = set()
    for value in graph.inputs:
        if value in known:
            raise _bad(graph, None, "an input stands twice", value)
        known.add(value)
    for position, node in enumerate(graph.nodes):
        if not known.issuperset(node.inputs):
            missing = next(v for v in node.inputs if v not in known)
            raise _bad(graph, position, "a value is used before it is defined", missing)
        if node not in checked:
            for inner in subgraphs(node.attributes):
                verify(inner, checked)
            _check_types(graph, position, node)
            checked.add(node)
        for value in node.outputs:
            if value in known:
                raise _bad(graph, position, "a value is defined twice", value)
            known.add(value)
    for value in graph.outputs:
        if value not in known:
            raise _bad(graph, None, "an output is not defined", value)
        if value.resource:
            raise _bad(graph, None, "a Variable cannot be an output", value)


def _check_types(graph: Graph, position: int, node: Node) -> None:
    try:
        found_dtypes = node.primitive.dtype_rule(*[v.dtype for v in node.inputs], **node.attributes)
        found_shapes = node.primitive.shape_rule(*[v.shape for v in node.inputs], **node.attributes)
    except (errors.OpError, AssertionError, TypeError) as error:
        raise _bad(graph, position, f"the primitive refuses its operands: {error}") from error
    if not isinstance(found_dtypes, tuple):
        found_dtypes, found_shapes = (found_dtypes,), [found_shapes]
    if len(found_dtypes) != len(node.outputs):
        raise _bad(graph, position, f"the primitive has {len(found_dtypes)} results")
    for value, dtype, shape in zip(node.outputs, found_dtypes, found_shapes):
        if value.dtype is not dtype or value.resource:
            raise _bad(graph, position, f"the result's dtype must be {dtype.name}", value)
        if not _refines(value.shape, shape):
            raise _bad(graph, position, f"the result's shape must be {shapes.text(shape)}", value)


def _refines(shape: Any, derived: Any) -> bool:
    return len(shape) == len(derived) and all(d in (None, s) for s, d in zip(shape, derived))


def _bad(
    graph: Graph, position: int | None, problem: str, value: Value | None = None
) -> errors.InternalError:
    names = text.Names(graph)
    first = 0 if position is None else max(0, position - _NEIGHBOURS)
    last = _NEIGHBOURS if position is None else position + _NEIGHBOURS + 1
    lines = [
        f"{'-->' if first + i == position else '   '} {names.line(node)}"
        for i, node in enumerate(graph.nodes[first:last])
    ]
    about = "" if value is None else f" ({names[value]}: {value.type_text()})"
    where = "" if position is None else f" at node {position}"
    return errors.InternalError(
        f"graph {graph.name}: {problem}{about}{where}.\n" + "\n".join(lines)
    )
