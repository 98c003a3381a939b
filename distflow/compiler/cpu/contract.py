"""A contraction as calls: its machine code, and copies of B and A into panels where they pay."""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llvmlite import ir

from distflow.compiler.cpu import isa, jit, threads
from distflow.compiler.cpu.epilogue import NOTHING, Epilogue
from distflow.compiler.cpu.microkernel import Axis, Nest, collapse, emit, plan
from distflow.compiler.cpu.packing import Part, Step, emit_copy, emit_joined
from distflow.compiler.cpu.task import Call, Scratch

# Rows that must share a panel before copying B into panels pays (Xeon with AVX-512, 2026-11).
_ROWS_FOR_PANELS = 128
# The same for B that is too large for the second-level cache: 2.0 -> 1.4 ms for the gradient of a
# weight [64, 512] over 2048 rows of a transposed array.
_ROWS_FOR_LARGE, _LARGE_BYTES = 64, 1 << 21
# Rows up to which squares of B are turned where they are needed, not copied before.
ROWS_TO_TURN = 4
# Below this B stays in the first-level cache however it lies.
_BYTES_FOR_PANELS = 1 << 14
# Steps in A from which it is copied into panels too, if so many column tiles read them.
_FAR_BYTES = 1 << 10
_TILES_FOR_ROW_PANELS = 2
# Elements side by side in A that are copied at once.
_RUN_FOR_ROW_PANELS = 96
# Elements between panels, so that their first lines do not share a set of the cache.
_GAP = 16
# What a core does in a nanosecond, about: multiply-adds, elements copied, bytes read.
_PRODUCTS_PER_NS, _COPIES_PER_NS, _BYTES_PER_NS = 64, 4, 40
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
    """Machine code for one Nest, and the copies that come before it."""

    def __init__(self, nest: Nest, column_stride: int, target: isa.Target):
        description = nest, column_stride
        self._copies: list[_Panels] = []
        self._emitters: list[Callable[[Any], None]] = []
        products = math.prod(axis.extent for axis in nest.inner)
        of_b = products * nest.columns * nest.item_bytes
        sharing = math.prod(axis.extent for axis in nest.rows if axis.b == 0)
        if (
            column_stride != 1 and sharing <= ROWS_TO_TURN and nest.inner[-1].b == 1
            and nest.inner[-1].extent > 1
        ):  # fmt: skip
            nest = replace(nest, column_b=column_stride)
            cut = plan(nest, target)
        elif column_stride != 1 or (
            nest.columns > target.lanes(nest.item_bytes)
            and sharing >= (_ROWS_FOR_LARGE if of_b > _LARGE_BYTES else _ROWS_FOR_PANELS)
            and of_b > _BYTES_FOR_PANELS
        ):
            width = plan(replace(nest, panel=1), target).width
            nest = self._add_panels(nest, column_stride, width)
            cut = plan(nest, target, width)
        else:
            cut = plan(nest, target)
        if (
            len(cut.tiled) == 1 and not cut.outer and len(nest.inner) == 1
            and nest.inner[0].a * nest.item_bytes >= _FAR_BYTES
            and -(-nest.columns // cut.width) >= _TILES_FOR_ROW_PANELS
        ):  # fmt: skip
            nest = self._add_row_panels(nest, cut.tile[0])
            cut = replace(plan(nest, target, cut.width), tiled=nest.rows, tile=cut.tile)
        self.nest, self.plan, self._target = nest, cut, target
        names = ["contract", *(copy.name for copy in self._copies)]
        code = jit.compile_described(repr(description), names, self._write)
        self._functions = {name: function(code, name) for name in names}
        rows = math.prod(axis.extent for axis in nest.rows)
        self._work = max(
            rows * products * nest.columns // _PRODUCTS_PER_NS,
            products * nest.columns * nest.item_bytes // _BYTES_PER_NS,
        )

    def calls(
        self, c: Operand, a: Operand, b: Operand, scratch: int, extras: Sequence[Operand] = ()
    ) -> tuple[list[Call], list[Scratch]]:
        """Returns the calls that write C, and the scratch buffers that they need.

        Args:
          c, a, b: (operand, offset in bytes) of the first elements.
          scratch: number that the first of the scratch buffers has as an operand.
          extras: the same as `c` for each further operand of the epilogue.
        """
        calls, buffers, size = [], [], self.nest.item_bytes
        places = {"a": a, "b": b}
        for number, copy in enumerate(self._copies, scratch):
            function, work = self._functions[copy.name], copy.size // _COPIES_PER_NS
            arguments = (number, 0), places[copy.of]
            calls.append(Call(function, arguments, (number,), copy.units, work))
            buffers.append(Scratch(copy.size * size))
            places[copy.of] = number, 0
        main, units = self._functions["contract"], self.plan.num_groups(self.nest)
        calls.append(Call(main, (c, places["a"], places["b"], *extras), (c[0],), units, self._work))
        return calls, buffers

    def _write(self) -> str:
        module = ir.Module("contraction")
        for add in self._emitters:
            add(module)
        emit(module, "contract", self.nest, self.plan, self._target)
        return jit.plain(module)

    def _add_panels(self, nest: Nest, column_stride: int, width: int) -> Nest:
        """Adds the copy of B to panels [column tile, *batch, *inner, width]; returns its nest."""
        count, width = -(-nest.columns // width), min(width, nest.columns)
        strides = []
        size = width
        for axis in reversed((*(a for a in nest.rows if a.b), *nest.inner)):
            strides.append(size)
            size *= axis.extent
        moved = iter(reversed(strides))
        steps, rows, inner = [Step(count, width * column_stride, size)], [], []
        for axis in nest.rows:
            rows.append(replace(axis, b=next(moved)) if axis.b else axis)
            if axis.b:
                steps.append(Step(axis.extent, axis.b, rows[-1].b))
        together = len(steps)
        for axis in nest.inner:
            inner.append(replace(axis, b=next(moved)))
            steps.append(Step(axis.extent, axis.b, inner[-1].b))
        steps.append(Step(width, column_stride, 1))
        tail = nest.columns - (count - 1) * width
        self._emitters.append(
            lambda m: emit_copy(m, "pack", nest.dtype, steps, tail, together=together)
        )
        units = math.prod(step.extent for step in steps[:together])
        self._copies.append(_Panels("pack", "b", units, count * size))
        return replace(nest, rows=tuple(rows), inner=collapse(tuple(inner)) or (Axis(1),),
                       panel=size)  # fmt: skip

    def _add_row_panels(self, nest: Nest, tile: int) -> Nest:
        """Adds the copy of A to panels [row tile, inner, tile]; returns its nest."""
        (row,), (k,) = nest.rows, nest.inner
        size, several = k.extent * tile + _GAP, -(-_RUN_FOR_ROW_PANELS // tile)
        step, within = Step(k.extent, k.a, tile), Step(tile, row.a, 1)
        parts, done = list[Part](), 0
        # Some panels at once, so that what lies side by side in A is read at once; then those
        # that are left, then the last rows.
        full, rest = divmod(row.extent, tile)
        for groups, count, each in (
            (full // several, several, tile), (1, full % several, tile), (1, 1, rest)
        ):  # fmt: skip
            if not groups * count * each:
                continue
            name = f"pack_rows_{len(parts)}"
            steps = [Step(groups, count * tile * row.a, count * size), step,
                     Step(count, tile * row.a, size), replace(within, extent=each)]  # fmt: skip
            self._emitters.append(
                functools.partial(emit_copy, name=name, dtype=nest.dtype, axes=steps, together=2)
            )
            parts.append(Part(name, groups * k.extent, done * tile * row.a, done * size))
            done += groups * count
        self._emitters.append(lambda m: emit_joined(m, "pack_rows", nest.dtype, parts))
        units = sum(part.units for part in parts)
        self._copies.append(_Panels("pack_rows", "a", units, done * size))
        return replace(nest, rows=(replace(row, a=1),), inner=(replace(k, a=tile),), row_panel=size)


@dataclass(frozen=True)
class _Panels:
    """A copy of A or B: the function that makes it, its units, its size in elements."""

    name: str
    of: str
    units: int
    size: int


def function(code: jit.Module, name: str) -> Any:
    """Returns a ranged function of a module, which lives as long as the function."""
    return code.ranged(name)


def run(function: Any, units: int, work: int, *pointers: int) -> None:
    """Runs a ranged function over all its units, on as many threads as its work pays for."""
    arguments = _POINTERS[len(pointers)](*pointers)
    threads.parallel_for(function, ctypes.addressof(arguments), units, work)
