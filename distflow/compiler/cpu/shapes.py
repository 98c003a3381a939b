"""The concrete shape of every value of a graph, once those of its inputs are known.

Integer arithmetic on shapes (`shape_of`, then slices and sums of it) is done here and now, so
that targets of reshapes and broadcasts are numbers. What depends on data stays unknown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.graph.ir import Graph, Node, Value

Shape = tuple[int, ...]

# Values of at most so many elements are followed.
_MOST_KNOWN = 64
_FOLLOWED = (dtypes.int32, dtypes.int64, dtypes.bool_)
# Primitives whose last operand, an int tensor, gives the shape of the result.
_WITH_TARGET = ("reshape", "broadcast_to", "unbroadcast", "random_bits")
_NEVER = ("control", "host", "custom", "collective")


class ShapeTable:
    """Shapes of values (None where unknown), and the arrays of those that are already known.

    Args:
      graph: whose values these are.
      inputs: shapes of its inputs.
      known: arrays of inputs that are known.

    Attributes:
      shapes, known: of values.
      rows: for values whose rows are all alike and known, the row.
    """

    def __init__(
        self, graph: Graph, inputs: Sequence[Shape | None],
        known: Mapping[Value, np.ndarray] | None = None,
    ):  # fmt: skip
        self.shapes: dict[Value, Shape | None] = dict(zip(graph.inputs, inputs))
        self.known: dict[Value, np.ndarray] = dict(known or {})
        self.rows: dict[Value, np.ndarray] = {}
        for node in graph.nodes:
            self._visit(node)

    def of(self, value: Value) -> Shape | None:
        """The shape of a value, or None."""
        return self.shapes[value]

    def add(self, value: Value, like: Value) -> None:
        """Notes a value that is not of the graph, with the shape of one that is."""
        self.shapes[value] = self.shapes[like]

    def size(self, value: Value) -> int:
        """The number of elements of a value whose shape is known."""
        return math.prod(self.shapes[value] or ())

    def _visit(self, node: Node) -> None:
        if node.primitive.name == "constant":
            array = np.asarray(node.attributes["value"])
            self.shapes[node.outputs[0]] = array.shape
            if array.size <= _MOST_KNOWN and node.outputs[0].dtype in _FOLLOWED:
                self.known[node.outputs[0]] = array
            return
        shapes = self._infer(node)
        if node.primitive.name == "scan" and None in shapes:
            shapes = self._scan(node) or shapes
        self.shapes.update(zip(node.outputs, shapes))
        self._follow(node)

    def _infer(self, node: Node) -> list[Shape | None]:
        if node.primitive.name in _WITH_TARGET and len(node.inputs) > 1:
            target = self.known.get(node.inputs[-1])
            if target is not None:
                return [self._resolve(node, tuple(int(d) for d in target.reshape(-1)))]
        operands = [v.shape if self.shapes[v] is None else self.shapes[v] for v in node.inputs]
        try:
            found = node.primitive.shape_rule(*operands, **node.attributes)
        except errors.InvalidArgumentError:
            # The node will say so itself when it runs.
            return [None] * len(node.outputs)
        rows = found if isinstance(found, list) else [found]
        return [_static(row) for row in rows]

    def _scan(self, node: Node) -> list[Shape | None] | None:
        """Follows one step of a scan; None if its state changes its shape, or something fails."""
        body, of = node.attributes["body_graph"], node.attributes
        inputs: list[Shape | None] = [self.shapes[v] for v in node.inputs]
        count = of["num_carried"] + of["num_sequences"]
        sequences = inputs[of["num_carried"] : count]
        lengths = {shape[:1] for shape in sequences if shape is not None}
        if None in inputs or len(lengths) != 1:
            return None
        for i in range(of["num_carried"], count):
            inputs[i] = (inputs[i] or ())[1:]
        table = ShapeTable(body, inputs, self.known_inside(node))
        found = [table.of(v) for v in body.outputs]
        if found[: of["num_carried"]] != inputs[: of["num_carried"]]:
            return None
        (length,) = lengths
        for i in range(of["num_carried"], len(found)):
            row = found[i]
            if body.outputs[i] in table.known:
                self.rows[node.outputs[i]] = table.known[body.outputs[i]]
            found[i] = None if row is None else (*length, *row)
        return found

    def known_inside(self, scan: Node) -> dict[Value, np.ndarray]:
        """Returns the inputs of a scan's body that are known, the same in each step."""
        of = scan.attributes
        start = of["num_carried"]
        end = start + of["num_sequences"]
        return {
            inner: table[outer]
            for i, (inner, outer) in enumerate(zip(of["body_graph"].inputs, scan.inputs))
            for table in [self.known if i >= end else self.rows]
            if i >= start and outer in table
        }

    def _resolve(self, node: Node, target: Shape) -> Shape | None:
        if -1 not in target:
            return target
        source = self.shapes[node.inputs[0]]
        rest = -math.prod(target)
        if source is None or rest <= 0:
            return None
        return tuple(math.prod(source) // rest if d == -1 else d for d in target)

    def _follow(self, node: Node) -> None:
        """Computes what depends on shapes alone."""
        if node.effect or node.primitive.family in _NEVER or len(node.outputs) != 1:
            return
        (output,) = node.outputs
        shape = self.shapes[output]
        if shape is None or math.prod(shape) > _MOST_KNOWN or output.dtype not in _FOLLOWED:
            return
        if node.primitive.name == "shape_of":
            source = self.shapes[node.inputs[0]]
            if source is not None:
                self.known[output] = np.asarray(source, output.dtype.numpy)
        elif node.inputs and all(v in self.known for v in node.inputs):
            try:
                result = node.primitive.reference(
                    *(self.known[v] for v in node.inputs), **node.attributes
                )
            except errors.InvalidArgumentError:
                return
            if isinstance(result, np.ndarray) and result.shape == shape:
                self.known[output] = result


def _static(shape: Any) -> Shape | None:
    found = tuple(shape)
    return None if any(d is None or d < 0 for d in found) else found
