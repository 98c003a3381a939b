"""sort and top_k: values in order along the last axis, with the positions they came from."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.core.primitive import Primitive
from distflow.ops.prims import movement
from distflow.ops.prims.factories import check_dtype


def _sort_dtype(name: str) -> Any:
    def rule(x: Any, **attributes: Any) -> Any:
        return check_dtype(name, dtypes.REAL | dtypes.BOOL, x), dtypes.int32

    return rule


def _sort_ref(x: Any, *, descending: bool) -> Any:
    order = _order(x, descending)
    return np.take_along_axis(x, order, -1), order.astype(np.int32)


def _order(x: Any, descending: bool) -> Any:
    if not descending:
        return np.argsort(x, axis=-1, kind="stable")
    # Mirrored twice, so that equal values keep their order.
    order = np.argsort(np.flip(x, -1), axis=-1, kind="stable")
    return np.flip(x.shape[-1] - 1 - order, -1)


def _sort_shape(x: Any, *, descending: bool) -> Any:
    if not x:
        raise errors.invalid("sort", "the input must have at least one dimension", "a scalar")
    return [tuple(x), tuple(x)]


def _top_k_shape(x: Any, *, k: int) -> Any:
    if not x or (x[-1] is not None and not 0 <= k <= x[-1]):
        raise errors.invalid("top_k", f"k must be in [0, {x[-1] if x else 0}]", f"k={k}")
    return [(*x[:-1], k), (*x[:-1], k)]


def _top_k_ref(x: Any, *, k: int) -> Any:
    order = np.ascontiguousarray(_order(x, True)[..., :k])
    return np.take_along_axis(x, order, -1), order.astype(np.int32)


def _sort_grad(g: Any, out: Any, x: Any, **attributes: Any) -> Any:
    """Each gradient goes back to the position that its value came from."""
    rank = len(x.shape)
    row_starts = movement.slice_(
        movement.positions(x), starts=(0,) * rank, strides=(1,) * rank,
        stops=(*(None for _ in range(rank - 1)), 1),
    )  # fmt: skip
    return (movement.scatter_flat(g[0], out[1] + row_starts, x),)


sort = Primitive(
    "sort", _sort_dtype("sort"), _sort_shape, _sort_ref,
    _sort_grad, family="sorting",
)  # fmt: skip
top_k = Primitive(
    "top_k", _sort_dtype("top_k"), _top_k_shape, _top_k_ref, _sort_grad, family="sorting"
)
