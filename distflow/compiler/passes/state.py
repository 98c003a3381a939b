"""Reads and writes of Variables: what a read must give is often known, and writes have one form.

Both passes hold only for variables that are the program's own while it runs (`Owned` says when):
no two operands are the same variable, and a read gives what was written last.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from distflow.base import dtypes
from distflow.compiler.passes.rebuild import Rebuild, fits, is_static
from distflow.core.variable import assign_variable, read_variable
from distflow.graph.ir import Graph, Node, Value, leaves_variables, subgraphs

_COMBINE = {"add": "add", "sub": "sub"}


def forward_reads(graph: Graph, owned: Collection[Value] | None = None) -> Graph:
    """Reads a variable once between writes, and not at all where it is known what was written.

    Host calls and collectives may touch any variable; bodies of control flow those that they
    write among the node's operands.

    Args:
      graph: a program.
      owned: its variables that are its own; None: all.
    """
    new = Rebuild(graph)
    known: dict[Value, Value] = {}
    for node in graph.nodes:
        node = new.adopt(node)
        if owned is not None and _reads_or_writes(node) and node.inputs[0] not in owned:
            new.keep(node)
            continue
        if node.primitive is read_variable:
            (variable,), (result,) = node.inputs, node.outputs
            if variable in known and fits(known[variable], result):
                new.replace(result, known[variable])
                continue
            known[variable] = result
        elif node.primitive is assign_variable:
            variable, value = node.inputs
            whole = node.attributes["mode"] == "assign" and is_static(value)
            if whole and value.shape == variable.shape:
                known[variable] = value
            else:
                known.pop(variable, None)
        elif node.effect in ("write", "order") and not _leaves_variables(node):
            written = _written(node)
            if written is None:
                known.clear()
            else:
                for variable in written:
                    known.pop(variable, None)
        new.keep(node)
    return _drop_overwritten(new.finish(), owned)


def _drop_overwritten(graph: Graph, owned: Collection[Value] | None) -> Graph:
    """Drops writes of whole values that a later write follows before anything could see them.

    A layer that draws twice counts its generator's state twice; the plan writes it once, in place.
    """
    latest: dict[Value, Node] = {}
    dead: set[Node] = set()
    for node in graph.nodes:
        own = [v for v in node.inputs if v.resource and (owned is None or v in owned)]
        if node.primitive is assign_variable and node.attributes["mode"] == "assign" and own:
            variable, value = node.inputs
            if is_static(value) and value.shape == variable.shape:
                if variable in latest:
                    dead.add(latest[variable])
                latest[variable] = node
                continue
        for variable in own:
            latest.pop(variable, None)
        if node.effect in ("write", "order") and not own and not _leaves_variables(node):
            latest.clear()
    if not dead:
        return graph
    return graph.with_nodes([node for node in graph.nodes if node not in dead], graph.outputs)


def _reads_or_writes(node: Node) -> bool:
    return node.primitive is read_variable or node.primitive is assign_variable


def _leaves_variables(node: Node) -> bool:
    """Whether a node with an effect touches no variable: reductions over replicas do not."""
    if node.primitive.name in ("all_reduce", "reduce_bucket"):
        return True
    return leaves_variables(node)


def _written(node: Node) -> set[Value] | None:
    """The operands of a node that its bodies may write; None: any variable."""
    if node.effect == "order":
        return None
    variables = {v for v in node.inputs if v.resource}
    # Bodies get every variable that they touch as an operand; anything else is not known here.
    return variables if variables and subgraphs(node.attributes) else None


def lower_updates(graph: Graph, owned: Collection[Value] | None = None) -> Graph:
    """Writes v += x and v -= x as read, add or sub, and assign: one form for plans in place."""
    new = Rebuild(graph)
    for node in graph.nodes:
        node = new.adopt(node)
        foreign = owned is not None and node.inputs and node.inputs[0] not in owned
        if node.primitive is not assign_variable or foreign or not _is_sum(node):
            new.keep(node)
            continue
        variable, value = node.inputs
        old = new.add(read_variable.name, variable)
        total = new.add(_COMBINE[node.attributes["mode"]], old, value)
        attributes = {**node.attributes, "mode": "assign"}
        new.keep(Node(assign_variable, (variable, total), (), attributes, node.origin))
    return new.finish()


def _is_sum(node: Node) -> bool:
    """Whether a write is an addition or subtraction of a whole value of known shape."""
    variable, value = node.inputs
    return (
        node.attributes["mode"] in _COMBINE
        and variable.dtype in dtypes.NUMERIC
        and is_static(variable, value)
        and value.shape == variable.shape
    )


def touches_variables(nodes: Iterable[Node]) -> bool:
    """Whether any of the nodes writes a variable."""
    return any(node.effect in ("write", "order") for node in nodes)
