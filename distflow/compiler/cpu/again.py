"""What a loop computes again instead of reading: cheap values of large arrays.

A backward loop reads what the forward one left for it. An array that only such a loop reads costs
three trips through memory; the exponential or error function behind it costs less, and the array
needs no room between the two. So the nodes that made it become part of the loop that reads it, as
far back as values that are there anyway (Chen et al. 2016, arXiv:1604.06174, for whole layers).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from distflow.compiler.cpu import table
from distflow.compiler.cpu.forms import Form, Unit, form_of
from distflow.compiler.cpu.joins import joined
from distflow.compiler.cpu.shapes import ShapeTable
from distflow.compiler.cpu.views import Views
from distflow.graph.ir import Node, Value

# Bytes from which an array does not stay in a core's cache; nanoseconds a byte that is written,
# fetched for that, and read back, and a byte that is read (Xeon, 14 GB/s a core, 2026-11).
_LARGE, _STORED_NS, _READ_NS = 1 << 21, 0.2, 0.07
# Bounds on a loop: steps and arrays.
_MOST_STEPS, _MOST_ARRAYS = 64, 24


def computed_again(
    units: Sequence[Unit], shapes: ShapeTable, views: Views, results: Sequence[Value],
    writes: Mapping[Node, Value],
) -> tuple[list[Unit], set[Node]]:  # fmt: skip
    """Returns the units with such loops, and the nodes that were copied into them.

    Args:
      units: in an order in which they can run.
      results: values that must be there at the end.
      writes: nodes that write a variable in place.
    """
    return _Search(units, shapes, views, results, writes).run()


class _Search:
    def __init__(
        self, units: Sequence[Unit], shapes: ShapeTable, views: Views, results: Sequence[Value],
        writes: Mapping[Node, Value],
    ):  # fmt: skip
        self.units, self.shapes, self.views = list(units), shapes, views
        self.home = {v: i for i, unit in enumerate(units) for n in unit.nodes for v in n.outputs}
        # Who reads a variable must do so before its new value is there.
        self.writer = {
            writes[n]: i for i, unit in enumerate(units) for n in unit.nodes if n in writes
        }
        self.new = {n.outputs[0] for n in writes}
        self.readers: dict[Value, set[int]] = {views.root(v): {-1} for v in results}
        for i, unit in enumerate(units):
            for v in _operands(unit):
                self.readers.setdefault(views.root(v), set()).add(i)
        self.copies: set[Node] = set()

    def run(self) -> tuple[list[Unit], set[Node]]:
        for b, unit in enumerate(self.units):
            if unit.is_loop and self.num_bytes(unit.shape, 4) >= _LARGE:
                for a in sorted({self.home[r] for r in self.left_for(b)}):
                    self.replace(a, b)
        return self.units, self.copies

    def left_for(self, b: int) -> dict[Value, Value]:
        """Returns large values that only this loop reads, made by other ones: how it sees each."""
        found: dict[Value, Value] = {}
        unit = self.units[b]
        for v in dict.fromkeys(v for form in unit.forms for v in form.operands):
            root = self.views.root(v)
            a = self.home.get(root, b)
            if (
                a == b
                or root in self.new
                or self.readers[root] - {a} != {b}
                or not self.units[a].is_loop
            ):
                continue
            if unit.shape == self.units[a].shape and self.is_same(v, root, self.units[a].shape):
                if self.bytes_of(root) >= _LARGE:
                    found[root] = v
        return found

    def replace(self, a: int, b: int) -> None:
        """Copies nodes of loop a into loop b, if that pays."""
        left = {r: v for r, v in self.left_for(b).items() if self.home[r] == a}
        made = dict(zip((n.outputs[0] for n in self.units[a].nodes), self.pairs(a)))
        needed: dict[Value, tuple[Node, Form]] = {}
        leaves: set[Value] = set()
        waiting = list(left)
        while waiting:
            v = waiting.pop()
            if v in needed:
                continue
            node = made[v][0]
            # As the node has its operands: in its loop, views of results may have become these.
            form = form_of(node, self.shapes)
            assert isinstance(form, Form)
            if form.shape != self.units[b].shape or form.primitive in table.COUNTED:
                return
            needed[v] = node, form
            for operand in form.operands:
                root = self.views.root(operand)
                if root not in made or made[root][1].axes is not None:
                    leaves.add(root)
                elif self.is_same(operand, root, form.shape):
                    waiting.append(root)
                else:
                    return
        known = {self.views.root(v) for v in _operands(self.units[b])}
        if any(self.writer.get(leaf, b + 1) <= b for leaf in leaves):
            return
        new = [leaf for leaf in leaves - known if self.bytes_of(leaf) >= _LARGE]
        size = math.prod(self.units[b].shape)
        cost = size * sum(table.cost(form.primitive) for _, form in needed.values())
        cost += _READ_NS * sum(map(self.bytes_of, new))
        gain = _STORED_NS * sum(map(self.bytes_of, left))
        if not needed or cost > gain or len(new) > len(left):
            return
        unit = self.with_copies(a, b, needed, left)
        if unit is None or len(unit.forms) > _MOST_STEPS:
            return
        if len({self.views.root(v) for v in _operands(unit)}) > _MOST_ARRAYS:
            return
        self.units[b] = unit
        for v in left:
            self.readers[v].discard(b)
        for leaf in leaves:
            self.readers.setdefault(leaf, set()).add(b)

    def with_copies(
        self, a: int, b: int, needed: dict[Value, tuple[Node, Form]], left: dict[Value, Value]
    ) -> Unit | None:
        """Returns loop b with the nodes before it; None if they cannot be one loop."""
        copy_of: dict[Value, Value] = {}
        before = Unit()
        for node, _ in self.pairs(a):
            (output,) = node.outputs
            if output not in needed:
                continue
            form = needed[output][1]
            copy = Value(output.dtype, output.shape, name=output.name)
            self.shapes.add(copy, output)
            copy_of[output] = copy
            before.nodes.append(Node(node.primitive, node.inputs, [copy], node.attributes))
            operands = tuple(copy_of.get(self.views.root(v), v) for v in form.operands)
            inside = frozenset(v for v in operands if v in copy_of.values())
            before.forms.append(replace(form, operands=operands, inside=inside))
        seen = {v: copy_of[r] for r, v in left.items()} | {r: copy_of[r] for r in left}
        unit = self.units[b]
        forms = [
            replace(form, operands=tuple(seen.get(v, v) for v in form.operands))
            for form in unit.forms
        ]
        numbers = {node: i for i, node in enumerate([*before.nodes, *unit.nodes])}
        found = joined(before, Unit(unit.nodes, forms), numbers, self.shapes, self.views)
        if found is not None:
            self.copies.update(before.nodes)
        return found

    def is_same(self, v: Value, root: Value, shape: Sequence[int]) -> bool:
        """Whether a value of a shape is all of its root, element by element."""
        whole = self.shapes.of(v) == self.shapes.of(root) == tuple(shape)
        return whole and (v is root or self.views.of(v).is_contiguous)

    def pairs(self, i: int) -> list[tuple[Node, Form]]:
        return list(zip(self.units[i].nodes, self.units[i].forms))

    def bytes_of(self, root: Value) -> int:
        return self.num_bytes(self.shapes.of(root) or (), root.dtype.size)

    @staticmethod
    def num_bytes(shape: Sequence[int], item: int) -> int:
        return math.prod(shape) * item


def _operands(unit: Unit) -> list[Value]:
    if unit.is_loop:
        made = {v for n in unit.nodes for v in n.outputs}
        return [v for form in unit.forms for v in form.operands if v not in made]
    return [v for node in unit.nodes for v in node.inputs]
