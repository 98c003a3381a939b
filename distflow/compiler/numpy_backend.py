"""The numpy executor: the NumPy references, one node after another.

Every intermediate is released after its last use (`graph.evaluate.Program` plans that).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distflow.compiler.executable import Executable
from distflow.graph import evaluate
from distflow.graph.ir import Graph


class NumpyExecutable(Executable):
    """Runs a graph by walking it."""

    def __init__(self, graph: Graph):
        super().__init__(graph)
        self._program = evaluate.Program(graph)

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """Runs the program."""
        return self._program(inputs)

    def explain(self, inputs: Sequence[Any]) -> list[str]:
        """Returns a line for each node."""
        lines = [f"  numpy: {node.primitive.name}" for node in self.graph.nodes]
        return [f"{self.graph.name}: {len(lines)} nodes on NumPy", *lines]
