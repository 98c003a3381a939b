"""Limiting gradients by their norms."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import errors
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import EagerTensor, Tensor
from distflow.ops import math as m
from distflow.ops.math import clip_by_value
from distflow.ops.prims import elementwise as p
from distflow.ops.reduce import reduce_sum

__all__ = ["clip_by_global_norm", "clip_by_norm", "clip_by_value", "global_norm"]


def clip_by_norm(t: Any, clip_norm: Any, axes: Any = None, name: Any = None) -> Tensor:
    """Returns t, scaled down where its norm over axes (default: all) exceeds clip_norm."""
    t = convert_to_tensor(t)
    clip_norm = convert_to_tensor(clip_norm, dtype_hint=t.dtype)
    total = reduce_sum(p.mul(t, t), axes, keepdims=True)
    zero = EagerTensor(np.zeros((), t.dtype.numpy))
    positive = p.lt(zero, total)
    # The root of 0 has no gradient: take that of 1 and put the 0 back.
    safe = p.select(positive, total, p.add(zero, 1))
    length = p.select(positive, p.sqrt(safe), total)
    return p.div(p.mul(t, clip_norm), p.max_(length, clip_norm))


def global_norm(t_list: Any, name: Any = None) -> Tensor:
    """Returns sqrt of the sum of squares over all tensors; None entries are left out."""
    tensors = _tensors("global_norm", t_list)
    squares = [reduce_sum(p.mul(t, t)) for t in tensors if t is not None]
    if not squares:
        raise errors.invalid("global_norm", "at least one tensor is needed", "none")
    return p.sqrt(m.add_n(squares))


def clip_by_global_norm(
    t_list: Any, clip_norm: Any, use_norm: Any = None, name: Any = None
) -> tuple[list[Any], Tensor]:
    """Returns (tensors scaled so that their global norm is at most clip_norm, the global norm).

    An infinite or NaN norm makes all tensors NaN, so that the mistake shows.
    """
    tensors = _tensors("clip_by_global_norm", t_list)
    length = global_norm(tensors) if use_norm is None else convert_to_tensor(use_norm)
    limit = convert_to_tensor(clip_norm, dtype_hint=length.dtype)
    one = EagerTensor(np.ones((), length.dtype.numpy))
    scale = p.mul(limit, p.min_(p.div(one, length), p.div(one, limit)))
    nan = EagerTensor(np.asarray(np.nan, length.dtype.numpy))
    scale = p.select(m.is_finite(length), scale, nan)
    return [None if t is None else p.mul(t, m.cast(scale, t.dtype)) for t in tensors], length


def _tensors(where: str, t_list: Any) -> list[Any]:
    if not isinstance(t_list, list | tuple):
        raise errors.DtypeMismatchError(
            f"{where}: expected a list of tensors; received {type(t_list).__name__}."
        )
    return [None if t is None else convert_to_tensor(t) for t in t_list]
