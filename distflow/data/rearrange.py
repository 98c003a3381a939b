"""take, skip, repeat and shard: steps that choose elements without looking at them.

Each says once what it does to a stream of anything; the same code then moves elements, or row
numbers where the source is an array.
"""

from __future__ import annotations

import abc
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from distflow.data.arrays import Rows
from distflow.data.node import INFINITE, UNKNOWN, Node, Run, scaled


@dataclass(frozen=True, eq=False)
class Rearrange(Node):
    """A step that drops, repeats or reorders the elements of one source."""

    source: Node

    @abc.abstractmethod
    def arrange(self, restart: Callable[[], Iterator[Any]], run: Run) -> Iterator[Any]:
        """Yields chosen items of `restart()`, which starts the source anew at each call."""

    def elements(self, run: Run) -> Iterator[Any]:
        """Yields the chosen elements."""
        return self.arrange(lambda: self.source.elements(run), run)

    def rows(self, run: Run) -> Rows | None:
        """Returns the chosen rows, if the source is rows."""
        rows = self.source.rows(run)
        if rows is None:
            return None
        # The first start must be the one already made: a start advances a shuffle's epoch.
        started = iter([rows.positions])

        def restart() -> Iterator[int]:
            for positions in started:
                return positions
            again = self.source.rows(run)
            assert again is not None, "a source of rows stays one"
            return again.positions

        return Rows(rows.source, self.arrange(restart, run))

    def _spec(self) -> Any:
        return self.source.spec


@dataclass(frozen=True, eq=False)
class Take(Rearrange):
    """The first `count` elements; all of them if it is negative."""

    count: int

    def arrange(self, restart: Callable[[], Iterator[Any]], run: Run) -> Iterator[Any]:
        """Yields the first items."""
        return restart() if self.count < 0 else itertools.islice(restart(), self.count)

    @property
    def cardinality(self) -> int:
        """At most `count`."""
        n = self.source.cardinality
        if self.count < 0 or n == UNKNOWN:
            return n
        return self.count if n == INFINITE else min(n, self.count)


@dataclass(frozen=True, eq=False)
class Skip(Rearrange):
    """All but the first `count` elements; none of them if it is negative."""

    count: int

    def arrange(self, restart: Callable[[], Iterator[Any]], run: Run) -> Iterator[Any]:
        """Yields the items after the first ones."""
        return iter(()) if self.count < 0 else itertools.islice(restart(), self.count, None)

    @property
    def cardinality(self) -> int:
        """What is left."""
        if self.count < 0:
            return 0
        return scaled(self.source.cardinality, lambda n: max(0, n - self.count))


@dataclass(frozen=True, eq=False)
class Repeat(Rearrange):
    """The source again and again, `count` times; for ever if it is negative."""

    count: int

    def arrange(self, restart: Callable[[], Iterator[Any]], run: Run) -> Iterator[Any]:
        """Yields the items of each round; an empty round ends an endless repetition."""
        rounds = itertools.count() if self.count < 0 else range(self.count)
        for _ in rounds:
            empty = True
            for item in restart():
                empty = False
                yield item
            if empty:
                return

    @property
    def cardinality(self) -> int:
        """n times `count`."""
        n = self.source.cardinality
        if n == 0 or self.count == 0:
            return 0
        if self.count < 0:
            return INFINITE
        return scaled(n, lambda n: n * self.count)


@dataclass(frozen=True, eq=False)
class Shard(Rearrange):
    """Every `num_shards`-th element, beginning with number `index`."""

    num_shards: int
    index: int

    def arrange(self, restart: Callable[[], Iterator[Any]], run: Run) -> Iterator[Any]:
        """Yields items index, index + num_shards, ..."""
        return itertools.islice(restart(), self.index, None, self.num_shards)

    @property
    def cardinality(self) -> int:
        """The shard's part."""
        return scaled(
            self.source.cardinality,
            lambda n: max(0, (n - self.index + self.num_shards - 1) // self.num_shards),
        )
