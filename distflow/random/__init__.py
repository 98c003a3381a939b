"""Random numbers by counters: same key, same numbers, eagerly, traced, and on any worker."""

from distflow.random.generator import Generator, get_global_generator, set_global_generator
from distflow.random.global_state import (
    categorical,
    get_seed,
    normal,
    set_seed,
    shuffle,
    truncated_normal,
    uniform,
)
from distflow.random.keys import key_from_seed
from distflow.random.stateless import (
    fold_in,
    split,
    stateless_categorical,
    stateless_normal,
    stateless_shuffle,
    stateless_truncated_normal,
    stateless_uniform,
)

experimental_stateless_shuffle = stateless_shuffle

__all__ = [
    "Generator", "categorical", "experimental_stateless_shuffle", "fold_in",
    "get_global_generator", "get_seed", "key_from_seed", "normal", "set_global_generator",
    "set_seed", "shuffle", "split", "stateless_categorical", "stateless_normal",
    "stateless_shuffle", "stateless_truncated_normal", "stateless_uniform", "truncated_normal",
    "uniform",
]  # fmt: skip
