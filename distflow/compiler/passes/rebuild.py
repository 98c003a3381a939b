"""Rebuild: what passes use to write a graph anew, replacing values on the way.

Values are shared between graphs, so their types are never changed: where a new operand knows more
of its shape than the old one did, the results are derived again and become values of their own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from distflow.core.primitive import REGISTRY
from distflow.graph.ir import Graph, Node, Value
from distflow.ops.prims.creation import constant

# Constants of more elements are not searched for being all the same number.
_MOST_SEARCHED = 4096
# The result holds no other elements than the first operand.
REARRANGEMENTS = ("broadcast_to", "reshape", "transpose", "slice", "reverse", "stop_gradient")


class Rebuild:
    """A graph in the making, from the nodes of another in their order.

    For each node: `adopt` it (with the operands of now), then either `keep` it or `replace` its
    results by other values. `finish` gives the old graph itself if nothing was changed.
    """

    def __init__(self, graph: Graph):
        self._graph = graph
        self.nodes: list[Node] = []
        self._now: dict[Value, Value] = {}
        self._was: dict[Value, Value] = {}  # of results that were derived anew
        self._maker: dict[Value, Node] = {}
        self._changed = False
        self._uses: Counter[Value] | None = None
        self._readers: dict[Value, list[Node]] | None = None

    def now(self, value: Value) -> Value:
        """Returns what stands for a value of the old graph."""
        return self._now.get(value, value)

    def adopt(self, node: Node) -> Node:
        """Returns a node of the old graph on the operands of now."""
        now = self._now
        for value in node.inputs:
            if value in now:
                break
        else:
            return node
        inputs = tuple([now.get(v, v) for v in node.inputs])
        self._changed = True
        outputs: Sequence[Value] = node.outputs
        if any(new.shape != old.shape for new, old in zip(inputs, node.inputs)):
            outputs = self._derived(node, inputs)
        return Node(node.primitive, inputs, outputs, node.attributes, node.origin)

    def _derived(self, node: Node, inputs: Sequence[Value]) -> list[Value]:
        """The results of a node on other operands: new values where more is known of the shape."""
        found = node.primitive.shape_rule(*[v.shape for v in inputs], **node.attributes)
        rows = found if isinstance(found, list) else [found]
        outputs = []
        for value, row in zip(node.outputs, rows):
            merged = tuple(d if own is None else own for own, d in zip(value.shape, row))
            if merged != value.shape:
                new = Value(value.dtype, merged, name=value.name)
                self._now[value] = new
                self._was[new] = value
                value = new
            outputs.append(value)
        return outputs

    def keep(self, node: Node) -> None:
        """Appends a node."""
        self.nodes.append(node)
        for value in node.outputs:
            self._maker[value] = node

    def add(self, name: str, *inputs: Value, **attributes: Any) -> Value:
        """Appends a new node of one result, typed by its primitive's rules; returns the result."""
        primitive = REGISTRY[name]
        dtype = primitive.dtype_rule(*[v.dtype for v in inputs], **attributes)
        shape = primitive.shape_rule(*[v.shape for v in inputs], **attributes)
        result = Value(dtype, shape)
        self.keep(Node(primitive, inputs, (result,), attributes))
        self._changed = True
        return result

    def constant(self, array: np.ndarray[Any, Any]) -> Value:
        """Appends a constant."""
        return self.add(constant.name, value=array)

    def replace(self, old: Value, new: Value) -> None:
        """Lets `new` stand for `old` from here on."""
        self._now[old] = new
        if old in self._was:
            self._now[self._was[old]] = new
        self._changed = True

    def drop(self) -> None:
        """Says that a node of the old graph has been left out."""
        self._changed = True

    def finish(self) -> Graph:
        """Returns the new graph, or the old one if nothing was changed."""
        if not self._changed:
            return self._graph
        return self._graph.with_nodes(self.nodes, [self.now(v) for v in self._graph.outputs])

    # -- what rules ask --------------------------------------------------------------------

    def maker(self, value: Value, name: str) -> Node | None:
        """Returns the node that makes a value, if it is one of the primitive `name`."""
        node = self._maker.get(value)
        return node if node is not None and node.primitive.name == name else None

    def any_maker(self, value: Value) -> Node | None:
        """Returns the node that makes a value."""
        return self._maker.get(value)

    def readers(self, value: Value) -> list[Node] | None:
        """Returns the nodes of the old graph that read a value of it; None if it is a result."""
        if self._readers is None:
            self._readers = {}
            for node in self._graph.nodes:
                for v in dict.fromkeys(node.inputs):
                    self._readers.setdefault(v, []).append(node)
        return None if value in self._graph.outputs else self._readers.get(value, [])

    def array(self, value: Value) -> np.ndarray[Any, Any] | None:
        """Returns the value of a constant, else None."""
        node = self._maker.get(value)
        return node.attributes["value"] if node and node.primitive is constant else None

    def uniform(self, value: Value) -> np.ndarray[Any, Any] | None:
        """Returns the one number that all elements of a value are, bit for bit, else None."""
        node = self._maker.get(value)
        if node is None:
            return None
        while node.primitive is not constant:
            if node.primitive.name not in REARRANGEMENTS:
                return None
            node = self._maker.get(node.inputs[0])
            if node is None:
                return None
        array = node.attributes["value"]
        if array.dtype == object or not 0 < array.size <= _MOST_SEARCHED:
            return None
        first = array.reshape(-1)[:1]
        if array.size > 1 and first.tobytes() * array.size != array.tobytes():
            return None
        return first.reshape(())

    def used_once(self, value: Value) -> bool:
        """Whether a result of the old graph has one reader, which the new graph may change."""
        if self._uses is None:
            self._uses = Counter(v for node in self._graph.nodes for v in node.inputs)
            self._uses.update(self._graph.outputs)
        return self._uses[value] == 1


def is_static(*values: Value) -> bool:
    """Whether the shapes of all values are known."""
    for value in values:  # asked so often that a generator shows
        if None in tuple(value.shape):
            return False
    return True


def num_bytes(value: Value) -> int:
    """Returns the size of a value of known shape."""
    return math.prod(d or 0 for d in value.shape) * value.dtype.size


def fits(new: Value, old: Value) -> bool:
    """Whether `new` may stand for `old`: of its dtype, and not less known of its shape."""
    return (
        new.dtype is old.dtype
        and len(new.shape) == len(old.shape)
        and all(o is None or n == o for n, o in zip(new.shape, old.shape))
    )
