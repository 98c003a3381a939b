"""Random numbers by counters: same key, same numbers, eagerly, traced, and on any worker."""

from types import SimpleNamespace

from distflow.random.generator import Generator, get_global_generator, set_global_generator
from distflow.random.global_state import (
    categorical,
    normal,
    set_seed,
    shuffle,
    truncated_normal,
    uniform,
)
from distflow.random.global_state import get_seed as get_seed
from distflow.random.keys import key_from_seed as key_from_seed
from distflow.random.stateless import (
    fold_in,
    split,
    stateless_categorical,
    stateless_normal,
    stateless_truncated_normal,
    stateless_uniform,
)
from distflow.random.stateless import stateless_shuffle as stateless_shuffle

experimental = SimpleNamespace(
    Generator=Generator,
    get_global_generator=get_global_generator,
    set_global_generator=set_global_generator,
    stateless_fold_in=fold_in,
    stateless_shuffle=stateless_shuffle,
    stateless_split=split,
)

__all__ = [
    "Generator", "categorical", "experimental", "fold_in", "get_global_generator", "normal",
    "set_global_generator", "set_seed", "shuffle", "split", "stateless_categorical",
    "stateless_normal", "stateless_truncated_normal", "stateless_uniform", "truncated_normal",
    "uniform",
]  # fmt: skip
