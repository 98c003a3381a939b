"""The cpu executor: a program as one native call, the NumPy references for what has no kernel.

A graph is made ready for the concrete shapes of its inputs when they come for the first time.
Bodies of control flow run through executables of their own.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from distflow.base import errors
from distflow.compiler import collector
from distflow.compiler.cpu import describe, isa, threads
from distflow.compiler.cpu.plan import Plan
from distflow.compiler.cpu.plan_record import planned
from distflow.compiler.cpu.program import Program
from distflow.compiler.cpu.shapes import Shape
from distflow.compiler.executable import Executable
from distflow.compiler.passes.state import touches_variables
from distflow.graph.ir import Graph, Value

# Plans that an executable keeps, one for each set of input shapes; the one unused for longest goes.
_MOST_PLANS = 64


class CpuExecutable(Executable):
    """Runs a graph in machine code as far as there is any for it.

    Raises:
      MissingExtraError: without llvmlite.
      InvalidArgumentError: if DISTFLOW_CPU names what this host cannot run.
    """

    def __init__(self, graph: Graph):
        super().__init__(graph)
        isa.current()
        self._plans: collections.OrderedDict[Any, _Runs] = collections.OrderedDict()
        self._lock = threading.Lock()
        # What the last call ran, and storages of variables that were found to be different ones.
        self._last: tuple[Any, _Runs] | None = None
        self._distinct: list[Any] = []
        self._fixed = {
            i: _static(v) for i, v in enumerate(graph.inputs) if v.resource
        }  # fmt: skip
        assigned = {
            v for node in graph.nodes if node.primitive.name == "assign_variable"
            for v in node.inputs
        }  # fmt: skip
        self._assigned = [i for i, v in enumerate(graph.inputs) if v.resource and v in assigned]
        # Assigned nowhere but by direct writes, which may go to memory in a replica, too.
        through_storage = {
            node.inputs[0] for node in graph.nodes
            if node.primitive.name == "assign_variable" and not node.attributes.get("direct")
        }  # fmt: skip
        self._direct = {i for i in self._assigned if graph.inputs[i] not in through_storage}
        self._writes = touches_variables(graph.nodes)

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """Runs the program."""
        values = self.graph.inputs
        if len(inputs) != len(values):
            raise errors.invalid(
                self.graph.name, f"{len(values)} inputs are needed", str(len(inputs))
            )
        return self.runs_for(inputs)(inputs)

    def explain(self, inputs: Sequence[Any]) -> list[str]:
        """Returns a line for each operation: what runs it, and why it is not machine code."""
        return describe.explanation(self.runs_for(inputs).plan)

    def runs_for(self, inputs: Sequence[Any]) -> _Runs:
        """Returns what runs the program for such inputs, made at the first call."""
        fixed = self._fixed
        if self._writes and len(fixed) > 1:
            # A variable that is there twice is read and written by its storage, in order.
            storages = [inputs[i].storage for i in fixed]
            if storages == self._distinct:
                pass
            elif len(set(map(id, storages))) < len(storages):
                twice = {i for i in fixed if storages.count(inputs[i].storage) > 1}
                fixed = {i: None if i in twice else shape for i, shape in fixed.items()}
            else:
                self._distinct = storages
        shapes = tuple([
            fixed[i] if i in fixed else np.shape(x) for i, x in enumerate(inputs)
        ])  # fmt: skip
        claimed = tuple([
            i for i in self._assigned
            if fixed[i] is not None
            and (i in self._direct or getattr(inputs[i].storage, "can_claim", _never)())
        ])  # fmt: skip
        key = shapes, claimed, isa.current()
        last = self._last
        if last is not None and last[0] == key:
            return last[1]
        with self._lock:
            found = self._plans.get(key)
            if found is not None:
                self._plans.move_to_end(key)
                self._last = key, found
                return found
        values = {self.graph.inputs[i] for i in claimed}
        with collector.paused():
            made = _Runs(planned(self.graph, shapes, values))
        with self._lock:
            self._plans[key] = made
            self._last = key, made
            if len(self._plans) > _MOST_PLANS:
                self._plans.popitem(last=False)
        return made


class _Runs:
    """A plan and the programs that are free to run it."""

    def __init__(self, plan: Plan):
        self.plan = plan
        # Appending and popping are atomic.
        self._free: list[Program] = []

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        count = threads.num_threads()
        program = None
        while self._free:
            program = self._free.pop()
            if program.count == count:
                break
            program = None
        if program is None:
            with collector.paused():
                program = Program(self.plan, count)
        try:
            return program(inputs)
        finally:
            if program.is_free:
                self._free.append(program)


def explain(graph: Graph, shapes: Sequence[Shape | None] | None = None) -> list[str]:
    """Returns a line for each part of a program: which nodes run natively, and why others do not.

    Args:
      graph: a finished graph.
      shapes: of its inputs; default: those of the graph, where they are known.
    """
    found = [_static(v) for v in graph.inputs] if shapes is None else shapes
    return Plan(graph, found, {v for v in graph.inputs if v.resource}).describe()


def _never() -> bool:
    return False


def _static(value: Value) -> Shape | None:
    shape = tuple(value.shape)
    return None if any(d is None for d in shape) else shape
