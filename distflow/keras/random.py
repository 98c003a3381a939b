"""Keras's randomness: generators with a state variable, and draws that are functions of a key.

A key is two uint32 words; the same key gives the same numbers on every worker. Draws inside
`strategy.run` fold the replica's number into the key.
"""

from __future__ import annotations

import random as _python
from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.core import context
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import EagerTensor
from distflow.core.variable import Variable, VariableAggregation
from distflow.keras import config
from distflow.keras.engine import naming
from distflow.ops import math
from distflow.ops.prims.creation import random_bits
from distflow.ops.prims.elementwise import select
from distflow.ops.prims.movement import shape_tensor

_STREAM = EagerTensor(np.zeros(2, np.uint32))
_global_generator: list[SeedGenerator] = []


def make_default_seed() -> int:
    """Returns a new seed from Python's `random`, which `set_random_seed` sets."""
    return _python.randint(1, 10**9)


def set_random_seed(seed: int) -> None:
    """Seeds Python, NumPy and distflow, so that a program repeats its numbers.

    Raises:
      InvalidArgumentError: unless seed is an int in [0, 2^32).
    """
    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise errors.invalid("set_random_seed", "seed must be an int in [0, 2**32)", repr(seed))
    _python.seed(seed)
    np.random.seed(seed)
    _global_generator.clear()


class SeedGenerator:
    """Gives out a new key at each `next()`; its state is a variable that models keep.

    Args:
      seed: an int; None draws one.
      name: default seed_generator, seed_generator_1, ...
    """

    _keras_kind = "seed_generator"

    def __init__(self, seed: int | None = None, name: str | None = None, **kwargs: Any):
        if kwargs.pop("backend", None) or kwargs:
            raise ValueError(f"Unrecognized keyword arguments: {kwargs}")
        if seed is None:
            seed = make_default_seed()
        if not isinstance(seed, int | np.integer) or isinstance(seed, bool):
            raise errors.invalid("SeedGenerator", "`seed` must be an integer", repr(seed))
        self.name = name or naming.auto_name("SeedGenerator")
        self._initial_seed = int(seed)
        # One replica's count is everybody's: replicas differ by the fold of their number.
        self.state = Variable(
            np.asarray([self._initial_seed, 0], np.int64), trainable=False,
            name=f"{self.name}/seed_generator_state",
            aggregation=VariableAggregation.ONLY_FIRST_REPLICA,
        )  # fmt: skip

    def next(self, ordered: bool = True) -> Any:
        """Returns a key [seed, count] (int64) and advances the count."""
        state = self.state.value()
        self.state.assign(state + np.asarray([0, 1], np.int64))
        return state

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal generator."""
        return {"seed": self._initial_seed, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SeedGenerator:
        """Returns a generator made from `get_config()`."""
        return cls(**config)


def global_seed_generator() -> SeedGenerator:
    """Returns the generator that draws without a seed share."""
    if not _global_generator:
        with context.init_scope():
            _global_generator.append(SeedGenerator())
    return _global_generator[0]


def draw_seed(seed: Any) -> Any:
    """Returns a key for None (the global generator), an int, or a SeedGenerator."""
    if isinstance(seed, SeedGenerator):
        return seed.next()
    if seed is None:
        return global_seed_generator().next()
    if isinstance(seed, int | np.integer):
        return convert_to_tensor(np.asarray([int(seed), 0], np.int64))
    raise errors.invalid("draw_seed", "`seed` must be None, an int or a SeedGenerator", repr(seed))


def bits(shape: Any, seed: Any, like: Any = None) -> Any:
    """Returns uint32 words of a shape, or of the shape of the tensor `like`."""
    key = math.cast(draw_seed(seed), dtypes.uint32)
    replica = context.state.replica
    if replica is not None and isinstance(seed, SeedGenerator):
        key = replica.fold_key(key)
    if like is not None and None in tuple(like.shape):
        return random_bits(key, _STREAM, shape_tensor(like), shape=tuple(like.shape))
    return random_bits(key, _STREAM, shape=tuple(like.shape if like is not None else shape))


def _unit(words: Any, dtype: Any) -> Any:
    """Returns floats in [0, 1) with 24 random bits."""
    wide = dtypes.float64 if dtype is dtypes.float64 else dtypes.float32
    unit = math.cast(words // 256, wide) * 2.0**-24
    if dtype is wide:
        return unit
    # Rounding to 16 bits may reach 1, which is not in the interval.
    unit = math.cast(unit, dtype)
    return select(unit < 1, unit, unit * 0)


def _open_unit(words: Any, dtype: Any) -> Any:
    """Returns floats in (0, 1), in float32 or wider."""
    wide = dtypes.float64 if dtype is dtypes.float64 else dtypes.float32
    return (math.cast(words // 512, wide) + 0.5) * 2.0**-23


def _dtype(dtype: Any) -> Any:
    return dtypes.as_dtype(dtype or config.floatx())


def uniform(shape: Any, minval: Any = 0.0, maxval: Any = 1.0, dtype: Any = None,
            seed: Any = None, *, like: Any = None) -> Any:  # fmt: skip
    """Returns floats that are uniform in [minval, maxval)."""
    dtype = _dtype(dtype)
    return _unit(bits(shape, seed, like), dtype) * (maxval - minval) + minval


def normal(shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None,
           seed: Any = None, *, like: Any = None) -> Any:  # fmt: skip
    """Returns normally distributed floats, by the inverse of the distribution function."""
    dtype = _dtype(dtype)
    unit = _open_unit(bits(shape, seed, like), dtype)
    x = math.erfinv(2 * unit - 1) * float(np.sqrt(2.0))
    return math.cast(x * stddev + mean, dtype)


def truncated_normal(shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None,
                     seed: Any = None) -> Any:  # fmt: skip
    """Returns normally distributed floats within two standard deviations of the mean."""
    dtype = _dtype(dtype)
    unit = _open_unit(bits(shape, seed), dtype)
    bound = 0.9544997361036416  # P(|z| < 2)
    x = math.erfinv((2 * unit - 1) * bound) * float(np.sqrt(2.0))
    x = math.clip_by_value(x, -2.0, 2.0)
    return math.cast(x * stddev + mean, dtype)


def dropout(inputs: Any, rate: float, noise_shape: Any = None, seed: Any = None) -> Any:
    """Returns inputs with a part `rate` of them 0 and the others divided by 1 - rate."""
    x = convert_to_tensor(inputs)
    if rate >= 1:
        return x * 0
    if noise_shape is None:
        unit = _unit(bits(None, seed, like=x), dtypes.float32)
    else:
        unit = _unit(bits(noise_shape, seed), dtypes.float32)
    kept = math.greater_equal(unit, rate)
    return select(kept, x / (1 - rate), x * 0)
