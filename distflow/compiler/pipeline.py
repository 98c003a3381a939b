"""From a traced Graph to an Executable: the passes in order, verified between, then an executor."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from distflow.base import errors, flags
from distflow.compiler.cpu.executor import CpuExecutable
from distflow.compiler.executable import Executable
from distflow.compiler.numpy_backend import NumpyExecutable
from distflow.compiler.passes.dead import narrow, remove_dead
from distflow.compiler.passes.dedup import share_equal
from distflow.compiler.passes.fold import fold
from distflow.compiler.passes.inline import inline
from distflow.compiler.passes.simplify import simplify
from distflow.compiler.passes.state import forward_reads, lower_updates, touches_variables
from distflow.compiler.passes.trail import Trail
from distflow.graph import evaluate
from distflow.graph.ir import Graph, Node
from distflow.graph.verify import verify

# In order; each takes a Graph and returns one that means the same, or the same one.
PASSES: tuple[tuple[str, Callable[[Graph], Graph]], ...] = (
    ("remove_dead", remove_dead),
    ("inline", inline),
    ("lower_updates", lower_updates),
    ("forward_reads", forward_reads),
    ("share_equal", share_equal),
    ("fold", fold),
    ("simplify", simplify),
    ("narrow", narrow),
    ("remove_dead", remove_dead),
)
# Hold only for variables that are the program's own (`optimize`).
FOR_OWNED = frozenset({"lower_updates", "forward_reads"})
# One pass makes work for another; what is left after so many rounds is not worth more.
_MOST_ROUNDS = 4
# Executors by the name that DISTFLOW_EXECUTOR gives.
EXECUTORS: dict[str, Callable[[Graph], Executable]] = {
    "numpy": NumpyExecutable,
    "cpu": CpuExecutable,
}


def optimize(graph: Graph, owned: bool = True) -> Graph:
    """Returns an equal, leaner graph; verifies it before the first pass and after each.

    With DISTFLOW_PRINT_PASSES it logs what each pass (or each of the named ones) changes.

    Args:
      graph: a finished graph; it stays as it is.
      owned: the variables among its inputs will be different ones, and each gives back what was
        written to it (`Storage.reads_back`): neither aliases nor aggregates of replicas.
    """
    checked: set[Node] = set()
    verify(graph, checked)
    trail = Trail(graph, [name for name, _ in PASSES])
    for _ in range(_MOST_ROUNDS):
        start = graph
        for name, run in PASSES:
            if name in FOR_OWNED and not owned:
                continue
            before, graph = graph, run(graph)
            if graph is not before:
                verify(graph, checked)
                trail.note(name, before, graph)
        if graph is start:
            break
    return graph


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
    return EXECUTORS[name](optimize(graph))


class ByOwnership(Executable):
    """Runs a program that writes variables, in the form that fits the variables of the call.

    Most calls own their variables. Those of a replica may be aggregated when they are written,
    and one variable may be handed over twice: these calls run a more careful form.
    """

    def __init__(self, graph: Graph, make: Callable[[Graph], Executable]):
        super().__init__(graph)
        self._make = make
        self._variables = [i for i, v in enumerate(graph.inputs) if v.resource]
        self._forms: dict[bool, Executable] = {}
        # Storages of the last call, if these are owned in any call.
        self._always_owned: list[Any] = []
        self._lock = threading.Lock()

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """Runs the program."""
        if len(inputs) != len(self.graph.inputs):
            raise errors.invalid(
                self.graph.name, f"{len(self.graph.inputs)} inputs are needed", str(len(inputs))
            )
        storages = [inputs[i].storage for i in self._variables]
        if storages == self._always_owned:
            return self.form(True)(inputs)
        owned = _are_owned(storages)
        if owned and all(type(s).reads_back is True for s in storages):
            self._always_owned = storages
        return self.form(owned)(inputs)

    def form(self, owned: bool) -> Executable:
        """Returns the executable for variables that are owned, or not; made when first needed."""
        found = self._forms.get(owned)
        if found is None:
            with self._lock:
                if owned not in self._forms:
                    self._forms[owned] = self._make(optimize(self.graph, owned))
                found = self._forms[owned]
        return found


def _are_owned(storages: Sequence[Any]) -> bool:
    back = all(getattr(s, "reads_back", False) for s in storages)
    return back and len({id(s) for s in storages}) == len(storages)


evaluate.set_runner(compile_graph)
