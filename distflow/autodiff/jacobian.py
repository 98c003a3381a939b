"""Jacobians, one reverse sweep for each element of the target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distflow.autodiff import backward
from distflow.base import errors, shapes
from distflow.core.tensor import EagerTensor
from distflow.ops.prims import movement


def jacobian_of_rows(
    gradient: Callable[[Any], list[Any]],
    target: Any,
    sources: Sequence[Any],
    zero_if_unconnected: bool,
    batched: bool = False,
) -> list[Any]:
    """Returns the Jacobian for each source (None where the target does not depend on it).

    Args:
      gradient: maps a gradient of the target to gradients of the sources.
      target: tensor of known shape.
      sources: tensors or Variables.
      zero_if_unconnected: zeros instead of None.
      batched: one sweep serves the same element of every row (batch_jacobian).
    """
    shape = tuple(target.shape)
    if not shapes.is_static(shape):
        raise errors.invalid("jacobian", "the target's shape must be known", shapes.text(shape))
    lead, rest = (shape[:1], shape[1:]) if batched else ((), shape)
    rows = []
    for position in np.ndindex(rest):
        one = np.zeros(shape, target.dtype.numpy)
        one[(Ellipsis, *position)] = 1
        rows.append(gradient(EagerTensor(one)))
    return [
        _assemble([row[i] for row in rows], source, lead, rest, zero_if_unconnected)
        for i, source in enumerate(sources)
    ]


def _assemble(rows: list[Any], source: Any, lead: Any, rest: Any, zero: bool) -> Any:
    dims = tuple(source.shape)[len(lead) :]
    if not rows or all(row is None for row in rows):
        if not zero and rows:
            return None
        return EagerTensor(np.zeros((*lead, *rest, *dims), source.dtype.numpy))
    parts = []
    for row in rows:
        full = backward.zeros_like(source) if row is None else row
        parts.append(movement.reshape(full, shape=(*lead, 1, *dims)))
    stacked = movement.concat(*parts, axis=len(lead)) if len(parts) > 1 else parts[0]
    return movement.reshape(stacked, shape=(*lead, *rest, *dims))
