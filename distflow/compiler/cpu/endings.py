"""Loops that the contraction before them does itself, in registers: bias, activation, residual.

Only where nobody else reads the contraction's own result, and where its kernel can (`Epilogue`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from distflow.compiler.cpu import table
from distflow.compiler.cpu.epilogue import STEPS, Epilogue
from distflow.compiler.cpu.forms import Unit
from distflow.compiler.cpu.shapes import Shape, ShapeTable
from distflow.compiler.cpu.task import Kernel, Layout, contiguous
from distflow.compiler.cpu.views import Views
from distflow.graph.ir import Node, Value

_CONTRACTIONS = ("dot_general", "conv")
_DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Ending:
    """What a contraction does besides.

    Attributes:
      kernel: of all of it.
      extras: operands of the epilogue, after those of the contraction.
      result: what is stored.
    """

    kernel: Kernel
    extras: tuple[Value, ...]
    result: Value


def join(
    units: Sequence[Unit], shapes: ShapeTable, views: Views,
    numbers: Mapping[Value, np.ndarray], results: Collection[Value], placed: Collection[Value],
) -> tuple[list[Unit], dict[Node, Ending]]:  # fmt: skip
    """Returns the units without such loops, and the endings of contractions.

    A contraction that has one stands where its loop stood, with the loop's nodes behind it.

    Args:
      units: in an order in which they can run.
      numbers: values that are known numbers.
      results: of the program.
      placed: values that loops write into other ones: parts, new values of variables.
    """
    search = _Search(units, shapes, views, numbers, results, placed)
    found: dict[Node, Ending] = {}
    result: list[Unit | None] = list(units)
    for i, unit in enumerate(units):
        node = unit.nodes[0]
        if unit.is_loop or node.primitive.name not in _CONTRACTIONS:
            continue
        k = search.only_reader(node.outputs[0])
        ending = None if k is None else search.ending(node, units[k])
        if k is not None and ending is not None and result[k] is units[k]:
            found[node] = ending
            result[i], result[k] = None, Unit([node, *units[k].nodes])
    return [unit for unit in result if unit is not None], found


class _Search:
    def __init__(
        self, units: Sequence[Unit], shapes: ShapeTable, views: Views,
        numbers: Mapping[Value, np.ndarray], results: Collection[Value],
        placed: Collection[Value],
    ):  # fmt: skip
        self.units, self.shapes, self.views = units, shapes, views
        self.numbers, self.placed = numbers, set(placed)
        self.results = {views.root(v) for v in results}
        self.readers: dict[Value, set[int]] = {}
        for i, unit in enumerate(units):
            if unit.is_loop:
                read = [v for form in unit.forms for v in form.operands]
            else:
                read = [v for node in unit.nodes for v in node.inputs]
            for root in map(views.root, read):
                self.readers.setdefault(root, set()).add(i)

    def only_reader(self, value: Value) -> int | None:
        """Returns the loop that alone reads a value."""
        readers = self.readers.get(value, set())
        if len(readers) != 1 or value in self.results:
            return None
        (k,) = readers
        return k if self.units[k].is_loop else None

    def ending(self, node: Node, loop: Unit) -> Ending | None:
        """Returns how a contraction can do a loop, if it can."""
        (product,) = node.outputs
        shape = self.shapes.of(product)
        kind = product.dtype.name
        values = {*node.inputs, *(v for form in loop.forms for v in form.operands)}
        if shape is None or any(self.shapes.of(v) is None for v in values):
            return None
        if kind not in _DTYPES:
            return None
        made = {v: i for i, n in enumerate(loop.nodes) for v in n.outputs}
        result = loop.nodes[-1].outputs[0]
        here = self.units.index(loop)
        # All that it makes but its last value stays inside.
        for value in made:
            outside = self.readers.get(value, set()) - {here} or value in self.results
            if (value is not result and outside) or value in self.placed:
                return None
        extras: list[Value] = []
        for form in loop.forms:
            if form.axes is not None or form.shape != shape:
                return None
            for v in form.operands:
                inside = v in made or self.views.root(v) is product
                if not inside and v not in self.numbers and v not in extras:
                    extras.append(v)
        steps = self.steps(loop, product, extras)
        layouts = [self.spread(v, shape) for v in extras]
        if steps is None or None in layouts or any(v.dtype is not product.dtype for v in extras):
            return None
        operands = [self.views.of(v).layout for v in node.inputs]
        kernel = table.LIBRARY[node.primitive.name](
            node.attributes, [*operands, *layouts], contiguous(kind, shape),
            Epilogue(len(extras), steps),
        )  # fmt: skip
        return None if kernel is None else Ending(kernel, tuple(extras), result)

    def steps(
        self, loop: Unit, product: Value, extras: Sequence[Value]
    ) -> tuple[tuple[object, ...], ...] | None:
        """Returns a loop's forms as steps of an epilogue."""
        place = {v: 1 + i for i, v in enumerate(extras)}
        whole = contiguous(product.dtype.name, self.shapes.of(product) or ())
        found: list[tuple[object, ...]] = []
        for node, form in zip(loop.nodes, loop.forms):
            name, operands = form.primitive, list(form.operands)
            if name == "max" and self.is_zero(operands[0]):
                name, operands = "relu", operands[1:]
            if name not in STEPS or node.outputs[0].dtype is not product.dtype:
                return None
            numbers = []
            for v in operands:
                if v in place:
                    numbers.append(place[v])
                elif self.views.root(v) is product and self.views.of(v).layout == whole:
                    numbers.append(0)
                else:
                    return None
            place[node.outputs[0]] = 1 + len(extras) + len(found)
            found.append((name, *numbers))
        return tuple(found)

    def is_zero(self, value: Value) -> bool:
        number = self.numbers.get(value)
        return number is not None and number.size == 1 and not number and not np.signbit(number)

    def spread(self, value: Value, shape: Shape) -> Layout | None:
        """Returns how a value lies, seen in a shape that it is repeated to."""
        own = self.views.of(value).layout
        if len(own.shape) > len(shape):
            return None
        strides = [0] * (len(shape) - len(own.shape))
        for n, stride, wanted in zip(own.shape, own.strides, shape[len(strides) :]):
            if n not in (1, wanted):
                return None
            strides.append(stride if n == wanted and n != 1 else 0)
        return Layout(own.dtype, tuple(shape), tuple(strides))
