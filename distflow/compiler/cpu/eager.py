"""Eager operations on the kernels that compiled programs use: the same code, the same bits.

A kernel is made for concrete layouts at the first call with them and kept; the scratch that it
works on is kept with it. Where there is none, or NumPy is as fast, the reference serves.
"""

from __future__ import annotations

import collections
import importlib
import importlib.util
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from distflow.autodiff import backward
from distflow.base import flags
from distflow.compiler.cpu import eager_gradient, eager_loops, heap, isa, table, task
from distflow.core import native

# Multiply-adds of a matmul below which NumPy is as fast (Xeon with AVX-512, 2026-11). Of other
# primitives the reference is never faster.
_LEAST_PRODUCTS = 1 << 15
# Shapes that kernels of one primitive and one set of attributes are made for: where shapes vary
# without end, NumPy costs less than compiling again and again.
_MOST_SHAPES = 128
# Primitives that kernels run; elementwise ones are left to `eager_loops`.
_MADE = frozenset({
    "dot_general", "conv", "reduce_window_max", "reduce_window_sum", "select_and_scatter_add",
})  # fmt: skip

_kernels: dict[Any, Callable[[list[Any]], Any] | None] = {}
_num_shapes: collections.Counter[Any] = collections.Counter()


def install() -> None:
    """Lets eager operations come here; without llvmlite they stay with NumPy."""
    found = importlib.util.find_spec("llvmlite") is not None
    if found:
        heap.keep_freed()
    native.set_run(run if found else _nothing)
    backward.set_faster(eager_gradient.sweep if found else None)


def _nothing(primitive: Any, arrays: list[Any], attributes: dict[str, Any]) -> None:
    return None


def run(primitive: Any, arrays: list[Any], attributes: dict[str, Any]) -> Any:
    """Returns a primitive's result in machine code, or None where there is none."""
    if flags.executor() != "cpu":
        return None
    items = tuple(attributes.items())
    try:
        hash(items)
    except TypeError:
        return None
    if primitive.name not in _MADE:
        return eager_loops.run(primitive, arrays, items)
    if primitive.name == "dot_general" and _products(arrays, attributes) < _LEAST_PRODUCTS:
        return None
    key = (
        primitive, items, isa.current(), tuple([(a.dtype, a.shape, a.strides) for a in arrays])
    )  # fmt: skip
    if key not in _kernels:
        family = key[:2]
        if _num_shapes[family] >= _MOST_SHAPES:
            return None
        _num_shapes[family] += 1
        _kernels[key] = _kernel(primitive, key[-1], attributes)
    kernel = _kernels[key]
    return None if kernel is None else kernel(arrays)


def _products(arrays: list[Any], attributes: dict[str, Any]) -> float:
    a, b = arrays
    shared = math.prod([a.shape[i] for side in ("contract", "batch") for i in attributes[side][0]])
    return a.size * b.size / max(shared, 1)


def _kernel(
    primitive: Any, operands: tuple[Any, ...], attributes: dict[str, Any]
) -> Callable[[list[Any]], Any] | None:
    if len({dtype for dtype, _, _ in operands}) > 1:
        return None
    dtype = operands[0][0].name
    shapes = [shape for _, shape, _ in operands]
    layouts = [_layout(*operand) for operand in operands]
    result = task.contiguous(dtype, tuple(primitive.shape_rule(*shapes, **attributes)))
    copied = [
        task.contiguous(dtype, shape) if layout is None else layout
        for layout, shape in zip(layouts, shapes)
    ]
    kernel = table.LIBRARY[primitive.name](attributes, copied, result)
    if kernel is None:
        return None
    return _Prepared(kernel, result, [i for i, layout in enumerate(layouts) if layout is None])


def _layout(dtype: Any, shape: tuple[int, ...], strides: tuple[int, ...]) -> task.Layout | None:
    """Returns the layout of an aligned array; None for one that has to be copied before."""
    size = dtype.itemsize
    if any(s % size or s < 0 for s in strides):
        return None
    return task.Layout(dtype.name, shape, tuple(s // size for s in strides))


class _Prepared:
    """A kernel with its scratch, called with arrays of the layouts that it was made for."""

    def __init__(self, kernel: task.Kernel, result: task.Layout, to_copy: list[int]):
        self._shape, self._dtype = result.shape, np.dtype(result.dtype)
        self._to_copy = to_copy
        self._run = task.Runner(kernel)

    def __call__(self, arrays: list[Any]) -> np.ndarray:
        """Returns the result."""
        for i, array in enumerate(arrays):
            if i in self._to_copy or not array.flags.aligned:
                arrays[i] = np.array(array, order="C" if i in self._to_copy else "K")
        result = np.empty(self._shape, self._dtype)
        self._run([*arrays, result])
        return result
