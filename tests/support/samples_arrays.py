"""Samples of movement, indexing, reduction, cumulative, sorting and creation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from distflow.base import dtypes
from tests.support.records import (
    INEXACT,
    NUMERIC,
    REAL,
    Sample,
    distinct,
    given,
    normal,
    positions,
    uniform,
)

nan, inf = math.nan, math.inf


# -- expectations: loops over positions ----------------------------------------------------


def _build(shape: Any, like: Any, value: Callable[[Any], Any]) -> Any:
    """Returns the array whose element at each position is value(position)."""
    result = np.zeros(shape, like.dtype)
    for at in positions(shape):
        result[at] = value(at)
    return result


def _reshape(x: Any, *target: Any, shape: Any) -> Any:
    wanted = list(target[0]) if target else list(shape)
    if -1 in wanted:
        wanted[wanted.index(-1)] = x.size // -math.prod(wanted)
    values = list(x.reshape(-1))
    return np.asarray(values, x.dtype).reshape(tuple(int(d) for d in wanted))


def _transpose(x: Any, perm: Any) -> Any:
    shape = [x.shape[p] for p in perm]
    return _build(shape, x, lambda at: x[tuple(at[perm.index(i)] for i in range(x.ndim))])


def _broadcast_to(x: Any, *target: Any, shape: Any) -> Any:
    wanted = tuple(int(d) for d in (target[0] if target else shape))

    def value(at: Any) -> Any:
        own = at[len(wanted) - x.ndim :]
        return x[tuple(0 if d == 1 else i for i, d in zip(own, x.shape))]

    return _build(wanted, x, value)


def _unbroadcast(x: Any, target: Any, shape: Any) -> Any:
    wanted = tuple(int(d) for d in target)
    result = np.zeros(wanted, x.dtype)
    for at in positions(x.shape):
        own = at[x.ndim - len(wanted) :]
        result[tuple(0 if d == 1 else i for i, d in zip(own, wanted))] += x[at]
    return result


def _slice(x: Any, starts: Any, stops: Any, strides: Any) -> Any:
    rows = [list(range(d))[slice(*r)] for d, r in zip(x.shape, zip(starts, stops, strides))]
    return _build([len(r) for r in rows], x, lambda at: x[tuple(r[i] for r, i in zip(rows, at))])


def _pad(x: Any, value: Any, config: Any) -> Any:
    def lay(sequence: list[Any], low: int, high: int, interior: int) -> list[Any]:
        spread: list[Any] = []
        for i, item in enumerate(sequence):
            spread += [None] * interior * (i > 0) + [item]
        spread = [None] * low + spread if low >= 0 else spread[-low:]
        return spread + [None] * high if high >= 0 else spread[:high]

    rows = [lay(list(range(d)), *c) for d, c in zip(x.shape, config)]

    def at_position(at: Any) -> Any:
        source = tuple(r[i] for r, i in zip(rows, at))
        return value if None in source else x[source]

    return _build([len(r) for r in rows], x, at_position)


def _concat(*arrays: Any, axis: int) -> Any:
    pieces = [piece for a in arrays for piece in np.moveaxis(a, axis, 0)]
    rest = tuple(d for i, d in enumerate(arrays[0].shape) if i != axis)
    flat = np.asarray(pieces, arrays[0].dtype).reshape(len(pieces), *rest)
    return np.moveaxis(flat, 0, axis)


def _reverse(x: Any, axes: Any) -> Any:
    return _build(x.shape, x, lambda at: x[tuple(d - 1 - i if a in axes else i for a, (i, d) in
                                                 enumerate(zip(at, x.shape)))])  # fmt: skip


def _gather(x: Any, indices: Any, axis: int) -> Any:
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    n = indices.ndim
    return _build(
        shape, x, lambda at: x[(*at[:axis], indices[at[axis : axis + n]], *at[axis + n :])]
    )


def _scatter(mode: str) -> Callable[..., Any]:
    combine = {
        "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "max": max, "min": min,
        "update": lambda a, b: b,
    }[mode]  # fmt: skip

    def expected(x: Any, indices: Any, updates: Any, mode: str) -> Any:
        result = x.copy()
        depth = indices.shape[-1]
        for at in positions(indices.shape[:-1]):
            row = tuple(indices[at])
            for rest in positions(x.shape[depth:]):
                result[(*row, *rest)] = combine(result[(*row, *rest)], updates[(*at, *rest)])
        return result

    return expected


def _dynamic_slice(x: Any, starts: Any, *given_sizes: Any, sizes: Any) -> Any:
    wanted = given_sizes[0] if given_sizes else sizes
    return _build(wanted, x, lambda at: x[tuple(s + i for s, i in zip(starts, at))])


def _dynamic_update(x: Any, update: Any, starts: Any) -> Any:
    result = x.copy()
    for at in positions(update.shape):
        result[tuple(s + i for s, i in zip(starts, at))] = update[at]
    return result


def _reduce(combine: Callable[[list[Any]], Any]) -> Callable[..., Any]:
    def expected(x: Any, axes: Any) -> Any:
        groups: dict[Any, list[Any]] = {}
        kept = [i for i in range(x.ndim) if i not in axes]
        for at in positions(x.shape):
            groups.setdefault(tuple(at[i] for i in kept), []).append(x[at])
        return _build([x.shape[i] for i in kept], x, lambda at: combine(groups.get(at, [])))

    return expected


def _arg(pick: Callable[[list[Any]], Any]) -> Callable[..., Any]:
    def expected(x: Any, axis: int, dtype: Any) -> Any:
        lines = np.moveaxis(x, axis, -1)
        result = np.zeros(lines.shape[:-1], np.int64)
        for at in positions(result.shape):
            line = list(lines[at])
            result[at] = line.index(pick(line))
        return result

    return expected


def _cumulate(combine: Callable[[Any, Any], Any], first: int) -> Callable[..., Any]:
    def expected(x: Any, axis: int, exclusive: bool, reverse: bool) -> Any:
        result = np.zeros(x.shape, x.dtype)
        lines, out = np.moveaxis(x, axis, -1), np.moveaxis(result, axis, -1)
        for at in positions(lines.shape[:-1]):
            order = range(lines.shape[-1])
            total = x.dtype.type(first)
            for i in reversed(order) if reverse else order:
                after = combine(total, lines[at][i])
                out[at][i] = total if exclusive else after
                total = after
        return result

    return expected


def _sorted(x: Any, count: int, descending: bool) -> Any:
    values = np.zeros((*x.shape[:-1], count), x.dtype)
    order = np.zeros((*x.shape[:-1], count), np.int64)
    for at in positions(x.shape[:-1]):
        line = list(x[at])
        places = sorted(range(len(line)), key=lambda i: (-line[i] if descending else line[i], i))
        order[at] = places[:count]
        values[at] = [line[i] for i in places[:count]]
    return values, order


# -- samples -------------------------------------------------------------------------------

_T = given([3, 2], np.int32)
_CUMULATIVE = [
    {"axis": a, "exclusive": e, "reverse": r}
    for a, e, r in itertools.product((0, 1), (False, True), (False, True))
]
_INT32, _INT64 = dtypes.int32, dtypes.int64

MOVEMENT = [
    Sample("shape_of", (normal(2, 3),), lambda x, dtype: np.asarray([2, 3]), {"dtype": _INT32},
           dtypes=NUMERIC, differentiable=()),
    Sample("reshape", (normal(2, 3),), _reshape, {"shape": (3, 2)}, dtypes=NUMERIC),
    Sample("reshape", (normal(2, 6),), _reshape, {"shape": (2, -1, 3)}, label="infer"),
    Sample("reshape", (normal(2, 3), _T), _reshape, {"shape": (None, None)}, label="target",
           known=((), None)),
    Sample("reshape", (normal(0, 3),), _reshape, {"shape": (3, 0)}, label="empty"),
    Sample("transpose", (normal(2, 3, 4),), _transpose, {"perm": (2, 0, 1)}, dtypes=NUMERIC),
    Sample("transpose", (normal(),), _transpose, {"perm": ()}, label="scalar"),
    Sample("broadcast_to", (normal(3, 1),), _broadcast_to, {"shape": (2, 3, 4)}, dtypes=NUMERIC),
    Sample("broadcast_to", (normal(3, 1), given([2, 3, 4], np.int32)), _broadcast_to,
           {"shape": (None, 3, None)}, label="target", known=((), None)),
    Sample("broadcast_to", (normal(),), _broadcast_to, {"shape": (2, 0)}, label="empty"),
    Sample("unbroadcast", (normal(2, 3, 4), given([3, 1], np.int32)), _unbroadcast,
           {"shape": (None, 1)}, dtypes=NUMERIC, known=((), None)),
    Sample("unbroadcast", (normal(2, 3), given([2, 3], np.int32)), _unbroadcast,
           {"shape": (None, None)}, label="equal", known=((), None)),
    Sample("slice", (normal(5, 4),), _slice,
           {"starts": (1, 0), "stops": (4, None), "strides": (2, 1)}, dtypes=NUMERIC),
    Sample("slice", (normal(7, 4),), _slice,
           {"starts": (-6, 1), "stops": (-1, 4), "strides": (3, 2)}, label="negative"),
    Sample("slice", (normal(5, 4),), _slice,
           {"starts": (3, 0), "stops": (3, None), "strides": (1, 1)}, label="empty"),
    Sample("slice", (normal(5, 4),), _slice,
           {"starts": (2, 0), "stops": (None, -1), "strides": (1, 1)}, label="open"),
    Sample("pad", (normal(2, 3), normal()), _pad, {"config": ((1, 2, 0), (0, 1, 2))},
           dtypes=NUMERIC),
    Sample("pad", (normal(4, 3), normal()), _pad, {"config": ((-1, 2, 0), (2, -1, 0))},
           label="crop"),
    Sample("pad", (normal(4, 3), normal()), _pad, {"config": ((-2, -1, 1), (0, -2, 2))},
           label="crop-interior"),
    Sample("pad", (normal(0, 3), normal()), _pad, {"config": ((1, 1, 1), (0, 0, 0))},
           label="empty"),
    Sample("concat", (normal(2, 3), normal(1, 3), normal(0, 3)), _concat, {"axis": 0},
           dtypes=NUMERIC),
    Sample("concat", (normal(2, 3), normal(2, 1)), _concat, {"axis": 1}, label="last"),
    Sample("after", (normal(2, 3), normal(4)), lambda x, other: x, dtypes=NUMERIC),
    Sample("reverse", (normal(2, 3, 2),), _reverse, {"axes": (0, 2)}, dtypes=NUMERIC),
    Sample("reverse", (normal(2, 0),), _reverse, {"axes": (1,)}, label="empty"),
]  # fmt: skip

_TWICE = given([[0], [2], [0]], np.int32)
INDEXING = [
    Sample("gather", (normal(4, 3), given([2, 0, 2], np.int32)), _gather, {"axis": 0},
           dtypes=NUMERIC),
    Sample("gather", (normal(2, 4, 3), given([[1, 3], [0, 1]], np.int64)), _gather, {"axis": 1},
           label="middle"),
    Sample("gather", (normal(2, 4), given(1, np.int32)), _gather, {"axis": 1}, label="scalar"),
    Sample("gather", (normal(2, 4), given(np.zeros((0,)), np.int32)), _gather, {"axis": 1},
           label="empty"),
    *[
        Sample("scatter", (normal(4, 3), _TWICE, normal(3, 3)), _scatter(mode), {"mode": mode},
               dtypes=REAL, label=mode, known=((), (1,)))
        for mode in ("add", "sub")
    ],
    Sample("scatter", (normal(4, 3), given([[3], [1]], np.int32), normal(2, 3)),
           _scatter("update"), {"mode": "update"}, dtypes=NUMERIC, known=((), (1,))),
    *[
        Sample("scatter", (normal(4, 3), _TWICE, normal(3, 3)), _scatter(mode), {"mode": mode},
               dtypes=REAL, label=mode, differentiable=(), known=((), (1,)))
        for mode in ("max", "min")
    ],
    Sample("scatter", (normal(4, 3), given([[3, 0], [1, 2]], np.int64), normal(2)),
           _scatter("add"), {"mode": "add"}, label="elements", known=((), (1,))),
    Sample("dynamic_slice", (normal(5, 4), given([1, 2], np.int32)), _dynamic_slice,
           {"sizes": (3, 2)}, dtypes=NUMERIC),
    Sample("dynamic_slice", (normal(5, 4), given([1, 2], np.int32), given([3, 2], np.int32)),
           _dynamic_slice, {"sizes": (None, 2)}, label="sizes", known=((), None, None)),
    Sample("dynamic_update_slice", (normal(5, 4), normal(3, 2), given([1, 2], np.int64)),
           _dynamic_update, dtypes=NUMERIC),
]  # fmt: skip

REDUCTION = [
    *[
        Sample(op, (draw,), _reduce(combine), {"axes": axes}, dtypes=kinds, label=str(axes))
        for op, draw, combine, kinds in (
            ("reduce_sum", normal(2, 3, 4), sum, NUMERIC),
            ("reduce_prod", uniform(0.5, 1.5, 2, 3, 4), math.prod, INEXACT),
            ("reduce_max", distinct(2, 3, 4), max, REAL),
            ("reduce_min", distinct(2, 3, 4), min, REAL),
        )
        for axes in ((0,), (2,), (0, 2), (0, 1, 2), ())
    ],
    Sample("reduce_prod", (given([[0.0, 2, 3], [0, 0, 1]]),), _reduce(math.prod), {"axes": (1,)},
           dtypes=("float64",), label="zeros", orders=1),
    *[
        Sample(op, (distinct(2, 3, 4),), _arg(pick), {"axis": axis, "dtype": _INT64}, dtypes=REAL,
               differentiable=(), label=str(axis))
        for op, pick in (("argmax", max), ("argmin", min)) for axis in (0, 1, 2)
    ],
    *[
        Sample(op, (draw,), _cumulate(combine, first), attributes, dtypes=INEXACT,
               label=f"{attributes['axis']}{'-exclusive' * attributes['exclusive']}"
                     f"{'-reverse' * attributes['reverse']}")
        for op, draw, combine, first in (
            ("cumsum", normal(3, 4), lambda a, b: a + b, 0),
            ("cumprod", uniform(0.5, 1.5, 3, 4), lambda a, b: a * b, 1),
        )
        for attributes in _CUMULATIVE
    ],
    Sample("cumsum", (normal(3, 0),), _cumulate(lambda a, b: a + b, 0),
           {"axis": 1, "exclusive": True, "reverse": False}, label="empty"),
]  # fmt: skip

SORTING = [
    *[
        Sample("sort", (distinct(2, 5),),
               lambda x, descending: _sorted(x, x.shape[-1], descending),
               {"descending": descending}, dtypes=REAL, label=f"{descending}")
        for descending in (False, True)
    ],
    Sample("sort", (distinct(2, 0),), lambda x, descending: _sorted(x, 0, descending),
           {"descending": True}, label="empty"),
    Sample("top_k", (distinct(2, 2, 5),), lambda x, k: _sorted(x, k, True), {"k": 3}, dtypes=REAL),
    Sample("top_k", (distinct(2, 5),), lambda x, k: _sorted(x, k, True), {"k": 0}, label="none"),
]  # fmt: skip


def _philox(key: Any, stream: Any, *target: Any, shape: Any) -> Any:
    """Philox 4x32-10 on Python integers, straight from the paper."""
    words: list[int] = []
    count = math.prod(int(d) for d in (target[0] if target else shape))
    for block in range(-(-count // 4)):
        c = [block & 0xFFFFFFFF, block >> 32, int(stream[0]), int(stream[1])]
        k = [int(key[0]), int(key[1])]
        for _ in range(10):
            p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
            c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1],
                 p0 & 0xFFFFFFFF]  # fmt: skip
            k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
        words += c
    return np.asarray(words[:count], np.int64).reshape(tuple(target[0]) if target else shape)


_KEY, _STREAM = given([7, 2**32 - 1], np.uint32), given([3, 9], np.uint32)
CREATION = [
    Sample("constant", (), lambda value: value, {"value": np.asarray([1.5, 2], np.float32)}),
    Sample("iota", (), lambda dtype, length: np.arange(5.0), {"dtype": dtypes.float32,
                                                             "length": 5}),
    Sample("iota", (given(4, np.int32),), lambda n, dtype, length: np.arange(4),
           {"dtype": _INT64, "length": None}, label="input"),
    Sample("random_bits", (_KEY, _STREAM), _philox, {"shape": (3, 5)}, known=(None, None)),
    Sample("random_bits", (_KEY, _STREAM, given([2, 3], np.int32)), _philox,
           {"shape": (None, 3)}, label="target", known=(None, None, None)),
]  # fmt: skip

SAMPLES = [*MOVEMENT, *INDEXING, *REDUCTION, *SORTING, *CREATION]
