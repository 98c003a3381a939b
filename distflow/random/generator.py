"""Generator: random numbers from a state that a Variable holds, so that it can be saved."""

from __future__ import annotations

import secrets
import threading
from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.core.tensor import Tensor
from distflow.core.variable import Variable
from distflow.ops import math as m
from distflow.ops.prims import movement
from distflow.ops.slicing import getitem
from distflow.random import keys, stateless


class Generator:
    """Draws random numbers; each call advances the state by one.

    The state is int64 of shape [3]: two words of a counter, of which the first counts calls, and
    one of the key, as TensorFlow lays out its Philox state.
    """

    def __init__(self, copy_from: Generator | None = None, state: Any = None, alg: Any = None):
        if copy_from is not None:
            state = copy_from.state
        elif state is None:
            raise errors.invalid(
                "Generator", "copy_from or state is needed", "neither",
                "Use Generator.from_seed(1234).",
            )  # fmt: skip
        _check_algorithm(alg)
        start = np.asarray(state).astype(np.int64)
        if start.shape != (3,):
            raise errors.invalid("Generator", "the state must have shape [3]", str(start.shape))
        self._state = Variable(start, trainable=False, name="StateVar")

    @classmethod
    def from_seed(cls, seed: Any, alg: Any = None) -> Generator:
        """Returns a generator whose numbers depend on the seed only."""
        low, high = (int(w) for w in np.asarray(keys.key_from_seed(int(seed))))
        return cls(state=_state_of(high << 32 | low), alg=alg)

    @classmethod
    def from_non_deterministic_state(cls, alg: Any = None) -> Generator:
        """Returns a generator that differs from run to run."""
        return cls(state=_state_of(secrets.randbits(64)), alg=alg)

    @classmethod
    def from_state(cls, state: Any, alg: Any) -> Generator:
        """Returns a generator that goes on from a state of shape [3]."""
        return cls(state=state, alg=alg)

    @classmethod
    def from_key_counter(cls, key: Any, counter: Any, alg: Any) -> Generator:
        """Returns a generator of a key (int64) and a counter (int64[2])."""
        return cls(state=[*np.asarray(counter).reshape(2), int(key)], alg=alg)

    @property
    def state(self) -> Variable:
        """The state variable."""
        return self._state

    @property
    def key(self) -> Tensor:
        """The key, an int64 scalar."""
        return getitem(self._state, 2)

    @property
    def algorithm(self) -> int:
        """TensorFlow's number for Philox: 1."""
        return 1

    def reset(self, state: Any) -> None:
        """Sets the state."""
        self._state.assign(np.asarray(state).astype(np.int64))

    def reset_from_seed(self, seed: Any) -> None:
        """Sets the state to that of `from_seed(seed)`."""
        self.reset(Generator.from_seed(seed).state)

    def reset_from_key_counter(self, key: Any, counter: Any) -> None:
        """Sets key and counter."""
        self.reset([*np.asarray(counter).reshape(2), int(key)])

    def skip(self, delta: Any) -> Tensor:
        """Advances the state by `delta` calls; returns the state before."""
        before = self._state.value()
        steps = movement.reshape(m.cast(delta, dtypes.int64), shape=(1,))
        self._state.assign_add(movement.concat(steps, np.zeros(2, np.int64), axis=0))
        return before

    def _next_key(self) -> Tensor:
        state = self.skip(1)
        both = movement.concat(getitem(state, slice(2, 3)), getitem(state, slice(1, 2)), axis=0)
        return keys.fold_in(keys.key_from_seed(both), getitem(state, 0))

    def uniform(
        self, shape: Any, minval: Any = 0, maxval: Any = None, dtype: Any = dtypes.float32,
        name: Any = None,
    ) -> Tensor:  # fmt: skip
        """Returns uniform numbers in [minval, maxval); for ints maxval is needed."""
        return stateless.stateless_uniform(shape, self._next_key(), minval, maxval, dtype)

    def uniform_full_int(self, shape: Any, dtype: Any = dtypes.uint64, name: Any = None) -> Tensor:
        """Returns uniform ints over all values of the dtype."""
        return stateless.stateless_uniform(shape, self._next_key(), None, None, dtype)

    def normal(
        self, shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = dtypes.float32,
        name: Any = None,
    ) -> Tensor:  # fmt: skip
        """Returns normal numbers."""
        return stateless.stateless_normal(shape, self._next_key(), mean, stddev, dtype)

    def truncated_normal(
        self, shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = dtypes.float32,
        name: Any = None,
    ) -> Tensor:  # fmt: skip
        """Returns normal numbers within two standard deviations of the mean."""
        return stateless.stateless_truncated_normal(shape, self._next_key(), mean, stddev, dtype)

    def make_seeds(self, count: int = 1) -> Tensor:
        """Returns seeds for stateless functions: int64 of shape [2, count]."""
        words = keys.split_key(self._next_key(), int(count))
        return movement.transpose(m.cast(words, dtypes.int64), perm=(1, 0))

    def split(self, count: int = 1) -> list[Generator]:
        """Returns `count` new generators, independent of this one and of each other."""
        words = np.asarray(self.make_seeds(count)).astype(np.uint64)
        return [
            Generator(state=_state_of(int(low | high << np.uint64(32)))) for low, high in words.T
        ]


def _state_of(key: int) -> np.ndarray[Any, Any]:
    return np.asarray([0, 0, key & 0xFFFFFFFFFFFFFFFF], np.uint64).astype(np.int64)


def _check_algorithm(alg: Any) -> None:
    name = getattr(alg, "name", alg)
    if name is not None and str(name).lower() not in ("1", "philox", "auto_select"):
        raise errors.invalid("Generator", "alg must be 'philox'", repr(alg))


_lock = threading.Lock()
_global: Generator | None = None


def get_global_generator() -> Generator:
    """Returns the process's generator, made from entropy unless one was set."""
    global _global
    with _lock:
        if _global is None:
            _global = Generator.from_non_deterministic_state()
        return _global


def set_global_generator(generator: Generator) -> None:
    """Sets the process's generator."""
    global _global
    with _lock:
        _global = generator
