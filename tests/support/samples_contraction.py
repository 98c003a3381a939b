"""Samples of contraction (dot_general, conv) and window (pooling), by explicit loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distflow.base import dtypes
from distflow.base.errors import DtypeMismatchError, InvalidArgumentError
from tests.support.records import (
    NUMERIC,
    REAL,
    BadInput,
    Extreme,
    Sample,
    distinct,
    normal,
    positions,
)

# -- expectations --------------------------------------------------------------------------


def _dot(a: Any, b: Any, contract: Any, batch: Any) -> Any:
    free_a = [i for i in range(a.ndim) if i not in (*contract[0], *batch[0])]
    free_b = [j for j in range(b.ndim) if j not in (*contract[1], *batch[1])]
    sizes = (
        [a.shape[i] for i in batch[0]],
        [a.shape[i] for i in free_a],
        [b.shape[j] for j in free_b],
    )
    result = np.zeros([d for part in sizes for d in part], np.result_type(a, b))
    inner = [a.shape[i] for i in contract[0]]
    for lead in positions(sizes[0]):
        for i, j in ((i, j) for i in positions(sizes[1]) for j in positions(sizes[2])):
            for k in positions(inner):
                at_a = dict(zip((*batch[0], *free_a, *contract[0]), (*lead, *i, *k)))
                at_b = dict(zip((*batch[1], *free_b, *contract[1]), (*lead, *j, *k)))
                result[(*lead, *i, *j)] += (
                    a[tuple(at_a[n] for n in range(a.ndim))]
                    * b[tuple(at_b[n] for n in range(b.ndim))]
                )
    return result


def _pads(size: int, window: int, stride: int, padding: Any, axis: int) -> tuple[int, int]:
    if padding == "VALID":
        return 0, 0
    if padding != "SAME":
        return padding[axis]
    total = max((math.ceil(size / stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def _conv(x: Any, w: Any, strides: Any, padding: Any, lhs_dilation: Any, rhs_dilation: Any,
          groups: int) -> Any:  # fmt: skip
    n = len(strides)
    sizes = [(d - 1) * a + 1 for d, a in zip(x.shape[1:-1], lhs_dilation)]
    spans = [(k - 1) * a + 1 for k, a in zip(w.shape, rhs_dilation)]
    pads = [_pads(sizes[i], spans[i], strides[i], padding, i) for i in range(n)]
    out = [(sizes[i] + sum(pads[i]) - spans[i]) // strides[i] + 1 for i in range(n)]
    result = np.zeros((x.shape[0], *out, w.shape[-1]), np.result_type(x, w))
    per_group = w.shape[-1] // groups
    for at in positions(result.shape):
        first = at[-1] // per_group * w.shape[-2]
        for k in positions(w.shape[:-1]):
            place = [at[1 + i] * strides[i] + k[i] * rhs_dilation[i] - pads[i][0] for i in range(n)]
            if any(p % a or not 0 <= p // a < d for p, a, d in zip(place, lhs_dilation,
                                                                   x.shape[1:-1])):  # fmt: skip
                continue
            source = [p // a for p, a in zip(place, lhs_dilation)]
            result[at] += x[(at[0], *source, first + k[-1])] * w[(*k, at[-1])]
    return result


def _windows(x: Any, window: Any, strides: Any, padding: Any, dilation: Any = None) -> Any:
    """Yields (output position, input positions of its window)."""
    dilation = dilation or (1,) * x.ndim
    sizes = [(d - 1) * a + 1 for d, a in zip(x.shape, dilation)]
    pads = [_pads(d, k, s, padding, i) for i, (d, k, s) in enumerate(zip(sizes, window, strides))]
    out = [(d + sum(p) - k) // s + 1 for d, p, k, s in zip(sizes, pads, window, strides)]
    for at in positions(out):
        inside = []
        for k in positions(window):
            place = [a * s + i - p[0] for a, s, i, p in zip(at, strides, k, pads)]
            if all(p % a == 0 and 0 <= p // a < d for p, a, d in zip(place, dilation, x.shape)):
                inside.append(tuple(p // a for p, a in zip(place, dilation)))
        yield at, inside, out


def _pool(combine: Any) -> Any:
    def expected(x: Any, **attributes: Any) -> Any:
        result = None
        for at, inside, out in _windows(x, **attributes):
            result = np.zeros(out, x.dtype) if result is None else result
            result[at] = combine([x[i] for i in inside])
        return result

    return expected


def _select_and_scatter(x: Any, g: Any, **attributes: Any) -> Any:
    result = np.zeros(x.shape, x.dtype)
    for at, inside, _ in _windows(x, **attributes):
        values = [x[i] for i in inside]
        result[inside[values.index(max(values))]] += g[at]
    return result


# -- samples -------------------------------------------------------------------------------


def _dot_sample(label: str, a: Any, b: Any, contract: Any, batch: Any = ((), ()),
                kinds: tuple[str, ...] = ("float64",)) -> Sample:  # fmt: skip
    attributes = {"contract": contract, "batch": batch}
    return Sample("dot_general", (normal(*a), normal(*b)), _dot, attributes, kinds, label=label)


def _conv_sample(label: str, x: Any, w: Any, *, strides: Any, padding: Any = "VALID",
                 lhs: Any = None, rhs: Any = None, groups: int = 1,
                 kinds: tuple[str, ...] = ("float64",)) -> list[Sample]:  # fmt: skip
    """One sample where a trace knows as little as may be, one where it knows all but the batch."""
    n = len(strides)
    attributes = {
        "strides": strides, "padding": padding, "lhs_dilation": lhs or (1,) * n,
        "rhs_dilation": rhs or (1,) * n, "groups": groups,
    }  # fmt: skip
    # Sizes along which windows stride must be known for the gradient; so must the channels.
    spatial = tuple(i + 1 for i, s in enumerate(strides) if s != 1)
    inputs = (normal(*x), normal(*w))
    return [
        Sample("conv", inputs, _conv, attributes, kinds, label=label,
               known=((*spatial, n + 1), None), traced_orders=1),
        Sample("conv", inputs, _conv, attributes, ("float64",), label=f"{label}-batch",
               known=(tuple(range(1, n + 2)), None)),
    ]  # fmt: skip


_POOLS = {
    "valid": ((2, 5, 6, 2), (1, 2, 3, 1), (1, 2, 2, 1), "VALID"),
    "same": ((1, 5, 6, 2), (1, 3, 3, 1), (1, 2, 2, 1), "SAME"),
    "dense": ((1, 4, 5, 1), (1, 2, 3, 1), (1, 1, 1, 1), "SAME"),
    "explicit": ((1, 5), (1, 3), (1, 2), ((0, 0), (2, 1))),
    "gaps": ((1, 7), (1, 2), (1, 3), "VALID"),
}


def _pool_attributes(window: Any, strides: Any, padding: Any, **more: Any) -> dict[str, Any]:
    return {"window": window, "strides": strides, "padding": padding, **more}


def _known(strides: Any) -> tuple[int, ...]:
    return tuple(i for i, s in enumerate(strides) if s != 1)


def _pool_samples() -> list[Sample]:
    samples = []
    for label, (shape, window, strides, padding) in _POOLS.items():
        attributes = _pool_attributes(window, strides, padding)
        kinds = REAL if label == "same" else ("float64",)
        known = (_known(strides),)
        samples += [
            Sample("reduce_window_max", (distinct(*shape),), _pool(max), attributes, kinds,
                   label=label, known=known),
            Sample("reduce_window_sum", (normal(*shape),), _pool(sum),
                   {**attributes, "dilation": (1,) * len(shape)},
                   NUMERIC if label == "same" else ("float64",), label=label, known=known),
            Sample("select_and_scatter_add", (distinct(*shape), normal(*_out(shape, attributes))),
                   _select_and_scatter, attributes, kinds, label=label, differentiable=(1,),
                   known=(known[0], known[0])),
        ]  # fmt: skip
    samples.append(
        Sample("reduce_window_sum", (normal(2, 4),), _pool(sum),
               _pool_attributes((1, 3), (1, 2), ((0, 0), (1, 2)), dilation=(1, 3)), ("float64",),
               label="dilated", known=((1,),))
    )  # fmt: skip
    return samples


def _out(shape: Any, attributes: dict[str, Any]) -> Any:
    return next(_windows(np.zeros(shape), **attributes))[2]


SAMPLES = [
    _dot_sample("matrix", (3, 4), (4, 2), ((1,), (0,)), kinds=NUMERIC),
    _dot_sample("transposed", (4, 3), (2, 4), ((0,), (1,))),
    _dot_sample("batch", (2, 3, 4), (2, 4, 5), ((2,), (1,)), ((0,), (0,)), kinds=NUMERIC),
    _dot_sample("two", (2, 3, 4), (4, 5, 2), ((2, 0), (0, 2))),
    _dot_sample("outer", (3,), (2,), ((), ())),
    _dot_sample("inner", (3,), (3,), ((0,), (0,))),
    _dot_sample("late-batch", (3, 2, 4), (4, 5, 2), ((2,), (0,)), ((1,), (2,))),
    _dot_sample("empty", (2, 0), (0, 3), ((1,), (0,))),
    *_conv_sample("1d", (2, 5, 2), (3, 2, 3), strides=(1,), kinds=NUMERIC),
    *_conv_sample("same", (1, 5, 4, 2), (3, 2, 2, 3), strides=(2, 1), padding="SAME"),
    *_conv_sample("same-strided", (1, 6, 5, 1), (3, 3, 1, 2), strides=(2, 3), padding="SAME"),
    *_conv_sample("valid-left", (1, 8, 1), (3, 1, 1), strides=(3,)),
    *_conv_sample("dilated", (1, 7, 6, 1), (2, 3, 1, 2), strides=(1, 1), rhs=(3, 2)),
    *_conv_sample("dilated-same", (1, 7, 2), (3, 2, 2), strides=(2,), rhs=(2,), padding="SAME"),
    *_conv_sample("spread", (1, 4, 3, 2), (3, 2, 2, 1), strides=(1, 1), lhs=(2, 3),
                 padding=((1, 2), (0, 1))),
    *_conv_sample("spread-strided", (1, 4, 1), (3, 1, 1), strides=(2,), lhs=(3,),
                 padding=((2, 2),)),
    *_conv_sample("cropped", (1, 7, 1), (2, 1, 1), strides=(1,), padding=((-1, -2),)),
    *_conv_sample("groups", (2, 4, 4), (2, 2, 6), strides=(1,), groups=2),
    *_conv_sample("depthwise", (1, 4, 4, 3), (2, 2, 1, 6), strides=(2, 2), groups=3),
    *_conv_sample("3d", (1, 3, 4, 3, 2), (2, 2, 2, 2, 1), strides=(1, 2, 1), padding="SAME"),
    *_conv_sample("unit", (1, 3, 3, 2), (1, 1, 2, 2), strides=(1, 1)),
    *_pool_samples(),
]  # fmt: skip


def _f(*values: Any) -> Any:
    return np.asarray(values, np.float32)


_MAX = _pool_attributes((2,), (2,), "VALID")
_CONV = {
    "strides": (1,), "padding": "VALID", "lhs_dilation": (1,), "rhs_dilation": (1,), "groups": 1,
}  # fmt: skip
_M = {"contract": ((1,), (0,)), "batch": ((), ())}
_MANY = np.full((1, 4096), 1, dtypes.bfloat16.numpy)
nan, inf = math.nan, math.inf

EXTREMES = [
    Extreme("dot_general", (_f([inf, 1]), _f([0], [1])), _f([nan]), _M),
    Extreme("dot_general", (np.zeros((2, 0), np.float32), np.zeros((0, 2), np.float32)),
            np.zeros((2, 2), np.float32), _M),
    Extreme("dot_general", (_MANY, _MANY.T), np.asarray([[4096]], _MANY.dtype), _M),
    Extreme("dot_general", (np.full((1, 2), 100, np.int8), np.full((2, 1), 2, np.int8)),
            np.asarray([[-112]], np.int8), _M),
    Extreme("conv", (np.zeros((0, 3, 1), np.float32), np.ones((2, 1, 4), np.float32)),
            np.zeros((0, 2, 4), np.float32), _CONV),
    Extreme("conv", (_f([[nan], [1], [2]]), np.ones((2, 1, 1), np.float32)), _f([[nan], [3]]),
            _CONV),
    Extreme("reduce_window_max", (_f(nan, 1, -inf, -inf),), _f(nan, -inf), _MAX),
    Extreme("reduce_window_max", (np.asarray([-5, -3], np.int32),), np.asarray([-3], np.int32),
            _pool_attributes((4,), (4,), "SAME")),
    Extreme("reduce_window_sum", (_f(inf, -inf),), _f(nan), {**_MAX, "dilation": (1,)}),
    # The first of equal maxima takes all.
    Extreme("select_and_scatter_add", (_f(3, 3, 1, 1), _f(5, 7)), _f(5, 0, 7, 0), _MAX),
]  # fmt: skip

_BAD, _TYPE = InvalidArgumentError, DtypeMismatchError
_X = np.ones((2, 4, 3), np.float32)
_W = np.ones((2, 3, 5), np.float32)

ERRORS = [
    BadInput("dot_general", (np.ones((3, 4)), np.ones((3, 4))), _BAD,
             "matmul: inner dimensions must agree; received a: [3, 4], b: [3, 4].\nDid you mean "
             "matmul(a, b, transpose_b=True)?", _M),
    BadInput("dot_general", (np.ones((2, 3, 4)), np.ones((3, 4, 4))), _BAD, "batch dimensions must",
             {"contract": ((2,), (1,)), "batch": ((0,), (0,))}),
    BadInput("dot_general", (np.ones((3, 4)), np.ones((4, 4), np.float32)), _TYPE,
             "matmul: operands must have one dtype; received float64 and float32", _M),
    BadInput("dot_general", (np.ones((1, 1), bool),) * 2, _TYPE, "matmul: expected a dtype", _M),
    BadInput("conv", (_X[0], _W), _BAD, "input and filter must have rank 3", _CONV),
    BadInput("conv", (_X, np.ones((2, 4, 5), np.float32)), _BAD, "channels must be 4", _CONV),
    BadInput("conv", (_X, np.ones((5, 3, 5), np.float32)), _BAD, "must fit into", _CONV),
    BadInput("conv", (_X, _W.astype(np.float64)), _TYPE, "conv: operands must have one", _CONV),
    BadInput("conv", (_X, np.ones((2, 1, 4), np.float32)), _BAD, "channels must be 3",
             {**_CONV, "groups": 3}),
    *[
        BadInput(op, (_f(1, 2, 3),), _BAD, "for each of 1 dimensions",
                 _pool_attributes((2, 2), (1, 1), "VALID", **more))
        for op, more in (("reduce_window_max", {}), ("reduce_window_sum", {"dilation": (1,)}))
    ],
    BadInput("reduce_window_max", (_f(1),), _BAD, "must fit into the padded input", _MAX),
    BadInput("reduce_window_max", (np.ones(2, np.complex64),), _TYPE, "expected a dtype", _MAX),
    BadInput("reduce_window_sum", (np.ones(2, bool),), _TYPE, "expected a dtype",
             {**_MAX, "dilation": (1,)}),
    BadInput("select_and_scatter_add", (_f(1, 2), _f(1, 2)), _BAD,
             "select_and_scatter_add: shape must be [1]; received [2]", _MAX),
    BadInput("select_and_scatter_add", (_f(1, 2), np.ones(1)), _TYPE, "must have one dtype", _MAX),
]  # fmt: skip
