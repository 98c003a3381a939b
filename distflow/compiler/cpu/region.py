"""A unit's loop: steps, layouts of what goes in and out, and constants as part of the code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from distflow.compiler.cpu.emit import PAIR, REGISTER, literal
from distflow.compiler.cpu.forms import Unit
from distflow.compiler.cpu.nest import broadcast, contiguous, spread
from distflow.compiler.cpu.shapes import ShapeTable
from distflow.compiler.cpu.steps import Loop, Reduced, Step
from distflow.compiler.cpu.table import COUNTED
from distflow.graph.ir import Graph, Value


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
    space = unit.forms[0].shape

    def own(v: Value) -> tuple[int, ...]:
        return layouts[v] if v in layouts else contiguous(shapes.of(v) or ())

    inside = {v for n in unit.nodes for v in n.outputs}
    # Keys of random bits are read two words at once.
    reads = list(
        dict.fromkeys(
            (v, PAIR if f.primitive == "random_bits" else v.dtype.name)
            for f in unit.forms for v in f.operands if v not in inside
        )
    )  # fmt: skip
    inputs = [(v, kind) for v, kind in reads if v not in numbers]
    position = {read: i for i, read in enumerate(inputs)}
    steps: list[Step] = []
    for v, kind in reads:
        if v in numbers:
            position[v, kind] = len(inputs) + len(steps)
            text = literal(REGISTER[kind], numbers[v].item())
            steps.append(Step("constant", (), kind, text))
    stores: list[Value] = []
    reductions: list[Reduced] = []
    results: list[Value] = []
    for node, form in zip(unit.nodes, unit.forms):
        (output,) = node.outputs
        name, dtype = form.primitive, output.dtype.name
        operands = tuple(
            position[v, PAIR if name == "random_bits" else v.dtype.name] for v in form.operands
        )
        if form.axes is not None:
            strides = _over_kept(own(output), form.axes, len(space))
            reductions.append(Reduced(name, operands[0], dtype, strides))
            results.append(output)
            continue
        position[output, dtype] = len(inputs) + len(steps)
        counted = contiguous(space) if name in COUNTED else None
        steps.append(Step(name, operands, dtype, strides=counted))
        if output in wanted:
            stores.append(output)

    def strides_of(v: Value, kind: str) -> tuple[int, ...]:
        if kind == PAIR:
            return (0,) * len(space)
        return broadcast(shapes.of(v) or (), own(v), space)

    loop = Loop(
        space,
        tuple((kind, strides_of(v, kind)) for v, kind in inputs),
        tuple(steps),
        tuple((position[v, v.dtype.name], own(v)) for v in stores),
        tuple(reductions),
        unit.axes() or (),
    )
    return Region(loop, tuple(v for v, _ in inputs), (*stores, *results))


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
