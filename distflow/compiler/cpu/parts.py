"""Values that a loop writes right where a concatenation has them: then nothing is concatenated."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from distflow.compiler.cpu.forms import Unit
from distflow.compiler.cpu.shapes import ShapeTable
from distflow.compiler.cpu.task import contiguous
from distflow.compiler.cpu.views import Views
from distflow.graph.ir import Node, Value


@dataclass(frozen=True)
class Part:
    """Where a value lies in the result of a concatenation: offset and strides in elements."""

    node: Node
    offset: int
    strides: tuple[int, ...]

    @property
    def whole(self) -> Value:
        """The result."""
        return self.node.outputs[0]


def join(
    units: Sequence[Unit], shapes: ShapeTable, views: Views, fixed: Collection[Value]
) -> tuple[list[Unit], dict[Value, Part]]:
    """Returns the units without concatenations that one loop can write, and where it does.

    Args:
      units: in order.
      fixed: values that need memory of their own: results of the program.
    """
    maker = {v: unit for unit in units for node in unit.nodes for v in node.outputs}
    readers: dict[Value, list[Unit]] = {}
    for unit in units:
        if unit.is_loop:
            read = [v for form in unit.forms for v in form.operands if v not in form.inside]
        else:
            read = [v for node in unit.nodes for v in node.inputs]
        for root in dict.fromkeys(map(views.root, read)):
            readers.setdefault(root, []).append(unit)
    kept_whole = {views.root(v) for v in fixed}
    parts: dict[Value, Part] = {}
    kept = []
    for unit in units:
        node = unit.nodes[0]
        if unit.is_loop or node.primitive.name != "concat":
            kept.append(unit)
            continue
        free = [
            v for v in dict.fromkeys(node.inputs)
            if not views.is_view(v) and v not in kept_whole and readers[v] == [unit]
        ]  # fmt: skip
        makers = {id(maker[v]) for v in free if v in maker and _is_stored(maker[v], v)}
        if len(free) < len(node.inputs) or len(makers) != 1 or any(v not in maker for v in free):
            kept.append(unit)
            continue
        parts.update(_laid_out(node, shapes))
    return kept, parts


def _is_stored(unit: Unit, value: Value) -> bool:
    """Whether a loop writes each element of a value as it comes."""
    return any(
        form.axes is None and form.shape == unit.shape and value in node.outputs
        for node, form in zip(unit.nodes, unit.forms)
    )


def _laid_out(node: Node, shapes: ShapeTable) -> dict[Value, Part]:
    (whole,) = node.outputs
    strides = contiguous("", shapes.of(whole) or ()).strides
    axis, start, found = node.attributes["axis"], 0, {}
    for value in node.inputs:
        found[value] = Part(node, start * strides[axis], strides)
        start += (shapes.of(value) or ())[axis]
    return found
