"""The cpu executor: fused loops and kernels in machine code, the NumPy references for the rest.

A graph is made ready for the concrete shapes of its inputs when they come for the first time; all
loops of one such plan are one module of LLVM IR, so that a second start finds one entry in the
cache. Bodies of control flow run through executables of their own.
"""

from __future__ import annotations

import collections
import ctypes
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distflow.base import errors
from distflow.compiler.cpu import cluster, isa, jit, loops, table, threads
from distflow.compiler.cpu.emit import Code
from distflow.compiler.cpu.shapes import Shape, ShapeTable
from distflow.compiler.executable import Executable
from distflow.graph.ir import Graph, Node, Value

# Plans that an executable keeps, one for each set of input shapes; the one unused for longest goes.
_MOST_PLANS = 64

_Slots = list[Any]
_SIGNATURE = (None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


class CpuExecutable(Executable):
    """Runs a graph in machine code as far as there is any for it.

    Raises:
      MissingExtraError: without llvmlite.
      InvalidArgumentError: if DISTFLOW_CPU names what this host cannot run.
    """

    def __init__(self, graph: Graph):
        super().__init__(graph)
        isa.current()
        self._plans: collections.OrderedDict[tuple[Shape | None, ...], Plan]
        self._plans = collections.OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """Runs the program."""
        values = self.graph.inputs
        if len(inputs) != len(values):
            raise errors.invalid(
                self.graph.name, f"{len(values)} inputs are needed", str(len(inputs))
            )
        return self.plan_for([
            _static(v) if v.resource else np.shape(x) for v, x in zip(values, inputs)
        ])(inputs)  # fmt: skip

    def plan_for(self, shapes: Sequence[Shape | None]) -> Plan:
        """Returns the plan for inputs of some shapes, made at the first call."""
        key = tuple(shapes)
        with self._lock:
            if key in self._plans:
                self._plans.move_to_end(key)
                return self._plans[key]
        plan = Plan(self.graph, key)
        with self._lock:
            self._plans[key] = plan
            if len(self._plans) > _MOST_PLANS:
                self._plans.popitem(last=False)
        return plan


class Plan:
    """A graph made ready for one set of input shapes."""

    def __init__(self, graph: Graph, input_shapes: Sequence[Shape | None]):
        self.shapes = ShapeTable(graph, input_shapes)
        numbers = cluster.numbers_of(graph)
        numbers.update((v, a) for v, a in self.shapes.known.items() if a.size == 1)
        nodes = [
            node for node in graph.nodes
            if node.primitive.name != "constant"
            and (node.effect or any(v not in self.shapes.known for v in node.outputs))
        ]  # fmt: skip
        self.units, self.reasons = cluster.gather(nodes, self.shapes)
        self._slot: dict[Value, int] = {v: i for i, v in enumerate(graph.inputs)}
        for node in graph.nodes:
            for value in node.outputs:
                self._slot.setdefault(value, len(self._slot))
        self._num_inputs = len(graph.inputs)
        self._template: _Slots = [None] * len(self._slot)
        for node in graph.nodes:
            if node.primitive.name == "constant":
                self._template[self._slot[node.outputs[0]]] = node.attributes["value"]
        for value, array in self.shapes.known.items():
            self._template[self._slot[value]] = array
        self._outputs = [self._slot[v] for v in graph.outputs]
        self.library: dict[Node, table.Kernel] = {}
        self._steps = self._link(graph, numbers)

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """Runs the program."""
        slots = self._template.copy()
        slots[: self._num_inputs] = inputs
        for run, dead in self._steps:
            run(slots)
            for slot in dead:
                slots[slot] = None
        return [slots[i] for i in self._outputs]

    def describe(self) -> list[str]:
        """Returns a line for each unit: what runs it, and why it is not machine code."""
        lines = []
        for unit in self.units:
            names = ", ".join(n.primitive.name for n in unit.nodes)
            if unit.is_loop:
                lines.append(f"loop {list(unit.shape)}: {names}")
            elif unit.nodes[0] in self.library:
                lines.append(f"kernel: {names}")
            else:
                lines.append(f"numpy: {names} ({self.reasons[unit.nodes[0]]})")
        return lines

    def _link(
        self, graph: Graph, numbers: dict[Value, np.ndarray]
    ) -> list[tuple[Callable[[_Slots], None], tuple[int, ...]]]:
        regions = self._regions(graph, numbers)
        functions = _compile([r.loop for r in regions if r is not None], graph.name)
        runs: list[Callable[[_Slots], None]] = []
        for unit, region in zip(self.units, regions):
            if region is None:
                runs.append(self._node_runner(unit.nodes[0]))
            else:
                runs.append(
                    _LoopRunner(region, functions[region.loop], unit.nodes, self.shapes, self._slot)
                )
        return list(zip(runs, self._dead(graph)))

    def _regions(
        self, graph: Graph, numbers: dict[Value, np.ndarray]
    ) -> list[cluster.Region | None]:
        readers: dict[Value, set[int]] = {v: {-1} for v in graph.outputs}
        for i, unit in enumerate(self.units):
            for value in _reads(unit):
                readers.setdefault(value, set()).add(i)
        return [
            cluster.region_of(
                unit, self.shapes,
                {v for n in unit.nodes for v in n.outputs if readers.get(v, set()) - {i}}, numbers,
            ) if unit.is_loop else None
            for i, unit in enumerate(self.units)
        ]  # fmt: skip

    def _dead(self, graph: Graph) -> list[tuple[int, ...]]:
        """Returns the slots that can be cleared after each unit."""
        last: dict[Value, int] = {}
        for i, unit in enumerate(self.units):
            for value in (*_reads(unit), *(v for n in unit.nodes for v in n.outputs)):
                last[value] = i
        dead: list[list[int]] = [[] for _ in self.units]
        kept = set(graph.outputs)
        for value, i in last.items():
            if value not in kept:
                dead[i].append(self._slot[value])
        return [tuple(d) for d in dead]

    def _node_runner(self, node: Node) -> Callable[[_Slots], None]:
        runner = _NodeRunner(node, self._slot)
        prepare = table.LIBRARY.get(node.primitive.name)
        shapes = [self.shapes.of(v) for v in node.inputs]
        if prepare is None or any(s is None for s in shapes):
            return runner
        known = [s for s in shapes if s is not None]
        kinds = [v.dtype.numpy for v in node.inputs]
        kernel = prepare(node.attributes, known, kinds)
        if kernel is None:
            self.reasons[node] = f"{node.primitive.name} has no kernel for these shapes and dtypes"
            return runner
        self.library[node] = kernel
        return _KernelRunner(kernel, node, list(zip(kinds, known)), self._slot, runner)


def explain(graph: Graph, shapes: Sequence[Shape | None] | None = None) -> list[str]:
    """Returns a line for each part of a program: which nodes run natively, and why others do not.

    Args:
      graph: a finished graph.
      shapes: of its inputs; default: those of the graph, where they are known.
    """
    return Plan(graph, [_static(v) for v in graph.inputs] if shapes is None else shapes).describe()


# -- what runs a unit ----------------------------------------------------------------------


class _NodeRunner:
    """Runs one node by its NumPy reference."""

    def __init__(self, node: Node, slot: dict[Value, int]):
        self._call = (
            functools.partial(node.primitive.reference, **node.attributes)
            if node.attributes else node.primitive.reference
        )  # fmt: skip
        self._inputs = [slot[v] for v in node.inputs]
        self._outputs = [slot[v] for v in node.outputs]

    def __call__(self, slots: _Slots) -> None:
        result = self._call(*[slots[i] for i in self._inputs])
        results = result if isinstance(result, tuple) else (result,)
        for slot, array in zip(self._outputs, results):
            slots[slot] = np.asarray(array)


class _KernelRunner:
    """Runs one node by a kernel of the library; by its reference if the operands surprise."""

    def __init__(
        self, kernel: table.Kernel, node: Node, expected: Sequence[tuple[Any, Shape]],
        slot: dict[Value, int], reference: _NodeRunner,
    ):  # fmt: skip
        self._kernel = kernel
        self._expected = expected
        self._inputs = [slot[v] for v in node.inputs]
        self._output = slot[node.outputs[0]]
        self._reference = reference

    def __call__(self, slots: _Slots) -> None:
        # Kernels take arrays of any strides: a transposition before them copies nothing.
        arrays = _operands(slots, self._inputs, self._expected, contiguous=False)
        if arrays is None:
            self._reference(slots)
        else:
            slots[self._output] = self._kernel(arrays)


class _LoopRunner:
    """Runs a loop; its nodes one by one if an operand is not what the shape rules said."""

    def __init__(
        self, region: cluster.Region, compiled: list[tuple[Any, loops.Stage]],
        nodes: Sequence[Node], shapes: ShapeTable, slot: dict[Value, int],
    ):  # fmt: skip
        self._stages = compiled
        self._scratch_bytes = region.loop.scratch_bytes
        self._inputs = [slot[v] for v in region.inputs]
        self._expected = [(v.dtype.numpy, shapes.of(v) or ()) for v in region.inputs]
        self._results = [(slot[v], shapes.of(v) or (), v.dtype.numpy) for v in region.outputs]
        self._pointers = ctypes.c_void_p * (len(self._inputs) + len(self._results) + 1)
        self._nodes = [_NodeRunner(node, slot) for node in nodes]

    def __call__(self, slots: _Slots) -> None:
        arrays = _operands(slots, self._inputs, self._expected)
        if arrays is None:
            for node in self._nodes:
                node(slots)
            return
        for slot, shape, dtype in self._results:
            array = np.empty(shape, dtype)
            slots[slot] = array
            arrays.append(array)
        arrays.append(np.empty(self._scratch_bytes, np.uint8))
        pointers = self._pointers(*[a.__array_interface__["data"][0] for a in arrays])
        for function, stage in self._stages:
            threads.parallel_for(
                function, ctypes.addressof(pointers), stage.units, 10 * stage.work_ns
            )


def _operands(
    slots: _Slots,
    indices: Sequence[int],
    expected: Sequence[tuple[Any, Shape]],
    contiguous: bool = True,
) -> list[np.ndarray] | None:
    """Returns aligned (and contiguous) arrays; None if one has not the dtype and shape expected.

    Machine code trusts the shapes it was made for; a rule that promises too much (a host function
    that returns another shape) must not make it read past the end.
    """
    arrays = []
    for i, (dtype, shape) in zip(indices, expected):
        array = slots[i]
        if type(array) is not np.ndarray:
            array = np.asarray(array)
        if array.dtype != dtype or array.shape != shape:
            return None
        flags = array.flags
        if not (flags.aligned and (flags.c_contiguous or not contiguous)):
            array = np.array(array, order="C")
        arrays.append(array)
    return arrays


def _compile(
    wanted: Sequence[loops.Loop], name: str
) -> dict[loops.Loop, list[tuple[Any, loops.Stage]]]:
    """Returns the functions of each loop, with their stages; equal loops are compiled once."""
    distinct = list(dict.fromkeys(wanted))
    if not distinct:
        return {}
    code = Code()
    stages = [loops.emit_loop(code, loop, f"loop{i}") for i, loop in enumerate(distinct)]
    module = jit.compile_module(code.text() + loops.metadata(), name)
    return {
        loop: [(module.function(stage.symbol, *_SIGNATURE), stage) for stage in found]
        for loop, found in zip(distinct, stages)
    }


def _reads(unit: cluster.Unit) -> list[Value]:
    if unit.is_loop:
        return [v for form in unit.forms for v in form.operands]
    return [v for node in unit.nodes for v in node.inputs]


def _static(value: Value) -> Shape | None:
    shape = tuple(value.shape)
    return None if any(d is None for d in shape) else shape
