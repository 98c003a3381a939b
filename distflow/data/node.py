"""Node: one step of a pipeline as an immutable description that can be run any number of times."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from distflow.base import nest
from distflow.data.arrays import Rows
from distflow.data.options import Options

INFINITE = -1
UNKNOWN = -2


@dataclass(frozen=True)
class Run:
    """One iteration over a pipeline.

    Args:
      options: the data set's options.
      peek: the elements are only looked at: nothing may be remembered (epochs, caches), and no
        thread started.
    """

    options: Options = field(default_factory=Options)
    peek: bool = False


class Change:
    """A rule for `Node.rewrite`: what becomes of each node."""

    def __call__(self, node: Node) -> Node:
        """Returns what stands in the place of `node`."""
        return node

    def inside(self) -> Change:
        """Returns the rule for data sets that a step makes while it runs; it must be pure."""
        return self


class Node(abc.ABC):
    """The contract of a step; subclasses are frozen dataclasses.

    Fields that hold Nodes, or structures of Nodes, are its sources. A field with init=False is
    state (an epoch counter, a cache), made anew when the description is rewritten.
    """

    @abc.abstractmethod
    def elements(self, run: Run) -> Iterator[Any]:
        """Yields the elements; dropping the iterator must free threads and files."""

    @abc.abstractmethod
    def _spec(self) -> Any:
        """Computes the structure of specs; called once."""

    @property
    @abc.abstractmethod
    def cardinality(self) -> int:
        """The number of elements, or INFINITE or UNKNOWN."""

    @functools.cached_property
    def spec(self) -> Any:
        """The structure of specs of an element."""
        return self._spec()

    def rows(self, run: Run) -> Rows | None:
        """Returns the elements as row numbers of arrays, where they are that; None elsewhere."""
        return None

    def sources(self) -> list[Node]:
        """Returns the nodes that this one reads."""
        return [
            leaf
            for f in dataclasses.fields(self)  # type: ignore[arg-type]
            for leaf in nest.flatten(getattr(self, f.name))
            if isinstance(leaf, Node)
        ]

    def rewrite(self, change: Change, done: dict[int, Node] | None = None) -> Node:
        """Returns the pipeline with `change` applied to every node, sources first.

        A node that is used twice stays one node; one below which nothing changes stays itself,
        with its state.
        """
        done = {} if done is None else done
        if id(self) not in done:
            fresh = self._with_sources(lambda node: node.rewrite(change, done))
            done[id(self)] = change(fresh._rewritten_inside(change))
        return done[id(self)]

    def _with_sources(self, change: Callable[[Node], Node]) -> Node:
        updates: dict[str, Any] = {}
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            before = getattr(self, f.name)
            leaves = nest.flatten(before)
            if any(isinstance(leaf, Node) for leaf in leaves):
                after = nest.map_structure(change, before)
                if any(a is not b for a, b in zip(leaves, nest.flatten(after))):
                    updates[f.name] = after
        return dataclasses.replace(self, **updates) if updates else self  # type: ignore[type-var]

    def _rewritten_inside(self, change: Change) -> Node:
        """Returns this node so that data sets which it makes while running change, too."""
        return self


def scaled(cardinality: int, change: Callable[[int], int]) -> int:
    """Returns change(cardinality), leaving INFINITE and UNKNOWN as they are."""
    return cardinality if cardinality < 0 else change(cardinality)
