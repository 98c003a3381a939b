"""How a loop sees nodes: what each computes, what it reads and which shape it goes over."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from distflow.compiler.cpu import table
from distflow.compiler.cpu.shapes import Shape, ShapeTable
from distflow.graph.ir import Node, Value

# Operands that loops read; those after them are shapes and lengths, which are known by then.
_READ = {"broadcast_to": 1, "unbroadcast": 1, "iota": 0, "random_bits": 2}


@dataclass(frozen=True)
class Form:
    """A node as a loop sees it: its row, what it reads, and what it goes over.

    `axes` is None for an elementwise operation. Operands `inside` are made by the same loop.
    """

    primitive: str
    operands: tuple[Value, ...]
    shape: Shape
    axes: tuple[int, ...] | None = None
    inside: frozenset[Value] = frozenset()


@dataclass
class Unit:
    """What runs at once: one node, or the nodes of a loop (`forms` beside them)."""

    nodes: list[Node] = field(default_factory=list)
    forms: list[Form] = field(default_factory=list)

    @property
    def is_loop(self) -> bool:
        """Whether a loop runs it."""
        return bool(self.forms)

    @property
    def shape(self) -> Shape:
        """What its loop goes over; narrow forms go over what reductions keep of it."""
        shapes = dict.fromkeys([f.shape for f in self.forms])
        if len(shapes) == 1:
            return next(iter(shapes))
        return max(shapes, key=lambda s: (math.prod(s), len(s)))

    def axes(self) -> tuple[int, ...] | None:
        """The axes that its reductions share; None while it has none."""
        for form in self.forms:
            if form.axes is not None:
                return form.axes
        return None


def form_of(node: Node, shapes: ShapeTable) -> Form | str:
    """Returns how a loop would compute a node, or why none can."""
    name = node.primitive.name
    if node.effect or len(node.outputs) != 1:
        return f"{name} has no row in the table"
    (output,) = node.outputs
    operands = node.inputs[: _READ.get(name, len(node.inputs))]
    axes = node.attributes.get("axes")
    if any(shapes.of(v) is None for v in (*operands, output)):
        reason = table.why_not(name, [v.dtype.name for v in operands], output.dtype.name)
        return reason or "its shape depends on data"
    shape = shapes.of(output)
    assert shape is not None
    if name == "unbroadcast":
        name, axes = "reduce_sum", _summed_axes(shapes.of(operands[0]) or (), shape)
        if not axes:
            name, axes = "stop_gradient", None
    reason = table.why_not(name, [v.dtype.name for v in operands], output.dtype.name)
    reason = reason or _unknown_divisor(node, shapes)
    if reason:
        return reason
    space = shape if name not in table.REDUCTIONS else shapes.of(operands[0])
    assert space is not None
    if not math.prod(space):
        return "it is empty"
    if name in table.REDUCTIONS and not axes:
        return "it reduces no axis"
    return Form(name, operands, space, axes if name in table.REDUCTIONS else None)


def _unknown_divisor(node: Node, shapes: ShapeTable) -> str:
    """Returns why integers cannot be divided here: the reference raises where a divisor is 0."""
    name = node.primitive.name
    if name not in ("div", "floordiv", "mod", "pow") or not node.inputs[1].dtype.is_integer:
        return ""
    right = shapes.known.get(node.inputs[1])
    if name == "pow":
        fits = right is not None and bool((right >= 0).all())
        return "" if fits else "an exponent may be negative"
    fits = right is not None and bool((right != 0).all())
    return "" if fits else "a divisor may be 0"


def _summed_axes(source: Shape, target: Shape) -> tuple[int, ...]:
    extra = len(source) - len(target)
    return tuple(range(extra)) + tuple(
        i + extra for i, d in enumerate(target) if d == 1 and source[i + extra] != 1
    )
