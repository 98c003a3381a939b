"""A contraction as calls: its machine code, and copies of B and A into panels where they pay."""

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
from distflow.compiler.cpu.epilogue import NOTHING, Epilogue
from distflow.compiler.cpu.microkernel import Axis, Nest, collapse, emit, plan
from distflow.compiler.cpu.packing import Step, emit_copy
from distflow.compiler.cpu.task import Call, Scratch

# Rows that must share a panel before copying B into panels pays (Xeon with AVX-512, 2026-11).
_ROWS_FOR_PANELS = 128
# Below this B stays in the first-level cache however it lies.
_BYTES_FOR_PANELS = 1 << 14
# Steps in A from which it is copied into panels too, if so many column tiles read them.
_FAR_BYTES = 1 << 11
_TILES_FOR_ROW_PANELS = 8
# Nanoseconds of a multiply-add of one element, as parts; elements copied in one.
_PRODUCTS_PER_NS, _COPIES_PER_NS = 50, 2
_POINTERS = [ctypes.c_void_p * n for n in range(4)]

# (number, offset in bytes): see task.Call.
Operand = tuple[int, int]


def contraction(
    dtype: str, rows: Sequence[Axis], inner: Sequence[Axis], columns: Axis,
    epilogue: Epilogue = NOTHING,
) -> Contraction:  # fmt: skip
    """Returns the compiled contraction C = sum of A·B; the same arguments give the same object.

    Args:
      dtype: "float32" or "float64".
      rows: axes of C other than the columns; those with a stride in B are batch axes.
      inner: summed axes, slowest first: the order of additions.
      columns: the axis contiguous in C; any stride in B; absent from A, or contiguous there too.
      epilogue: what is done to the sums. Each axis of `rows`, and `columns`, then has `extra`,
        its strides in the further operands; the columns' are 0 or 1.
    """
    nest = Nest(
        dtype, collapse(tuple(rows)), collapse(tuple(inner)), columns.extent,
        by_column=bool(columns.a) and columns.extent > 1,
        epilogue=epilogue, columns_extra=columns.extra or (0,) * epilogue.extras,
    )  # fmt: skip
    assert columns.a in (0, 1) or columns.extent == 1, "columns of A must be contiguous"
    assert set(nest.columns_extra) <= {0, 1}, "columns of further operands must be contiguous"
    if not nest.inner:
        nest = replace(nest, inner=(Axis(1),))
    return _made(nest, columns.b if columns.extent > 1 else 1, isa.current())


@functools.lru_cache(maxsize=4096)
def _made(nest: Nest, column_stride: int, target: isa.Target) -> Contraction:
    return Contraction(nest, column_stride, target)


class Contraction:
    """Machine code for one Nest. Calls may overlap in time."""

    def __init__(self, nest: Nest, column_stride: int, target: isa.Target):
        module = ir.Module("contraction")
        products = math.prod(axis.extent for axis in nest.inner)
        sharing = math.prod(axis.extent for axis in nest.rows if axis.b == 0)
        self._num_panels = 0
        if column_stride != 1 or (
            nest.columns > target.lanes(nest.item_bytes)
            and sharing >= _ROWS_FOR_PANELS
            and products * nest.columns * nest.item_bytes > _BYTES_FOR_PANELS
        ):
            width = plan(replace(nest, panel=1), target).width
            nest = self._add_panels(module, nest, column_stride, width)
            cut = plan(nest, target, width)
        else:
            cut = plan(nest, target)
        self._num_row_panels = 0
        if (
            len(cut.tiled) == 1 and not cut.outer and len(nest.inner) == 1
            and nest.inner[0].a * nest.item_bytes >= _FAR_BYTES
            and -(-nest.columns // cut.width) >= _TILES_FOR_ROW_PANELS
        ):  # fmt: skip
            nest = self._add_row_panels(module, nest, cut.tile[0])
            cut = replace(plan(nest, target, cut.width), tiled=nest.rows, tile=cut.tile)
        self.nest, self.plan = nest, cut
        emit(module, "contract", nest, cut, target)
        code = jit.compile_module(module, "contraction")
        self._contract = function(code, "contract")
        if self._num_panels:
            self._pack = function(code, "pack")
        if self._num_row_panels:
            self._pack_rows = function(code, "pack_rows")
        self._num_groups = cut.num_groups(nest)
        rows = math.prod(axis.extent for axis in nest.rows)
        self._work = rows * products * nest.columns // _PRODUCTS_PER_NS

    def calls(
        self, c: Operand, a: Operand, b: Operand, scratch: int, extras: Sequence[Operand] = ()
    ) -> tuple[list[Call], list[Scratch]]:
        """Returns the calls that write C, and the scratch buffers that they need.

        Args:
          c, a, b: (operand, offset in bytes) of the first elements.
          scratch: number that the first of the scratch buffers has as an operand.
          extras: the same as `c` for each further operand of the epilogue.
        """
        calls, buffers = [], []
        if self._num_panels:
            calls.append(
                Call(self._pack, ((scratch, 0), b), (scratch,), self._num_panels,
                     self._panel_size // _COPIES_PER_NS)
            )  # fmt: skip
            buffers.append(Scratch(self._panel_size * self.nest.item_bytes))
            b, scratch = (scratch, 0), scratch + 1
        if self._num_row_panels:
            calls.append(
                Call(self._pack_rows, ((scratch, 0), a), (scratch,), self._num_row_panels,
                     self._row_panel_size // _COPIES_PER_NS)
            )  # fmt: skip
            buffers.append(Scratch(self._row_panel_size * self.nest.item_bytes))
            a = (scratch, 0)
        calls.append(
            Call(self._contract, (c, a, b, *extras), (c[0],), self._num_groups, self._work)
        )
        return calls, buffers

    def __call__(self, c: int, a: int, b: int) -> None:
        """Writes C. The three are addresses of the first elements."""
        calls, scratch = self.calls((0, 0), (1, 0), (2, 0), 3)
        buffers = [np.empty(s.num_bytes, np.uint8) for s in scratch]
        addresses = [c, a, b, *(x.ctypes.data for x in buffers)]
        for call in calls:
            pointers = (addresses[i] + offset for i, offset in call.arguments)
            run(call.function, call.units, call.work, *pointers)

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
        self._panel_size = self._num_panels * size
        return replace(nest, rows=tuple(rows), inner=collapse(tuple(inner)) or (Axis(1),),
                       panel=size)  # fmt: skip

    def _add_row_panels(self, module: Any, nest: Nest, tile: int) -> Nest:
        """Adds the copy of A to panels [row tile, inner, tile]; returns its nest."""
        (row,), (inner,) = nest.rows, nest.inner
        self._num_row_panels, size = -(-row.extent // tile), inner.extent * tile
        self._row_panel_size = self._num_row_panels * size
        steps = [
            Step(self._num_row_panels, tile * row.a, size),
            Step(inner.extent, inner.a, tile),
            Step(tile, row.a, 1),
        ]
        emit_copy(module, "pack_rows", nest.dtype, steps, row.extent % tile)
        return replace(
            nest, rows=(replace(row, a=1),), inner=(replace(inner, a=tile),), row_panel=size
        )


def function(code: jit.Module, name: str) -> Any:
    """Returns a ranged function of a module, which lives as long as the function."""
    result = code.function(name, None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    result.module = code
    return result


def run(function: Any, units: int, work: int, *pointers: int) -> None:
    """Runs a ranged function over all its units, on as many threads as its work pays for."""
    arguments = _POINTERS[len(pointers)](*pointers)
    threads.parallel_for(function, ctypes.addressof(arguments), units, work)
