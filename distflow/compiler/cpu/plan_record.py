"""Plans on disk: what a plan decides, written down beside the graph that it is for.

Planning costs more than all else of a second start, and it depends on nothing but the optimised
graph, the shapes of its inputs and the CPU. An entry names values and nodes by their places in the
graph and functions by their modules in the cache. Plans with anything that is not listed here
(scans) are made anew each time.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from distflow.base import log
from distflow.compiler import kept
from distflow.compiler.cpu import isa, jit
from distflow.compiler.cpu.lookup import Checked
from distflow.compiler.cpu.operations import (
    Arrival,
    Departure,
    Host,
    Native,
    Operation,
    Place,
)
from distflow.compiler.cpu.plan import Plan
from distflow.compiler.cpu.schedule import Segment
from distflow.compiler.cpu.shapes import Shape, ShapeTable
from distflow.compiler.cpu.state import Variables
from distflow.compiler.cpu.task import Call, Kernel, Layout, Scratch
from distflow.compiler.cpu.views import View, Views
from distflow.graph.ir import Graph, Node, Value
from distflow.ops.prims.elementwise import stop_gradient

# What a plan holds: kept, or of no use once it is made (and then empty in one that was read).
_KEPT = frozenset({
    "graph", "shapes", "views", "constants", "variables", "operations", "segments", "undone",
    "fresh", "offsets", "arena_bytes", "in_buckets", "_written_by",
})  # fmt: skip
_DONE_WITH = {"_numbers": dict, "units": list, "reasons": dict, "parts": dict, "endings": dict,
              "staying": set, "_spans": dict}  # fmt: skip
_EMPTY: dict[str, type] = {"dict": dict, "list": list, "set": set}
_OPERATION = {"nodes", "reads", "writes", "label"}
_NATIVE = _OPERATION | {"kernel", "operands", "replaces"}
_HOST = _OPERATION | {"reason", "checks", "keeps"}
_FIELDS = {
    Native: _NATIVE, Host: _HOST, Departure: _HOST | {"inside", "is_early"},
    Arrival: _HOST | {"departure"},
}  # fmt: skip
# In place of the number of a scratch buffer.
_OF_VALUE, _OF_BUCKET = -1, -2


class _Foreign(Exception):
    """A plan has something that entries cannot say."""


def planned(graph: Graph, shapes: Sequence[Shape | None], claimed: set[Value]) -> Plan:
    """Returns the plan of an optimised graph, from disk if it is there.

    Args:
      graph, shapes, claimed: as of `Plan`.
    """
    positions = [i for i, v in enumerate(graph.inputs) if v in claimed]
    place = kept.place(graph, "plan", jit.versions(), isa.current(), shapes, positions)
    if place is None:
        return Plan(graph, shapes, claimed)
    data = place.read()
    if data is not None:
        try:
            found = _Reader(graph).plan(json.loads(data))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            log.get_logger().log(logging.INFO, "a plan is made anew: %r", error)
        else:
            if found is not None:
                return found
    plan = Plan(graph, shapes, claimed)
    record = to_bytes(plan)
    if record is not None:
        place.write(record)
    return plan


def to_bytes(plan: Plan) -> bytes | None:
    """Returns a plan as bytes; None if it has what these cannot say."""
    try:
        return json.dumps(_Writer(plan).record(), separators=(",", ":")).encode()
    except _Foreign:
        return None


def from_bytes(data: bytes, graph: Graph) -> Plan | None:
    """Returns the plan that `to_bytes` wrote, for an equal graph; None if its code is not there."""
    return _Reader(graph).plan(json.loads(data))


class _Writer:
    def __init__(self, plan: Plan):
        self._plan = plan
        graph = plan.graph
        self._values = {v: i for i, v in enumerate(graph.inputs)}
        for node in graph.nodes:
            for v in node.outputs:
                self._values[v] = len(self._values)
        self._nodes = {node: i for i, node in enumerate(graph.nodes)}
        self._modules: dict[jit.Module, int] = {}
        self._numbers = {o: i for i, o in enumerate(plan.operations)}

    def record(self) -> dict[str, Any]:
        plan = self._plan
        rest = {k: v for k, v in vars(plan).items() if k not in _KEPT and k not in _DONE_WITH}
        if any(v or type(v).__name__ not in _EMPTY for v in rest.values()):
            raise _Foreign
        copies = self._copies()
        variables = plan.variables
        return {
            "rest": {k: type(v).__name__ for k, v in rest.items()},
            "copies": copies,
            "shapes": [[self._values[v], shape] for v, shape in plan.shapes.shapes.items()],
            "views": [
                [self._values[v], self._values[one.root], one.offset, one.layout.shape,
                 one.layout.strides]
                for v, one in plan.views._views.items()
            ],
            "constants": self._constants(),
            "direct": sorted(self._all(variables.direct)),
            "written": sorted(self._all(variables.written)),
            "operations": [self._operation(o) for o in plan.operations],
            "segments": [
                [[[[self._numbers[o], _index(o.calls, call)] for o, call in phase]
                  for phase in segment.phases],
                 [self._numbers[host] for host in segment.host]]
                for segment in plan.segments
            ],
            "undone": self._all(plan.undone),
            "fresh": sorted(self._all(plan.fresh)),
            "offsets": [
                [*self._buffer(key), offset] for key, offset in plan.offsets.items()
            ],
            "arena": plan.arena_bytes,
            "in_buckets": [
                [self._values[v], self._numbers[departure], byte]
                for v, (departure, byte) in plan.in_buckets.items()
            ],
            "modules": [[m.key, m.name, list(m.symbols)] for m in self._modules],
        }  # fmt: skip

    def _copies(self) -> list[list[int]]:
        """Numbers the nodes that stand for reads and writes of variables; returns them."""
        found = []
        variables = self._plan.variables
        if not set(variables.writes) <= set(variables.stands_for):
            raise _Foreign
        for copy, node in variables.stands_for.items():
            if copy.primitive is not stop_gradient or copy.attributes:
                raise _Foreign
            self._nodes[copy] = len(self._nodes)
            (source,), (result,) = copy.inputs, copy.outputs
            # A copy of a variable makes a value of the graph; a write, one of its own.
            if result not in self._values:
                self._values[result] = len(self._values)
            written = variables.writes.get(copy)
            found.append([
                self._values[source], self._values[result], self._nodes[node],
                -1 if written is None else self._values[written],
            ])  # fmt: skip
        return found

    def _constants(self) -> list[Any]:
        """Returns the constants that are not nodes of the graph: small ones of integers."""
        of_graph = {n.outputs[0] for n in self._plan.graph.nodes if n.primitive.name == "constant"}
        return [
            [self._values[v], array.dtype.name, array.shape, array.reshape(-1).tolist()]
            for v, array in self._plan.constants.items() if v not in of_graph
        ]  # fmt: skip

    def _operation(self, operation: Operation) -> list[Any]:
        if set(vars(operation)) != _FIELDS.get(type(operation)):
            raise _Foreign
        nodes = [self._nodes[n] for n in operation.nodes]
        common = [nodes, self._all(operation.reads), self._all(operation.writes), operation.label]
        if isinstance(operation, Native):
            kernel = operation.kernel
            operands = [[self._values[p.root], p.offset] for p in operation.operands]
            scratch = [[s.num_bytes, int(s.zeroed)] for s in kernel.scratch]
            checked = None
            if isinstance(kernel, Checked):
                checked = [kernel.bounds, kernel.dtype, kernel.size, kernel.role]
            elif type(kernel) is not Kernel:
                raise _Foreign
            calls = [self._call(call) for call in kernel.calls]
            return [*common, operands, scratch, calls, checked]
        assert isinstance(operation, Host)
        checks = -1 if operation.checks is None else self._numbers[operation.checks]
        row = [*common, operation.reason, checks, int(operation.keeps)]
        if isinstance(operation, Departure):
            row += ["leaves", sorted(self._all(operation.inside)), int(operation.is_early)]
        if isinstance(operation, Arrival):
            assert operation.departure is not None
            row += ["arrives", self._numbers[operation.departure], 0]
        return row

    def _call(self, call: Call) -> list[Any]:
        function = call.function
        if not isinstance(function, jit.Ranged):
            raise _Foreign
        module = self._modules.setdefault(function.module, len(self._modules))
        return [module, function.symbol, call.arguments, call.writes, call.units, call.work]

    def _buffer(self, key: Any) -> list[int]:
        if isinstance(key, Value):
            return [self._values[key], _OF_VALUE]
        if isinstance(key, Departure):
            return [self._numbers[key], _OF_BUCKET]
        if not isinstance(key, tuple):
            raise _Foreign
        return [self._numbers[key[0]], key[1]]

    def _all(self, values: Any) -> list[int]:
        return [self._values[v] for v in values]


class _Reader:
    def __init__(self, graph: Graph):
        self._graph = graph
        self._values = [*graph.inputs, *(v for node in graph.nodes for v in node.outputs)]
        self._nodes = list(graph.nodes)

    def plan(self, record: dict[str, Any]) -> Plan | None:
        modules = [jit.load(*row) for row in record["modules"]]
        if None in modules:
            return None
        plan = Plan.__new__(Plan)
        for name, kind in record["rest"].items():
            setattr(plan, name, _EMPTY[kind]())
        for name, make in _DONE_WITH.items():
            setattr(plan, name, make())
        plan.graph = self._graph
        plan.variables = self._variables(record)
        plan.shapes = self._shapes(record["shapes"])
        plan.views = self._views(record["views"], plan.shapes)
        plan.constants = self._constants(record["constants"])
        plan.operations = self._operations(record["operations"], modules)
        natives: list[Any] = plan.operations
        plan.segments = [
            Segment(
                [[(natives[o], natives[o].calls[c]) for o, c in phase] for phase in phases],
                [natives[o] for o in hosts],
            )
            for phases, hosts in record["segments"]
        ]
        plan.undone = self._all(record["undone"])
        plan.fresh = set(self._all(record["fresh"]))
        plan.offsets = {
            self._buffer(key, number, natives): offset for key, number, offset in record["offsets"]
        }
        plan.in_buckets = {
            self._values[v]: (natives[o], byte) for v, o, byte in record["in_buckets"]
        }
        plan.arena_bytes = record["arena"]
        plan._written_by = {n.outputs[0]: v for n, v in plan.variables.writes.items()}
        return plan

    def _buffer(self, key: int, number: int, operations: list[Any]) -> Any:
        if number == _OF_VALUE:
            return self._values[key]
        return operations[key] if number == _OF_BUCKET else (operations[key], number)

    def _variables(self, record: dict[str, Any]) -> Variables:
        variables = Variables.__new__(Variables)
        variables.writes, variables.stands_for = {}, {}
        for source, result, node, written in record["copies"]:
            if result == len(self._values):
                of = self._values[written]
                self._values.append(Value(of.dtype, of.shape, name=of.name))
            copy = Node(stop_gradient, [self._values[source]], [self._values[result]], {})
            variables.stands_for[copy] = self._nodes[node]
            if written >= 0:
                variables.writes[copy] = self._values[written]
            self._nodes.append(copy)
        variables.direct = set(self._all(record["direct"]))
        variables.written = set(self._all(record["written"]))
        return variables

    def _shapes(self, rows: list[Any]) -> ShapeTable:
        table = ShapeTable.__new__(ShapeTable)
        values = self._values
        table.shapes = {values[i]: None if s is None else tuple(s) for i, s in rows}
        table.known, table.rows = {}, {}
        return table

    def _views(self, rows: list[Any], shapes: ShapeTable) -> Views:
        views, values = Views(shapes), self._values
        for i, root, offset, shape, strides in rows:
            layout = Layout(values[i].dtype.name, tuple(shape), tuple(strides))
            views._views[values[i]] = View(values[root], offset, layout)
        return views

    def _constants(self, rows: list[Any]) -> dict[Value, np.ndarray]:
        found = {
            self._values[i]: np.array(flat, kind).reshape(shape) for i, kind, shape, flat in rows
        }
        for node in self._graph.nodes:
            if node.primitive.name == "constant":
                array = np.asarray(node.attributes["value"])
                found[node.outputs[0]] = np.require(array, requirements=["C", "A"])
        return found

    def _operations(self, rows: list[Any], modules: list[Any]) -> list[Operation]:
        values = self._values
        made: list[Operation] = []
        functions: dict[tuple[int, str], jit.Ranged] = {}

        def call(module: int, symbol: str, places: Any, writes: Any, units: int, work: int) -> Call:
            function = functions.get((module, symbol))
            if function is None:
                function = functions[module, symbol] = modules[module].ranged(symbol)
            return Call(function, tuple(map(tuple, places)), tuple(writes), units, work)

        for row in rows:
            nodes = [self._nodes[i] for i in row[0]]
            reads, writes, label = self._all(row[1]), self._all(row[2]), row[3]
            if len(row) in (7, 10):
                reason, checks, keeps, *more = row[4:]
                of: Any = None if checks < 0 else made[checks]
                host = nodes, reads, writes, label, reason, of, bool(keeps)
                made.append(self._host(host, made, *more))
                continue
            operands, scratch, calls, checked = row[4:]
            parts = (
                tuple([call(*one) for one in calls]),
                tuple([Scratch(size, bool(zeroed)) for size, zeroed in scratch]),
            )
            kernel = Kernel(*parts) if checked is None else Checked(*parts, *checked)
            places = [Place(values[i], offset) for i, offset in operands]
            made.append(Native(nodes, reads, writes, label, kernel, places))
        return made

    def _host(self, parts: Any, made: list[Any], kind: str = "", *more: Any) -> Host:
        if kind == "leaves":
            departure = Departure(*parts)
            departure.inside, departure.is_early = set(self._all(more[0])), bool(more[1])
            return departure
        if kind == "arrives":
            arrival = Arrival(*parts)
            arrival.departure = made[more[0]]
            return arrival
        return Host(*parts)

    def _all(self, numbers: list[int]) -> list[Value]:
        return [self._values[i] for i in numbers]


def _index(calls: Sequence[Call], call: Call) -> int:
    return next(i for i, one in enumerate(calls) if one is call)
