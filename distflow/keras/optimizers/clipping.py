"""Gradients shortened to a norm, one by one or all together."""

from __future__ import annotations

from typing import Any

from distflow.base import dtypes, errors
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


def clip(grads: list[Any], clipnorm: Any, clipvalue: Any, global_clipnorm: Any) -> list[Any]:
    """Returns the gradients limited by the one setting that is given, if any."""
    if clipnorm is not None and clipnorm > 0:
        return [clip_by_norm(g, clipnorm) for g in grads]
    if global_clipnorm is not None and global_clipnorm > 0:
        return clip_by_global_norm(grads, global_clipnorm)
    if clipvalue is not None and clipvalue > 0:
        return [math.clip_by_value(g, -clipvalue, clipvalue) for g in grads]
    return grads


def check_clipping(where: str, clipnorm: Any, clipvalue: Any, global_clipnorm: Any) -> None:
    """Raises InvalidArgumentError if more than one limit is set."""
    if sum(c is not None for c in (clipnorm, clipvalue, global_clipnorm)) > 1:
        raise errors.invalid(
            where, "Only one of `clipnorm`, `clipvalue` and `global_clipnorm` can be set",
            f"clipnorm={clipnorm}, clipvalue={clipvalue}, global_clipnorm={global_clipnorm}",
        )  # fmt: skip
