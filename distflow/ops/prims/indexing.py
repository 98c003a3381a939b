"""gather and scatter by indices, and slices whose start is a tensor.

Scatter adds in the order in which indices occur, so sums have the same bits every time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.core.primitive import Primitive
from distflow.core.tensor import EagerTensor
from distflow.ops.prims import movement
from distflow.ops.prims.creation import iota
from distflow.ops.prims.factories import check_dtype, check_same


def _int(value: int) -> Any:
    return EagerTensor(np.asarray(value, np.int32))


# -- gather --------------------------------------------------------------------------------


def _gather_dtype(params: Any, indices: Any, *, axis: int) -> Any:
    check_dtype("gather", dtypes.INTEGER, indices)
    return params


def _gather_shape(params: Any, indices: Any, *, axis: int) -> Any:
    return (*params[:axis], *indices, *params[axis + 1 :])


def _gather_ref(params: Any, indices: Any, *, axis: int) -> Any:
    size = params.shape[axis]
    _check_range("gather", indices, size)
    return np.take(params, indices, axis)


def _check_range(name: str, indices: Any, size: int) -> None:
    if indices.size:
        low, high = int(indices.min()), int(indices.max())
        if low < 0 or high >= size:
            bad = low if low < 0 else high
            raise errors.invalid(name, f"indices must be in [0, {size})", f"index {bad}")


def _gather_grad(g: Any, y: Any, params: Any, indices: Any, *, axis: int) -> Any:
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
        _check_range("scatter", column, operand.shape[axis])
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
    if depth == 1:
        flat, rows = params, indices
    else:
        dims = movement.shape_tensor(params, indices.dtype)
        rows, factor = None, None
        for level in reversed(range(depth)):
            column = _last(indices, level)
            _assert_inside(column, params.shape[level])
            part = column if factor is None else column * factor
            rows = part if rows is None else rows + part
            dim = movement.slice_(dims, starts=(level,), stops=(level + 1,), strides=(1,))
            dim = movement.reshape(dim, shape=())
            factor = dim if factor is None else factor * dim
        flat = movement.reshape(
            params, shape=(-1, *(params.shape[depth:])) if shapes.is_static(params.shape[depth:])
            else _no_dynamic_rows(params),
        )  # fmt: skip
        return gather(flat, movement.reshape(rows, shape=_squeezed(indices)), axis=0)
    rows = movement.reshape(rows, shape=_squeezed(indices))
    return gather(flat, rows, axis=0)


def _assert_inside(column: Any, dim: Any) -> None:
    if isinstance(column, EagerTensor) and dim is not None:
        _check_range("gather_nd", column.array, dim)


def _squeezed(indices: Any) -> Any:
    dims = tuple(indices.shape[:-1])
    return tuple(-1 if d is None else d for d in dims)


def _no_dynamic_rows(params: Any) -> Any:
    raise errors.invalid(
        "gather_nd", "the dimensions of one row must be known", shapes.text(params.shape)
    )


def _last(x: Any, position: int) -> Any:
    rank = len(x.shape)
    return movement.slice_(
        x,
        starts=(*(0 for _ in range(rank - 1)), position),
        stops=(*(None for _ in range(rank - 1)), position + 1),
        strides=(1,) * rank,
    )


# -- dynamic slices ------------------------------------------------------------------------


def _starts_dtype(x: Any, *rest: Any, **attributes: Any) -> Any:
    check_dtype("dynamic_slice", dtypes.INTEGER, rest[-1])
    return x


def _dynamic_slice_shape(x: Any, starts: Any, *, sizes: Any) -> Any:
    if len(sizes) != len(x) or tuple(starts) != (len(x),):
        raise errors.invalid(
            "dynamic_slice", f"one start and one size for each of {len(x)} dimensions",
            f"starts {shapes.text(starts)}, sizes {sizes}",
        )  # fmt: skip
    return tuple(d if s is None else s for d, s in zip(x, sizes))


def _window(x: Any, starts: Any, sizes: Any) -> Any:
    window = []
    for dim, start, size in zip(x.shape, starts.tolist(), sizes):
        size = dim - start if size is None else size
        if start < 0 or start + size > dim:
            raise errors.invalid(
                "dynamic_slice", f"start + size must be <= {dim}", f"{start} + {size}"
            )
        window.append(slice(start, start + size))
    return tuple(window)


def _dynamic_update_ref(x: Any, update: Any, starts: Any) -> Any:
    result = np.array(x)
    result[_window(x, starts, update.shape)] = update
    return result


def _dynamic_slice_grad(g: Any, y: Any, x: Any, starts: Any, *, sizes: Any) -> Any:
    zeros = movement.broadcast_like(movement._zero(x), x)
    return dynamic_update_slice(zeros, g, starts), None


def _dynamic_update_grad(g: Any, y: Any, x: Any, update: Any, starts: Any) -> Any:
    zeros = movement.broadcast_like(movement._zero(update), update)
    sizes = tuple(update.shape)
    return dynamic_update_slice(g, zeros, starts), dynamic_slice(g, starts, sizes=sizes), None


dynamic_slice = Primitive(
    "dynamic_slice",
    _starts_dtype,
    _dynamic_slice_shape,
    lambda x, starts, *, sizes: np.ascontiguousarray(x[_window(x, starts, sizes)]),
    _dynamic_slice_grad,
    family="indexing",
)
dynamic_update_slice = Primitive(
    "dynamic_update_slice",
    lambda x, update, starts: _starts_dtype(check_same("dynamic_update_slice", x, update), starts),
    lambda x, update, starts: tuple(x),
    _dynamic_update_ref,
    _dynamic_update_grad,
    family="indexing",
    match=(0, 1),
)

# -- what movement needs for unknown sizes -------------------------------------------------


def _positions(x: Any) -> Any:
    """Returns, in the shape of x, the flat position of each element."""
    dims = movement.shape_tensor(x)
    count = _product(dims, len(x.shape))
    return movement.reshape(
        iota(count, dtype=dtypes.int32, length=None), dims, shape=tuple(x.shape)
    )


def _product(dims: Any, rank: int) -> Any:
    total = _int(1)
    for i in range(rank):
        total = total * movement.reshape(
            movement.slice_(dims, starts=(i,), stops=(i + 1,), strides=(1,)), shape=()
        )
    return total


def _scatter_flat(g: Any, positions: Any, like: Any) -> Any:
    """Returns zeros in the shape of `like` with g at the given flat positions."""
    count = _product(movement.shape_tensor(like), len(like.shape))
    target = movement.reshape(count, shape=(1,))
    zeros = movement.broadcast_to(movement._zero(g), target, shape=(None,))
    flat = movement.reshape(g, shape=(-1,))
    rows = movement.reshape(positions, shape=(-1, 1))
    return movement.reshape_like(scatter(zeros, rows, flat, mode="add"), like)


def _take(x: Any, length: Any, offset: Any, axis: int) -> Any:
    rows = iota(movement.reshape(length, shape=()), dtype=dtypes.int32, length=None) + offset
    return gather(x, rows, axis=axis)


movement.set_scatter(_positions, _scatter_flat)
movement.set_take(_take)
