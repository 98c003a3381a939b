"""From a traced Graph to an Executable: the passes in order, then an executor."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from distflow.base import errors, flags
from distflow.compiler import collector
from distflow.compiler.cpu.executor import CpuExecutable
from distflow.compiler.executable import Executable
from distflow.compiler.forms import Form
from distflow.compiler.kept import optimized
from distflow.compiler.numpy_backend import NumpyExecutable
from distflow.compiler.passes.rounds import PASSES as PASSES
from distflow.compiler.passes.rounds import optimize as optimize
from distflow.compiler.passes.state import touches_variables
from distflow.core import context
from distflow.graph import evaluate
from distflow.graph.ir import Graph

# Executors by the name that DISTFLOW_EXECUTOR gives.
EXECUTORS: dict[str, Callable[[Graph], Executable]] = {
    "numpy": NumpyExecutable,
    "cpu": CpuExecutable,
}


def compile_graph(graph: Graph) -> Executable:
    """Returns the graph made ready to run by the executor that DISTFLOW_EXECUTOR means.

    Raises:
      InvalidArgumentError: if there is no such executor.
    """
    name = flags.executor()
    if name not in EXECUTORS:
        known = sorted([*EXECUTORS, "auto"])
        raise errors.invalid("compiler", f"DISTFLOW_EXECUTOR must be one of {known}", repr(name))
    if touches_variables(graph.nodes) and any(v.resource for v in graph.inputs):
        return ByOwnership(graph, EXECUTORS[name])
    with collector.paused():
        return EXECUTORS[name](optimized(graph))


class ByOwnership(Executable):
    """Runs a program that writes variables, in the form that fits the variables of the call.

    Most calls own their variables. Those of a replica may be aggregated when they are written,
    and one variable may be handed over twice: these calls run a more careful form.
    """

    def __init__(self, graph: Graph, make: Callable[[Graph], Executable]):
        super().__init__(graph)
        self._make = make
        self._variables = [i for i, v in enumerate(graph.inputs) if v.resource]
        self._forms: dict[Form, Executable] = {}
        # The variables and replica of the last call, and what ran it.
        self._last: tuple[list[Any], Any, Executable] | None = None
        self._lock = threading.Lock()

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """Runs the program."""
        if len(inputs) != len(self.graph.inputs):
            raise errors.invalid(
                self.graph.name, f"{len(self.graph.inputs)} inputs are needed", str(len(inputs))
            )
        return self._for(inputs)(inputs)

    def explain(self, inputs: Sequence[Any]) -> list[str]:
        """Returns what the form for these variables says."""
        return self._for(inputs).explain(inputs)

    def _for(self, inputs: Sequence[Any]) -> Executable:
        storages = [inputs[i].storage for i in self._variables]
        replica = context.state.replica
        role = None if replica is None else getattr(replica, "role", None)
        last = self._last
        if last is not None and last[0] == storages and last[1] == role:
            return last[2]
        found = self.form(Form.of(storages, role))
        self._last = storages, role, found
        return found

    def form(self, form: Form) -> Executable:
        """Returns the executable for a form; made when first needed."""
        found = self._forms.get(form)
        if found is None:
            with self._lock:
                if form not in self._forms:
                    with collector.paused():
                        self._forms[form] = self._make(form.optimized(self.graph))
                found = self._forms[form]
        return found


def explain(graph: Graph, inputs: Sequence[Any]) -> list[str]:
    """Returns lines for people: what runs each part of a graph for such inputs, nothing is run."""
    if graph.runner is None:
        graph.runner = compile_graph(graph)
    assert isinstance(graph.runner, Executable)
    return graph.runner.explain(inputs)


evaluate.set_runner(compile_graph)
