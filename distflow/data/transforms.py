"""map, filter, scan and the other steps that run a user's function on every element.

Functions run eagerly on tensors, one element at a time: Python control flow and side effects work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from distflow.base import dtypes, errors, nest
from distflow.base.specs import TensorSpec
from distflow.core.tensor import EagerTensor
from distflow.data import parallel, structure
from distflow.data.node import INFINITE, UNKNOWN, Change, Node, Run
from distflow.data.options import worker_count


@dataclass(frozen=True, eq=False)
class Map(Node):
    """function(element) for every element, in a pool of threads if `parallel_calls` is not 0."""

    source: Node
    function: Callable[..., Any]
    parallel_calls: int = 0
    deterministic: bool | None = None

    def elements(self, run: Run) -> Iterator[Any]:
        """Yields the results, in order unless the step or the options say otherwise."""
        items = self.source.elements(run)
        if self.parallel_calls == 0 or run.peek:
            return map(self._apply, items)
        over = parallel.chosen_map(self.deterministic, run.options.deterministic)
        return over(self._apply, items, worker_count(self.parallel_calls, run.options))

    def _apply(self, value: Any) -> Any:
        return structure.returned(structure.call(self.function, value))

    def _spec(self) -> Any:
        return structure.specs_of_result(
            self.function, self._apply, self.source.spec, lambda: self.source.elements(_PEEK)
        )

    @property
    def cardinality(self) -> int:
        """That of the source."""
        return self.source.cardinality


_PEEK = Run(peek=True)


@dataclass(frozen=True, eq=False)
class Filter(Node):
    """The elements for which the predicate is true."""

    source: Node
    predicate: Callable[..., Any]

    def elements(self, run: Run) -> Iterator[Any]:
        """Yields the chosen elements."""
        for value in self.source.elements(run):
            if structure.truth("filter", structure.call(self.predicate, value)):
                yield value

    def _spec(self) -> Any:
        return self.source.spec

    @property
    def cardinality(self) -> int:
        """Nobody knows."""
        return UNKNOWN


@dataclass(frozen=True, eq=False)
class TakeWhile(Node):
    """The elements before the first one for which the predicate is false."""

    source: Node
    predicate: Callable[..., Any]

    def elements(self, run: Run) -> Iterator[Any]:
        """Yields the first elements."""
        for value in self.source.elements(run):
            if not structure.truth("take_while", structure.call(self.predicate, value)):
                return
            yield value

    def _spec(self) -> Any:
        return self.source.spec

    @property
    def cardinality(self) -> int:
        """Nobody knows."""
        return UNKNOWN


@dataclass(frozen=True, eq=False)
class Enumerate(Node):
    """(position, element) pairs; positions are int64 scalars."""

    source: Node
    start: int

    def elements(self, run: Run) -> Iterator[Any]:
        """Yields pairs."""
        for position, value in enumerate(self.source.elements(run), self.start):
            yield EagerTensor(np.asarray(position, np.int64)), value

    def _spec(self) -> Any:
        return TensorSpec((), dtypes.int64), self.source.spec

    @property
    def cardinality(self) -> int:
        """That of the source."""
        return self.source.cardinality


@dataclass(frozen=True, eq=False)
class Scan(Node):
    """Outputs of function(state, element) -> (new state, output)."""

    source: Node
    initial_state: Any
    function: Callable[..., Any]

    def elements(self, run: Run) -> Iterator[Any]:
        """Yields the outputs."""
        state = self.initial_state
        for value in self.source.elements(run):
            state, output = self._step(state, value)
            yield output

    def _step(self, state: Any, value: Any) -> Any:
        result = structure.eagerly(self.function, state, value)
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise errors.invalid(
                "scan", "the function must return (new_state, output)", f"{result!r:.120}"
            )
        new_state = structure.element(result[0])
        same_state("scan", state, new_state)
        return new_state, structure.returned(result[1])

    def _spec(self) -> Any:
        return structure.specs_of_result(
            lambda value: self.function(self.initial_state, value)[1],
            lambda value: self._step(self.initial_state, value)[1],
            (self.source.spec,),
            lambda: ((value,) for value in self.source.elements(_PEEK)),
        )

    @property
    def cardinality(self) -> int:
        """That of the source."""
        return self.source.cardinality


def same_state(where: str, old: Any, new: Any) -> None:
    """Raises DtypeMismatchError unless a new state has the structure and dtypes of the old."""
    nest.assert_same_structure(old, new)
    for before, after in zip(nest.flatten(old), nest.flatten(new)):
        if before.dtype is not after.dtype:
            raise errors.DtypeMismatchError(
                f"{where}: expected a state of dtype {before.dtype.name}; received "
                f"{after.dtype.name}.\nGive the initial state the dtype that the function returns."
            )


@dataclass(frozen=True, eq=False)
class FlatMap(Node):
    """The elements of the data sets that function(element) returns, one after the other."""

    source: Node
    function: Callable[..., Any]
    change: Change | None = None

    def elements(self, run: Run) -> Iterator[Any]:
        """Yields the elements of each inner data set."""
        for value in self.source.elements(run):
            yield from self._inner(value).elements(run)

    def _inner(self, value: Any) -> Node:
        made = structure.call(self.function, value)
        if not getattr(made, "is_dataset", False):
            raise errors.DtypeMismatchError(
                f"{self._where}: expected the function to return a Dataset; received {made!r:.120}."
            )
        return made.node if self.change is None else made.node.rewrite(self.change)

    _where = "flat_map"

    def _rewritten_inside(self, change: Change) -> Node:
        earlier, later = self.change, change.inside()
        return replace(self, change=later if earlier is None else _Both(earlier, later))

    def _spec(self) -> Any:
        samples = structure.first_element(self.source.spec, lambda: self.source.elements(_PEEK))
        return self._inner(next(samples)).spec

    @property
    def cardinality(self) -> int:
        """Nobody knows."""
        return UNKNOWN


@dataclass(frozen=True)
class _Both(Change):
    first: Change
    second: Change

    def __call__(self, node: Node) -> Node:
        return self.second(self.first(node))

    def inside(self) -> Change:
        return _Both(self.first.inside(), self.second.inside())


@dataclass(frozen=True, eq=False)
class Interleave(FlatMap):
    """Blocks of `block_length` elements from `cycle_length` inner data sets in turn.

    With `parallel_calls`, so many of the inner data sets are read ahead by threads; the order is
    the same.
    """

    cycle_length: int = 1
    block_length: int = 1
    parallel_calls: int = 0

    _where = "interleave"

    def elements(self, run: Run) -> Iterator[Any]:
        """Yields blocks in turn; an exhausted slot opens its next data set on its next turn."""
        values = self.source.elements(run)
        slots: list[Iterator[Any] | None] = [None] * self.cycle_length
        more = True
        while more or any(slot is not None for slot in slots):
            for position in range(self.cycle_length):
                if slots[position] is None and more:
                    try:
                        value = next(values)
                    except StopIteration:
                        more = False
                    else:
                        slots[position] = self._open(value, position, run)
                stream = slots[position]
                if stream is not None:
                    for _ in range(self.block_length):
                        try:
                            yield next(stream)
                        except StopIteration:
                            slots[position] = None
                            break

    def _open(self, value: Any, position: int, run: Run) -> Iterator[Any]:
        inner = self._inner(value)
        if run.peek or self.parallel_calls == 0:
            return inner.elements(run)
        if position >= worker_count(self.parallel_calls, run.options):
            return inner.elements(run)
        return parallel.background(lambda: inner.elements(run), self.block_length)


@dataclass(frozen=True, eq=False)
class AssertCardinality(Node):
    """The source, with an error where it turns out to hold another number of elements."""

    source: Node
    expected: int

    def elements(self, run: Run) -> Iterator[Any]:
        """Yields the elements and counts them."""
        count = 0
        for count, value in enumerate(self.source.elements(run), 1):
            if 0 <= self.expected < count:
                raise self._wrong(f"at least {count}")
            yield value
        if self.expected == INFINITE or count < self.expected:
            raise self._wrong(f"only {count}")

    def _wrong(self, received: str) -> Exception:
        expected = "infinitely many" if self.expected == INFINITE else self.expected
        return errors.FailedPreconditionError(
            f"assert_cardinality: expected {expected} elements; received {received}."
        )

    def _spec(self) -> Any:
        return self.source.spec

    @property
    def cardinality(self) -> int:
        """What was asserted."""
        return self.expected
