"""Strided contractions C[...] += sum over k of A·B on tiles held in vector registers, as LLVM IR.

One generator serves matmul and convolution (batch-reduce GEMM: Georganas et al. 2019,
arXiv:1906.06440). A `Nest` says which axes there are and how far apart their elements lie in A, B
and C; strides are constants of the code, so that every address is a register plus a constant.

The order of additions is the program's: an element of C starts at +0 and takes its products one
by one, k ascending (the last axis of `inner` fastest), each by one fused multiply-add. Tile sizes,
vector width, groups and blocks of k (which accumulate through C) therefore cannot change a bit.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llvmlite import ir

from distflow.compiler.cpu.isa import Target
from distflow.compiler.cpu.vectors import I64, PTR, Vectors, declare, loop, part, ranged, split

# Rows of A that one group of tiles covers, as bytes: half of a 1 MiB second-level cache.
_GROUP_BYTES = 1 << 19
# Products between two loads of C: B's tile of 512 x 32 floats stays in the second-level cache.
_BLOCK = 512
# Fused multiply-adds in the body of the innermost loop, about.
_UNROLLED = 64
# Groups wanted at least, for threads to share.
_GROUPS = 6


@dataclass(frozen=True)
class Axis:
    """An axis of a contraction: its extent, and its strides in A, B and C in elements."""

    extent: int
    a: int = 0
    b: int = 0
    c: int = 0


@dataclass(frozen=True)
class Nest:
    """A contraction. Every extent is at least 1.

    Attributes:
      dtype: "float32" or "float64", of A, B and C.
      rows: axes of C; those that do not move in B share the vectors of B that a tile holds.
      inner: axes that are summed, slowest first. They do not move in C.
      columns: elements along the one axis that is contiguous in B and C, and absent from A
        unless `by_column`: then it is contiguous in A as well (depthwise convolution).
      panel: distance of two column tiles in B in elements; 0: they are neighbours.
      row_panel: distance of two row tiles in A in elements; 0: that of their first rows.
    """

    dtype: str
    rows: tuple[Axis, ...]
    inner: tuple[Axis, ...]
    columns: int
    panel: int = 0
    row_panel: int = 0
    by_column: bool = False

    @property
    def item_bytes(self) -> int:
        """Size of an element."""
        return 4 if self.dtype == "float32" else 8


@dataclass(frozen=True)
class Plan:
    """How a Nest is cut: nothing in here can change the result.

    Attributes:
      outer: loops around the tiles.
      tiled: the one or two row axes of a tile, with their part of it; the second divides.
      tile: rows of a tile along each of `tiled`.
      width: columns of a tile.
      group: row tiles and column tiles of one group, the unit that threads share.
      block: steps of the slowest inner axis between two loads of C.
    """

    outer: tuple[Axis, ...]
    tiled: tuple[Axis, ...]
    tile: tuple[int, ...]
    width: int
    group: tuple[int, int]
    block: int

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
            if (last.a, last.b, last.c) == (axis.a * n, axis.b * n, axis.c * n):
                result[-1] = Axis(last.extent * n, axis.a, axis.b, axis.c)
                continue
        result.append(axis)
    return tuple(result)


# -- choosing tiles ------------------------------------------------------------------------


def plan(nest: Nest, target: Target) -> Plan:
    """Returns how to cut a contraction for a vector unit: the tile that wastes fewest cycles."""
    lanes = target.lanes(nest.item_bytes)
    rows = nest.rows if any(axis.b == 0 for axis in nest.rows) else (*nest.rows, Axis(1))
    _, nvec, chosen = min(_candidates(nest, rows, lanes, target.num_registers))
    width = nvec * lanes
    tiled, tile = tuple(rows[i] for i, _ in chosen), tuple(n for _, n in chosen)
    outer = [axis for i, axis in enumerate(rows) if i not in [j for j, _ in chosen]]
    if len(tiled) == 2:
        second, n = tiled[1], tile[1]
        outer.append(Axis(second.extent // n, second.a * n, second.b * n, second.c * n))
    rest = math.prod(axis.extent for axis in nest.inner[1:])
    block = nest.inner[0].extent
    if block * rest > 2 * _BLOCK:
        block = min(block, max(_BLOCK // rest, 1))
    row_bytes = math.prod(tile) * block * rest * nest.item_bytes
    row_tiles, column_tiles = -(-tiled[0].extent // tile[0]), -(-nest.columns // width)
    group_rows = _even(row_tiles, max(_GROUP_BYTES // row_bytes, 1))
    group = (group_rows, _even(column_tiles, 8) if block < nest.inner[0].extent else 1)
    cut = Plan(tuple(a for a in outer if a.extent > 1), tiled, tile, width, group, block)
    if cut.num_groups(nest) < _GROUPS:
        cut = replace(cut, group=(_even(row_tiles, -(-row_tiles // _GROUPS)), 1))
    return cut


def _even(count: int, most: int) -> int:
    """Returns the size, at most `most`, of equal parts of `count`."""
    return -(-count // -(-count // most))


def _candidates(nest: Nest, rows: Sequence[Axis], lanes: int, registers: int) -> Iterator[Any]:
    """Yields (cycles, vectors, ((row axis, rows), ...)) for the tiles that fit the registers."""
    free = [i for i, axis in enumerate(rows) if axis.b == 0]
    total = math.prod(axis.extent for axis in rows)
    for nvec in range(1, min(4, -(-nest.columns // lanes)) + 1):
        most = max((registers - nvec - 1) // nvec, 1)
        for i in free:
            extent = rows[i].extent
            for n in range(1, min(extent, most) + 1):
                tiles = total // extent * -(-extent // n)
                yield _cycles(nest, tiles, n, nvec, lanes), nvec, ((i, n),)
                for j, m in itertools.product(free, range(2, most // n + 1)):
                    if j != i and rows[j].extent % m == 0:
                        cycles = _cycles(nest, tiles // m, n * m, nvec, lanes)
                        yield cycles, nvec, ((i, n), (j, m))


def _cycles(nest: Nest, row_tiles: int, rows: int, nvec: int, lanes: int) -> float:
    """Models a core with two FMAs and two loads a cycle, an FMA's result ready after four."""
    depth = math.prod(axis.extent for axis in nest.inner)
    full, tail = divmod(nest.columns, nvec * lanes)
    cycles = 0.0
    for count, v in ((full, nvec), (1 if tail else 0, -(-tail // lanes))):
        step = max(rows * v / 2, (rows + v) / 2, 4.0) + 0.25
        cycles += count * row_tiles * (step * depth + rows * v + 10)
    return cycles


# -- code ----------------------------------------------------------------------------------


def emit(module: Any, name: str, nest: Nest, cut: Plan, target: Target) -> None:
    """Adds a ranged function on (C, A, B): the groups begin..end of a contraction.

    C need not be cleared before. Different groups write different elements.
    """
    _Emitter(module, name, nest, cut, target).driver()


class _Emitter(Vectors):
    """Writes the tiles that a contraction needs, and the loops around them."""

    def __init__(self, module: Any, name: str, nest: Nest, cut: Plan, target: Target):
        super().__init__(nest.dtype, target)
        self.module, self.name, self.nest, self.cut = module, name, nest, cut
        suffix = f"v{self.lanes}f{8 * nest.item_bytes}"
        self.fma = declare(module, f"llvm.fma.{suffix}", self.vector, [self.vector] * 3)
        self.tiles = self.all_tiles()

    # -- one tile --

    def tile(self, rows: Sequence[int], columns: int) -> Any:
        """Adds a function (C, A, B, count, more): one tile over `count` steps of inner[0].

        If `more`, C is added to; else it is written.
        """
        kind = ir.FunctionType(ir.VoidType(), [PTR, PTR, PTR, I64, ir.IntType(1)])
        function = ir.Function(self.module, kind, f"{self.name}_{math.prod(rows)}x{columns}")
        function.linkage = "internal"
        function.attributes.add("noinline")
        c, a, b, count, more = function.args
        c.add_attribute("noalias")
        offsets = [
            tuple(sum(r * getattr(axis, of) for r, axis in zip(at, self.cut.tiled)) for of in "ac")
            for at in itertools.product(*map(range, rows))
        ]
        rows_a, rows_c = [o[0] for o in offsets], [o[1] for o in offsets]
        start = ir.IRBuilder(function.append_basic_block("start"))
        load, work = function.append_basic_block("load"), function.append_basic_block("work")
        start.cbranch(more, load, work)
        loading = ir.IRBuilder(load)
        parts = [
            (row, v, min(self.lanes, columns - v))
            for row in range(len(rows_c))
            for v in range(0, columns, self.lanes)
        ]
        old = [self.load(loading, self.at(loading, c, rows_c[r], v), n) for r, v, n in parts]
        loading.branch(work)
        builder = ir.IRBuilder(work)
        sums = []
        for value in old:
            phi = builder.phi(self.vector)
            phi.add_incoming(ir.Constant(self.vector, None), start.block)
            phi.add_incoming(value, load)
            sums.append(phi)
        sums = self.sum(builder, 0, a, b, sums, rows_a, columns, count)
        for (row, v, n), value in zip(parts, sums):
            self.store(builder, value, self.at(builder, c, rows_c[row], v), n)
        builder.ret_void()
        return function

    def sum(
        self, builder: Any, level: int, a: Any, b: Any, sums: list[Any], rows: list[int],
        columns: int, count: Any,
    ) -> list[Any]:  # fmt: skip
        """Adds the products of inner[level:] to the sums."""
        axis, last = self.nest.inner[level], level == len(self.nest.inner) - 1

        def steps(builder: Any, n: int, state: list[Any]) -> list[Any]:
            a, b, *sums = state
            for i in range(n):
                here = self.at(builder, a, i * axis.a), self.at(builder, b, i * axis.b)
                if last:
                    sums = self.step(builder, *here, sums, rows, columns)
                else:
                    sums = self.sum(builder, level + 1, *here, sums, rows, columns, None)
            return [self.at(builder, a, n * axis.a), self.at(builder, b, n * axis.b), *sums]

        unroll = max(_UNROLLED // len(sums), 1) if last else 1
        state = [a, b, *sums]
        if level or self.cut.block == axis.extent:
            count = I64(axis.extent)
            if axis.extent <= unroll:
                return steps(builder, axis.extent, state)[2:]
        if unroll > 1:
            many = builder.udiv(count, I64(unroll))
            state = loop(builder, I64(0), many, state, lambda b, _, s: steps(b, unroll, s))
            count = builder.urem(count, I64(unroll))
        return loop(builder, I64(0), count, state, lambda b, _, s: steps(b, 1, s))[2:]

    def step(
        self, builder: Any, a: Any, b: Any, sums: list[Any], rows: list[int], columns: int
    ) -> list[Any]:
        """Adds one product to each sum."""
        vectors = [
            self.load(builder, self.at(builder, b, v), min(self.lanes, columns - v))
            for v in range(0, columns, self.lanes)
        ]
        result = []
        for i, row in enumerate(rows):
            if not self.nest.by_column:
                scalar = builder.load(self.at(builder, a, row), typ=self.element)
                left = self.broadcast(builder, scalar)
            for j, vector in enumerate(vectors):
                if self.nest.by_column:
                    v = j * self.lanes
                    n = min(self.lanes, columns - v)
                    left = self.load(builder, self.at(builder, a, row, v), n)
                old = sums[i * len(vectors) + j]
                result.append(builder.call(self.fma, [left, vector, old]))
        return result

    # -- the loops around the tiles --

    def driver(self) -> None:
        """Adds the function that walks the groups, block of k by block of k.

        Blocks are outermost, so that what they read of A and B serves all groups of a thread.
        """
        k, cut = self.nest.inner[0], self.cut
        builder, pointers, begin, end = ranged(self.module, self.name, 3)

        def block(builder: Any, i: Any, _: list[Any]) -> list[Any]:
            done, until = part(builder, i, cut.block, k.extent)
            more = builder.icmp_unsigned("!=", i, I64(0))
            here = self.move(builder, pointers, done, k)
            how = builder.sub(until, done), more
            return loop(builder, begin, end, [], lambda b, g, _: self.group(b, g, here, how))

        loop(builder, I64(0), I64(-(-k.extent // cut.block)), [], block)
        builder.ret_void()

    def group(self, builder: Any, index: Any, here: list[Any], how: tuple[Any, Any]) -> list[Any]:
        """Calls the tiles of one group: column by column, so that B's tile serves all rows."""
        nest, cut = self.nest, self.cut
        row_tiles, column_tiles = cut.tiles(nest)
        tiles = self.tiles
        index, columns = split(builder, index, -(-column_tiles // cut.group[1]))
        index, rows = split(builder, index, -(-row_tiles // cut.group[0]))
        for axis in reversed(cut.outer):
            index, position = split(builder, index, axis.extent)
            here = self.move(builder, here, position, axis)
        row, row_end = part(builder, rows, cut.group[0], row_tiles)
        column, column_end = part(builder, columns, cut.group[1], column_tiles)

        def one_column(builder: Any, column: Any, _: list[Any]) -> list[Any]:
            c, a, b = here
            c = self.at(builder, c, builder.mul(column, I64(cut.width)))
            b = self.at(builder, b, builder.mul(column, I64(nest.panel or cut.width)))
            if nest.by_column:
                a = self.at(builder, a, builder.mul(column, I64(cut.width)))

            def one_row(builder: Any, row: Any, _: list[Any]) -> list[Any]:
                step = builder.mul(row, I64(cut.tile[0]))
                is_last = (
                    builder.icmp_unsigned("==", row, I64(row_tiles - 1)),
                    builder.icmp_unsigned("==", column, I64(column_tiles - 1)),
                )
                to, of, by = self.move(builder, [c, a, b], step, cut.tiled[0])
                if nest.row_panel:
                    of = self.at(builder, a, builder.mul(row, I64(nest.row_panel)))
                arguments = (to, of, by, *how)
                _choose(builder, tiles, is_last, arguments)
                return []

            return loop(builder, row, row_end, [], one_row)

        return loop(builder, column, column_end, [], one_column)

    def all_tiles(self) -> dict[tuple[bool, ...], Any]:
        """Adds the tile functions; returns them by (last row tile?, last column tile?)."""
        made: dict[Any, Any] = {}
        result = {}
        row_tiles, column_tiles = self.cut.tiles(self.nest)
        size, *others = self.cut.tile
        last = self.cut.tiled[0].extent - (row_tiles - 1) * size
        for is_last in itertools.product((False, True), repeat=2):
            columns = self.cut.width
            if is_last[1]:
                columns = self.nest.columns - (column_tiles - 1) * columns
            elif column_tiles == 1:
                continue
            if not is_last[0] and row_tiles == 1:
                continue
            shape = ((last if is_last[0] else size), *others), columns
            if shape not in made:
                made[shape] = self.tile(*shape)
            result[is_last] = made[shape]
        return result

    def move(self, builder: Any, pointers: list[Any], position: Any, axis: Axis) -> list[Any]:
        """Returns (C, A, B) moved along an axis."""
        return [
            self.at(builder, p, builder.mul(position, I64(stride))) if stride else p
            for p, stride in zip(pointers, (axis.c, axis.a, axis.b))
        ]


def _choose(builder: Any, tiles: dict[Any, Any], is_last: Any, arguments: Any) -> None:
    """Calls the tile function for this place."""
    if len(set(tiles.values())) == 1:
        builder.call(next(iter(tiles.values())), arguments)
        return
    done = builder.function.append_basic_block("called")
    for key, tile in tiles.items():
        match = builder.and_(
            *(flag if wanted else builder.not_(flag) for flag, wanted in zip(is_last, key))
        )
        call = builder.function.append_basic_block("call")
        other = builder.function.append_basic_block("other")
        builder.cbranch(match, call, other)
        builder.position_at_end(call)
        builder.call(tile, arguments)
        builder.branch(done)
        builder.position_at_end(other)
    builder.branch(done)
    builder.position_at_end(done)
