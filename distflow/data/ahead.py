"""prefetch and with_options: steps that change how a pipeline runs, not what it yields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from distflow.data import parallel
from distflow.data.arrays import Rows
from distflow.data.node import Node, Run
from distflow.data.options import AUTOTUNE, Options

# Elements that prefetch(AUTOTUNE) holds: one in use, one ready, one in the making.
_AUTOTUNE_BUFFER = 2


@dataclass(frozen=True, eq=False)
class Unchanged(Node):
    """A step that yields exactly its source's elements."""

    source: Node

    def elements(self, run: Run) -> Iterator[Any]:
        """Yields the source's elements."""
        return self.source.elements(run)

    def rows(self, run: Run) -> Rows | None:
        """Returns the source's rows."""
        return self.source.rows(run)

    def _spec(self) -> Any:
        return self.source.spec

    @property
    def cardinality(self) -> int:
        """That of the source."""
        return self.source.cardinality


@dataclass(frozen=True, eq=False)
class Prefetch(Unchanged):
    """The source, read by a thread up to `buffer_size` elements ahead."""

    buffer_size: int

    def elements(self, run: Run) -> Iterator[Any]:
        """Yields the elements; the thread ends with the iterator."""
        if self.buffer_size == 0 or run.peek:
            return self.source.elements(run)
        size = _AUTOTUNE_BUFFER if self.buffer_size == AUTOTUNE else self.buffer_size
        return parallel.background(lambda: self.source.elements(run), size)


@dataclass(frozen=True, eq=False)
class WithOptions(Unchanged):
    """The source, with options for the whole pipeline."""

    options: Options


def options_of(node: Node) -> Options:
    """Returns the options of a pipeline; those set later win."""
    result = Options()
    for source in node.sources():
        result = result.merge(options_of(source))
    return result.merge(node.options) if isinstance(node, WithOptions) else result
