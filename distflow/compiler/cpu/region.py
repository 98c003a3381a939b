"""A unit's loop: steps, layouts of what goes in and out, and constants as part of the code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from distflow.compiler.cpu.emit import PAIR, REGISTER, literal
from distflow.compiler.cpu.forms import Form, Unit
from distflow.compiler.cpu.joins import over_loop
from distflow.compiler.cpu.nest import broadcast, contiguous, spread
from distflow.compiler.cpu.shapes import ShapeTable
from distflow.compiler.cpu.steps import Loop, Reduced, Step
from distflow.compiler.cpu.table import COUNTED
from distflow.graph.ir import Graph, Value

Strides = tuple[int, ...]
# A value as a loop reads it: its dtype there, and strides over the loop.
_Read = tuple[Value, str, Strides]


@dataclass(frozen=True)
class Region:
    """A loop with the values that go in and out of it, in the order of its pointers."""

    loop: Loop
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


def region_of(
    unit: Unit, shapes: ShapeTable, wanted: set[Value], numbers: Mapping[Value, np.ndarray],
    layouts: Mapping[Value, tuple[int, ...]] | None = None,
) -> Region:  # fmt: skip
    """Returns a unit's loop.

    Args:
      wanted: values that something outside of the unit reads.
      numbers: constants of one element, which become part of the code.
      layouts: strides in elements of values that go in or out, over their own shapes; those that
        are missing are contiguous, and so are keys of random bits in any case.
    """
    layouts = {} if layouts is None else layouts
    space, axes = unit.shape, unit.axes() or ()

    def own(v: Value) -> Strides:
        return layouts[v] if v in layouts else contiguous(shapes.of(v) or ())

    def read(v: Value, form: Form) -> _Read:
        # Keys of random bits are read two words at once.
        if form.primitive == "random_bits":
            return v, PAIR, (0,) * len(space)
        lies = broadcast(shapes.of(v) or (), own(v), form.shape)
        return v, v.dtype.name, over_loop(lies, form.shape, space, axes)

    inside = {v for n in unit.nodes for v in n.outputs}
    outside = list(
        dict.fromkeys(
            read(v, form) for form in unit.forms for v in form.operands if v not in inside
        )
    )
    inputs = [key for key in outside if key[0] not in numbers]
    position: dict[_Read | Value, int] = {key: i for i, key in enumerate(inputs)}
    steps: list[Step] = []

    def add(step: Step) -> int:
        steps.append(step)
        return len(inputs) + len(steps) - 1

    for key in outside:
        v, kind, _ = key
        if v in numbers:
            text = literal(REGISTER[kind], numbers[v].item())
            position[key] = add(Step("constant", (), kind, text))
    stores: list[tuple[Value, Strides]] = []
    reductions: list[Reduced] = []
    results: list[Value] = []
    number: dict[Value, int] = {}
    for node, form in zip(unit.nodes, unit.forms):
        (output,) = node.outputs
        name, dtype = form.primitive, output.dtype.name
        for v in form.operands:
            if v in number and v not in position:
                position[v] = add(Step("row", (number[v],), v.dtype.name))
        operands = tuple(position[v if v in inside else read(v, form)] for v in form.operands)
        if form.axes is not None:
            strides = _over_kept(own(output), form.axes, len(space))
            number[output] = len(reductions)
            reductions.append(Reduced(name, operands[0], dtype, strides, output in wanted))
            if output in wanted:
                results.append(output)
            continue
        counted = None
        if name in COUNTED:
            counted = over_loop(contiguous(form.shape), form.shape, space, axes)
        position[output] = add(Step(name, operands, dtype, strides=counted))
        if output in wanted:
            stores.append((output, over_loop(own(output), form.shape, space, axes)))
    loop = Loop(
        space,
        tuple((kind, strides) for _, kind, strides in inputs),
        tuple(steps),
        tuple((position[v], strides) for v, strides in stores),
        tuple(reductions),
        axes,
    )
    return Region(loop, tuple(v for v, _, _ in inputs), (*(v for v, _ in stores), *results))


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
