"""shuffle: a reservoir of elements and a random stream that is our own for good.

The stream is Philox 4x32-10 keyed by the seed and counted by epoch, so an order depends on
(seed, epoch, buffer size) only: not on NumPy's version, the platform or the worker.
"""

from __future__ import annotations

import dataclasses
import itertools
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.base.specs import TensorSpec
from distflow.core import context
from distflow.core.tensor import EagerTensor
from distflow.data.node import INFINITE, Change, Node, Run
from distflow.data.rearrange import Rearrange
from distflow.ops.prims import philox
from distflow.random import global_state

# Second word of the Philox stream: one for each use, so that equal seeds do not correlate.
_SHUFFLE_STREAM = 0x5348
_RANDOM_STREAM = 0x524E
_FIRST_BLOCKS = 16
_MOST_BLOCKS = 1024


def words64(seed: int, epoch: int, stream: int) -> Iterator[int]:
    """Yields uniform 64-bit integers, a pure function of seed, epoch and stream."""
    key = (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF)
    start, size = 0, _FIRST_BLOCKS
    while True:
        block = np.arange(start, start + size, dtype=np.uint64)
        counter = (
            block & np.uint64(0xFFFFFFFF),
            block >> np.uint64(32),
            np.full_like(block, epoch),
            np.full_like(block, stream),
        )
        a, b, c, d = philox.rounds(counter, key)
        high = np.uint64(32)
        yield from np.stack([(a << high) | b, (c << high) | d], axis=-1).reshape(-1).tolist()
        start += size
        size = min(size * 2, _MOST_BLOCKS)


def reservoir(items: Iterator[Any], size: int | None, draws: Iterator[int]) -> Iterator[Any]:
    """Yields items in random order: each from a buffer of `size` (None: all), then refilled.

    A draw w picks place floor(w * n / 2**64) of n; the bias is below n / 2**64.
    """
    items = iter(items)
    buffer = list(items if size is None else itertools.islice(items, size))
    if size is not None and len(buffer) == size:
        for item in items:
            place = (next(draws) * size) >> 64
            chosen, buffer[place] = buffer[place], item
            yield chosen
    while buffer:
        place = (next(draws) * len(buffer)) >> 64
        last = buffer.pop()
        if place < len(buffer):
            last, buffer[place] = buffer[place], last
        yield last


class Epochs:
    """Counts how often a random step was started, and holds its seed if it was given none."""

    def __init__(self) -> None:
        self.fallback_seed = _fresh_seed()
        self._lock = threading.Lock()
        # The number of the next start.
        self.next = 0

    def start(self, run: Run) -> int:
        """Returns the number of this start; a peek is number 0 and is not counted."""
        if run.peek:
            return 0
        with self._lock:
            number, self.next = self.next, self.next + 1
            return number


def _fresh_seed() -> int:
    """A seed by `random.set_seed`, in the order in which steps are made; else from the system."""
    if global_state.get_seed() is None:
        return secrets.randbits(64)
    with context.init_scope():
        low, high = global_state.next_key().array.tolist()
    return int(low | high << 32)


@dataclass(frozen=True, eq=False)
class Shuffle(Rearrange):
    """The elements in random order, through a buffer of `buffer_size` (None: all of them)."""

    buffer_size: int | None
    seed: int | None
    reshuffle: bool
    epochs: Epochs = field(default_factory=Epochs, init=False)

    def arrange(self, restart: Callable[[], Iterator[Any]], run: Run) -> Iterator[Any]:
        """Yields the items in this epoch's order."""
        epoch = self.epochs.start(run) if self.reshuffle else 0
        seed = self.epochs.fallback_seed if self.seed is None else self.seed
        return reservoir(restart(), self.buffer_size, words64(seed, epoch, _SHUFFLE_STREAM))

    @property
    def cardinality(self) -> int:
        """That of the source."""
        return self.source.cardinality


@dataclass(frozen=True, eq=False)
class RandomNumbers(Node):
    """Endless int64 scalars, uniform in [0, 2**32)."""

    seed: int | None
    rerandomize: bool
    epochs: Epochs = field(default_factory=Epochs, init=False)

    def elements(self, run: Run) -> Iterator[Any]:
        """Yields scalars."""
        epoch = self.epochs.start(run) if self.rerandomize else 0
        seed = self.epochs.fallback_seed if self.seed is None else self.seed
        for word in words64(seed, epoch, _RANDOM_STREAM):
            yield EagerTensor(np.asarray(word >> 32, np.int64))

    def _spec(self) -> Any:
        return TensorSpec((), dtypes.int64)

    @property
    def cardinality(self) -> int:
        """It never ends."""
        return INFINITE


def set_missing_seeds(dataset: Any, seed: int) -> Any:
    """Returns the data set with a seed in every random step that has none.

    Step k (sources first) gets a seed derived from (seed, k), so that workers which agree on one
    number draw the same orders. Data sets that flat_map and interleave make are seeded, too.
    Steps below which nothing is seeded stay the same, with their epochs and caches.
    """
    if not 0 <= int(seed) < 2**64:
        raise errors.invalid("set_missing_seeds", "seed must be in [0, 2**64)", str(seed))
    return dataset.rebuild(dataset.node.rewrite(_Seeding(int(seed))))


class _Seeding(Change):
    """Numbers the steps it seeds."""

    def __init__(self, seed: int):
        self._seed = seed
        self._steps = itertools.count()

    def __call__(self, node: Node) -> Node:
        """Returns the node with a seed."""
        if not _is_unseeded(node):
            return node
        return dataclasses.replace(node, seed=_derived(self._seed, next(self._steps)))  # type: ignore[type-var]

    def inside(self) -> _Seeding:
        """Returns the same numbering for every data set made while the pipeline runs."""
        return _Seeding(_derived(self._seed, 0xFFFFFFFF))


def _is_unseeded(node: Node) -> bool:
    return isinstance(node, Shuffle | RandomNumbers) and node.seed is None


def _derived(seed: int, step: int) -> int:
    return next(words64(seed, step, 0))
