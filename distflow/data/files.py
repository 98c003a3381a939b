"""The files that a pipeline reads, and the same pipeline on a part of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from distflow.base import dtypes
from distflow.base.specs import TensorSpec
from distflow.data.node import Change, Node
from distflow.data.rearrange import Shard


def file_names(node: Node) -> Node | None:
    """Returns the step that gives the names of files: the only source, and scalar strings.

    Readers that hold names themselves have `num_files` and `of_files(num_shards, index)`.
    """
    sources = _sources(node)
    if len(sources) != 1:
        return None
    (source,) = sources
    spec: Any = source.spec
    is_names = isinstance(spec, TensorSpec) and spec.dtype is dtypes.string and not spec.shape
    return source if hasattr(source, "num_files") or is_names else None


def count_files(source: Node) -> int:
    """Returns the number of files of what `file_names` gave."""
    return getattr(source, "num_files", source.cardinality)


def part_of_files(node: Node, num_shards: int, index: int) -> Node:
    """Returns the pipeline with every `num_shards`-th file alone, beginning with number `index`."""
    source = file_names(node)
    assert source is not None, "a pipeline with files"
    return node.rewrite(_Part(source, num_shards, index))


@dataclass(frozen=True)
class _Part(Change):
    source: Node
    num_shards: int
    index: int

    def __call__(self, node: Node) -> Node:
        """Returns the part of the files in the place of all of them."""
        if node is not self.source:
            return node
        if hasattr(node, "of_files"):
            return node.of_files(self.num_shards, self.index)
        return Shard(node, self.num_shards, self.index)

    def inside(self) -> Change:
        """Returns the rule that changes nothing: the files inside are those of one name."""
        return Change()


def _sources(node: Node) -> list[Node]:
    found: dict[int, Node] = {}
    waiting = [node]
    seen = set()
    while waiting:
        step = waiting.pop()
        if id(step) in seen:
            continue
        seen.add(id(step))
        below = step.sources()
        waiting.extend(below)
        if not below:
            found[id(step)] = step
    return list(found.values())
