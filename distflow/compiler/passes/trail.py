"""What passes did, for people: the lines of the program that a pass took out and put in."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Sequence

from distflow.base import errors, flags, log
from distflow.graph.ir import Graph, Value
from distflow.graph.text import Names, to_text


class Trail:
    """Logs what passes change, as DISTFLOW_PRINT_PASSES asks for it.

    Values keep their numbers from pass to pass, so that lines differ where the program does.

    Raises:
      InvalidArgumentError: if the setting names a pass that there is not.
    """

    def __init__(self, graph: Graph, passes: Sequence[str]):
        wanted = flags.get("DISTFLOW_PRINT_PASSES")
        self._wanted = set(passes) if wanted is True else set(wanted or ())
        unknown = self._wanted - set(passes)
        if unknown:
            raise errors.invalid(
                "compiler", f"DISTFLOW_PRINT_PASSES names passes among {sorted(set(passes))}",
                f"{sorted(unknown)}",
            )  # fmt: skip
        self._names = _Lasting() if self._wanted else None
        if wanted is True:
            _log(f"before passes: {len(graph.nodes)} nodes\n{to_text(graph)}")
        if self._names:
            self._names.lines(graph)

    def note(self, name: str, before: Graph, after: Graph) -> None:
        """Logs what a pass changed."""
        if self._names is None:
            return
        old, new = self._names.lines(before), self._names.lines(after)
        if name not in self._wanted:
            return
        changes = [
            line
            for line in difflib.unified_diff(old, new, n=0, lineterm="")
            if not line.startswith(("---", "+++", "@@"))
        ]
        head = f"after {name}: {len(before.nodes)} -> {len(after.nodes)} nodes"
        _log("\n".join([head, *changes]))


class _Lasting(Names):
    """Numbers values as they come up; a value keeps its number in all graphs."""

    def __init__(self) -> None:
        self._names: dict[Value, str] = {}
        self._blocks: dict[int, str] = {}
        self._inputs = 0

    def lines(self, graph: Graph) -> list[str]:
        """Returns the lines of a graph's nodes and results."""
        if not self._names:
            self._names = dict(Names(graph.with_nodes(()))._names)
            self._inputs = len(self._names)
        for node in graph.nodes:
            for value in node.outputs:
                self._names.setdefault(value, str(len(self._names) - self._inputs))
        results = ", ".join(self[v] for v in graph.outputs)
        return [*(self.line(node) for node in graph.nodes), f"return {results}"]


def _log(text: str) -> None:
    log.get_logger().log(logging.WARNING, "%s", text)
