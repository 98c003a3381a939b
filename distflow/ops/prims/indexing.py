"""gather and scatter by indices, and slices whose start is a tensor.

Scatter adds in the order in which indices occur, so sums have the same bits every time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.core.primitive import Primitive, named
from distflow.core.tensor import EagerTensor
from distflow.ops.prims import movement
from distflow.ops.prims.factories import check_axes, check_dtype, check_same

# -- gather --------------------------------------------------------------------------------


# `role` names the indices in the message for one that is out of range.
def _gather_dtype(params: Any, indices: Any, *, axis: int, role: str = "") -> Any:
    check_dtype("gather", dtypes.INTEGER, indices)
    return params


def _gather_shape(params: Any, indices: Any, *, axis: int, role: str = "") -> Any:
    check_axes("gather", (axis,), params)
    return (*params[:axis], *indices, *params[axis + 1 :])


def _gather_ref(params: Any, indices: Any, *, axis: int, role: str = "gather: indices") -> Any:
    size = params.shape[axis]
    _check_range(role, indices, size)
    return np.take(params, indices, axis)


def _check_range(role: str, indices: Any, size: int) -> None:
    if indices.size:
        low, high = int(indices.min()), int(indices.max())
        if low < 0 or high >= size:
            bad = low if low < 0 else high
            name, _, what = role.partition(": ")
            raise errors.invalid(name, f"{what} must be in [0, {size})", str(bad))


def _gather_grad(g: Any, y: Any, params: Any, indices: Any, *, axis: int, role: str = "") -> Any:
    # The gathered axis goes first, so that each index names a row of the gradient.
    rank, index_rank = len(params.shape), len(indices.shape)
    if axis:
        order = (
            tuple(range(axis, axis + index_rank))
            + tuple(range(axis))
            + tuple(range(axis + index_rank, rank - 1 + index_rank))
        )
        g = movement.transpose(g, perm=order)
        perm = (axis, *range(axis), *range(axis + 1, rank))
        params = movement.transpose(params, perm=perm)
    zeros = movement.broadcast_like(movement._zero(params), params)
    column = _column(indices)
    result = scatter(zeros, column, g, mode="add")
    if axis:
        result = movement.transpose(result, perm=tuple(int(i) for i in np.argsort(perm)))
    return result, None


def _column(indices: Any) -> Any:
    if shapes.is_static(indices.shape):
        return movement.reshape(indices, shape=(*indices.shape, 1))
    target = movement.concat(movement.shape_tensor(indices), np.ones(1, np.int32), axis=0)
    return movement.reshape(indices, target, shape=(*indices.shape, 1))


gather = Primitive(
    "gather", _gather_dtype, _gather_shape, _gather_ref, _gather_grad, family="indexing"
)

# -- scatter -------------------------------------------------------------------------------

_SCATTER = {
    "add": np.add.at, "sub": np.subtract.at, "max": np.maximum.at, "min": np.minimum.at,
}  # fmt: skip


def _scatter_dtype(operand: Any, indices: Any, updates: Any, *, mode: str) -> Any:
    check_dtype("scatter", dtypes.INTEGER, indices)
    if mode not in (*_SCATTER, "update"):
        raise errors.invalid("scatter", f"mode must be one of update, {', '.join(_SCATTER)}", mode)
    return check_same("scatter", operand, updates)


def _scatter_shape(operand: Any, indices: Any, updates: Any, *, mode: str) -> Any:
    depth = indices[-1] if len(indices) else None
    if depth is None or depth > len(operand):
        raise errors.invalid(
            "scatter", f"the last dimension of indices must be known and <= {len(operand)}",
            shapes.text(indices),
        )  # fmt: skip
    shapes.merge("scatter: updates", (*indices[:-1], *operand[depth:]), updates)
    return tuple(operand)


def _scatter_ref(operand: Any, indices: Any, updates: Any, *, mode: str) -> Any:
    result = np.array(operand)
    columns = tuple(np.moveaxis(indices, -1, 0))
    for axis, column in enumerate(columns):
        _check_range("scatter: indices", column, operand.shape[axis])
    if mode == "update":
        result[columns] = updates
    elif mode == "add" and len(columns) == 1 and updates.ndim > 1 and updates.size:
        _add_rows(result, columns[0].reshape(-1), updates.reshape(-1, *operand.shape[1:]))
    else:
        _SCATTER[mode](result, columns, updates)
    return result


def _add_rows(result: Any, rows: Any, updates: Any) -> None:
    """Adds update i to row rows[i], in the order of i (np.add.at is slow for whole rows)."""
    for row, update in zip(rows.tolist(), updates):
        result[row] += update


def _scatter_grad(g: Any, y: Any, operand: Any, indices: Any, updates: Any, *, mode: str) -> Any:
    at = gather_nd(g, indices)
    if mode in ("add", "sub"):
        return g, None, at if mode == "add" else -at
    if mode == "update":
        return scatter(g, indices, at * 0, mode="update"), None, at
    raise errors.UnimplementedError(f"scatter: mode {mode!r} has no gradient.")


scatter = Primitive(
    "scatter", _scatter_dtype, _scatter_shape, _scatter_ref, _scatter_grad,
    family="indexing", match=(0, 2),
)  # fmt: skip


def gather_nd(params: Any, indices: Any) -> Any:
    """Returns params[indices[..., 0], indices[..., 1], ...], as one gather of flat rows."""
    depth = indices.shape[-1]
    dims = movement.shape_tensor(params, indices.dtype)
    lead, rest = _part(dims, 0, depth), _part(dims, depth, None)
    strides = named("cumprod")(lead, axis=0, exclusive=True, reverse=True)
    rows = named("reduce_sum")(indices * strides, axes=(len(indices.shape) - 1,))
    # A bad index must not land in another row: -1 makes the gather refuse it.
    inside = named("and")(named("le")(0, indices), named("lt")(indices, lead))
    if isinstance(inside, EagerTensor) and not inside.array.all():
        _refuse(indices.array, tuple(params.shape[:depth]))
    flags = named("cast")(inside, dtype=dtypes.int32)
    ok = named("reduce_min")(flags, axes=(len(indices.shape) - 1,))
    rows = named("select")(named("eq")(ok, 0), rows * 0 - 1, rows)
    minus_one = np.full(1, -1, indices.dtype.numpy)
    target = movement.concat(minus_one, rest, axis=0)
    flat = movement.reshape(params, target, shape=(None, *params.shape[depth:]))
    return gather(flat, rows, axis=0)


def _part(dims: Any, start: int, stop: Any) -> Any:
    return movement.slice_(dims, starts=(start,), stops=(stop,), strides=(1,))


def _refuse(indices: Any, dims: Any) -> None:
    bad = indices[((indices < 0) | (indices >= np.asarray(dims, indices.dtype))).any(-1)][0]
    raise errors.invalid(
        "gather_nd", f"indices must lie inside {shapes.text(dims)}", str(bad.tolist())
    )


# -- dynamic slices ------------------------------------------------------------------------


def _slice_dtype(x: Any, starts: Any, *given: Any, sizes: Any) -> Any:
    for integers in (starts, *given):
        check_dtype("dynamic_slice", dtypes.INTEGER, integers)
    return x


def _slice_shape(x: Any, starts: Any, *given: Any, sizes: Any) -> Any:
    if len(sizes) != len(x) or not shapes.TensorShape(starts).is_compatible_with((len(x),)):
        raise errors.invalid(
            "dynamic_slice", f"one start and one size for each of {len(x)} dimensions",
            f"starts {shapes.text(starts)}, sizes {sizes}",
        )  # fmt: skip
    if not given and None in sizes:
        raise errors.invalid("dynamic_slice", "sizes must be known", shapes.text(sizes))
    return tuple(sizes)


def _slice_ref(x: Any, starts: Any, *given: Any, sizes: Any) -> Any:
    wanted = tuple(given[0].tolist()) if given else sizes
    return np.ascontiguousarray(x[_window("dynamic_slice", x, starts, wanted)]).reshape(wanted)


def _window(name: str, x: Any, starts: Any, sizes: Any) -> Any:
    window = []
    for dim, start, size in zip(x.shape, starts.tolist(), sizes):
        if start < 0 or start + size > dim:
            raise errors.invalid(name, f"0 <= start and start + size <= {dim}", f"{start} + {size}")
        window.append(slice(start, start + size))
    return tuple(window)


def _slice_grad(g: Any, y: Any, x: Any, starts: Any, *given: Any, sizes: Any) -> Any:
    zeros = movement.broadcast_like(movement._zero(x), x)
    return dynamic_update_slice(zeros, g, starts), None, *[None] * len(given)


# Where a trace does not know a size it is None, and a third input gives all of them.
dynamic_slice = Primitive(
    "dynamic_slice", _slice_dtype, _slice_shape, _slice_ref, _slice_grad, family="indexing"
)


def _update_dtype(x: Any, update: Any, starts: Any) -> Any:
    check_dtype("dynamic_update_slice", dtypes.INTEGER, starts)
    return check_same("dynamic_update_slice", x, update)


def _update_shape(x: Any, update: Any, starts: Any) -> Any:
    if len(update) != len(x) or not shapes.TensorShape(starts).is_compatible_with((len(x),)):
        raise errors.invalid(
            "dynamic_update_slice", f"an update of rank {len(x)} and {len(x)} starts",
            f"update {shapes.text(update)}, starts {shapes.text(starts)}",
        )  # fmt: skip
    return tuple(x)


def _update_ref(x: Any, update: Any, starts: Any) -> Any:
    result = np.array(x)
    result[_window("dynamic_update_slice", x, starts, update.shape)] = update
    return result


def _update_grad(g: Any, y: Any, x: Any, update: Any, starts: Any) -> Any:
    zeros = movement.broadcast_like(movement._zero(update), update)
    sizes = tuple(update.shape)
    given = () if shapes.is_static(sizes) else (movement.shape_tensor(update),)
    of_update = dynamic_slice(g, starts, *given, sizes=sizes)
    return dynamic_update_slice(g, zeros, starts), of_update, None


dynamic_update_slice = Primitive(
    "dynamic_update_slice", _update_dtype, _update_shape, _update_ref, _update_grad,
    family="indexing", match=(0, 1),
)  # fmt: skip
