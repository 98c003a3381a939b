"""Sums and maxima over sliding windows (pooling), and the scatter that is the maximum's gradient.

All work on every dimension of x: windows, strides and padding have one entry a dimension.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from distflow.base import errors, shapes
from distflow.base.dtypes import NUMERIC, REAL
from distflow.core.primitive import Primitive
from distflow.ops.prims import contraction, movement
from distflow.ops.prims.elementwise import and_, cast, eq, logical_not, mul, or_
from distflow.ops.prims.factories import check_dtype, check_same, quiet


def window_shape(x: Any, *, window: Any, strides: Any, padding: Any, dilation: Any = None) -> Any:
    """Returns how many windows there are along each dimension; None where it is unknown."""
    if not len(x) == len(window) == len(strides):
        raise errors.invalid(
            "reduce_window", f"one window size and stride for each of {len(x)} dimensions",
            f"{window}, {strides}",
        )  # fmt: skip
    spatial = tuple(contraction.dilated(d, a) for d, a in zip(x, dilation or (1,) * len(x)))
    ones = (1,) * len(x)
    pads = contraction.resolve_padding(padding, spatial, window, strides, ones)
    if pads is None:
        return tuple(None if d is None else -(-d // s) for d, s in zip(spatial, strides))
    out = tuple(map(contraction.window_count, spatial, window, strides, pads))
    if any(o is not None and o < 1 and d != 0 for o, d in zip(out, spatial)):
        raise errors.invalid(
            "reduce_window", f"the window {list(window)} must fit into the padded input",
            shapes.text(x),
        )  # fmt: skip
    return out


def window_padding(shape: Any, window: Any, strides: Any, padding: Any) -> Any:
    """Returns the ((low, high), ...) of all dimensions; None if sizes are missing."""
    return contraction.resolve_padding(padding, shape, window, strides, (1,) * len(shape))


def _offsets(window: Any) -> Any:
    return itertools.product(*(range(k) for k in window))


def _at(x: Any, offset: Any, out: Any, strides: Any) -> Any:
    """The view of padded x that lies at one offset of every window."""
    return x[tuple(slice(o, o + (n - 1) * s + 1, s) if n else slice(0, 0)
                   for o, n, s in zip(offset, out, strides))]  # fmt: skip


@quiet
def _reduce(x: Any, window: Any, strides: Any, pads: Any, init: Any, combine: Any) -> Any:
    config = tuple((lo, hi, 0) for lo, hi in pads)
    if any(row != (0, 0, 0) for row in config):
        x = movement._pad_ref(x, np.asarray(init, x.dtype), config=config)
    out = tuple((d - k) // s + 1 if d >= k else 0 for d, k, s in zip(x.shape, window, strides))
    result = None
    for offset in _offsets(window):
        part = _at(x, offset, out, strides)
        result = part.copy() if result is None else combine(result, part, out=result)
    return result


def _lowest(dtype: Any) -> Any:
    return -np.inf if dtype.kind not in "iu" else np.iinfo(dtype).min


# -- sum -----------------------------------------------------------------------------------


def _sum_ref(x: Any, *, window: Any, strides: Any, padding: Any, dilation: Any) -> Any:
    if any(a != 1 for a in dilation):
        config = tuple((0, 0, a - 1) for a in dilation)
        x = movement._pad_ref(x, np.zeros((), x.dtype), config=config)
    return _reduce(x, window, strides, window_padding(x.shape, window, strides, padding), 0, np.add)


def _sum_grad(
    g: Any, y: Any, x: Any, *, window: Any, strides: Any, padding: Any, dilation: Any
) -> Any:
    spatial = tuple(contraction.dilated(d, a) for d, a in zip(x.shape, dilation))
    pads = window_padding(spatial, window, strides, padding)
    back, _ = contraction.gradient_padding("pooling", spatial, window, g.shape, strides, pads)
    gx = reduce_window_sum(g, window=window, strides=dilation, padding=back, dilation=strides)
    return (gx,)


reduce_window_sum = Primitive(
    "reduce_window_sum",
    lambda x, **attributes: check_dtype("reduce_window_sum", NUMERIC, x),
    window_shape,
    _sum_ref,
    _sum_grad,
    family="window",
)

# -- max -----------------------------------------------------------------------------------


def _max_ref(x: Any, *, window: Any, strides: Any, padding: Any) -> Any:
    pads = window_padding(x.shape, window, strides, padding)
    return _reduce(x, window, strides, pads, _lowest(x.dtype), np.maximum)


def _max_grad(g: Any, y: Any, x: Any, **attributes: Any) -> Any:
    return (select_and_scatter_add(x, g, **attributes),)


reduce_window_max = Primitive(
    "reduce_window_max",
    lambda x, **attributes: check_dtype("reduce_window_max", REAL, x),
    window_shape,
    _max_ref,
    _max_grad,
    family="window",
)

# -- select and scatter --------------------------------------------------------------------


def _scatter_ref(x: Any, g: Any, *, window: Any, strides: Any, padding: Any) -> Any:
    """Adds each g to the position in x of its window's maximum (the first one, if tied)."""
    pads = window_padding(x.shape, window, strides, padding)
    config = tuple((lo, hi, 0) for lo, hi in pads)
    padded = movement._pad_ref(x, np.asarray(_lowest(x.dtype), x.dtype), config=config)
    best = _reduce(padded, window, strides, ((0, 0),) * x.ndim, 0, np.maximum)
    result = np.zeros_like(padded)
    open_ = np.ones(g.shape, bool)
    for offset in _offsets(window):
        hit = (_at(padded, offset, g.shape, strides) == best) & open_
        open_ &= ~hit
        _add(_at(result, offset, g.shape, strides), np.where(hit, g, np.zeros((), g.dtype)))
    crop = tuple(slice(lo, lo + d) for (lo, _), d in zip(pads, x.shape))
    return np.ascontiguousarray(result[crop])


@quiet
def _add(view: Any, part: Any) -> None:
    view += part


def _scatter_shape(x: Any, g: Any, **attributes: Any) -> Any:
    shapes.merge("select_and_scatter_add", window_shape(x, **attributes), g)
    return tuple(x)


def _scatter_grad(
    h: Any, out: Any, x: Any, g: Any, *, window: Any, strides: Any, padding: Any
) -> Any:
    # The gradient of g is h read where the maxima are; x only chooses, so it has none.
    pads = window_padding(x.shape, window, strides, padding)
    contraction.gradient_padding("pooling", x.shape, window, g.shape, strides, pads)
    config = tuple((lo, hi, 0) for lo, hi in pads)
    lowest = np.asarray(_lowest(x.dtype.numpy), x.dtype.numpy)
    padded = movement.pad(x, lowest, config=config)
    values = movement.pad(h, np.zeros((), h.dtype.numpy), config=config)
    best = reduce_window_max(x, window=window, strides=strides, padding=padding)
    taken, total = None, None
    for offset in _offsets(window):
        window_slice = {
            "starts": tuple(offset),
            "stops": tuple(map(_stop, offset, window, strides, g.shape)),
            "strides": tuple(strides),
        }
        hit = eq(movement.slice_(padded, **window_slice), best)
        first = hit if taken is None else and_(hit, logical_not(taken))
        taken = hit if taken is None else or_(taken, hit)
        part = mul(cast(first, dtype=h.dtype), movement.slice_(values, **window_slice))
        total = part if total is None else total + part
    return None, total


def _stop(offset: int, size: int, stride: int, count: Any) -> Any:
    """Where the elements at one offset of all windows end; from the end where stride is 1."""
    if stride == 1:
        return offset + 1 - size or None
    return offset + (count - 1) * stride + 1 if count else offset


select_and_scatter_add = Primitive(
    "select_and_scatter_add",
    lambda x, g, **attributes: check_dtype(
        "select_and_scatter_add", REAL, check_same("select_and_scatter_add", x, g)
    ),
    _scatter_shape,
    _scatter_ref,
    _scatter_grad,
    family="window",
    match=None,
)
