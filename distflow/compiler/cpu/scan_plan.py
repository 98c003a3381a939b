"""Scans as part of a step: the body is a plan of its own, its phases run again and again in place.

Rows of sequences and of results are read and written where they lie in the whole arrays. Carried
values alternate between two buffers, one of which is the result's, so that the last step writes
there. What depends on captured values alone (panels of weights) is computed once, before the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from distflow.compiler.cpu import movement, plan, views
from distflow.compiler.cpu.operations import Host, Native, Operation, Place
from distflow.compiler.cpu.plan import Plan
from distflow.compiler.cpu.shapes import Shape, ShapeTable
from distflow.compiler.cpu.task import Call, Layout, Scratch, contiguous
from distflow.compiler.passes.rebuild import Rebuild
from distflow.compiler.passes.rounds import optimize
from distflow.graph.ir import Graph, Node, Value
from distflow.ops.prims.contraction import dot_general
from distflow.ops.prims.elementwise import stop_gradient
from distflow.ops.prims.movement import transpose


@dataclass(frozen=True)
class Moving:
    """Where a value of the body lies: (number of the loop's operand, offset in bytes).

    Attributes:
      first, second: in the first and in the second step.
      jump: bytes from one step to the step after the next.
    """

    first: tuple[int, int]
    second: tuple[int, int]
    jump: int = 0


@dataclass(eq=False)
class Loop(Native):
    """A scan: a plan that is run again and again.

    Attributes:
      body: plan of one step.
      times: number of steps, 1 at least.
      places: where inputs and results of the body lie.
      initial: calls that fill in the carried values; their operands are the loop's.
      arena: operand that is the body's memory.
    """

    body: BodyPlan = None  # type: ignore[assignment]
    times: int = 0
    places: dict[Value, Moving] = field(default_factory=dict)
    initial: list[Call] = field(default_factory=list)
    arena: int = 0


class BodyPlan(Plan):
    """The plan of a scan's body. Results that are not made by it are copied, so that all are.

    Args:
      graph: the body, optimized.
      layouts: of its inputs.
      num_varying: how many of these, the first ones, differ from step to step.

    Attributes:
      steady: calls that do the same in each step, by id.
    """

    def __init__(self, graph: Graph, layouts: Sequence[Layout], num_varying: int):
        captured = dict(zip(graph.inputs[num_varying:], layouts[num_varying:]))
        graph, self._copies = _with_copies(graph, captured)
        self._layouts, self._captured = layouts, set(captured)
        self.steady: set[tuple[Operation, int]] = set()
        super().__init__(graph, [layout.shape for layout in layouts], set())

    @property
    def is_native(self) -> bool:
        """Whether all of it is machine code that cannot fail."""
        return (
            all(
                isinstance(o, Native) and not isinstance(o, Loop) and not o.is_checked
                for o in self.operations
            )
            and len(self.segments) == 1
            and self.fresh == set(self.graph.outputs)
        )

    @property
    def phases(self) -> list[list[tuple[Native, Call]]]:
        """What runs in each step."""
        return self._phases(False)

    @property
    def before(self) -> list[list[tuple[Native, Call]]]:
        """What runs once, before the first step."""
        return self._phases(True)

    def _phases(self, steady: bool) -> list[list[tuple[Native, Call]]]:
        found = [
            [(o, call) for o, call in phase if ((o, id(call)) in self.steady) == steady]
            for phase in self.segments[0].phases
        ]
        return [phase for phase in found if phase]

    def _infer_shapes(self, input_shapes: Sequence[Shape | None]) -> ShapeTable:
        table = ShapeTable(self.graph, input_shapes)
        for node in self._copies:
            table.known.pop(node.outputs[0], None)  # it is written in each step
        return table

    def _without_views(self, nodes: Sequence[Node]) -> list[Node]:
        for value, layout in zip(self.graph.inputs, self._layouts):
            self.views.lies(value, layout)
        self.views.copies.update(self._copies)
        return super()._without_views(nodes)

    def _lay_out(self) -> tuple[dict[Any, int], int]:
        self._find_steady()
        return super()._lay_out()

    def _find_steady(self) -> None:
        """Finds the calls that need to run once only, and lets what they write stay."""
        calls: list[tuple[Any, set[Any], set[Any]]] = []
        for operation in self.operations:
            if not isinstance(operation, Native):
                return
            places: list[Any] = [place.root for place in operation.operands]
            places += [(operation, i) for i in range(len(operation.scratch))]
            for call in operation.calls:
                reads = {places[n] for n, _ in call.arguments if n not in call.writes}
                calls.append(((operation, id(call)), reads, {places[n] for n in call.writes}))
        steady = {key for key, _, _ in calls}
        while True:
            moving: set[Any] = (set(self.graph.inputs) - self._captured) | self.fresh
            for key, _, writes in calls:
                if key not in steady:
                    moving |= writes
            found = {
                key for key, reads, writes in calls
                if key in steady and not moving & (reads | writes)
            }  # fmt: skip
            if found == steady:
                break
            steady = found
        self.steady = steady
        self.staying = {v for key, _, writes in calls if key in steady for v in writes}


def _with_copies(graph: Graph, captured: dict[Value, Layout]) -> tuple[Graph, set[Node]]:
    """Returns a body in which each result has memory of its own, and the nodes that copy."""
    nodes: list[Node] = []
    copies: set[Node] = set()
    turned: dict[Value, Value] = {}
    maker: dict[Value, Node] = {}
    for node in graph.nodes:
        if _reads_across(node, captured):
            a, b = node.inputs
            if b not in turned:
                turned[b] = Value(b.dtype, (b.shape[1], b.shape[0]))
                nodes.append(Node(transpose, [b], [turned[b]], {"perm": (1, 0)}, node.origin))
                copies.add(nodes[-1])
            (over, _), batch = node.attributes["contract"], node.attributes["batch"]
            attributes = {"contract": (over, (0,)), "batch": batch}
            node = Node(dot_general, [a, turned[b]], node.outputs, attributes, node.origin)
        nodes.append(node)
        maker.update((v, node) for v in node.outputs)
    outputs: list[Value] = []
    for value in graph.outputs:
        made = maker.get(value)
        bare = made is None or made.primitive.name in ("constant", *views.NAMES)
        bare = bare or not value.dtype.is_floating  # it may follow from shapes alone
        if bare or value in outputs:
            own = value.like()
            nodes.append(Node(stop_gradient, [value], [own], {}))
            copies.add(nodes[-1])
            value = own
        outputs.append(value)
    return graph.with_nodes(nodes, outputs), copies


def _reads_across(node: Node, captured: dict[Value, Layout]) -> bool:
    """Whether a product sums along the rows of a captured matrix: it would turn it each time."""
    if node.primitive is not dot_general or node.attributes["batch"] != ((), ()):
        return False
    a, b = node.inputs
    layout = captured.get(b)
    if layout is None or a in captured or len(layout.shape) != 2:
        return False
    return node.attributes["contract"][1] == (1,) and layout.strides[1] == 1


def lower(outer: Plan, node: Node) -> Operation | str:
    """Returns a scan as native code, or why it has to run on the host."""
    shapes, of = outer.shapes, node.attributes
    num_carried, num_sequences = of["num_carried"], of["num_sequences"]
    if node.effect or any(v.resource for v in node.inputs):
        return "it touches variables"
    if any(shapes.of(v) is None for v in (*node.inputs, *node.outputs)):
        return "its shape depends on data"
    if of["history"] is not None and any(of["history"].may_be_blank):
        return "rows may be blank"
    count = num_carried + num_sequences
    lengths = {(shapes.of(v) or ())[0] for v in node.inputs[num_carried:count]}
    if len(lengths) != 1 or 0 in lengths:
        return "it is empty"
    (times,) = lengths
    seen = [outer.views.of(v).layout for v in node.inputs]
    layouts = [contiguous(x.dtype, x.shape) for x in seen[:num_carried]]
    layouts += [Layout(x.dtype, x.shape[1:], x.strides[1:]) for x in seen[num_carried:count]]
    layouts += seen[count:]
    if any(x.dtype == "uint32" and x != contiguous(x.dtype, x.shape) for x in layouts):
        return "it may read keys of random bits across"
    graph = _for_shapes(of["body_graph"], layouts, shapes.known_inside(node))
    body = BodyPlan(graph, layouts, count)
    if not body.is_native:
        reasons = [o.label for o in body.operations if isinstance(o, (Host, Loop))]
        return f"in its body: {'; '.join(reasons) or 'a known result'}"
    lead: list[tuple[int, ...]] = [()] * num_carried
    lead += [(times,)] * (len(node.outputs) - num_carried)
    for value, result, leads in zip(node.outputs, body.graph.outputs, lead):
        if shapes.of(value) != (*leads, *(body.shapes.of(result) or ())):
            return "its shape changes"
    return _loop(outer, node, body, times, seen)


def _for_shapes(
    graph: Graph, layouts: Sequence[Layout], known: dict[Value, np.ndarray]
) -> Graph:  # fmt: skip
    """Returns a body optimized for the shapes of its inputs, and for arrays that are known."""
    new = Rebuild(graph)
    inputs = [Value(v.dtype, x.shape, name=v.name) for v, x in zip(graph.inputs, layouts)]
    for old, own in zip(graph.inputs, inputs):
        new.replace(old, new.constant(known[old]) if old in known else own)
    for node in graph.nodes:
        new.keep(new.adopt(node))
    found = new.finish()
    found.inputs = inputs
    return optimize(found)


def _loop(
    outer: Plan, node: Node, body: BodyPlan, times: int, seen: Sequence[Layout]
) -> Loop | str:
    of = node.attributes
    num_carried = of["num_carried"]
    num_rows = num_carried + of["num_sequences"]
    operands = [outer._place(v) for v in node.inputs] + [Place(v) for v in node.outputs]
    results, arena = len(node.inputs), len(operands)
    scratch = [Scratch(body.arena_bytes, _has_zeros(body))]
    places: dict[Value, Moving] = {}
    initial: list[Call] = []

    def row(number: int, num_bytes: int) -> Moving:
        step = -num_bytes if of["reverse"] else num_bytes
        first = (times - 1) * num_bytes if of["reverse"] else 0
        return Moving((number, first), (number, first + step), 2 * step)

    for i, (value, new) in enumerate(zip(body.graph.inputs[:num_carried], body.graph.outputs)):
        scratch.append(Scratch(body.shapes.size(value) * value.dtype.numpy.itemsize))
        pair = (results + i, 0), (arena + 1 + i, 0)
        # The last step writes the result.
        read, written = pair if times % 2 == 0 else pair[::-1]
        places[value], places[new] = Moving(read, written), Moving(written, read)
        copy = movement.lower_copy({}, [seen[i]], contiguous(seen[i].dtype, seen[i].shape))
        if copy is None:
            return f"no copies of {value.dtype.name}"
        initial += [
            replace(
                call,
                arguments=tuple(((i, read[0])[n], offset) for n, offset in call.arguments),
                writes=(read[0],),
            )
            for call in copy.calls
        ]
    for i, value in enumerate(body.graph.inputs[num_carried:num_rows], num_carried):
        places[value] = row(i, seen[i].strides[0] * value.dtype.numpy.itemsize)
    for i, value in enumerate(body.graph.inputs[num_rows:], num_rows):
        places[value] = Moving((i, 0), (i, 0))
    for i, value in enumerate(body.graph.outputs[num_carried:], results + num_carried):
        places[value] = row(i, body.shapes.size(value) * value.dtype.numpy.itemsize)
    everything = tuple((n, 0) for n in range(arena + len(scratch)))
    work = times * sum(call.work for phase in body.phases for _, call in phase)
    call = Call(None, everything, tuple(range(results, len(everything))), 1, work)
    reads = list(dict.fromkeys(p.root for p in operands[:results]))
    return Loop(
        [node], reads, list(node.outputs), f"scan of {times} steps",
        plan.Kernel((call,), tuple(scratch)), operands,
        body=body, times=times, places=places, initial=initial, arena=arena,
    )  # fmt: skip


def _has_zeros(body: BodyPlan) -> bool:
    return any(s.zeroed for o in body.operations if isinstance(o, Native) for s in o.scratch)


plan.NESTED["scan"] = lower
