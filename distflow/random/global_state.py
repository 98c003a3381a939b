"""`set_seed`, and the functions that draw from the global state by TensorFlow's seed rule.

- No seed at all: numbers differ from run to run.
- Global seed only: each call in the program gets its own key, in order of calls.
- Operation seed: calls with that seed form a sequence, which restarts at `set_seed`.
Inside a traced function the key is fixed when it is traced, and a hidden counter goes on with
every run. Replicas of a strategy count on their own, and their id is folded into the key.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from distflow.base import dtypes
from distflow.core import context
from distflow.core.tensor import Tensor
from distflow.core.variable import Variable
from distflow.random import keys, stateless

_DEFAULT_GLOBAL = 87654321


class _State:
    """The global seed, and how many keys were given out for each operation seed and replica."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.seed: int | None = None
        self.entropy = secrets.randbits(63)
        self.counts: dict[Any, int] = defaultdict(int)


_state = _State()
# The counters of traced functions, in the order in which they were made.
_counters: list[weakref.ref[ReplicaCounter]] = []


def set_seed(seed: int) -> None:
    """Sets the global seed and restarts all sequences of random numbers."""
    with _state.lock:
        _state.seed = int(seed)
        _state.counts.clear()


def get_seed() -> int | None:
    """Returns the global seed, None if none was set."""
    return _state.seed


def _replica_id() -> int | None:
    replica = context.state.replica
    return None if replica is None else getattr(replica, "replica_id_in_sync_group", None)


class ReplicaCounter:
    """Storage of a hidden counter: each replica of this process counts its own runs."""

    def __init__(self, array: np.ndarray[Any, Any]):
        self._start = int(array)
        self._counts: dict[Any, int] = {}
        _counters.append(weakref.ref(self))

    def read(self) -> np.ndarray[Any, Any]:
        """Returns the count of the replica that asks."""
        return np.asarray(self._counts.get(_counting_for(), self._start), np.int64)

    def write(self, value: np.ndarray[Any, Any], mode: str) -> None:
        """Sets or advances the count of the replica that asks."""
        before = int(self.read()) if mode == "add" else 0
        self._counts[_counting_for()] = before + int(value)

    def save(self) -> Any:
        """Returns what `restore` needs to undo later runs."""
        return dict(self._counts)

    def restore(self, saved: Any) -> None:
        """Puts back the counts that `save` saw."""
        self._counts = dict(saved)


class Counts(NamedTuple):
    """How far all sequences of random numbers of this process have gone, as JSON values.

    Attributes:
      eager: [seed, replica, keys given out] of each sequence.
      traced: for each counter of a traced function [replica, runs] pairs; None if it is gone.
    """

    eager: list[list[Any]]
    traced: list[list[list[Any]] | None]


def counts() -> Counts:
    """Returns how far all sequences have gone."""
    with _state.lock:
        eager = [[*slot, count] for slot, count in _state.counts.items()]
    traced: list[Any] = []
    for reference in _counters:
        counter = reference()
        traced.append(None if counter is None else [[r, n] for r, n in counter.save().items()])
    return Counts(eager, traced)


def set_counts(to: Counts) -> None:
    """Lets all sequences go on from where `counts` saw them; counters made since then stay."""
    with _state.lock:
        _state.counts.clear()
        _state.counts.update({(seed, replica): count for seed, replica, count in to.eager})
    for reference, pairs in zip(_counters, to.traced):
        counter = reference()
        if counter is not None and pairs is not None:
            counter.restore(dict(pairs))


def add_counts(of: Counts, replicas: Iterable[int]) -> None:
    """Takes over how far these replicas have gone in the process that `counts` saw."""
    wanted = set(replicas)
    with _state.lock:
        _state.counts.update(
            {(seed, replica): count for seed, replica, count in of.eager if replica in wanted}
        )
    for reference, pairs in zip(_counters, of.traced):
        counter = reference()
        theirs = {replica: runs for replica, runs in pairs or () if replica in wanted}
        if counter is not None and theirs:
            counter.restore({**counter.save(), **theirs})


def _counting_for() -> Any:
    replica = _replica_id()
    return replica if isinstance(replica, int) or replica is None else None


def next_key(seed: int | None = None) -> Any:
    """Returns a new key for one call of a random operation with an optional operation seed."""
    replica = _replica_id()
    with _state.lock:
        if seed is None and _state.seed is None:
            base, sequence = _state.entropy, 0
        else:
            base = _DEFAULT_GLOBAL if _state.seed is None else _state.seed
            sequence = 1 if seed is None else 2
        slot = (seed, _counting_for())
        count = _state.counts[slot]
        _state.counts[slot] += 1
    key = keys.fold_in(keys.key_from_seed(base), sequence)
    if seed is not None:
        key = keys.fold_in(keys.fold_in(key, int(seed)), int(seed) >> 32)
    if replica is not None:
        key = keys.fold_in(key, replica)
    key = keys.fold_in(key, count)
    return key if context.executing_eagerly() else keys.fold_in(key, _run_count())


def _run_count() -> Any:
    """Inside a trace: how often the function ran before, by a counter that it advances."""
    with _no_creators():
        counter = Variable(
            np.int64(0), trainable=False, name="random_counter", storage=ReplicaCounter
        )
    count = counter.value()
    counter.assign_add(np.int64(1))
    return count


@contextlib.contextmanager
def _no_creators() -> Iterator[None]:
    """The counter is no variable of the model: no strategy mirrors it, no function forbids it."""
    before, context.state.creators = context.state.creators, []
    try:
        yield
    finally:
        context.state.creators = before


def uniform(
    shape: Any, minval: Any = 0, maxval: Any = None, dtype: Any = dtypes.float32,
    seed: int | None = None, name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns uniform numbers in [minval, maxval); for ints maxval is needed."""
    return stateless.stateless_uniform(shape, next_key(seed), minval, maxval, dtype)


def normal(
    shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = dtypes.float32,
    seed: int | None = None, name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns normal numbers."""
    return stateless.stateless_normal(shape, next_key(seed), mean, stddev, dtype)


def truncated_normal(
    shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = dtypes.float32,
    seed: int | None = None, name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns normal numbers within two standard deviations of the mean."""
    return stateless.stateless_truncated_normal(shape, next_key(seed), mean, stddev, dtype)


def categorical(
    logits: Any, num_samples: Any, dtype: Any = None, seed: int | None = None, name: Any = None
) -> Tensor:
    """Returns class ids [batch, num_samples] drawn with probabilities softmax(logits)."""
    wanted = dtypes.int64 if dtype is None else dtype
    return stateless.stateless_categorical(logits, num_samples, next_key(seed), wanted)


def shuffle(value: Any, seed: int | None = None, name: Any = None) -> Tensor:
    """Returns the rows of `value` in random order."""
    return stateless.stateless_shuffle(value, next_key(seed))
