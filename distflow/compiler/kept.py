"""Work of the compiler that is kept on disk: optimised graphs, and what executors make of them.

Entries lie in the cache of machine code (`cpu/store.py`) under names made from all that decides
them: the graph as bytes, what is asked for, and the sources that do the work. An entry that cannot
be read is made anew.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distflow.base import errors, flags, log
from distflow.compiler.cpu import store
from distflow.compiler.passes.rounds import optimize
from distflow.graph import serialize
from distflow.graph.ir import Graph

# Folders of the package whose sources decide what becomes of a graph.
_DECIDING = ("compiler", "graph", "ops/prims", "core", "base")
# Below so many nodes the passes are done as soon as an entry would be read.
_LEAST_NODES = 24
_NAME = "name on disk"


@dataclass(frozen=True)
class Place:
    """Where something is kept: a folder, and the name of an entry."""

    folder: Path
    key: str

    def read(self) -> bytes | None:
        """Returns what is there, if it can be trusted."""
        return store.read(self.folder / self.key, self.key)

    def write(self, content: bytes) -> None:
        """Puts an entry in its place."""
        store.write(self.folder, self.key, content)


def optimized(graph: Graph, owned: bool = True) -> Graph:
    """Returns what `optimize` does, from disk where it was done before."""
    return rewritten(graph, lambda: optimize(graph, owned), owned)


def rewritten(graph: Graph, make: Callable[[], Graph], *decided_by: Any) -> Graph:
    """Returns what passes make of a graph, from disk where it was made before.

    Not while passes are printed: then they run.

    Args:
      graph: before them.
      make: runs them, with inputs that stay those of the graph.
      decided_by: all but the graph that decides what they do; its `repr` counts.
    """
    name = None
    if len(graph.nodes) >= _LEAST_NODES and not flags.get("DISTFLOW_PRINT_PASSES"):
        data = serialize.to_bytes(graph)
        if data is not None:
            name = hashlib.sha256(data).hexdigest()
    place = None if name is None else _place("passes", name, *decided_by)
    if place is None:
        return make()
    found = place.read()
    if found is not None:
        try:
            made = serialize.from_bytes(found, graph.inputs)
        except errors.InvalidArgumentError as error:
            log.get_logger().log(logging.INFO, "a graph is optimised anew: %r", error)
            found = None
    if found is None:
        made = make()
        data = serialize.to_bytes(made)
        if data is None:
            return made
        place.write(data)
    made.derived[_NAME] = place.key
    return made


def place(graph: Graph, *decided_by: Any) -> Place | None:
    """Returns where something made of an optimised graph is kept; None if it has no place.

    Args:
      graph: from `optimized`, untouched since.
      decided_by: all else that decides it; its `repr` counts.
    """
    name = graph.derived.get(_NAME)
    return None if name is None else _place(name, *decided_by)


def place_for(*decided_by: Any) -> Place | None:
    """Returns where something is kept; None where there is no folder for it.

    Args:
      decided_by: all that decides it; its `repr` counts, which must not vary from run to run.
    """
    folder = store.folder()
    if folder is None:
        return None
    return Place(folder, hashlib.sha256(repr(decided_by).encode()).hexdigest())


def _place(*decided_by: Any) -> Place | None:
    return place_for(sources(), np.__version__, *decided_by)


@functools.cache
def sources() -> str:
    """Returns the digest of the sources that decide what becomes of a graph."""
    digest = hashlib.sha256()
    root = Path(__file__).parent.parent
    for name in _DECIDING:
        for path in sorted((root / name).rglob("*.py")):
            data = path.read_bytes()
            digest.update(f"{path.relative_to(root).as_posix()} {len(data)} ".encode() + data)
    return digest.hexdigest()
