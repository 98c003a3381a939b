"""Gradients shortened to a norm, one by one or all together."""

from __future__ import annotations

from typing import Any

from distflow.base import dtypes
from distflow.ops import math
from distflow.ops.prims.elementwise import select
from distflow.ops.prims.reduction import reduce_sum


def clip_by_norm(g: Any, limit: float) -> Any:
    """Returns g, shortened to a norm of `limit` if it is longer."""
    total = reduce_sum(g * g, axes=tuple(range(g.ndim)))
    positive = total > 0
    # The root of 0 has no slope: take that of 1 there.
    norm = select(positive, math.sqrt(select(positive, total, total * 0 + 1)), total)
    return g * limit / math.maximum(norm, limit)


def clip_by_global_norm(grads: list[Any], limit: float) -> list[Any]:
    """Returns all gradients, shortened together to a norm of `limit`."""
    total: Any = None
    for g in grads:
        wide = math.cast(g, dtypes.float32) if g.dtype.size < 4 else g
        part = reduce_sum(wide * wide, axes=tuple(range(g.ndim)))
        if total is not None and part.dtype is not total.dtype:
            part = math.cast(part, total.dtype)
        total = part if total is None else total + part
    norm = math.sqrt(total)
    factor = limit * math.minimum(1 / norm, 1 / limit)
    # An infinite norm makes all of them NaN, as in TF, so that the failure shows.
    factor = factor + (norm - norm)
    return [g * math.cast(factor, g.dtype) for g in grads]
