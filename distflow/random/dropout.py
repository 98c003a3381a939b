"""Dropout: zeros at random, the rest scaled up so that the expectation stays."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import errors
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import EagerTensor, Tensor
from distflow.ops import dims
from distflow.ops import math as m
from distflow.ops.prims import elementwise as p
from distflow.random.global_state import next_key
from distflow.random.stateless import stateless_uniform


def dropout(
    x: Any, rate: Any, noise_shape: Any = None, seed: int | None = None, name: Any = None
) -> Tensor:
    """Returns x with each element 0 with probability `rate`, else divided by 1 - rate.

    Args:
      x: floating tensor.
      rate: in [0, 1).
      noise_shape: shape of the random choices, which broadcast to x; default that of x.
      seed: operation seed.
    """
    return stateless_dropout(x, rate, next_key(seed), noise_shape=noise_shape)


def stateless_dropout(
    x: Any, rate: Any, seed: Any, rng_alg: Any = None, noise_shape: Any = None, name: Any = None
) -> Tensor:
    """Returns dropout of x with the choices of a seed."""
    x = convert_to_tensor(x)
    if not x.dtype.is_floating:
        raise errors.DtypeMismatchError(
            f"dropout: expected a floating dtype; received {x.dtype.name}."
        )
    known = dims.known(rate)
    if known is not None and not 0 <= known < 1:
        raise errors.invalid("dropout", "rate must be in [0, 1)", str(rate))
    if known is not None and known == 0:
        return x
    if noise_shape is None:
        shape: Any = [dims.scalar(d) for d in dims.of(x)]
    elif isinstance(noise_shape, list | tuple):
        shape = [dims.size(x, i) if d is None else d for i, d in enumerate(noise_shape)]
    else:
        shape = noise_shape
    rate = m.cast(convert_to_tensor(rate, dtype_hint=x.dtype), x.dtype)
    kept = p.le(rate, stateless_uniform(shape, seed, dtype=x.dtype))
    scaled = p.div(x, p.sub(EagerTensor(np.ones((), x.dtype.numpy)), rate))
    return p.select(kept, scaled, EagerTensor(np.zeros((), x.dtype.numpy)))
