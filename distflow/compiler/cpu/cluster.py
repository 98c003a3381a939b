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
from distflow.compiler.cpu.joins import joined
from distflow.compiler.cpu.region import Region, numbers_of, region_of
from distflow.compiler.cpu.shapes import ShapeTable
from distflow.compiler.cpu.views import Views
from distflow.graph.ir import Node, Value

__all__ = ["Form", "Region", "Unit", "form_of", "gather", "numbers_of", "region_of"]

# Bounds on one loop: registers, and the pointers that a call passes.
_MOST_STEPS = 64
_MOST_ARRAYS = 24
# Readers of an array, and loops over single elements, that one more of them is tried with.
_MOST_TRIED = 8


def gather(
    nodes: Sequence[Node], shapes: ShapeTable, views: Views | None = None,
    writes: Mapping[Node, Value] | None = None,
) -> tuple[list[Unit], dict[Node, str]]:  # fmt: skip
    """Returns the units in an order in which they can run, and why nodes are in no loop.

    Args:
      nodes: in the order of the program.
      shapes: of their values.
      views: values that need no node here: who reads one waits for its root.
      writes: nodes that write the memory of a value: who reads that one must come before. They
        are the last of `nodes`.
    """
    clusters = _Clusters(shapes, views, writes or {})
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

    `before[i]` and `after[i]` are the units that unit i waits for, and that wait for it, directly.
    `needs[i]` has a bit for each unit that comes before unit i, directly or not; bits of units that
    are no more stay behind.
    """

    def __init__(self, shapes: ShapeTable, views: Views | None, writes: Mapping[Node, Value]):
        self.writes = writes
        self.written = set(writes.values())
        # Units that read values which are written to later.
        self.users_of: dict[Value, list[int]] = {v: [] for v in self.written}
        self.shapes = shapes
        self.views = views
        self.units: list[Unit | None] = []
        self.home: list[int] = []  # the unit that a unit was merged into, else itself
        self.before: list[set[int]] = []
        self.after: list[set[int]] = []
        self.needs: list[int] = []
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
        if node in self.writes:
            before = list(dict.fromkeys([*before, *self.readers_of(self.writes[node])]))
        here = self.new(node, Unit([node], [form]), before)
        for other in self.candidates(form, sorted(before, reverse=True)):
            found = None if other == here else self.merged(other, here)
            if found is not None:
                here = self.merge(other, here, found)
        for value in form.operands:
            if self.shapes.of(value) == form.shape:
                self.readers.setdefault(self.array(value), []).append(here)
        if not form.shape:
            self.scalars.append(here)

    def makers(self, values: Sequence[Value]) -> list[int]:
        """Returns the units that make values."""
        roots = values if self.views is None else [self.views.root(v) for v in values]
        made = (self.made_by.get(v) for v in roots)
        return list(dict.fromkeys(i for i in made if i is not None))

    def root(self, value: Value) -> Value:
        return value if self.views is None else self.views.root(value)

    def readers_of(self, written: Value) -> list[int]:
        """Returns the units that read a value which is written to later."""
        found = []
        for i in self.users_of[written]:
            while self.home[i] != i:
                i = self.home[i]
            found.append(i)
        return list(dict.fromkeys(found))

    def may_write(self, unit: Unit) -> bool:
        """Whether a loop reads what it writes over only element by element, each before."""
        over = {self.writes[n] for n in unit.nodes if n in self.writes}
        if not over:
            return True
        for form in unit.forms:
            for value in form.operands:
                if self.root(value) in over:
                    assert self.views is not None
                    lies = self.views.of(value)
                    if unit.axes() is not None or form.shape != unit.shape:
                        return False
                    if not lies.is_contiguous or lies.layout.shape != unit.shape:
                        return False
        return True

    def new(self, node: Node, unit: Unit, before: Sequence[int]) -> int:
        here = len(self.units)
        if self.written:
            operands = unit.forms[0].operands if unit.forms else node.inputs
            for value in dict.fromkeys(map(self.root, operands)):
                if value in self.written:
                    self.users_of[value].append(here)
        needs = 0
        for i in before:
            needs |= self.needs[i] | 1 << i
            self.after[i].add(here)
        self.units.append(unit)
        self.home.append(here)
        self.before.append(set(before))
        self.after.append(set())
        self.needs.append(needs)
        self.made_by.update((v, here) for v in node.outputs)
        self.numbers[node] = len(self.numbers)
        return here

    def array(self, value: Value) -> Value:
        """Returns the value whose memory a value is, element by element (a variable, read)."""
        if self.views is None or not self.views.is_view(value):
            return value
        view = self.views.of(value)
        same = view.is_contiguous and self.shapes.of(view.root) == view.layout.shape
        return view.root if same else value

    def candidates(self, form: Form, before: Sequence[int]) -> Iterator[int]:
        """Returns units that a node may be merged with: makers, readers of its operands."""
        found = list(before)
        for value in form.operands:
            found += reversed(self.readers.get(self.array(value), [])[-_MOST_TRIED:])
        if not form.shape:
            found += reversed(self.scalars[-_MOST_TRIED:])
        for i in dict.fromkeys(found):
            while self.home[i] != i:
                i = self.home[i]
            yield i

    def merged(self, i: int, j: int) -> Unit | None:
        """Returns one unit in place of two; None if they have to be two."""
        a, b = self.units[i], self.units[j]
        assert a is not None
        assert b is not None
        if self.is_between(i, j) or self.is_between(j, i):
            return None
        if len(a.forms) + len(b.forms) > _MOST_STEPS:
            return None
        made = {v for n in (*a.nodes, *b.nodes) for v in n.outputs}
        if len({v for f in (*a.forms, *b.forms) for v in f.operands} - made) > _MOST_ARRAYS:
            return None
        found = joined(a, b, self.numbers, self.shapes, self.views)
        return found if found is not None and self.may_write(found) else None

    def is_between(self, i: int, j: int) -> bool:
        """Whether some unit comes after unit i and before unit j."""
        bit, needs = 1 << i, self.needs
        if not needs[j] & bit:
            return False
        return any(needs[k] & bit for k in self.before[j] if k != i)

    def merge(self, i: int, j: int, found: Unit) -> int:
        """Puts one unit in the place of i and j; returns i."""
        gone = self.units[j]
        assert gone is not None
        self.units[i], self.units[j] = found, None
        self.made_by.update((v, i) for n in gone.nodes for v in n.outputs)
        self.home[j] = i
        for k in self.before[j]:
            self.after[k].discard(j)
            self.after[k].add(i)
        for k in self.after[j]:
            self.before[k].discard(j)
            self.before[k].add(i)
        for sets in (self.before, self.after):
            sets[i] |= sets[j]
            sets[i] -= {i, j}
        needs = self.needs[i] = (self.needs[i] | self.needs[j]) & ~(1 << i | 1 << j)
        needs |= 1 << i
        # Who comes after unit i has its bits already if a unit on the way has.
        later = list(self.after[i])
        while later:
            k = later.pop()
            more = self.needs[k] | needs
            if more != self.needs[k]:
                self.needs[k] = more
                later += self.after[k]
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
            for node in unit.nodes:
                if node in self.writes:
                    before = self.readers_of(self.writes[node])
                    waits[k] |= {place[m] for m in before} - {k}
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
