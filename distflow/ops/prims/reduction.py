"""Reductions over axes (sum, product, extrema and their positions) and cumulative sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.base.dtypes import NUMERIC, REAL
from distflow.core.primitive import Primitive
from distflow.ops.prims import movement
from distflow.ops.prims.elementwise import cast, conj, eq, select
from distflow.ops.prims.factories import check_axes, check_dtype, quiet, reduction


def expand(y: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """Returns a reduced tensor with its axes of size 1 again, broadcast to the shape of x."""
    kept = tuple(1 if i in axes else d for i, d in enumerate(x.shape))
    if shapes.is_static(kept):
        return movement.broadcast_like(movement.reshape(y, shape=kept), x)
    wanted = tuple(-1 if d is None else d for d in kept)
    if wanted.count(-1) > 1:
        full = movement.shape_tensor(x)
        mask = np.asarray([i in axes for i in range(len(kept))])
        full = select(mask, full * 0 + 1, full)
        y = movement.reshape(y, full, shape=kept)
    else:
        y = movement.reshape(y, shape=wanted)
    return movement.broadcast_like(y, x)


def _extremum_grad(g: Any, y: Any, x: Any, axes: tuple[int, ...]) -> Any:
    # Ties share the gradient equally, as in TF.
    hits = cast(eq(x, expand(y, x, axes)), dtype=x.dtype)
    count = expand(reduce_sum(hits, axes=axes), x, axes)
    return hits / count * expand(g, x, axes)


def _prod_grad(g: Any, y: Any, x: Any, axes: tuple[int, ...]) -> Any:
    # Products of the others, from both sides, so that zeros do no harm.
    rest = tuple(i for i in range(len(x.shape)) if i not in axes)
    perm = rest + axes
    xt = movement.transpose(x, perm=perm)
    kept = movement.slice_(movement.shape_tensor(xt), starts=(0,), stops=(len(rest),), strides=(1,))
    merged = shapes.size(x.shape[i] for i in axes)
    target = movement.concat(kept, np.full(1, -1, np.int32), axis=0)
    flat = movement.reshape(xt, target, shape=(*(x.shape[i] for i in rest), merged))
    last = len(rest)
    left = cumprod(flat, axis=last, exclusive=True, reverse=False)
    right = cumprod(flat, axis=last, exclusive=True, reverse=True)
    others = movement.reshape_like(left * right, xt)
    others = movement.transpose(others, perm=tuple(int(i) for i in np.argsort(perm)))
    return conj(others) * expand(g, x, axes)


def _nonempty(name: str, ref: Any) -> Any:
    def call(x: Any, axes: tuple[int, ...]) -> Any:
        if any(x.shape[a] == 0 for a in axes) and x.dtype.kind in "iufb":
            low = -np.inf if name == "max" else np.inf
            if x.dtype.kind != "f":
                info = np.iinfo(x.dtype)
                low = info.min if name == "max" else info.max
            kept = tuple(d for i, d in enumerate(x.shape) if i not in axes)
            return np.full(kept, low, x.dtype)
        return ref(x, axes)

    return call


reduce_sum = reduction(
    "reduce_sum", accepts=NUMERIC,
    ref=lambda x, axes: np.sum(x, axes, dtype=_accumulator(x.dtype)),
    grad=lambda g, y, x, axes: expand(g, x, axes),
)  # fmt: skip
reduce_prod = reduction(
    "reduce_prod", accepts=NUMERIC,
    ref=lambda x, axes: np.prod(x, axes, dtype=_accumulator(x.dtype)), grad=_prod_grad,
)  # fmt: skip
reduce_max = reduction(
    "reduce_max", accepts=REAL, ref=_nonempty("max", np.max), grad=_extremum_grad
)
reduce_min = reduction(
    "reduce_min", accepts=REAL, ref=_nonempty("min", np.min), grad=_extremum_grad
)


def _accumulator(dtype: Any) -> Any:
    # 16-bit floats are summed in float32, then rounded once.
    return np.float32 if dtype.itemsize == 2 and dtype.kind not in "iu" else dtype


def _position(name: str, ref: Any) -> Primitive:
    def dtype_rule(x: Any, *, axis: int, dtype: Any) -> Any:
        check_dtype(name, REAL | dtypes.BOOL, x)
        return check_dtype(name, dtypes.INTEGER, dtype)

    def shape_rule(x: Any, *, axis: int, dtype: Any) -> Any:
        check_axes(name, (axis,), x)
        if x[axis] == 0:
            raise errors.invalid(name, f"axis {axis} must not be empty", shapes.text(x))
        return tuple(d for i, d in enumerate(x) if i != axis)

    return Primitive(
        name, dtype_rule, shape_rule,
        lambda x, *, axis, dtype: np.asarray(ref(x, axis)).astype(dtype.numpy), None,
        family="reduction",
    )  # fmt: skip


argmax = _position("argmax", np.argmax)
argmin = _position("argmin", np.argmin)


def _cumulative(name: str, ref: Any, identity: int, grad: Any) -> Primitive:
    def shape_rule(x: Any, *, axis: int, exclusive: bool, reverse: bool) -> Any:
        check_axes(name, (axis,), x)
        return tuple(x)

    def reference(x: Any, *, axis: int, exclusive: bool, reverse: bool) -> Any:
        if reverse:
            x = np.flip(x, axis)
        result = ref(x, axis=axis, dtype=x.dtype)
        if exclusive and x.shape[axis]:
            result = np.roll(result, 1, axis)
            result[(slice(None),) * axis + (0,)] = identity
        return np.ascontiguousarray(np.flip(result, axis) if reverse else result)

    return Primitive(
        name,
        lambda x, **attributes: check_dtype(name, NUMERIC, x),
        shape_rule,
        quiet(reference),
        grad,
        family="reduction",
    )


def _cumsum_grad(g: Any, y: Any, x: Any, *, axis: int, exclusive: bool, reverse: bool) -> Any:
    return (cumsum(g, axis=axis, exclusive=exclusive, reverse=not reverse),)


def _cumprod_grad(g: Any, y: Any, x: Any, *, axis: int, exclusive: bool, reverse: bool) -> Any:
    # d y_j / d x_i = y_j / x_i for j >= i; where x is 0 the gradient is 0, as in TF.
    total = cumsum(conj(y) * g, axis=axis, exclusive=exclusive, reverse=not reverse)
    zero = eq(x, 0)
    return (select(zero, x * 0, total / conj(select(zero, x * 0 + 1, x))),)


cumsum = _cumulative("cumsum", np.cumsum, 0, _cumsum_grad)
cumprod = _cumulative("cumprod", np.cumprod, 1, _cumprod_grad)
