"""Graph, Node and Value: a typed straight-line program in single-assignment form.

Nodes stand in the order in which they were traced; those with effects keep that order. A Value
may be shared by several Graphs (the halves of a split, say), so it holds nothing but its type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from distflow.base import dtypes, shapes

_STRENGTH = {"": 0, "read": 1, "write": 2, "order": 3}


class Value:
    """One value of a program: a tensor, or (`resource`) a Variable that reads and writes take."""

    __slots__ = ("dtype", "name", "resource", "shape")

    def __init__(
        self,
        dtype: dtypes.DType,
        shape: Iterable[Any],
        resource: bool = False,
        name: str = "",
    ):
        self.dtype = dtype
        self.shape = shapes.TensorShape.of(tuple(shape))
        self.resource = resource
        self.name = name

    @property
    def is_differentiable(self) -> bool:
        """Whether gradients can flow into it."""
        return self.dtype.is_floating or self.dtype.is_complex

    @property
    def is_variable(self) -> bool:
        """Whether it stands for a Variable."""
        return self.resource

    def like(self, name: str = "") -> Value:
        """Returns another value of the same type."""
        return Value(self.dtype, self.shape, self.resource, name or self.name)

    def type_text(self) -> str:
        """Returns the type as printed: float32[?, 3], &float32[3] for a Variable."""
        return f"{'&' if self.resource else ''}{self.dtype.name}{shapes.text(self.shape)}"

    def __repr__(self) -> str:
        return f"<Value {self.name or '_'}: {self.type_text()}>"


class Node:
    """One operation: a primitive, its operands, its results and its attributes."""

    __slots__ = ("attributes", "effect", "inputs", "origin", "outputs", "primitive")

    def __init__(
        self,
        primitive: Any,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        attributes: dict[str, Any],
        origin: str = "",
    ):
        self.primitive = primitive
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.attributes = attributes
        self.origin = origin
        self.effect: str = max(
            [primitive.effect, *(graph.effect for graph in subgraphs(attributes))],
            key=_STRENGTH.__getitem__,
        )

    def with_inputs(self, inputs: Sequence[Value]) -> Node:
        """Returns the same operation on other operands (same results)."""
        if tuple(inputs) == self.inputs:
            return self
        return Node(self.primitive, inputs, self.outputs, self.attributes, self.origin)

    def __repr__(self) -> str:
        return f"<Node {self.primitive.name}>"


class Graph:
    """A program: typed inputs, nodes in order, outputs.

    Args:
      name: of the function it came from.
      inputs: tensors and resources that a call supplies.
      nodes: operations, each after those it needs.
      outputs: values that a call returns.
    """

    def __init__(
        self,
        name: str,
        inputs: Iterable[Value] = (),
        nodes: Iterable[Node] = (),
        outputs: Iterable[Value] = (),
    ):
        self.name = name
        self.inputs: list[Value] = list(inputs)
        self.nodes: list[Node] = list(nodes)
        self.outputs: list[Value] = list(outputs)
        # How calls run it: made at the first run (`evaluate.run`).
        self.runner: Callable[[Sequence[Any]], Sequence[Any]] | None = None
        # Whatever is derived from a finished graph and worth keeping, by kind.
        self.derived: dict[Any, Any] = {}

    @property
    def effect(self) -> str:
        """The strongest effect among the nodes: "", "read", "write" or "order"."""
        return max((node.effect for node in self.nodes), key=_STRENGTH.__getitem__, default="")

    def with_nodes(self, nodes: Iterable[Node], outputs: Iterable[Value] | None = None) -> Graph:
        """Returns a graph of the same name and inputs with other nodes (and outputs)."""
        return Graph(self.name, self.inputs, nodes, self.outputs if outputs is None else outputs)

    def __str__(self) -> str:
        return _printer(self)

    def __repr__(self) -> str:
        return (
            f"<Graph {self.name}: {len(self.inputs)} inputs, {len(self.nodes)} nodes, "
            f"{len(self.outputs)} outputs>"
        )


_printer: Callable[[Graph], str] = repr


def set_printer(printer: Callable[[Graph], str]) -> None:
    """Sets what `str(graph)` gives (called once, by `graph.text`)."""
    global _printer
    _printer = printer


def subgraphs(attributes: dict[str, Any]) -> list[Graph]:
    """Returns the Graphs among a node's attributes (bodies of control flow)."""
    return [value for value in attributes.values() if isinstance(value, Graph)]


def has_side_effect(node: Node) -> bool:
    """Whether a node must run even if nobody uses its results."""
    return node.effect in ("write", "order")


def leaves_variables(node: Node) -> bool:
    """Whether a node with an effect reads and writes no Variable: a Python function that says so.

    Such a function has the attribute `leaves_variables`.
    """
    return bool(getattr(node.attributes.get("fn"), "leaves_variables", False))


def hides_variables(node: Node) -> bool:
    """Whether a node may read and write variables that are not among its operands: Python code."""
    if leaves_variables(node):
        return False
    if node.primitive.family in ("host", "custom"):
        return has_side_effect(node)
    return any(hides_variables(n) for graph in subgraphs(node.attributes) for n in graph.nodes)


def live_nodes(graph: Graph, outputs: Iterable[Value] | None = None) -> list[Node]:
    """Returns the nodes that the outputs need, or that have side effects, in order."""
    wanted = set(graph.outputs if outputs is None else outputs)
    kept = []
    for node in reversed(graph.nodes):
        if not wanted.isdisjoint(node.outputs) or has_side_effect(node):
            kept.append(node)
            wanted.update(node.inputs)
    return kept[::-1]


def without_unused(graphs: Sequence[Graph], start: int = 0) -> tuple[list[Graph], list[int]]:
    """Drops inputs from position `start` on that none of the graphs needs; all take the same ones.

    Returns the graphs without them and without dead nodes, and the positions that are kept.
    """
    used: set[int] = set(range(start))
    lean = [graph.with_nodes(live_nodes(graph)) for graph in graphs]
    for graph in lean:
        needed = {v for node in graph.nodes for v in node.inputs}.union(graph.outputs)
        used.update(i for i, v in enumerate(graph.inputs) if v in needed)
    kept = sorted(used)
    for graph in lean:
        graph.inputs = [graph.inputs[i] for i in kept]
    return lean, kept
