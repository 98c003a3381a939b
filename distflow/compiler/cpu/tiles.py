"""Tiles of a convolution: which outputs are held in registers while their windows are walked.

A `Nest` is one dense convolution at one image: which positions C has, which products each of them
takes, and how far apart their elements lie in A (the image), B (the filter) and C. An element's
products are added one by one in the order of `inner` (its last axis fastest), each by one fused
multiply-add; sizes of tiles and vectors cannot change that.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from distflow.compiler.cpu.epilogue import NOTHING, Epilogue
from distflow.compiler.cpu.tiling import Axis, collapse

# Steps that a sliding tile writes out; with more of them it loops.
WRITTEN_OUT = 8


@dataclass(frozen=True)
class Edge:
    """Where the image lies between zeros along one spatial axis: zeros need not be multiplied.

    Row i meets, at step j of `inner`, what lies i * move + j * step - low behind the image's first
    element. (A filter that is not finite then meets fewer zeros than it would.)

    Attributes:
      rows, inner: the axes.
      low, limit: first place inside the image, and the first one behind it.
      move, step: distance of neighbours along either axis, in elements of the image.
    """

    rows: Axis
    inner: Axis
    low: int
    limit: int
    move: int
    step: int

    @functools.cached_property
    def useful(self) -> float:
        """Returns which part of the products is not with zeros."""
        rows, steps = range(self.rows.extent), range(self.inner.extent)
        hits = sum(
            self.low <= i * self.move + j * self.step < self.limit for i in rows for j in steps
        )
        return hits / (self.rows.extent * self.inner.extent)


@dataclass(frozen=True)
class Nest:
    """A convolution at one image. Every extent is at least 1.

    Attributes:
      rows: axes of C but the columns; one that moves in B (groups) has tiles of its own.
      inner: axes that are summed, slowest first.
      columns: elements along the axis that is contiguous in B and C, and absent from A unless
        `by_column`: then it is contiguous in A as well (depthwise).
      start: first elements in C, A, B and the epilogue's operands.
      panel: distance of two column tiles in B in elements; 0: they are neighbours.
      counted: whether the extent of inner[0] is given at run time.
      adds: whether tiles may add to C instead of writing it.
      sliding: number of the axis of rows along which A moves as along the last axis of `inner`;
        -1: there is none.
      epilogue: what is done to the sums; `Axis.extra` of rows has the strides of its operands.
      columns_extra: stride of the columns in each operand of it: 1, or 0 where it is repeated.
      clip: the edge along an axis of rows whose steps are inner[0], if that is known.
      edge: the edge along the sliding axis, if that is known.
    """

    rows: tuple[Axis, ...]
    inner: tuple[Axis, ...]
    columns: int
    start: tuple[int, ...] = (0, 0, 0)
    panel: int = 0
    by_column: bool = False
    counted: bool = False
    adds: bool = False
    sliding: int = -1
    epilogue: Epilogue = NOTHING
    columns_extra: tuple[int, ...] = ()
    clip: Edge | None = None
    edge: Edge | None = None

    def clipped(self, shape: Cut) -> int:
        """Returns the number of the axis of rows at whose edges steps are left out, or -1."""
        if self.clip is None or self.inner[0] != self.clip.inner or len(self.inner) == 1:
            return -1
        if self.clip.rows not in self.rows:
            return -1
        number = self.rows.index(self.clip.rows)
        return -1 if number in shape.tiled else number

    @functools.cached_property
    def positions(self) -> int:
        """Number of positions of the rows."""
        return math.prod(axis.extent for axis in self.rows)

    @functools.cached_property
    def products(self) -> int:
        """Number of products that an element takes."""
        return math.prod(axis.extent for axis in self.inner)


@dataclass(frozen=True)
class Cut:
    """How a nest is cut into tiles: `tile[i]` positions of axis `tiled[i]` by `vectors` columns.

    The first tiled axis may end in a smaller tile, the second divides. If it `slides`, an
    element of A that serves several rows at several steps is loaded once for all of them.
    """

    tiled: tuple[int, ...]
    tile: tuple[int, ...]
    vectors: int
    slides: bool = False


def forms(
    rows: Sequence[Axis], inner: Sequence[Axis], columns: int, counted: Axis | None = None,
    edge: Edge | None = None, **more: Any,
) -> list[Nest]:  # fmt: skip
    """Returns a convolution as nests: neighbouring axes joined, but perhaps for a sliding one.

    Args:
      rows, inner, columns: as in `Nest`.
      counted: slowest axis of the sums whose extent is given at run time.
      edge: the edge along the last spatial axis.
      more: what else a Nest has.
    """
    inner = collapse(tuple(inner)) or (Axis(1),)
    if counted:
        inner, more["counted"] = (counted, *inner), True
    found = [Nest(collapse(tuple(rows)) or (Axis(1),), inner, columns, **more)]
    last = inner[-1]
    for i, axis in enumerate(rows):
        if axis.b == 0 and axis.extent > 1 and last.extent > 1 and axis.a == last.a:
            before = collapse(tuple(rows[:i]))
            joined = (*before, axis, *collapse(tuple(rows[i + 1 :])))
            here = edge if edge and (edge.rows, edge.inner) == (axis, last) else None
            found.append(Nest(joined, inner, columns, **more, sliding=len(before), edge=here))
    return found


def cut(nests: Sequence[Nest], lanes: int, registers: int, vectors: int = 0) -> tuple[Nest, Cut]:
    """Returns the form and its tiles that waste fewest cycles.

    Args:
      nests: forms of one convolution.
      lanes, registers: of the vector unit.
      vectors: width of the tiles; 0: any.
    """
    columns = nests[0].columns
    widths = [vectors] if vectors else range(1, min(4, -(-columns // lanes)) + 1)
    found = [
        (cycles, i, shape)
        for i, nest in enumerate(nests)
        for v in widths
        for cycles, shape in _candidates(nest, lanes, registers, v)
    ]
    _, i, shape = min(found, key=lambda row: (row[0], row[1], row[2].vectors, row[2].tiled))
    return nests[i], shape


def most_parts(nest: Nest, shape: Cut) -> int:
    """Returns into how many parts the tiles can be cut, along the rows' axis that has most."""
    size = dict(zip(shape.tiled, shape.tile))
    return max(-(-axis.extent // size.get(i, 1)) for i, axis in enumerate(nest.rows))


def _candidates(
    nest: Nest, lanes: int, registers: int, vectors: int
) -> Iterator[tuple[float, Cut]]:
    most = max((registers - vectors - 1) // vectors, 1)
    free = [i for i, axis in enumerate(nest.rows) if axis.b == 0]
    for i in free:
        for n in range(1, min(nest.rows[i].extent, most) + 1):
            chosen = [Cut((i,), (n,), vectors)]
            for j in free:
                for m in range(2, min(most // n, nest.rows[j].extent) + 1):
                    if j != i and nest.rows[j].extent % m == 0:
                        chosen.append(Cut((i, j), (n, m), vectors))
            for shape in chosen:
                yield _cycles(nest, shape, lanes), shape
                if _may_slide(nest, shape, registers):
                    shape = replace(shape, slides=True)
                    yield _cycles(nest, shape, lanes), shape


def _may_slide(nest: Nest, shape: Cut, registers: int) -> bool:
    if nest.sliding not in shape.tiled or nest.by_column:
        return False
    steps, rows = nest.inner[-1].extent, shape.tile[shape.tiled.index(nest.sliding)]
    if rows == 1 or (rows > steps and steps > WRITTEN_OUT):
        return False
    held = min(steps, rows) * shape.vectors
    return math.prod(shape.tile) * shape.vectors + held + 2 <= registers


def _cycles(nest: Nest, shape: Cut, lanes: int) -> float:
    """Models a core with two FMAs and two loads a cycle, an FMA's result ready after four."""
    full, tail = divmod(nest.columns, shape.vectors * lanes)
    (i, n), others = (shape.tiled[0], shape.tile[0]), math.prod(shape.tile[1:])
    extent = nest.rows[i].extent
    lines = nest.positions // extent // others
    last = nest.inner[-1].extent
    useful = 1.0
    if nest.clip and nest.clipped(shape) >= 0:
        useful = nest.clip.useful
    if nest.edge and shape.slides and last <= WRITTEN_OUT:
        useful *= nest.edge.useful
    cycles = 0.0
    for count, v in ((full, shape.vectors), (1 if tail else 0, -(-tail // lanes))):
        for tiles, size in ((extent // n, n), (1 if extent % n else 0, extent % n)):
            if not count or not tiles:
                continue
            rows = size * others
            loads: float = rows * v + v if nest.by_column else rows + v
            if shape.slides:
                along = size if i == nest.sliding else others
                loads = rows // along * (along + last - 1) / last + v
            # Loads get in each other's way: 178 GFLOP/s of 215 with one for each FMA (2026-11).
            step = max(rows * v / 2 + loads / 10, loads / 2, 4.0) + 0.25
            cycles += count * tiles * (step * useful * nest.products + rows * v + 12)
    return cycles * lines
