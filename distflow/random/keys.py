"""Keys of the counter-based generator: uint32 vectors of two words, derived and never used up.

The words of a key's stream 0 are random numbers; streams of other purposes derive new keys, so a
derived key never equals a random number drawn from its parent.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import EagerTensor, Tensor
from distflow.ops import dims
from distflow.ops import math as m
from distflow.ops.prims import creation, movement
from distflow.ops.prims import elementwise as p

_NUMBERS, _FOLD, _SPLIT = 0, 1, 2
_MASK = 0xFFFFFFFF


def key_from_seed(seed: Any) -> Tensor:
    """Returns the key (uint32, shape [2]) of a seed.

    Args:
      seed: a Python int (its low 64 bits count), an int32 or int64 tensor of shape [] or [2]
        (TF's stateless seeds), or a key, which is returned as it is.
    """
    if isinstance(seed, int) and not isinstance(seed, bool):
        return _mix(_words(seed & _MASK, 0), _words((seed >> 32) & _MASK, 0))
    seed = convert_to_tensor(seed)
    if not seed.dtype.is_integer or tuple(seed.shape) not in ((), (2,)):
        raise errors.invalid(
            "random", "a seed is one int, or an int tensor of shape [2]",
            f"{seed.dtype.name} of shape {shapes.text(seed.shape)}",
        )  # fmt: skip
    if seed.dtype is dtypes.uint32 and seed.ndim == 1:
        return seed
    if seed.ndim == 0:
        zero = EagerTensor(np.zeros(1, seed.dtype.numpy))
        seed = movement.concat(movement.reshape(seed, shape=(1,)), zero, axis=0)
    wide = m.cast(seed, dtypes.int64)
    low, high = (p.cast(w, dtype=dtypes.uint32) for w in (wide, p.shr(wide, 32)))
    return _mix(low, high)


def _words(*values: int) -> Any:
    return EagerTensor(np.asarray(values, np.uint32))


def _mix(low: Any, high: Any) -> Any:
    return creation.random_bits(low, high, shape=(2,))


def fold_in(key: Any, data: Any) -> Tensor:
    """Returns a new key made of a key and a number (its low 32 bits), such as a step or replica."""
    if isinstance(data, int):
        stream = _words(data & _MASK, _FOLD)
    else:
        word = movement.reshape(m.cast(convert_to_tensor(data), dtypes.uint32), shape=(1,))
        stream = movement.concat(word, _words(_FOLD), axis=0)
    return creation.random_bits(key_from_seed(key), stream, shape=(2,))


def split_key(key: Any, num: int = 2) -> Tensor:
    """Returns `num` independent keys, uint32 of shape [num, 2]."""
    return creation.random_bits(key_from_seed(key), _words(0, _SPLIT), shape=(int(num), 2))


def bits(key: Any, shape: tuple[tuple[Any, ...], Any], words: int = 1) -> list[Any]:
    """Returns `words` uint32 tensors of a shape as `dims.parse` gives it."""
    static, target = shape
    if words == 1:
        return [_draw(key, static, target)]
    if target is not None:
        target = movement.concat(EagerTensor(np.asarray([words], np.int32)), m.cast(
            target, dtypes.int32), axis=0)  # fmt: skip
    both = _draw(key, (words, *static), target)
    entries = dims.of(both)[1:]
    rank = len(static)
    return [
        dims.reshape(
            movement.slice_(
                both,
                starts=(i, *(0,) * rank),
                stops=(i + 1, *(None,) * rank),
                strides=(1,) * (rank + 1),
            ),
            entries,
        )
        for i in range(words)
    ]


def _draw(key: Any, static: tuple[Any, ...], target: Any) -> Any:
    stream = _words(0, _NUMBERS)
    if target is None:
        return creation.random_bits(key_from_seed(key), stream, shape=static)
    return creation.random_bits(key_from_seed(key), stream, target, shape=static)
