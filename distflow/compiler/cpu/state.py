"""Variables in a plan: which are read and written where they lie.

A variable is *direct* if the program only reads and assigns it, assigns it once at most, after all
reads, and nothing that runs the user's code could see that. Then a read is a view of the variable's
own memory, and its new value is written into it: nothing is copied. The others are read and
written by their storages, in the order of the program.
"""

from __future__ import annotations

from collections.abc import Sequence

from distflow.compiler.cpu import table
from distflow.compiler.cpu.shapes import ShapeTable
from distflow.graph.ir import Graph, Node, Value, hides_variables
from distflow.ops.prims.elementwise import stop_gradient

# Families whose nodes may keep, hand on or change what they are given.
KEEPING = frozenset({"control", "custom", "host", "collective"})


class Variables:
    """What a plan knows of the variables of its graph.

    Args:
      graph: the program.
      nodes: those of it that run.
      shapes: of its values.
      claimed: resources whose storage lets its memory be written to.

    Attributes:
      direct: read, and perhaps written, where they lie.
      written: those of them that are written.
      writes: for each node that stands for an assignment, the variable.
      stands_for: for each node that `lower` made, that of the graph.
    """

    def __init__(
        self, graph: Graph, nodes: Sequence[Node], shapes: ShapeTable, claimed: set[Value]
    ):
        self.direct: set[Value] = set()
        self.written: set[Value] = set()
        self.writes: dict[Node, Value] = {}
        self.stands_for: dict[Node, Node] = {}
        opaque = [i for i, node in enumerate(nodes) if hides_variables(node)]
        uses: dict[Value, list[int]] = {v: [] for v in graph.inputs if v.resource}
        for i, node in enumerate(nodes):
            for v in node.inputs:
                if v.resource:
                    uses[v].append(i)
        for v, found in uses.items():
            if shapes.of(v) is None or (opaque and found and found[-1] > opaque[0]):
                continue
            names = [nodes[i].primitive.name for i in found]
            if "assign_variable" in names:
                # The user's code must find the new value; the copy waits for all that may fail.
                simple = (
                    v in claimed
                    and not opaque
                    and not table.why_not("stop_gradient", [v.dtype.name], v.dtype.name)
                    and names[-1] == "assign_variable"
                    and names[:-1] == ["read_variable"] * (len(names) - 1)
                    and nodes[found[-1]].attributes["mode"] == "assign"
                    and shapes.of(nodes[found[-1]].inputs[1]) == shapes.of(v)
                )
                if not simple:
                    continue
                self.written.add(v)
            elif any(nodes[i].effect in ("write", "order") for i in found):
                continue
            self.direct.add(v)

    def lower(self, nodes: Sequence[Node]) -> list[Node]:
        """Returns the nodes without reads of direct variables; their assignments come last.

        An assignment becomes a copy (`stop_gradient`) into a value that stands for the variable's
        memory, which `writes` names.
        """
        kept, last = [], []
        for node in nodes:
            name = node.primitive.name
            if name == "assign_variable" and node.inputs[0] in self.written:
                variable, value = node.inputs
                memory = Value(variable.dtype, variable.shape, name=variable.name)
                copy = Node(stop_gradient, [value], [memory], {}, node.origin)
                self.writes[copy] = variable
                self.stands_for[copy] = node
                last.append(copy)
            else:
                kept.append(node)
        return kept + last

    def is_direct_read(self, node: Node) -> bool:
        """Whether a node reads a direct variable."""
        return node.primitive.name == "read_variable" and node.inputs[0] in self.direct


def resources_of(nodes: Sequence[Node]) -> list[Value]:
    """Returns the variables that nodes may write."""
    found = [v for n in nodes if n.effect in ("write", "order") for v in n.inputs if v.resource]
    return list(dict.fromkeys(found))


def settled_by(node: Node) -> set[Value]:
    """Returns the variables that the replicas of a node write last of all, all or nothing.

    They are written by what runs one time between the replicas (`once`), which undoes itself if it
    fails, and nothing that can fail comes after it in any replica.
    """
    if node.primitive.name != "replica_run":
        return set()
    settled: set[Value] = set()
    others: set[Value] = set()
    start = 0
    for graph in node.attributes["graphs"]:
        operands = dict(zip(graph.inputs, node.inputs[start:]))
        start += len(graph.inputs)
        is_over = False
        for inner in graph.nodes:
            if inner.primitive.name == "once" and not is_over:
                is_over = True
                settled.update(operands[v] for v in inner.inputs if v.resource)
            elif inner.effect in ("write", "order"):
                others.update(operands[v] for v in inner.inputs if v.resource)
            if is_over and inner.primitive.name != "once" and _may_fail(inner):
                return set()
            if is_over and inner.primitive.name == "once" and inner is not _first_once(graph):
                return set()
    return settled - others


def _first_once(graph: Graph) -> Node:
    return next(node for node in graph.nodes if node.primitive.name == "once")


def _may_fail(node: Node) -> bool:
    if node.primitive.name == "read_variable":
        return False
    return bool(node.effect) or node.primitive.family in (*KEEPING, "indexing", "sorting")
