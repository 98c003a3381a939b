"""Eager operations on the kernels that compiled programs use: the same code, the same bits.

A kernel is made for concrete layouts at the first call with them and kept; the scratch that it
works on is kept with it. Where there is none, or NumPy is as fast, the reference serves.
"""

from __future__ import annotations

import collections
import ctypes
import importlib
import importlib.util
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from distflow.autodiff import backward
from distflow.base import flags
from distflow.compiler.cpu import eager_gradient, eager_loops, heap, isa, task, threads
from distflow.core import native

# Multiply-adds of a matmul below which NumPy is as fast (Xeon with AVX-512, 2026-11). Of other
# primitives the reference is never faster.
_LEAST_PRODUCTS = 1 << 15
# Shapes that kernels of one primitive and one set of attributes are made for: where shapes vary
# without end, NumPy costs less than compiling again and again.
_MOST_SHAPES = 128
# Where kernels are made: file and function.
_MAKERS = {
    "dot_general": ("matmul", "lower"),
    "conv": ("conv", "lower"),
    "reduce_window_max": ("window", "lower_max"),
    "reduce_window_sum": ("window", "lower_sum"),
    "select_and_scatter_add": ("window", "lower_scatter"),
}

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
    if primitive.name not in _MAKERS:
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
    file, function = _MAKERS[primitive.name]
    # Imported on first use: these files need llvmlite.
    lower = getattr(importlib.import_module(f"distflow.compiler.cpu.{file}"), function)
    layouts = [_layout(*operand) for operand in operands]
    result = task.contiguous(dtype, tuple(primitive.shape_rule(*shapes, **attributes)))
    copied = [
        task.contiguous(dtype, shape) if layout is None else layout
        for layout, shape in zip(layouts, shapes)
    ]
    kernel = lower(attributes, copied, result)
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
        self._kernel = kernel
        self._shape, self._dtype = result.shape, np.dtype(result.dtype)
        self._to_copy = to_copy
        # Calls at the same time use different scratch; taking from a list is atomic.
        self._free: list[list[np.ndarray]] = []
        self._calls = [
            (call.function, call.arguments, ctypes.c_void_p * len(call.arguments), call.units,
             call.work)
            for call in kernel.calls
        ]  # fmt: skip

    def __call__(self, arrays: list[Any]) -> np.ndarray:
        """Returns the result."""
        for i, array in enumerate(arrays):
            if i in self._to_copy or not array.flags.aligned:
                arrays[i] = np.array(array, order="C" if i in self._to_copy else "K")
        result = np.empty(self._shape, self._dtype)
        scratch = (
            self._free.pop()
            if self._free
            else [task.aligned_bytes(s.num_bytes, s.zeroed) for s in self._kernel.scratch]
        )
        addresses = [a.__array_interface__["data"][0] for a in (*arrays, result, *scratch)]
        for function, arguments, pointers, units, work in self._calls:
            given = pointers(*[addresses[i] + offset for i, offset in arguments])
            threads.parallel_for(function, ctypes.addressof(given), units, work)
        self._free.append(scratch)
        return result

    def _new_scratch(self) -> list[np.ndarray]:
        return [task.aligned_bytes(s.num_bytes, s.zeroed) for s in self._kernel.scratch]
