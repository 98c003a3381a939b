"""How a contraction is described, and how it is cut into tiles: nothing of this changes a bit."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from distflow.compiler.cpu.epilogue import NOTHING, Epilogue
from distflow.compiler.cpu.isa import Target
from distflow.compiler.cpu.rounding import ITEM_BYTES

# Rows of A that one group of tiles covers, as bytes: half of a 1 MiB second-level cache.
_GROUP_BYTES = 1 << 19
# Products between two loads of C: B's tile of 1024 x 48 floats stays in the second-level cache.
_BLOCK = 1024
# Groups wanted at least, for threads to share.
_GROUPS = 32
# Steps of k that B is fetched ahead, where a tile's rows of B lie on more pages than the first
# table of translations holds: 0.77 -> 0.90 of the peak for 64x784x512 (Xeon, AVX-512, 2026-11).
_AHEAD, _PAGE, _PAGES = 8, 4096, 64


@dataclass(frozen=True)
class Axis:
    """An axis of a contraction: its extent, and its strides in elements.

    `extra` has its strides in the further operands of an epilogue (rows and columns only).
    """

    extent: int
    a: int = 0
    b: int = 0
    c: int = 0
    extra: tuple[int, ...] = ()

    def strides(self, count: int = 0) -> tuple[int, ...]:
        """Returns the strides in C, A, B and `count` further operands."""
        return self.c, self.a, self.b, *(self.extra or (0,) * count)


@dataclass(frozen=True)
class Nest:
    """A contraction. Every extent is at least 1.

    Attributes:
      dtype: "float32" or "float64", of A, B and C.
      rows: axes of C; those that do not move in B share the vectors of B that a tile holds.
      inner: axes that are summed, slowest first. They do not move in C.
      columns: elements along the one axis that is contiguous in B and C, and absent from A
        unless `by_column`: then it is contiguous in A as well (depthwise convolution).
      column_b: stride of the columns in B; if it is not 1, the last of `inner` is contiguous in B,
        and squares of B are turned in registers.
      panel: distance of two column tiles in B in elements; 0: they are neighbours.
      row_panel: distance of two row tiles in A in elements; 0: that of their first rows.
      epilogue: what is done to the sums.
      columns_extra: stride of the columns in each further operand: 1, or 0 where it is repeated.
    """

    dtype: str
    rows: tuple[Axis, ...]
    inner: tuple[Axis, ...]
    columns: int
    column_b: int = 1
    panel: int = 0
    row_panel: int = 0
    by_column: bool = False
    epilogue: Epilogue = NOTHING
    columns_extra: tuple[int, ...] = ()

    @property
    def item_bytes(self) -> int:
        """Size of an element."""
        return ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class Plan:
    """How a Nest is cut.

    Attributes:
      outer: loops around the tiles.
      tiled: the one or two row axes of a tile, with their part of it; the second divides.
      tile: rows of a tile along each of `tiled`.
      width: columns of a tile.
      group: row tiles and column tiles of one group, the unit that threads share.
      block: steps of the slowest inner axis between two loads of C.
      by_columns: whether groups that follow one another share columns of B, not rows of A.
      ahead: steps of the fastest inner axis that B is fetched ahead; 0: not at all.
    """

    outer: tuple[Axis, ...]
    tiled: tuple[Axis, ...]
    tile: tuple[int, ...]
    width: int
    group: tuple[int, int]
    block: int
    by_columns: bool = False
    ahead: int = 0

    def tiles(self, nest: Nest) -> tuple[int, int]:
        """Returns the number of row tiles along the first tiled axis, and of column tiles."""
        return -(-self.tiled[0].extent // self.tile[0]), -(-nest.columns // self.width)

    def num_groups(self, nest: Nest) -> int:
        """Returns the number of groups."""
        rows, columns = self.tiles(nest)
        outer = math.prod(axis.extent for axis in self.outer)
        return outer * -(-rows // self.group[0]) * -(-columns // self.group[1])


def collapse(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """Joins neighbours that together are one axis, and drops axes of extent 1."""
    result: list[Axis] = []
    for axis in axes:
        if axis.extent == 1:
            continue
        if result:
            last, n = result[-1], axis.extent
            if last.strides() == tuple(n * stride for stride in axis.strides()):
                result[-1] = replace(axis, extent=last.extent * n)
                continue
        result.append(axis)
    return tuple(result)


def plan(nest: Nest, target: Target, width: int = 0) -> Plan:
    """Returns how to cut a contraction for a vector unit: the tile that wastes fewest cycles.

    Args:
      nest: the contraction.
      target: the vector unit.
      width: of a tile, where panels have decided it.
    """
    lanes = target.lanes(nest.item_bytes)
    rows = nest.rows if any(axis.b == 0 for axis in nest.rows) else (*nest.rows, Axis(1))
    candidates = _candidates(nest, rows, lanes, target.num_registers)
    if width:
        candidates = (c for c in candidates if c[1] == -(-width // lanes))
    _, nvec, chosen = min(candidates)
    width = width or nvec * lanes
    tiled, tile = tuple(rows[i] for i, _ in chosen), tuple(n for _, n in chosen)
    outer = [axis for i, axis in enumerate(rows) if i not in [j for j, _ in chosen]]
    if len(tiled) == 2:
        second, n = tiled[1], tile[1]
        outer.append(
            Axis(second.extent // n, second.a * n, second.b * n, second.c * n,
                 tuple(n * stride for stride in second.extra))
        )  # fmt: skip
    rest = math.prod(axis.extent for axis in nest.inner[1:])
    block = nest.inner[0].extent
    if block * rest > 2 * _BLOCK and nest.column_b == 1:
        block = min(block, max(_BLOCK // rest, 1))
    row_bytes = math.prod(tile) * block * rest * nest.item_bytes
    row_tiles, column_tiles = -(-tiled[0].extent // tile[0]), -(-nest.columns // width)
    group_rows = _even(row_tiles, max(_GROUP_BYTES // row_bytes, 1))
    group = (group_rows, _even(column_tiles, 8) if block < nest.inner[0].extent else 1)
    outer = [a for a in outer if a.extent > 1]
    cut = Plan(tuple(outer), tiled, tile, width, group, block, ahead=_ahead(nest))
    if cut.num_groups(nest) < _GROUPS:
        others = math.prod(axis.extent for axis in outer) * column_tiles
        rows_of_group = _even(row_tiles, max(row_tiles * others // _GROUPS, 1))
        # Rows are cut for threads only: one that has all rows of some columns reads less of B.
        cut = replace(cut, group=(rows_of_group, 1), by_columns=True)
    return cut


def _ahead(nest: Nest) -> int:
    *_, k = nest.inner
    far = k.extent * min(k.b * nest.item_bytes, _PAGE) > _PAGES * _PAGE
    return _AHEAD if far and not nest.panel and nest.column_b == 1 else 0


def _even(count: int, most: int) -> int:
    """Returns the size, at most `most`, of equal parts of `count`."""
    return -(-count // -(-count // most))


def _candidates(nest: Nest, rows: Sequence[Axis], lanes: int, registers: int) -> Iterator[Any]:
    """Yields (cycles, vectors, ((row axis, rows), ...)) for the tiles that fit the registers."""
    free = [i for i, axis in enumerate(rows) if axis.b == 0]
    total = math.prod(axis.extent for axis in rows)
    # Beside the sums and B's vectors; with 32 registers a few more keep LLVM from spilling.
    spare = 4 if registers > 16 else 2
    most_vectors = 4 if nest.column_b == 1 else 1
    for nvec in range(1, min(most_vectors, -(-nest.columns // lanes)) + 1):
        most = max((registers - nvec - spare) // nvec, 1)
        for i in free:
            extent = rows[i].extent
            for n in range(1, min(extent, most) + 1):
                yield _cycles(nest, total // extent, (extent, n), nvec, lanes), nvec, ((i, n),)
                for j, m in itertools.product(free, range(2, most // n + 1)):
                    if j != i and rows[j].extent % m == 0:
                        others = total // extent // m
                        cycles = _cycles(nest, others, (extent, n), nvec, lanes, m)
                        yield cycles, nvec, ((i, n), (j, m))


def _cycles(
    nest: Nest, others: int, tiled: tuple[int, int], nvec: int, lanes: int, second: int = 1
) -> float:
    """Models a core with two FMAs and two loads a cycle, an FMA's result ready after four."""
    depth = math.prod(axis.extent for axis in nest.inner)
    ahead = _ahead(nest)
    full_columns, column_rest = divmod(nest.columns, nvec * lanes)
    full_rows, row_rest = divmod(tiled[0], tiled[1])
    cycles = 0.0
    for columns, v in ((full_columns, nvec), (1 if column_rest else 0, -(-column_rest // lanes))):
        for tiles, n in ((full_rows, tiled[1]), (1 if row_rest else 0, row_rest)):
            rows = n * second
            loads = rows + v + (v if ahead else 0)
            # Streams of A cost a little each; three and more of B's lines far apart cost a lot.
            step = max(rows * v / 2, loads / 2, 4.0) + 0.25 + 0.03 * rows
            step += max(v - 2, 0) if ahead else 0.0
            cycles += columns * tiles * (step * depth + rows * v + 20)
    return others * cycles
