"""Which nodes run together in one loop: clusters of elementwise nodes and reductions.

Every node starts as a unit of its own. It is merged with the loops that make its operands, then
with those that read the same arrays, wherever both go over the same shape and no other unit stands
between them. Units are then put in an order in which each comes after those it needs; effects keep
the program's order.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence

from distflow.compiler.cpu.forms import Form, Unit, form_of
from distflow.compiler.cpu.region import Region, numbers_of, region_of
from distflow.compiler.cpu.shapes import ShapeTable
from distflow.graph.ir import Node, Value

__all__ = ["Form", "Region", "Unit", "form_of", "gather", "numbers_of", "region_of"]

# Bounds on one loop: registers, and the pointers that a call passes.
_MOST_STEPS = 64
_MOST_ARRAYS = 24
# Readers of an array, and loops over single elements, that one more of them is tried with.
_MOST_TRIED = 8


def gather(
    nodes: Sequence[Node], shapes: ShapeTable, roots: Mapping[Value, Value] | None = None
) -> tuple[list[Unit], dict[Node, str]]:
    """Returns the units in an order in which they can run, and why nodes are in no loop.

    Args:
      roots: of values that are views and have no node here: who reads one waits for its root.
    """
    clusters = _Clusters(shapes, {} if roots is None else roots)
    reasons: dict[Node, str] = {}
    for node in nodes:
        form = form_of(node, shapes)
        if isinstance(form, str):
            reasons[node] = form
            clusters.add_node(node)
        else:
            clusters.add_form(node, form)
    return clusters.in_order(), reasons


class _Clusters:
    """Units while they are being merged; a unit that was merged into another is None.

    `needs[i]` and `users[i]` are sets of units as bits: those that come before and after unit i,
    directly or not.
    """

    def __init__(self, shapes: ShapeTable, roots: Mapping[Value, Value]):
        self.shapes = shapes
        self.roots = roots
        self.units: list[Unit | None] = []
        self.home: list[int] = []  # the unit that a unit was merged into, else itself
        self.needs: list[int] = []
        self.users: list[int] = []
        self.made_by: dict[Value, int] = {}
        self.readers: dict[Value, list[int]] = {}
        self.numbers: dict[Node, int] = {}
        self.scalars: list[int] = []
        self.last_effect = -1

    def add_node(self, node: Node) -> None:
        """Adds a unit of a single node."""
        before = self.makers(node.inputs)
        if node.effect:
            before += [self.last_effect] if self.last_effect >= 0 else []
            self.last_effect = len(self.units)
        self.new(node, Unit([node]), before)

    def add_form(self, node: Node, form: Form) -> None:
        """Adds a node of a loop, and merges what it can be merged with."""
        before = self.makers(form.operands)
        here = self.new(node, Unit([node], [form]), before)
        for other in self.candidates(form, sorted(before, reverse=True)):
            if other != here and self.can_merge(other, here):
                here = self.merge(other, here)
        for value in form.operands:
            if self.shapes.of(value) == form.shape:
                self.readers.setdefault(value, []).append(here)
        if not form.shape:
            self.scalars.append(here)

    def makers(self, values: Sequence[Value]) -> list[int]:
        """Returns the units that make values."""
        made = (self.made_by.get(self.roots.get(v, v)) for v in values)
        return list(dict.fromkeys(i for i in made if i is not None))

    def new(self, node: Node, unit: Unit, before: Sequence[int]) -> int:
        here = len(self.units)
        needs = 0
        for i in before:
            needs |= self.needs[i] | 1 << i
        self.units.append(unit)
        self.home.append(here)
        self.needs.append(needs)
        self.users.append(0)
        for i in _bits(needs):
            self.users[i] |= 1 << here
        self.made_by.update((v, here) for v in node.outputs)
        self.numbers[node] = len(self.numbers)
        return here

    def candidates(self, form: Form, before: Sequence[int]) -> Iterator[int]:
        """Returns units that a node may be merged with: makers, readers of its operands."""
        found = list(before)
        for value in form.operands:
            found += reversed(self.readers.get(value, [])[-_MOST_TRIED:])
        if not form.shape:
            found += reversed(self.scalars[-_MOST_TRIED:])
        for i in dict.fromkeys(found):
            while self.home[i] != i:
                i = self.home[i]
            yield i

    def can_merge(self, i: int, j: int) -> bool:
        """Whether two units can be one loop."""
        a, b = self.units[i], self.units[j]
        assert a is not None
        assert b is not None
        if not (a.is_loop and b.is_loop) or a.forms[0].shape != b.forms[0].shape:
            return False
        if len(a.forms) + len(b.forms) > _MOST_STEPS:
            return False
        # Nothing may come after one and before the other.
        if self.needs[i] & self.users[j] or self.needs[j] & self.users[i]:
            return False
        axes = {a.axes(), b.axes()} - {None}
        if len(axes) > 1 or self.reads_late(a, b) or self.reads_late(b, a):
            return False
        return len({v for f in (*a.forms, *b.forms) for v in f.operands}) <= _MOST_ARRAYS

    def reads_late(self, made: Unit, read: Unit) -> bool:
        """Whether a unit reads what another one has only when it is over.

        That are results of reductions, views, and keys of random bits, which are read from memory.
        """
        every = {v for n in made.nodes for v in n.outputs}
        late = {v for n, f in zip(made.nodes, made.forms) if f.axes is not None for v in n.outputs}
        return any(
            v in late
            or (f.primitive == "random_bits" and v in every)
            or (v in self.roots and self.roots[v] in every)
            for f in read.forms for v in f.operands
        )  # fmt: skip

    def merge(self, i: int, j: int) -> int:
        """Merges unit j into unit i; returns i."""
        a, b = self.units[i], self.units[j]
        assert a is not None
        assert b is not None
        pairs = sorted(
            zip((*a.nodes, *b.nodes), (*a.forms, *b.forms)), key=lambda p: self.numbers[p[0]]
        )
        self.units[i] = Unit([n for n, _ in pairs], [f for _, f in pairs])
        self.units[j] = None
        self.made_by.update((v, i) for n in b.nodes for v in n.outputs)
        self.home[j] = i
        mine, gone = 1 << i, 1 << j
        needs = (self.needs[i] | self.needs[j]) & ~(mine | gone)
        users = (self.users[i] | self.users[j]) & ~(mine | gone)
        self.needs[i], self.users[i] = needs, users
        for k in _bits(needs):
            self.users[k] = (self.users[k] | users | mine) & ~gone
        for k in _bits(users):
            self.needs[k] = (self.needs[k] | needs | mine) & ~gone
        return i

    def in_order(self) -> list[Unit]:
        """Returns the units, each after those it needs, else in the program's order."""
        kept = [i for i, unit in enumerate(self.units) if unit is not None]
        place = {i: k for k, i in enumerate(kept)}
        waits: list[set[int]] = []
        effect = -1
        for k, i in enumerate(kept):
            unit = self.units[i]
            assert unit is not None
            reads = [v for f in unit.forms for v in f.operands] if unit.is_loop else [
                v for n in unit.nodes for v in n.inputs
            ]  # fmt: skip
            waits.append({place[m] for m in self.makers(reads)} - {k})
            if unit.nodes[0].effect:
                waits[k] |= {effect} if effect >= 0 else set()
                effect = k
        followers: list[list[int]] = [[] for _ in kept]
        for i, needed in enumerate(waits):
            for j in needed:
                followers[j].append(i)
        missing = [len(w) for w in waits]
        ready = [i for i, count in enumerate(missing) if count == 0]
        heapq.heapify(ready)
        order: list[Unit] = []
        while ready:
            i = heapq.heappop(ready)
            done = self.units[kept[i]]
            assert done is not None
            order.append(done)
            for j in followers[i]:
                missing[j] -= 1
                if missing[j] == 0:
                    heapq.heappush(ready, j)
        assert len(order) == len(kept), "the clusters form a cycle"
        return order


def _bits(number: int) -> Iterator[int]:
    while number:
        low = number & -number
        yield low.bit_length() - 1
        number ^= low
