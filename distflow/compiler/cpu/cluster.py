"""Which nodes run together in one loop: clusters of elementwise nodes and reductions.

A node joins the loop of one of its operands if both go over the same shape and nothing outside
of the loop stands between them. Everything else is a unit of its own. Units are then put in an
order in which each comes after those it needs; effects keep the program's order.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from distflow.compiler.cpu import table
from distflow.compiler.cpu.emit import REGISTER, literal
from distflow.compiler.cpu.nest import broadcast, contiguous, spread
from distflow.compiler.cpu.shapes import Shape, ShapeTable
from distflow.compiler.cpu.steps import Loop, Reduced, Step
from distflow.graph.ir import Graph, Node, Value

# Bounds on one loop: registers, and the pointers that a call passes.
_MOST_STEPS = 48
_MOST_ARRAYS = 24


@dataclass(frozen=True)
class Form:
    """A node as a loop sees it: its row, what it reads, and what it goes over.

    `axes` is None for an elementwise operation.
    """

    primitive: str
    operands: tuple[Value, ...]
    shape: Shape
    axes: tuple[int, ...] | None = None


@dataclass
class Unit:
    """What runs at once: one node, or the nodes of a loop (`forms` beside them)."""

    nodes: list[Node] = field(default_factory=list)
    forms: list[Form] = field(default_factory=list)
    needs: int = 0  # bits of the units that it comes after, directly or not

    @property
    def is_loop(self) -> bool:
        """Whether a loop runs it."""
        return bool(self.forms)

    def axes(self) -> tuple[int, ...] | None:
        """The axes that its reductions share; None while it has none."""
        return next((f.axes for f in self.forms if f.axes is not None), None)


@dataclass(frozen=True)
class Region:
    """A loop with the values that go in and out of it, in the order of its pointers."""

    loop: Loop
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


def form_of(node: Node, shapes: ShapeTable) -> Form | str:
    """Returns how a loop would compute a node, or why none can."""
    name = node.primitive.name
    if node.effect or len(node.outputs) != 1:
        return f"{name} has no row in the table"
    (output,) = node.outputs
    operands = node.inputs[:1] if name in ("broadcast_to", "unbroadcast") else node.inputs
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
    if reason:
        return reason
    space = shape if name in table.ELEMENTWISE else shapes.of(operands[0])
    assert space is not None
    if not math.prod(space):
        return "it is empty"
    if name in table.REDUCTIONS and not axes:
        return "it reduces no axis"
    return Form(name, operands, space, axes if name in table.REDUCTIONS else None)


def _summed_axes(source: Shape, target: Shape) -> tuple[int, ...]:
    extra = len(source) - len(target)
    return tuple(range(extra)) + tuple(
        i + extra for i, d in enumerate(target) if d == 1 and source[i + extra] != 1
    )


def gather(nodes: Sequence[Node], shapes: ShapeTable) -> tuple[list[Unit], dict[Node, str]]:
    """Returns the units in an order in which they can run, and why nodes are in no loop."""
    units: list[Unit] = []
    made_by: dict[Value, int] = {}
    reasons: dict[Node, str] = {}
    last_effect = -1
    for node in nodes:
        form = form_of(node, shapes)
        operands = node.inputs if isinstance(form, str) else form.operands
        before = list(dict.fromkeys(made_by[v] for v in operands if v in made_by))
        if isinstance(form, str):
            reasons[node] = form
            if node.effect:
                before += [last_effect] if last_effect >= 0 else []
                last_effect = len(units)
            here = _new_unit(units, before)
        else:
            here = _home(units, before, form)
            units[here].forms.append(form)
        units[here].nodes.append(node)
        made_by.update((v, here) for v in node.outputs)
    return _in_order(units), reasons


def _new_unit(units: list[Unit], before: Sequence[int]) -> int:
    needs = 0
    for i in before:
        needs |= units[i].needs | 1 << i
    units.append(Unit(needs=needs))
    return len(units) - 1


def _home(units: list[Unit], before: Sequence[int], form: Form) -> int:
    """Returns the unit that a node joins: the latest that fits, else a new one."""
    for here in sorted(before, reverse=True):
        unit = units[here]
        others = [i for i in before if i != here]
        if not _fits(unit, form) or any(units[i].needs >> here & 1 for i in others):
            continue
        added = 0
        for i in others:
            added |= units[i].needs | 1 << i
        if added & ~unit.needs:
            unit.needs |= added
            for later in units:
                if later.needs >> here & 1:
                    later.needs |= added
        return here
    return _new_unit(units, before)


def _fits(unit: Unit, form: Form) -> bool:
    if not unit.is_loop or unit.forms[0].shape != form.shape or len(unit.forms) >= _MOST_STEPS:
        return False
    made = {v for n, f in zip(unit.nodes, unit.forms) if f.axes is not None for v in n.outputs}
    if any(v in made for v in form.operands):
        return False  # the result of a reduction is there only when the loop is over
    arrays = {v for f in (*unit.forms, form) for v in f.operands}
    if len(arrays) > _MOST_ARRAYS:
        return False
    axes = unit.axes()
    return form.axes is None or axes is None or axes == form.axes


def _in_order(units: list[Unit]) -> list[Unit]:
    made_by = {v: i for i, unit in enumerate(units) for n in unit.nodes for v in n.outputs}
    waits: list[set[int]] = []
    for i, unit in enumerate(units):
        reads = [v for f in unit.forms for v in f.operands] or [
            v for n in unit.nodes for v in n.inputs
        ]
        waits.append({made_by[v] for v in reads if v in made_by} - {i})
    effects = [i for i, unit in enumerate(units) if unit.nodes[0].effect]
    for earlier, later in itertools.pairwise(effects):
        waits[later].add(earlier)
    followers: list[list[int]] = [[] for _ in units]
    for i, needed in enumerate(waits):
        for j in needed:
            followers[j].append(i)
    missing = [len(w) for w in waits]
    ready = [i for i, count in enumerate(missing) if count == 0]
    heapq.heapify(ready)
    order = []
    while ready:
        i = heapq.heappop(ready)
        order.append(units[i])
        for j in followers[i]:
            missing[j] -= 1
            if missing[j] == 0:
                heapq.heappush(ready, j)
    assert len(order) == len(units), "the clusters form a cycle"
    return order


def region_of(
    unit: Unit, shapes: ShapeTable, wanted: set[Value], numbers: Mapping[Value, np.ndarray],
    layouts: Mapping[Value, tuple[int, ...]] | None = None,
) -> Region:  # fmt: skip
    """Returns a unit's loop.

    Args:
      wanted: values that something outside of the unit reads.
      numbers: constants of one element, which become part of the code.
      layouts: strides in elements of values that go in or out, over their own shapes; those that
        are missing are contiguous.
    """
    layouts = {} if layouts is None else layouts
    space = unit.forms[0].shape

    def own(v: Value) -> tuple[int, ...]:
        return layouts[v] if v in layouts else contiguous(shapes.of(v) or ())

    inside = {v for n in unit.nodes for v in n.outputs}
    reads = list(dict.fromkeys(v for f in unit.forms for v in f.operands if v not in inside))
    inputs = [v for v in reads if v not in numbers]
    position = {v: i for i, v in enumerate(inputs)}
    steps: list[Step] = []
    for v in reads:
        if v in numbers:
            position[v] = len(inputs) + len(steps)
            kind = REGISTER[v.dtype.name]
            steps.append(Step("constant", (), v.dtype.name, literal(kind, numbers[v].item())))
    stores: list[Value] = []
    reductions: list[Reduced] = []
    results: list[Value] = []
    for node, form in zip(unit.nodes, unit.forms):
        (output,) = node.outputs
        operands = tuple(position[v] for v in form.operands)
        if form.axes is not None:
            strides = _over_kept(own(output), form.axes, len(space))
            reductions.append(Reduced(form.primitive, operands[0], output.dtype.name, strides))
            results.append(output)
            continue
        position[output] = len(inputs) + len(steps)
        steps.append(Step(form.primitive, operands, output.dtype.name))
        if output in wanted:
            stores.append(output)
    loop = Loop(
        space,
        tuple((v.dtype.name, broadcast(shapes.of(v) or (), own(v), space)) for v in inputs),
        tuple(steps),
        tuple((position[v], own(v)) for v in stores),
        tuple(reductions),
        unit.axes() or (),
    )
    return Region(loop, tuple(inputs), (*stores, *results))


def _over_kept(strides: tuple[int, ...], axes: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """Returns the strides of a reduction's result along each dimension of the loop."""
    if len(strides) != rank - len(axes):  # of `unbroadcast`: some axes are left with size 1
        strides = (0,) * (rank - len(strides)) + strides
        return tuple(0 if i in axes else s for i, s in enumerate(strides))
    return spread(strides, axes, rank)


def numbers_of(graph: Graph) -> dict[Value, np.ndarray]:
    """Returns the constants of one element whose dtype loops know."""
    found = {}
    for node in graph.nodes:
        if node.primitive.name == "constant":
            value = np.asarray(node.attributes["value"])
            if value.size == 1 and node.outputs[0].dtype.name in REGISTER:
                found[node.outputs[0]] = value
    return found
