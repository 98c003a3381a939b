"""A graph made ready for concrete shapes: its operations, their order, and where each value lies.

Nothing here is executed; `program.py` runs a plan. All loops of a plan are one module of machine
code, so that a second start finds one entry in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from distflow.compiler.cpu import (
    again,
    buckets,
    cluster,
    endings,
    loop_code,
    loops,
    memory,
    parts,
    table,
)
from distflow.compiler.cpu.operations import Arrival, Departure, Host, Native, Operation, Place
from distflow.compiler.cpu.schedule import schedule
from distflow.compiler.cpu.shapes import Shape, ShapeTable
from distflow.compiler.cpu.state import KEEPING, Variables, resources_of, settled_by
from distflow.compiler.cpu.task import Call, Kernel, Scratch, contiguous
from distflow.compiler.cpu.views import Views
from distflow.graph.ir import Graph, Node, Value
from distflow.ops.prims.elementwise import stop_gradient

# What makes one native operation of a node with a program inside (`scan_plan`), or says why not.
NESTED: dict[str, Callable[[Plan, Node], Operation | str]] = {}


class Plan:
    """What runs for one set of input shapes.

    Attributes:
      graph, shapes, views, variables: of the program.
      operations: its parts, each after those that make what it reads.
      segments: when they run.
      arena_bytes, offsets: the memory of values that only native code sees: where each root (and
        each scratch buffer: (operation, number)) lies.
      fresh: roots that have an array of their own in each call: results, and what the host gets.
      constants: arrays of values that are known.
      undone: variables that get their old values back if an operation raises: one may do so after
        they were written.
    """

    def __init__(self, graph: Graph, input_shapes: Sequence[Shape | None], claimed: set[Value]):
        self.graph = graph
        self.shapes = self._infer_shapes(input_shapes)
        self.views = Views(self.shapes)
        self.constants: dict[Value, np.ndarray] = dict(self.shapes.known)
        for node in graph.nodes:
            if node.primitive.name == "constant":
                value = np.asarray(node.attributes["value"])
                self.constants[node.outputs[0]] = np.require(value, requirements=["C", "A"])
        self._numbers = cluster.numbers_of(graph)
        self._numbers.update((v, a) for v, a in self.shapes.known.items() if a.size == 1)
        nodes = [
            node for node in graph.nodes
            if node.primitive.name != "constant"
            and (node.effect or any(v not in self.constants for v in node.outputs))
        ]  # fmt: skip
        self.variables = Variables(graph, nodes, self.shapes, claimed)
        self.units, self.reasons = cluster.gather(
            self._without_views(nodes), self.shapes, self.views, self.variables.writes
        )
        # Nodes that loops have besides those of the graph.
        self.copies: set[Node] = set()
        self.units, self.copies = again.computed_again(
            self.units, self.shapes, self.views, graph.outputs, self.variables.writes
        )
        self.units, self.parts = parts.join(self.units, self.shapes, self.views, self.graph.outputs)
        self.units, self.endings = endings.join(
            self.units, self.shapes, self.views, self._numbers, graph.outputs,
            [*self.parts, *(n.outputs[0] for n in self.variables.writes)],
        )  # fmt: skip
        # Roots and scratch buffers, as in `offsets`, that keep their memory all the time.
        self.staying: set[Any] = set()
        self.operations = self._operations()
        # Where values lie within their bucket: (departure, byte).
        self.in_buckets = buckets.places(self)
        written = self.variables.written
        found, early = schedule(self.operations, written)
        self.segments, self._spans = found.segments, found.spans
        hosts = [host for segment in self.segments for host in segment.host]
        settled = {v for h in hosts if h.checks is None for v in settled_by(h.node)}
        self.undone: list[Value] = resources_of([h.node for h in hosts if h.checks is None])
        writing = [i for i, h in enumerate(hosts) if resources_of([h.node])]
        # A loop whose body writes may fail in a later turn.
        if writing:
            first = writing[0]
            after = hosts[first + 1 if hosts[first].undoes_itself else first :]
        if not (writing and any(h.can_fail for h in after)):
            self.undone = []
        if len([h for h in hosts if h.can_fail]) == 1:
            self.undone = [v for v in self.undone if v not in settled]
        self.undone = list(dict.fromkeys([*self.undone, *(v for v in graph.inputs if v in early)]))
        self.fresh = self._fresh()
        self.offsets, self.arena_bytes = self._lay_out()
        for node in self.copies:
            del self.shapes.shapes[node.outputs[0]]
        self.copies = set()

    # -- nodes --

    def _infer_shapes(self, input_shapes: Sequence[Shape | None]) -> ShapeTable:
        return ShapeTable(self.graph, input_shapes)

    def _without_views(self, nodes: Sequence[Node]) -> list[Node]:
        """Returns the nodes that do something; notes views, reads of variables among them."""
        kept = []
        held = self._held(nodes)
        for node in self.variables.lower(nodes):
            if node in self.variables.writes:
                self.shapes.add(node.outputs[0], self.variables.writes[node])
                kept.append(node)
            elif self.variables.is_direct_read(node):
                (variable,), (value,) = node.inputs, node.outputs
                if variable in self.variables.written and value in held:
                    copy = Node(stop_gradient, [variable], [value], {}, node.origin)
                    self.variables.stands_for[copy] = node
                    kept.append(copy)
                else:
                    self.views.alias(value, variable)
            elif node.effect or not self.views.add(node):
                kept.append(node)
        return kept

    def _held(self, nodes: Sequence[Node]) -> set[Value]:
        """Returns the values that someone may hold on to: results, and what such nodes take."""
        held = set(self.graph.outputs)
        for node in reversed(nodes):
            movement = node.primitive.family == "movement" or node.primitive is stop_gradient
            if keeps(node) or (movement and held.intersection(node.outputs)):
                held.update(node.inputs)
        return held

    def memory_of(self, value: Value) -> Value:
        """Returns the root whose memory a value has: for a variable's new value, the variable."""
        root = self.views.root(value)
        return self._written_by.get(root, root)

    # -- operations --

    def _operations(self) -> list[Operation]:
        self._written_by = {n.outputs[0]: v for n, v in self.variables.writes.items()}
        kernels = {
            unit.nodes[0]: self._kernel(unit.nodes[0])
            for unit in self.units
            if not unit.is_loop and unit.nodes[0] not in self.endings
        }
        regions = self._regions()
        compiled = loop_code.compiled([r.loop for r in regions if r is not None])
        operations: list[Operation] = []
        for unit, region in zip(self.units, regions):
            if region is not None:
                operations.append(self._loop(unit, region, compiled[region.loop]))
                continue
            node = unit.nodes[0]
            kernel = kernels.get(node)
            if node in self.endings:
                operations.append(self._ended(unit, self.endings[node]))
            elif kernel is None and buckets.is_bucket(node, self):
                operations += self._bucket(node)
            elif kernel is None:
                nested = NESTED.get(node.primitive.name)
                made = nested(self, node) if nested else self.reasons[node]
                operations.append(self._host(node, made) if isinstance(made, str) else made)
            else:
                native = self._native(node, kernel)
                operations.append(native)
                if native.is_checked:
                    operations.append(Host([node], [], [], "check of indices", "", native))
        return operations

    def _kernel(self, node: Node) -> Kernel | None:
        lower = table.LIBRARY.get(node.primitive.name)
        outputs = node.outputs
        if lower is None or node.effect or len(outputs) != 1:
            return None
        if any(self.shapes.of(v) is None for v in (*node.inputs, *outputs)):
            return None
        inputs = [self.views.of(v).layout for v in node.inputs]
        result = contiguous(outputs[0].dtype.name, self.shapes.of(outputs[0]) or ())
        kernel: Kernel | None = lower(node.attributes, inputs, result)
        if kernel is None or not kernel.calls:
            self.reasons[node] = f"{node.primitive.name} has no kernel for these shapes and dtypes"
            return None
        return kernel

    def _regions(self) -> list[cluster.Region | None]:
        readers: dict[Value, set[int]] = {self.views.root(v): {-1} for v in self.graph.outputs}
        for i, unit in enumerate(self.units):
            for value in _reads(unit):
                readers.setdefault(self.views.root(value), set()).add(i)
        for memory_ in self._written_by:
            readers[memory_] = {-1}
        regions: list[cluster.Region | None] = []
        for i, unit in enumerate(self.units):
            if not unit.is_loop:
                regions.append(None)
                continue
            made = {v for n in unit.nodes for v in n.outputs}
            wanted = {v for v in made if v in self.parts or readers.get(v, set()) - {i}}
            layouts = {
                v: self.views.of(v).layout.strides
                for form in unit.forms for v in form.operands if v not in made
            }  # fmt: skip
            layouts.update((v, self.parts[v].strides) for v in made if v in self.parts)
            regions.append(cluster.region_of(unit, self.shapes, wanted, self._numbers, layouts))
        return regions

    def _loop(
        self, unit: cluster.Unit, region: cluster.Region,
        stages: list[tuple[Any, loops.Stage]],
    ) -> Native:  # fmt: skip
        inputs = [self._place(v) for v in region.inputs]
        outputs = [self._target(v) for v in region.outputs]
        operands = [*inputs, *outputs]
        scratch: tuple[Scratch, ...] = ()
        if region.loop.scratch_bytes:
            scratch = (Scratch(region.loop.scratch_bytes),)
        arguments = tuple((i, 0) for i in range(len(operands) + len(scratch)))
        writes = tuple(range(len(inputs), len(arguments)))
        calls = tuple(
            Call(function, arguments, writes, stage.units, stage.work_ns)
            for function, stage in stages
        )
        joined = [self.parts[v].node for v in region.outputs if v in self.parts]
        names = ", ".join(n.primitive.name for n in unit.nodes)
        replaces = {} if region.loop.reductions else self._replaceable(region, inputs, outputs)
        return Native(
            [*(n for n in unit.nodes if n not in self.copies), *dict.fromkeys(joined)],
            _distinct(inputs), _distinct(outputs),
            f"loop {list(unit.shape)}: {names}",
            Kernel(calls, scratch), operands, replaces,
        )  # fmt: skip

    def _replaceable(
        self, region: cluster.Region, inputs: list[Place], outputs: list[Place]
    ) -> dict[Value, list[Value]]:
        """Returns for each result the inputs that lie exactly like it."""
        found: dict[Value, list[Value]] = {}
        loop = region.loop
        seen: dict[Value, set[Any]] = {}
        for value, place, (_, strides) in zip(region.inputs, inputs, loop.inputs):
            whole = self.shapes.of(place.root) == self.shapes.of(value) and place.offset == 0
            seen.setdefault(place.root, set()).add(strides if whole else None)
        for (_, strides), place in zip(loop.stores, outputs):
            size = place.root.dtype.numpy.itemsize
            found[place.root] = [
                root for root, ways in seen.items()
                if ways == {strides} and root.dtype.numpy.itemsize == size
                and self.shapes.of(root) == self.shapes.of(place.root)
            ]  # fmt: skip
        return found

    def _native(self, node: Node, kernel: Kernel) -> Native:
        operands = [self._place(v) for v in node.inputs]
        (output,) = node.outputs
        # Kernels are shared by equal nodes; programs tell calls apart by identity.
        kernel = replace(kernel, calls=tuple(replace(call) for call in kernel.calls))
        note = f" ({kernel.note})" if kernel.note else ""
        return Native(
            [node], _distinct(operands), [output], f"kernel: {node.primitive.name}{note}",
            kernel, [*operands, Place(output)],
        )  # fmt: skip

    def _ended(self, unit: cluster.Unit, ending: endings.Ending) -> Native:
        operands = [self._place(v) for v in (*unit.nodes[0].inputs, *ending.extras)]
        names = ", ".join(n.primitive.name for n in unit.nodes)
        kernel = replace(ending.kernel, calls=tuple(replace(c) for c in ending.kernel.calls))
        return Native(
            [n for n in unit.nodes if n not in self.copies], _distinct(operands), [ending.result],
            f"kernel: {names}",
            kernel, [*operands, Place(ending.result)],
        )  # fmt: skip

    def _host(self, node: Node, reason: str) -> Host:
        reads = [self.memory_of(v) for v in node.inputs if v not in self.constants]
        return Host(
            [node], list(dict.fromkeys(reads)), list(node.outputs),
            f"numpy: {node.primitive.name} ({reason})", reason, None, keeps(node),
        )  # fmt: skip

    def _bucket(self, node: Node) -> list[Operation]:
        reads = [self.memory_of(v) for v in node.inputs if v not in self.constants]
        label = f"bucket {node.attributes['number'] + 1} of {node.attributes['count']}"
        departure = Departure(
            [node], list(dict.fromkeys(reads)), [], f"communication: {label} leaves",
            is_early=bool(node.attributes["early"]),
        )  # fmt: skip
        arrival = Arrival(
            [node], [], list(node.outputs), f"communication: wait for {label}",
            departure=departure,
        )  # fmt: skip
        return [departure, arrival]

    def _target(self, value: Value) -> Place:
        """Returns where a loop writes a value."""
        if value in self.parts:
            part = self.parts[value]
            return Place(part.whole, part.offset * value.dtype.numpy.itemsize)
        return Place(self._written_by.get(value, value))

    def _place(self, value: Value) -> Place:
        view = self.views.of(value)
        return Place(self.memory_of(value), view.offset * value.dtype.numpy.itemsize)

    # -- memory --

    def _fresh(self) -> set[Value]:
        native = {v for o in self.operations if isinstance(o, Native) for v in o.writes}
        native -= self.variables.written
        found = {self.views.root(v) for v in self.graph.outputs}
        for operation in self.operations:
            if isinstance(operation, Host) and operation.keeps:
                found.update(operation.reads)
        return found & native

    def _lay_out(self) -> tuple[dict[Any, int], int]:
        """Returns where roots and scratch buffers lie in the arena, and its size."""
        made: dict[Value, Native] = {}
        last: dict[Value, int] = {}
        for operation in self.operations:
            _, end = self._spans[operation]
            for v in operation.reads:
                last[v] = max(last.get(v, 0), end)
            if isinstance(operation, Native):
                for v in operation.writes:
                    if not (v in self.fresh or v in self.variables.written or v in self.in_buckets):
                        made[v] = operation
                        last[v] = max(last.get(v, 0), end)
        forever = max((end for _, end in self._spans.values()), default=0)
        last.update((v, forever + 1) for v in made if v in self.staying)
        shares = self._shares(made, last)
        buffers: dict[Any, memory.Buffer] = {}
        for v, operation in made.items():
            owner = _last(shares, v)
            start = 0 if v in self.staying else self._spans[operation][0]
            if owner in buffers:
                buffers[owner].start = min(buffers[owner].start, start)
                buffers[owner].end = max(buffers[owner].end, last[v])
            else:
                num_bytes = contiguous("", self.shapes.of(v) or ()).size * v.dtype.numpy.itemsize
                buffers[owner] = memory.Buffer(num_bytes, start, last[v])
        for operation in self.operations:
            if isinstance(operation, Native):
                start, end = self._spans[operation]
                checked = operation.is_checked
                for i, scratch in enumerate(operation.scratch):
                    stays = scratch.zeroed or checked or (operation, i) in self.staying
                    life = (0, forever) if stays else (start, end)
                    buffers[operation, i] = memory.Buffer(scratch.num_bytes, *life)
            elif isinstance(operation, Departure):
                # A transport may still read it when the step has failed.
                buffers[operation] = memory.Buffer(buckets.num_bytes(operation), 0, forever)
        offsets, size = memory.lay_out(list(buffers.values()))
        found: dict[Any, int] = dict(zip(buffers, offsets))
        for v in made:
            found[v] = found[_last(shares, v)]
        for v, (departure, byte) in self.in_buckets.items():
            found[v] = found[departure] + byte
        return found, size

    def _shares(self, made: dict[Value, Native], last: dict[Value, int]) -> dict[Value, Value]:
        """Returns the values that take the memory of what their loop reads for the last time."""
        shares: dict[Value, Value] = {}
        reading: dict[Value, list[Operation]] = {}
        for operation in self.operations:
            for v in operation.reads:
                reading.setdefault(v, []).append(operation)
        taken: set[Value] = set()
        for operation in self.operations:
            for v, candidates in getattr(operation, "replaces", {}).items():
                if v not in made or v in self.staying:
                    continue
                start, end = self._spans[operation]
                for old in candidates:
                    alone = all(
                        o is operation or self._spans[o][1] < start for o in reading.get(old, ())
                    )
                    if old in made and old not in taken and last[old] == end and alone:
                        shares[v] = old
                        taken.add(old)
                        break
        return shares

    def describe(self) -> list[str]:
        """Returns a line for each operation: what runs it, and why it is not machine code."""
        lines = []
        for o in self.operations:
            if not (isinstance(o, Host) and o.checks is not None):
                lines.append(o.label)
                inner: Plan | None = getattr(o, "body", None)
                lines += ["  " + line for line in inner.describe()] if inner else []
        return lines


def keeps(node: Node) -> bool:
    """Whether a node that runs on the host may hold on to the arrays that it gets."""
    if node.primitive.name == "scan" and not node.effect:
        return any(keeps(n) for n in node.attributes["body_graph"].nodes)
    return bool(node.effect) or node.primitive.family in KEEPING


def _last(shares: dict[Value, Value], value: Value) -> Value:
    while value in shares:
        value = shares[value]
    return value


def _distinct(places: Sequence[Place]) -> list[Value]:
    return list(dict.fromkeys(place.root for place in places))


def _reads(unit: cluster.Unit) -> list[Value]:
    if unit.is_loop:
        return [v for form in unit.forms for v in form.operands]
    return [v for node in unit.nodes for v in node.inputs]
