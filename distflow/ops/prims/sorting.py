"""sort and top_k: values in order along the last axis, with the positions they came from."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.core.primitive import Primitive
from distflow.ops.prims import indexing, movement
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


def _top_k_shape(x: Any, *, k: int) -> Any:
    if not x or (x[-1] is not None and not 0 <= k <= x[-1]):
        raise errors.invalid("top_k", f"k must be in [0, {x[-1] if x else 0}]", f"k={k}")
    return [(*x[:-1], k), (*x[:-1], k)]


def _top_k_ref(x: Any, *, k: int) -> Any:
    order = np.ascontiguousarray(_order(x, True)[..., :k])
    return np.take_along_axis(x, order, -1), order.astype(np.int32)


def _sort_grad(g: Any, out: Any, x: Any, **attributes: Any) -> Any:
    """Each gradient goes back to the position that its value came from."""
    if not shapes.is_static(x.shape):
        raise errors.invalid("sort", "its gradient needs a known shape", shapes.text(x.shape))
    rows, width = int(np.prod(x.shape[:-1], dtype=np.int64)), x.shape[-1]
    chosen = out[1].shape[-1]
    offsets = np.repeat(np.arange(rows, dtype=np.int32) * width, chosen)
    flat = movement.reshape(out[1], shape=(rows * chosen,)) + offsets
    zeros = np.zeros(rows * width, x.dtype.numpy)
    values = movement.reshape(g[0], shape=(rows * chosen,))
    column = movement.reshape(flat, shape=(rows * chosen, 1))
    return (
        movement.reshape(indexing.scatter(zeros, column, values, mode="add"), shape=tuple(x.shape)),
    )


sort = Primitive(
    "sort", _sort_dtype("sort"), lambda x, *, descending: [tuple(x), tuple(x)], _sort_ref,
    _sort_grad, family="sorting",
)  # fmt: skip
top_k = Primitive(
    "top_k", _sort_dtype("top_k"), _top_k_shape, _top_k_ref, _sort_grad, family="sorting"
)
