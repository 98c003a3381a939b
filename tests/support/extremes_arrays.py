"""Special values and bad input of movement, indexing, reduction, sorting and creation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distflow.base import dtypes
from distflow.base.errors import DtypeMismatchError, InvalidArgumentError
from tests.support.records import BadInput, Extreme

nan, inf = math.nan, math.inf
_INT32, _INT64 = dtypes.int32, dtypes.int64


def _f(*values: Any) -> Any:
    return np.asarray(values, np.float32)


def _i(*values: Any) -> Any:
    return np.asarray(values, np.int32)


_EMPTY = np.zeros((0, 2), np.float32)
_AXIS0 = {"axes": (0,)}
_CUM = {"axis": 0, "exclusive": False, "reverse": False}

EXTREMES = [
    Extreme("reduce_sum", (_EMPTY,), _f(0, 0), _AXIS0),
    Extreme("reduce_prod", (_EMPTY,), _f(1, 1), _AXIS0),
    Extreme("reduce_max", (_EMPTY,), _f(-inf, -inf), _AXIS0),
    Extreme("reduce_min", (_EMPTY,), _f(inf, inf), _AXIS0),
    Extreme("reduce_max", (_EMPTY.astype(np.int32),), _i(-(2**31), -(2**31)), _AXIS0),
    Extreme("reduce_min", (_EMPTY.astype(np.uint8),), np.full(2, 255, np.uint8), _AXIS0),
    Extreme("reduce_sum", (_f(inf, -inf),), np.float32(nan), _AXIS0),
    Extreme("reduce_sum", (_f(nan, 1),), np.float32(nan), _AXIS0),
    Extreme("reduce_max", (_f(1, nan, 3),), np.float32(nan), _AXIS0),
    Extreme("reduce_min", (_f(1, nan, 3),), np.float32(nan), _AXIS0),
    Extreme("reduce_sum", (np.full(300, 1, np.int8),), np.int8(44), _AXIS0),
    # 16-bit sums are accumulated in 32 bits: 4096 ones are 4096, not stuck at 2048 or 256.
    Extreme("reduce_sum", (np.full(4096, 1, np.float16),), np.float16(4096), _AXIS0),
    Extreme("reduce_sum", (np.full(4096, 1, dtypes.bfloat16.numpy),),
            np.asarray(4096, dtypes.bfloat16.numpy), _AXIS0),
    Extreme("argmax", (_f(1, 3, 3),), np.int64(1), {"axis": 0, "dtype": _INT64}),
    Extreme("argmin", (_f(1, 0, 0),), np.int32(1), {"axis": 0, "dtype": _INT32}),
    Extreme("argmax", (np.asarray([False, True, True]),), np.int64(1),
            {"axis": 0, "dtype": _INT64}),
    Extreme("cumsum", (_f(inf, -inf, 1),), _f(inf, nan, nan), _CUM),
    Extreme("cumprod", (_f(2, 0, inf),), _f(2, 0, nan), _CUM),
    Extreme("sort", (_f(nan, 1, -1),), (_f(-1, 1, nan), _i(2, 1, 0)), {"descending": False}),
    Extreme("sort", (_f(nan, 1, -1),), (_f(nan, 1, -1), _i(0, 1, 2)), {"descending": True}),
    Extreme("sort", (_f(1, 0, 1, 0),), (_f(1, 1, 0, 0), _i(0, 2, 1, 3)), {"descending": True}),
    Extreme("top_k", (_f(3, 1, 3),), (_f(3, 3), _i(0, 2)), {"k": 2}),
    Extreme("gather", (np.zeros((0, 2), np.float32), np.zeros(0, np.int32)),
            np.zeros((0, 2), np.float32), {"axis": 0}),
    Extreme("scatter", (_f(1, 2), np.zeros((0, 1), np.int32), np.zeros(0, np.float32)), _f(1, 2),
            {"mode": "add"}),
    Extreme("scatter", (_f(0), np.zeros((3, 1), np.int32), _f(1, 2, 3)), _f(3),
            {"mode": "update"}),
    Extreme("reverse", (np.asarray([b"a", b"b"], object),), np.asarray([b"b", b"a"], object),
            {"axes": (0,)}),
    Extreme("concat", (_f(1), np.zeros(0, np.float32)), _f(1), {"axis": 0}),
    Extreme("pad", (_f(nan), np.float32(-0.0)), _f(-0.0, nan, -0.0), {"config": ((1, 1, 0),)}),
    Extreme("iota", (), np.zeros(0, np.int32), {"dtype": _INT32, "length": 0}),
    Extreme("random_bits", (np.zeros(2, np.uint32), np.zeros(2, np.uint32)),
            # The published test vector of Philox 4x32-10 for counter 0 and key 0.
            np.asarray([0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8], np.uint32),
            {"shape": (4,)}),
]  # fmt: skip

_M = np.ones((2, 3), np.float32)
_BAD, _TYPE = InvalidArgumentError, DtypeMismatchError
_ROW = {"starts": (0,), "stops": (1,), "strides": (1,)}
_KEY = np.zeros(2, np.uint32)

ERRORS = [
    BadInput("reshape", (_M,), _BAD, r"same number of elements as [2, 3] (6)", {"shape": (4,)}),
    BadInput("reshape", (_M,), _BAD, "same number of elements", {"shape": (4, -1)}),
    BadInput("reshape", (_M,), _BAD, "at most one dimension may be -1", {"shape": (-1, -1)}),
    BadInput("reshape", (_M, _f(6)), _TYPE, "reshape: expected a dtype", {"shape": (None,)}),
    BadInput("reshape", (_M, _i(7)), _BAD, "same number of elements", {"shape": (None,)}),
    BadInput("transpose", (_M,), _BAD, "permutation of 0..1", {"perm": (0, 0)}),
    BadInput("transpose", (_M,), _BAD, "permutation of 0..1", {"perm": (0,)}),
    BadInput("broadcast_to", (_M,), _BAD, "[2, 3] must broadcast", {"shape": (2, 4)}),
    BadInput("broadcast_to", (_M,), _BAD, "[2, 3] must broadcast", {"shape": (3,)}),
    BadInput("broadcast_to", (_M, _i(2, 5)), _BAD, "must broadcast", {"shape": (None, None)}),
    BadInput("unbroadcast", (_M, _i(2, 2)), _BAD, "[2, 2] must broadcast to [2, 3]",
             {"shape": (None, None)}),
    BadInput("unbroadcast", (_M, _i(1, 2, 3)), _BAD, "the rank must be at most 2",
             {"shape": (None, None, None)}),
    BadInput("slice", (_M,), _BAD, "for each of 2 dimensions", _ROW),
    BadInput("slice", (_M,), _BAD, "stride >= 1",
             {"starts": (0, 0), "stops": (1, 1), "strides": (1, -1)}),
    BadInput("pad", (_M, np.float32(0)), _BAD, "for each of 2 dimensions",
             {"config": ((0, 0, 0),)}),
    BadInput("pad", (_M, _f(0, 0)), _BAD, "must be a scalar", {"config": ((0, 0, 0),) * 2}),
    BadInput("pad", (_M, np.float32(0)), _BAD, "sizes >= 0", {"config": ((-2, -1, 0), (0, 0, 0))}),
    BadInput("pad", (_M, np.int32(0)), _TYPE, "pad: operands must have one dtype",
             {"config": ((0, 0, 0),) * 2}),
    BadInput("concat", (_M, np.ones((2, 2), np.float32)), _BAD, "agree except on axis 0",
             {"axis": 0}),
    BadInput("concat", (_M, _f(1)), _BAD, "agree except on axis", {"axis": 0}),
    BadInput("concat", (_M, _M.astype(np.int32)), _TYPE, "concat: operands", {"axis": 0}),
    BadInput("concat", (_M, _M), _BAD, "axis must be in [0, 2)", {"axis": 2}),
    BadInput("concat", (), _BAD, "at least one tensor", {"axis": 0}),
    BadInput("reverse", (_M,), _BAD, "axis must be in [0, 2)", {"axes": (2,)}),
    BadInput("gather", (_M, _i(2)), _BAD, "indices must be in [0, 2); received 2",
             {"axis": 0}),
    BadInput("gather", (_M, _i(-1)), _BAD, "[0, 2); received -1", {"axis": 0}),
    BadInput("gather", (_M, _f(0)), _TYPE, "gather: expected a dtype among int8", {"axis": 0}),
    BadInput("gather", (_M, _i(0)), _BAD, "axis must be in [0, 2)", {"axis": 2}),
    BadInput("scatter", (_M, _i([5]), np.ones((1, 3), np.float32)), _BAD, "in [0, 2)",
             {"mode": "add"}),
    BadInput("scatter", (_M, _i([0]), np.ones((1, 2), np.float32)), _BAD,
             "scatter: updates: shape must be [1, 3]; received [1, 2]", {"mode": "add"}),
    BadInput("scatter", (_M, _i([0, 0, 0]), _f(1)), _BAD, "known and <= 2", {"mode": "add"}),
    BadInput("scatter", (_M, _i([0]), np.ones((1, 3), np.int32)), _TYPE, "scatter: operands",
             {"mode": "add"}),
    BadInput("scatter", (_M, _i([0]), np.ones((1, 3), np.float32)), _BAD, "mode must be one of",
             {"mode": "mul"}),
    BadInput("dynamic_slice", (_M, _i(1, 1)), _BAD, "start + size <= 2; received 1 + 2",
             {"sizes": (2, 1)}),
    BadInput("dynamic_slice", (_M, _i(0)), _BAD, "for each of 2 dimensions", {"sizes": (1, 1)}),
    BadInput("dynamic_slice", (_M, _f(0, 0)), _TYPE, "dynamic_slice: expected a dtype among",
             {"sizes": (1, 1)}),
    BadInput("dynamic_update_slice", (_M, _M, _i(0, 1)), _BAD, "received 1 + 3"),
    BadInput("dynamic_update_slice", (_M, _f(1), _i(0, 0)), _BAD, "an update of rank 2"),
    BadInput("dynamic_update_slice", (_M, _M, _f(0, 0)), _TYPE, "expected a dtype among int8"),
    *[
        BadInput(op, (_M,), _BAD, f"{op}: axis must be in [0, 2)", {"axes": (2,)})
        for op in ("reduce_sum", "reduce_prod", "reduce_max", "reduce_min")
    ],
    *[
        BadInput(op, (np.asarray([b"a"], object),), _TYPE, f"{op}: expected a dtype among",
                 {"axes": (0,)})
        for op in ("reduce_sum", "reduce_prod", "reduce_max", "reduce_min")
    ],
    *[
        BadInput(op, (np.ones((0, 2), np.float32),), _BAD, f"{op}: axis 0 must not be empty",
                 {"axis": 0, "dtype": _INT64})
        for op in ("argmax", "argmin")
    ],
    BadInput("argmax", (_M,), _BAD, "axis must be in [0, 2)", {"axis": 3, "dtype": _INT64}),
    BadInput("argmax", (_M,), _TYPE, "argmax: expected a dtype", {"axis": 0,
                                                                "dtype": dtypes.float32}),
    BadInput("cumsum", (_M,), _BAD, "cumsum: axis must be in [0, 2)", {**_CUM, "axis": 2}),
    BadInput("cumprod", (np.ones(2, bool),), _TYPE, "cumprod: expected a dtype", _CUM),
    BadInput("sort", (np.float32(1),), _BAD, "at least one dimension", {"descending": False}),
    BadInput("sort", (np.ones(1, np.complex64),), _TYPE, "sort: expected a dtype",
             {"descending": False}),
    BadInput("top_k", (_M,), _BAD, "k must be in [0, 3]; received k=4", {"k": 4}),
    BadInput("iota", (), _TYPE, "iota: expected a dtype", {"dtype": dtypes.bool_, "length": 3}),
    BadInput("iota", (), _BAD, "iota: the length must be >= 0", {"dtype": _INT32, "length": -1}),
    BadInput("random_bits", (np.zeros(2, np.int32), _KEY), _TYPE, "expected key of dtype uint32",
             {"shape": (1,)}),
    BadInput("random_bits", (np.zeros(3, np.uint32), _KEY), _BAD, "must have shape [2]",
             {"shape": (1,)}),
]  # fmt: skip
