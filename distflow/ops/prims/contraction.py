"""dot_general and conv, with their gradients as the same two operations.

conv is N-dimensional, channels last: x [batch, *spatial, in], w [*window, in / groups, out].
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from distflow.base import errors, shapes
from distflow.base.dtypes import INEXACT, INTEGER, NUMERIC
from distflow.core.primitive import Primitive
from distflow.ops.prims import depthwise, movement
from distflow.ops.prims.elementwise import conj
from distflow.ops.prims.factories import check_dtype, check_same, quiet

# -- dot_general ---------------------------------------------------------------------------


def _dot_dtype(a: Any, b: Any, *, contract: Any, batch: Any) -> Any:
    return check_dtype("matmul", NUMERIC, check_same("matmul", a, b))


def _free(rank: int, *used: Any) -> tuple[int, ...]:
    taken = set(itertools.chain(*used))
    return tuple(i for i in range(rank) if i not in taken)


def _dot_shape(a: Any, b: Any, *, contract: Any, batch: Any) -> Any:
    for pairs, what in ((contract, "inner dimensions"), (batch, "batch dimensions")):
        for i, j in zip(*pairs):
            if None not in (a[i], b[j]) and a[i] != b[j]:
                hint = ""
                if len(a) >= 2 and len(b) >= 2 and a[i] == b[_other(j, len(b))]:
                    hint = "Did you mean matmul(a, b, transpose_b=True)?"
                raise errors.invalid(
                    "matmul", f"{what} must agree", f"a: {shapes.text(a)}, b: {shapes.text(b)}",
                    hint,
                )  # fmt: skip
    return (
        *(b[j] if a[i] is None else a[i] for i, j in zip(*batch)),
        *(a[i] for i in _free(len(a), contract[0], batch[0])),
        *(b[j] for j in _free(len(b), contract[1], batch[1])),
    )


def _other(j: int, rank: int) -> int:
    return rank - 1 if j == rank - 2 else rank - 2


@quiet
def _dot_ref(a: Any, b: Any, *, contract: Any, batch: Any) -> Any:
    if a.ndim == b.ndim == 2 and contract == ((1,), (0,)) and not batch[0]:
        return _matmul(a, b)
    free_a = _free(a.ndim, contract[0], batch[0])
    free_b = _free(b.ndim, contract[1], batch[1])
    left = np.transpose(a, (*batch[0], *free_a, *contract[0]))
    right = np.transpose(b, (*batch[1], *contract[1], *free_b))
    lead = left.shape[: len(batch[0])]
    inner = math.prod(a.shape[i] for i in contract[0])
    left = left.reshape(*lead, math.prod(a.shape[i] for i in free_a), inner)
    right = right.reshape(*lead, inner, math.prod(b.shape[j] for j in free_b))
    out = _matmul(left, right)
    return out.reshape((*lead, *(a.shape[i] for i in free_a), *(b.shape[j] for j in free_b)))


def _matmul(left: Any, right: Any) -> Any:
    # 16-bit floats are multiplied and summed in float32, then rounded once.
    if left.dtype.itemsize == 2 and left.dtype.kind not in "iu":
        return np.matmul(left.astype(np.float32), right.astype(np.float32)).astype(left.dtype)
    return np.matmul(left, right)


def _dot_grad(
    g: Any, y: Any, a: Any, b: Any, *, contract: Any, batch: Any,
    wanted: tuple[bool, ...] = (True, True),
) -> Any:  # fmt: skip
    n_batch = len(batch[0])
    free_a = _free(len(a.shape), contract[0], batch[0])
    free_b = _free(len(b.shape), contract[1], batch[1])
    g_batch = tuple(range(n_batch))
    g_a = tuple(range(n_batch, n_batch + len(free_a)))
    g_b = tuple(range(n_batch + len(free_a), len(g.shape)))
    ga = gb = None
    if wanted[0]:
        # ga = g . b over b's free axes; its axes come out as batch, free_a, contract (b's order).
        ga = dot_general(g, conj(b), contract=(g_b, free_b), batch=(g_batch, batch[1]))
        order_b = tuple(sorted(range(len(contract[1])), key=lambda k: contract[1][k]))
        ga = _turned(ga, (*batch[0], *free_a, *(contract[0][k] for k in order_b)))
    if wanted[1]:
        gb = dot_general(g, conj(a), contract=(g_a, free_a), batch=(g_batch, batch[0]))
        order_a = tuple(sorted(range(len(contract[0])), key=lambda k: contract[0][k]))
        gb = _turned(gb, (*batch[1], *free_b, *(contract[1][k] for k in order_a)))
    return ga, gb


def _turned(x: Any, layout: tuple[int, ...]) -> Any:
    """Returns x with its axes, which are those of `layout`, in order."""
    if layout == tuple(range(len(layout))):
        return x
    return movement.transpose(x, perm=_inverse(layout))


def _inverse(perm: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argsort(perm))


dot_general = Primitive(
    "dot_general", _dot_dtype, _dot_shape, _dot_ref, _dot_grad, family="contraction", match=None,
    selective=True,
)  # fmt: skip

# -- conv ----------------------------------------------------------------------------------


def _conv_dtype(x: Any, w: Any, **attributes: Any) -> Any:
    return check_dtype("conv", INEXACT | INTEGER, check_same("conv", x, w))


def dilated(size: Any, dilation: int) -> Any:
    """Returns the extent of `size` elements that lie `dilation` apart."""
    return None if size is None else max(size - 1, 0) * dilation + min(size, 1)


def resolve_padding(padding: Any, spatial: Any, window: Any, strides: Any, dilations: Any) -> Any:
    """Returns ((low, high), ...) for "SAME", "VALID" or explicit pairs; None if unknown.

    SAME gives ceil(size / stride) outputs, the odd one out at the end (TensorFlow's rule).
    """
    if padding == "VALID":
        return tuple((0, 0) for _ in window)
    if padding != "SAME":
        return tuple(padding)
    result = []
    for size, k, stride, dilation in zip(spatial, window, strides, dilations):
        extent = dilated(k, dilation)
        if size is None:
            if stride != 1:
                return None
            total = extent - 1
        else:
            total = max((-(-size // stride) - 1) * stride + extent - size, 0)
        result.append((total // 2, total - total // 2))
    return tuple(result)


def window_count(size: Any, extent: Any, stride: int, pad: tuple[int, int]) -> Any:
    """Returns how many windows of `extent` fit a padded dimension."""
    if size is None or extent is None:
        return None
    return max((size + pad[0] + pad[1] - extent) // stride + 1, 0)


def _conv_shape(
    x: Any, w: Any, *, strides: Any, padding: Any, lhs_dilation: Any, rhs_dilation: Any, groups: int
) -> Any:
    n = len(strides)
    if len(x) != n + 2 or len(w) != n + 2:
        raise errors.invalid(
            "conv", f"input and filter must have rank {n + 2}",
            f"input {shapes.text(x)}, filter {shapes.text(w)}",
        )  # fmt: skip
    if None not in (x[-1], w[-2], w[-1]) and (x[-1] != w[-2] * groups or w[-1] % groups):
        raise errors.invalid(
            "conv",
            f"the input's channels must be {w[-2] * groups} (filter {shapes.text(w)}, "
            f"groups {groups})",
            f"input {shapes.text(x)}",
        )
    spatial = tuple(dilated(d, a) for d, a in zip(x[1:-1], lhs_dilation))
    pads = resolve_padding(padding, spatial, w[:-2], strides, rhs_dilation)
    if pads is None:
        out: list[Any] = [None if d is None else -(-d // s) for d, s in zip(spatial, strides)]
    else:
        out = [
            window_count(d, dilated(k, a), s, p)
            for d, k, a, s, p in zip(spatial, w[:-2], rhs_dilation, strides, pads)
        ]
        if any(o is not None and o < 1 and d != 0 for o, d in zip(out, spatial)):
            raise errors.invalid(
                "conv",
                f"the window {list(w[:-2])} must fit into the padded input",
                f"input {shapes.text(x)}, padding {padding}",
            )
    return (x[0], *out, w[-1])


def _pads(x: Any, w: Any, strides: Any, padding: Any, lhs: Any, rhs: Any) -> Any:
    spatial = tuple(dilated(d, a) for d, a in zip(x[1:-1], lhs))
    return resolve_padding(padding, spatial, w[:-2], strides, rhs)


def gradient_padding(
    where: str, sizes: Any, extents: Any, outputs: Any, strides: Any, pads: Any
) -> tuple[Any, Any]:
    """Returns the padding of the two convolutions that are the gradients of one.

    For the input, the spread gradient is padded so that every window that saw an element is
    counted; for the filter, the input is padded (or cropped) to where windows lay. With stride 1
    neither depends on the sizes, which then may be unknown.
    """
    of_input, of_filter = [], []
    for i, (size, extent, out, stride) in enumerate(zip(sizes, extents, outputs, strides)):
        if extent is None or pads is None or (stride != 1 and size is None):
            raise errors.invalid(
                where, "the gradient of strided windows, and second order, need known sizes",
                f"sizes {shapes.text(sizes)}, strides {tuple(strides)}",
                "Trace the function with concrete shapes.",
            )  # fmt: skip
        low, high = pads[i]
        if stride == 1:
            of_input.append((extent - 1 - low, extent - 1 - high))
            of_filter.append((low, high))
        else:
            spread = dilated(out, stride)
            of_input.append((extent - 1 - low, size + low - spread))
            of_filter.append((low, spread + extent - 1 - size - low))
    return tuple(of_input), tuple(of_filter)


@quiet
def _conv_ref(
    x: Any, w: Any, *, strides: Any, padding: Any, lhs_dilation: Any, rhs_dilation: Any, groups: int
) -> Any:
    out_shape = _conv_shape(
        x.shape, w.shape, strides=strides, padding=padding, lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation, groups=groups,
    )  # fmt: skip
    pads = _pads(x.shape, w.shape, strides, padding, lhs_dilation, rhs_dilation)
    config = ((0, 0, 0), *((lo, hi, a - 1) for (lo, hi), a in zip(pads, lhs_dilation)), (0, 0, 0))
    if any(row != (0, 0, 0) for row in config):
        x = movement._pad_ref(x, np.zeros((), x.dtype), config=config)
    windows = _windows(x, w.shape[:-2], strides, rhs_dilation, out_shape[1:-1])
    if groups == 1:
        return _contract(windows, w).reshape(out_shape)
    parts = zip(np.split(windows, groups, axis=-1), np.split(w, groups, axis=-1))
    return np.concatenate([_contract(p, q).reshape(*out_shape[:-1], -1) for p, q in parts], -1)


def _windows(x: Any, window: Any, strides: Any, dilation: Any, out: Any) -> Any:
    """Returns a view [batch, *out, *window, channels] of a padded input."""
    steps = x.strides
    return np.lib.stride_tricks.as_strided(
        x,
        (x.shape[0], *out, *window, x.shape[-1]),
        (
            steps[0],
            *(s * k for s, k in zip(steps[1:-1], strides)),
            *(s * d for s, d in zip(steps[1:-1], dilation)),
            steps[-1],
        ),
        writeable=False,
    )


def _contract(windows: Any, w: Any) -> Any:
    inner = math.prod(w.shape[:-1])
    rows = windows.reshape(-1, inner) if inner else np.zeros((windows.size, 0), windows.dtype)
    return _matmul(rows, w.reshape(inner, w.shape[-1]))


def _conv_grad(
    g: Any, y: Any, x: Any, w: Any, *, strides: Any, padding: Any, lhs_dilation: Any,
    rhs_dilation: Any, groups: int, wanted: tuple[bool, ...] = (True, True),
) -> Any:  # fmt: skip
    n = len(strides)
    pads = _pads(x.shape, w.shape, strides, padding, lhs_dilation, rhs_dilation)
    by_taps = pads is not None and depthwise.is_for(x, w, g, pads, lhs_dilation, groups)
    needed = w if by_taps or not wanted[1] else x
    if groups > 1 and not (shapes.is_static(needed.shape) and shapes.is_static(w.shape)):
        return _conv_grad_groups(
            g, x, w, groups, strides=strides, padding=padding,
            lhs_dilation=lhs_dilation, rhs_dilation=rhs_dilation,
        )  # fmt: skip
    spatial = tuple(dilated(d, a) for d, a in zip(x.shape[1:-1], lhs_dilation))
    extents = tuple(dilated(k, a) for k, a in zip(w.shape[:-2], rhs_dilation))
    of_input, of_filter = gradient_padding("conv", spatial, extents, g.shape[1:-1], strides, pads)
    axes = tuple(range(n))
    gx = gw = None
    if wanted[0]:
        # Input gradient: g, spread by the strides, against the mirrored filter.
        gx = conv(
            g,
            _outputs_as_inputs(movement.reverse(conj(w), axes=axes), groups),
            strides=lhs_dilation,
            padding=of_input,
            lhs_dilation=strides,
            rhs_dilation=rhs_dilation,
            groups=groups,
        )
    if not wanted[1]:
        return gx, gw
    if by_taps:
        return gx, depthwise.filter_gradient(g, x, w, strides, pads, rhs_dilation)
    # Filter gradient: input channels act as the batch, g as the filter, the batch as channels.
    gw = conv(
        _images_as_channels(conj(x), groups),
        movement.transpose(g, perm=(*range(1, n + 1), 0, n + 1)),
        strides=rhs_dilation,
        padding=of_filter,
        lhs_dilation=lhs_dilation,
        rhs_dilation=strides,
        groups=groups,
    )
    return gx, movement.transpose(gw, perm=(*range(1, n + 1), 0, n + 1))


def _outputs_as_inputs(w: Any, groups: int) -> Any:
    """Exchanges the two channel axes of a filter, within each group."""
    *window, narrow, out = w.shape
    n, axes = len(window), range(len(window))
    if groups == 1:
        return movement.transpose(w, perm=(*axes, n + 1, n))
    wide = out // groups
    apart = movement.reshape(w, shape=(*window, narrow, groups, wide))
    turned = movement.transpose(apart, perm=(*axes, n + 2, n + 1, n))
    return movement.reshape(turned, shape=(*window, wide, groups * narrow))


def _images_as_channels(x: Any, groups: int) -> Any:
    """Exchanges the batch axis and the channels, within each group: [in / groups, ..., batch]."""
    batch, *spatial, channels = x.shape
    n, axes = len(spatial), range(1, len(spatial) + 1)
    if groups == 1:
        return movement.transpose(x, perm=(n + 1, *axes, 0))
    narrow = channels // groups
    apart = movement.reshape(x, shape=(batch, *spatial, groups, narrow))
    turned = movement.transpose(apart, perm=(n + 2, *axes, n + 1, 0))
    return movement.reshape(turned, shape=(narrow, *spatial, groups * batch))


def _conv_grad_groups(g: Any, x: Any, w: Any, groups: int, **attributes: Any) -> Any:
    gxs, gws = [], []
    for i in range(groups):
        gi, xi, wi = (_group(t, i, groups) for t in (g, x, w))
        gx, gw = _conv_grad(gi, None, xi, wi, groups=1, **attributes)
        gxs.append(gx)
        gws.append(gw)
    axis = len(x.shape) - 1
    return movement.concat(*gxs, axis=axis), movement.concat(*gws, axis=axis)


def _group(t: Any, index: int, groups: int) -> Any:
    rank, size = len(t.shape), t.shape[-1] // groups
    return movement.slice_(
        t,
        starts=(*(0 for _ in range(rank - 1)), index * size),
        stops=(*(None for _ in range(rank - 1)), (index + 1) * size),
        strides=(1,) * rank,
    )


conv = Primitive(
    "conv", _conv_dtype, _conv_shape, _conv_ref, _conv_grad, "contraction", match=None,
    selective=True,
)  # fmt: skip
