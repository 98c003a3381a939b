"""A contraction as a callable: its machine code, panels of B where they pay, and its threads."""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from llvmlite import ir

from distflow.compiler.cpu import isa, jit, threads
from distflow.compiler.cpu.microkernel import Axis, Nest, collapse, emit, plan
from distflow.compiler.cpu.packing import Step, emit_copy

# Rows that must share a panel before copying B into panels pays (Xeon with AVX-512, 2026-11).
_ROWS_FOR_PANELS = 128
# Below this B stays in the first-level cache however it lies.
_BYTES_FOR_PANELS = 1 << 14


def contraction(
    dtype: str, rows: Sequence[Axis], inner: Sequence[Axis], columns: Axis
) -> Contraction:
    """Returns the compiled contraction C += A·B; the same arguments give the same object.

    Args:
      dtype: "float32" or "float64".
      rows: axes of C other than the columns; those with a stride in B are batch axes.
      inner: summed axes, slowest first: the order of additions.
      columns: the axis contiguous in C; any stride in B; absent from A, or contiguous there too.
    """
    nest = Nest(
        dtype, collapse(tuple(rows)), collapse(tuple(inner)), columns.extent,
        by_column=bool(columns.a) and columns.extent > 1,
    )  # fmt: skip
    assert columns.a in (0, 1) or columns.extent == 1, "columns of A must be contiguous"
    if not nest.inner:
        nest = replace(nest, inner=(Axis(1),))
    return _made(nest, columns.b if columns.extent > 1 else 1, isa.current())


@functools.lru_cache(maxsize=4096)
def _made(nest: Nest, column_stride: int, target: isa.Target) -> Contraction:
    return Contraction(nest, column_stride, target)


class Contraction:
    """Machine code for one Nest. Calls may overlap in time."""

    def __init__(self, nest: Nest, column_stride: int, target: isa.Target):
        cut = plan(nest, target)
        module = ir.Module("contraction")
        products = math.prod(axis.extent for axis in nest.inner)
        sharing = math.prod(axis.extent for axis in nest.rows if axis.b == 0)
        self._scratch: list[np.ndarray] = []
        self._num_panels = 0
        if column_stride != 1 or (
            nest.columns > cut.width
            and sharing >= _ROWS_FOR_PANELS
            and products * nest.columns * nest.item_bytes > _BYTES_FOR_PANELS
        ):
            nest = self._add_panels(module, nest, column_stride, cut.width)
            cut = replace(plan(nest, target), width=cut.width)
        self.nest, self.plan = nest, cut
        emit(module, "contract", nest, cut, target)
        code = jit.compile_module(module, "contraction")
        self._contract = function(code, "contract")
        if self._num_panels:
            self._pack = function(code, "pack")
        self._num_groups = cut.num_groups(nest)
        # A multiply-add of a whole vector is one operation.
        rows = math.prod(axis.extent for axis in nest.rows)
        self._work = rows * products * -(-nest.columns // target.lanes(nest.item_bytes))

    def _add_panels(self, module: Any, nest: Nest, column_stride: int, width: int) -> Nest:
        """Adds the copy of B to panels [column tile, *batch, *inner, width]; returns its nest."""
        self._num_panels = -(-nest.columns // width)
        width = min(width, nest.columns)
        strides = []
        size = width
        for axis in reversed((*(a for a in nest.rows if a.b), *nest.inner)):
            strides.append(size)
            size *= axis.extent
        moved = iter(reversed(strides))
        steps, rows, inner = [Step(self._num_panels, width * column_stride, size)], [], []
        for axis in nest.rows:
            rows.append(replace(axis, b=next(moved)) if axis.b else axis)
            if axis.b:
                steps.append(Step(axis.extent, axis.b, rows[-1].b))
        for axis in nest.inner:
            inner.append(replace(axis, b=next(moved)))
            steps.append(Step(axis.extent, axis.b, inner[-1].b))
        steps.append(Step(width, column_stride, 1))
        tail = nest.columns - (self._num_panels - 1) * width
        emit_copy(module, "pack", nest.dtype, steps, tail)
        self._panel_shape = self._num_panels * size, nest.dtype
        return replace(nest, rows=tuple(rows), inner=collapse(tuple(inner)) or (Axis(1),),
                       panel=size)  # fmt: skip

    def __call__(self, c: int, a: int, b: int) -> None:
        """Writes C. The three are addresses of the first elements."""
        if not self._num_panels:
            run(self._contract, self._num_groups, self._work, c, a, b)
            return
        # Popping and appending are atomic: calls at the same time use different buffers.
        scratch = self._scratch.pop() if self._scratch else np.empty(*self._panel_shape)
        panels = scratch.ctypes.data
        run(self._pack, self._num_panels, scratch.size, panels, b)
        run(self._contract, self._num_groups, self._work, c, a, panels)
        self._scratch.append(scratch)


def function(code: jit.Module, name: str) -> Any:
    """Returns a ranged function of a module, which lives as long as the function."""
    result = code.function(name, None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    result.module = code
    return result


def run(function: Any, units: int, work: int, *pointers: int) -> None:
    """Runs a ranged function over all its units, on as many threads as its work pays for."""
    arguments = (ctypes.c_void_p * len(pointers))(*pointers)
    threads.parallel_for(function, ctypes.addressof(arguments), units, work)
