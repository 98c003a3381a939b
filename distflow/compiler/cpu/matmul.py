"""dot_general on the microkernel: any transposition by strides, batch axes, 16-bit by float32.

The order of additions follows the contracted axes as the attributes list them, whatever the
layout, the number of rows or the target.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from distflow.compiler.cpu import contract, jit
from distflow.compiler.cpu.microkernel import Axis, collapse
from distflow.compiler.cpu.packing import Step, emit_copy

Pair = tuple[tuple[int, ...], tuple[int, ...]]


def prepare(
    attributes: dict[str, Any], shapes: Sequence[tuple[int, ...]], dtypes: Sequence[Any]
) -> Callable[[Sequence[np.ndarray]], np.ndarray] | None:
    """Returns the kernel of a dot_general, or None for dtypes without one (integers, complex)."""
    dtype = np.dtype(dtypes[0])
    compute = computed_in(dtype)
    if compute is None:
        return None
    order = _order(len(shapes[0]), len(shapes[1]), attributes["contract"], attributes["batch"])
    batch, free_a, free_b, inner = order
    a_shape, b_shape = shapes
    out = (*(a_shape[i] for i, _ in batch), *(a_shape[i] for i in free_a),
           *(b_shape[j] for j in free_b))  # fmt: skip
    if not math.prod(out) or not all(a_shape[i] for i, _ in inner):
        return lambda arrays: np.zeros(out, dtype)

    @functools.lru_cache(maxsize=64)
    def variant(a_strides: tuple[int, ...], b_strides: tuple[int, ...]) -> Any:
        return _variant(order, (a_shape, b_shape), (a_strides, b_strides), out, compute)

    def kernel(arrays: Sequence[np.ndarray]) -> np.ndarray:
        a, b = (element_strided(np.asarray(x), compute) for x in arrays)
        result = np.empty(out, compute)
        variant(a.strides, b.strides)(result, a, b)
        return result if compute == dtype else result.astype(dtype)

    return kernel


def computed_in(dtype: np.dtype) -> np.dtype | None:
    """Returns the dtype that products are summed in; None if there is no kernel."""
    if dtype in (np.float32, np.float64):
        return dtype
    if dtype.itemsize == 2 and dtype.kind not in "iub":
        return np.dtype(np.float32)
    return None


def element_strided(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Returns x in a dtype, its elements aligned and a whole number of elements apart."""
    if x.dtype == dtype and x.flags.carray:
        return x
    x = x.astype(dtype, copy=False)
    if not x.flags.aligned or any(stride % x.itemsize for stride in x.strides):
        return np.ascontiguousarray(x) if x.flags.aligned else x.copy()
    return x


def _order(rank_a: int, rank_b: int, contracted: Pair, batch: Pair) -> Any:
    free_a = [i for i in range(rank_a) if i not in (*contracted[0], *batch[0])]
    free_b = [j for j in range(rank_b) if j not in (*contracted[1], *batch[1])]
    return list(zip(*batch)), free_a, free_b, list(zip(*contracted))


def _variant(order: Any, shapes: Any, strides: Any, out: tuple[int, ...], dtype: np.dtype) -> Any:
    """Returns a function (result, a, b) for arrays with these strides in bytes."""
    batch, free_a, free_b, inner = order
    size = dtype.itemsize
    of_a, of_b = ([s // size for s in row] for row in strides)
    of_c = list(itertools.accumulate(reversed((*out[1:], 1)), lambda x, y: x * y))[::-1]
    n = len(batch)
    lead = [Axis(shapes[0][i], of_a[i], of_b[j], of_c[k]) for k, (i, j) in enumerate(batch)]
    rows = [Axis(shapes[0][i], of_a[i], 0, of_c[n + k]) for k, i in enumerate(free_a)]
    inner_axes = [Axis(shapes[0][i], of_a[i], of_b[j], 0) for i, j in inner]
    m = n + len(free_a)
    columns = collapse(
        tuple(Axis(shapes[1][j], 0, of_b[j], of_c[m + k]) for k, j in enumerate(free_b))
    )
    if len(columns) > 1:
        # B's free axes do not lie as one: a copy in the order of the result.
        perm = (*(j for _, j in batch), *(j for _, j in inner), *free_b)
        copied = _contiguous(tuple(shapes[1][j] for j in perm), size)
        moved = [0] * len(perm)
        for j, stride in zip(perm, copied):
            moved[j] = stride
        run = _variant(order, shapes, (strides[0], tuple(moved)), out, dtype)
        return lambda c, a, b: run(c, a, np.ascontiguousarray(b.transpose(perm)))
    column = columns[0] if columns else Axis(1, 0, 1, 1)
    swapped = None if lead else _swapped(rows, inner_axes, column, dtype.name)
    if swapped is not None:
        return swapped
    code = contract.contraction(dtype.name, [*lead, *rows], inner_axes, column)
    return lambda c, a, b: code(c.ctypes.data, a.ctypes.data, b.ctypes.data)


def _contiguous(shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    strides = []
    for extent in reversed(shape):
        strides.append(size)
        size *= extent
    return tuple(reversed(strides))


def _swapped(rows: list[Axis], inner: list[Axis], column: Axis, dtype: str) -> Any:
    """Returns C by way of its transpose B'A', where that copies fewer elements; else None.

    Where B must be transposed into panels (its columns are not contiguous) and A has few rows,
    making panels of A' and transposing C is less work. Products commute: the bits are the same.
    """
    joined = collapse(tuple(rows))
    if column.b == 1 or column.extent == 1 or len(joined) != 1:
        return None
    row, products = joined[0], math.prod(axis.extent for axis in inner)
    m, n = row.extent, column.extent
    if products * n <= (products * m if row.a != 1 else 0) + m * n:
        return None
    turned = [Axis(axis.extent, axis.b, axis.a, 0) for axis in inner]
    code = contract.contraction(dtype, [Axis(n, column.b, 0, m)], turned, Axis(m, 0, row.a, 1))
    module = ir.Module("transpose")
    emit_copy(module, "transpose", dtype, [Step(m, 1, n), Step(n, m, 1)])
    transpose = contract.function(jit.compile_module(module, "transpose"), "transpose")

    def call(c: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
        other = np.empty((n, m), dtype)
        code(other.ctypes.data, b.ctypes.data, a.ctypes.data)
        contract.run(transpose, m, m * n, c.ctypes.data, other.ctypes.data)

    return call
