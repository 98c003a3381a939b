"""From a traced Graph to an Executable: the passes in order, verified between, then an executor."""

from __future__ import annotations

import logging
from collections.abc import Callable

from distflow.base import errors, flags, log
from distflow.compiler.cpu.executor import CpuExecutable
from distflow.compiler.executable import Executable
from distflow.compiler.numpy_backend import NumpyExecutable
from distflow.compiler.passes.dedup import remove_dead, share_equal
from distflow.graph import evaluate
from distflow.graph.ir import Graph
from distflow.graph.text import to_text
from distflow.graph.verify import verify

# In order; each takes a Graph and returns one that means the same.
PASSES: tuple[tuple[str, Callable[[Graph], Graph]], ...] = (
    ("remove_dead", remove_dead),
    ("share_equal", share_equal),
    ("remove_dead", remove_dead),
)
# Executors by the name that DISTFLOW_EXECUTOR gives.
EXECUTORS: dict[str, Callable[[Graph], Executable]] = {
    "numpy": NumpyExecutable,
    "cpu": CpuExecutable,
}


def optimize(graph: Graph) -> Graph:
    """Returns an equal, leaner graph; verifies it before the first pass and after each.

    With DISTFLOW_PRINT_PASSES the graph is logged before the first pass and after each.
    """
    printing = flags.get("DISTFLOW_PRINT_PASSES")
    verify(graph)
    if printing:
        log.get_logger().log(logging.WARNING, "before passes:\n%s", to_text(graph))
    for name, run in PASSES:
        graph = run(graph)
        verify(graph)
        if printing:
            log.get_logger().log(logging.WARNING, "after %s:\n%s", name, to_text(graph))
    return graph


def compile_graph(graph: Graph) -> Executable:
    """Returns the graph made ready to run by the executor that DISTFLOW_EXECUTOR names.

    Raises:
      InvalidArgumentError: if there is no such executor.
    """
    name = flags.get("DISTFLOW_EXECUTOR")
    if name not in EXECUTORS:
        raise errors.invalid(
            "compiler", f"DISTFLOW_EXECUTOR must be one of {sorted(EXECUTORS)}", repr(name)
        )
    return EXECUTORS[name](optimize(graph))


evaluate.set_runner(compile_graph)
