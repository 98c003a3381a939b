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
from distflow.core.variable import Variable, VariableAggregation
from distflow.keras import config
from distflow.keras.engine import naming
from distflow.ops import dims, math, shaping
from distflow.ops.prims import host
from distflow.ops.prims.elementwise import select
from distflow.random import (
    set_seed,
    stateless_categorical,
    stateless_normal,
    stateless_shuffle,
    stateless_truncated_normal,
    stateless_uniform,
)


def _load_rich() -> None:
    """Imports rich, which then draws from Python's `random`: that must not move later seeds."""
    state = _python.getstate()
    try:
        import rich.style  # noqa: F401
    finally:
        _python.setstate(state)


_load_rich()
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
    set_seed(seed)
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


def key_of(seed: Any) -> Any:
    """Returns the key of one draw; inside `strategy.run` generators give each replica its own."""
    key = math.cast(draw_seed(seed), dtypes.uint32)
    replica = context.state.replica
    if replica is not None and isinstance(seed, SeedGenerator):
        key = replica.fold_key(key)
    return key


def uniform(shape: Any, minval: Any = 0.0, maxval: Any = 1.0, dtype: Any = None,
            seed: Any = None) -> Any:  # fmt: skip
    """Returns floats that are uniform in [minval, maxval)."""
    return stateless_uniform(shape, key_of(seed), minval, maxval, dtype or config.floatx())


def normal(shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None,
           seed: Any = None) -> Any:  # fmt: skip
    """Returns normally distributed floats."""
    return stateless_normal(shape, key_of(seed), mean, stddev, dtype or config.floatx())


def truncated_normal(shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None,
                     seed: Any = None) -> Any:  # fmt: skip
    """Returns normally distributed floats within two standard deviations of the mean."""
    return stateless_truncated_normal(shape, key_of(seed), mean, stddev, dtype or config.floatx())


def randint(shape: Any, minval: Any, maxval: Any, dtype: Any = "int32", seed: Any = None) -> Any:
    """Returns integers that are uniform in [minval, maxval)."""
    return stateless_uniform(shape, key_of(seed), minval, maxval, dtype)


def categorical(logits: Any, num_samples: int, dtype: Any = "int32", seed: Any = None) -> Any:
    """Returns class numbers [batch, num_samples] drawn with chances softmax(logits)."""
    return stateless_categorical(logits, num_samples, key_of(seed), dtype)


def shuffle(x: Any, axis: int = 0, seed: Any = None) -> Any:
    """Returns x with its entries along an axis in random order."""
    x = convert_to_tensor(x)
    perm = list(range(x.ndim))
    perm[0], perm[axis] = perm[axis], perm[0]
    return shaping.transpose(stateless_shuffle(shaping.transpose(x, perm), key_of(seed)), perm)


def dropout(inputs: Any, rate: float, noise_shape: Any = None, seed: Any = None) -> Any:
    """Returns inputs with a part `rate` of them 0 and the others divided by 1 - rate.

    Args:
      noise_shape: shape of the mask, which broadcasts to the inputs; None stands for their size.
    """
    x = convert_to_tensor(inputs)
    if rate >= 1:
        return x * 0
    full = shape_of(x)
    if noise_shape is not None:
        full = [full[i] if d is None else d for i, d in enumerate(noise_shape)]
    return dropout_by_key(x, rate, full, key_of(seed))


def dropout_by_key(x: Any, rate: float, shape: Any, key: Any) -> Any:
    """Returns what `dropout` does, with a mask of a shape drawn by a key (`key_of`)."""
    kept = math.greater_equal(stateless_uniform(shape, key), rate)
    return select(kept, x / (1 - rate), x * 0)


def _drawn(shape: Any, seed: Any, dtype: Any, draw: Any, *parameters: Any) -> Any:
    """Numbers that NumPy draws on the host, a function of the key and the parameters."""
    kind = dtypes.as_dtype(dtype or config.floatx())
    values = [convert_to_tensor(p) for p in parameters]
    target = tuple(int(d) for d in shape)

    def run(key: Any, *arrays: Any) -> Any:
        # Philox by the key: equal keys give equal numbers on every worker.
        generator = np.random.Generator(np.random.Philox(key=np.asarray(key, np.uint64)))
        return np.asarray(draw(generator, *arrays, size=target), kind.numpy)

    (found,) = host.host_call(
        key_of(seed), *values, fn=run, dtypes=(kind,), shapes=(target,), gradient=None
    )
    return found


def gamma(shape: Any, alpha: Any, dtype: Any = None, seed: Any = None) -> Any:
    """Returns numbers of the gamma distribution of shape `alpha` and rate 1."""
    return _drawn(shape, seed, dtype, lambda g, a, size: g.gamma(a, size=size), alpha)


def beta(shape: Any, alpha: Any, beta: Any, dtype: Any = None, seed: Any = None) -> Any:
    """Returns numbers of the beta distribution of shapes `alpha` and `beta`."""
    return _drawn(shape, seed, dtype, lambda g, a, b, size: g.beta(a, b, size=size), alpha, beta)


def binomial(shape: Any, counts: Any, probabilities: Any, dtype: Any = None,
             seed: Any = None) -> Any:  # fmt: skip
    """Returns how many of `counts` trials succeed, each with its probability."""
    return _drawn(
        shape, seed, dtype,
        lambda g, n, p, size: g.binomial(n.astype(np.int64), p, size=size), counts, probabilities,
    )  # fmt: skip


def shape_of(x: Any) -> list[Any]:
    """Returns a tensor's sizes: ints, or scalar int tensors where a trace does not know them."""
    return [dims.size(x, i) for i in range(x.ndim)]


__all__ = [
    "SeedGenerator", "beta", "binomial", "categorical", "dropout", "gamma", "normal", "randint",
    "shuffle", "truncated_normal", "uniform",
]  # fmt: skip
