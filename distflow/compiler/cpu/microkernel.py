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
from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from distflow.compiler.cpu.isa import Target
from distflow.compiler.cpu.tiling import Axis, Nest, Plan, collapse, plan
from distflow.compiler.cpu.vectors import I64, PTR, Vectors, declare, loop, part, ranged, split

__all__ = ["Axis", "Nest", "Plan", "collapse", "emit", "plan"]

# Fused multiply-adds in the body of the innermost loop, about: what hides the loop's own work.
_UNROLLED = 16


def emit(module: Any, name: str, nest: Nest, cut: Plan, target: Target) -> None:
    """Adds a ranged function on (C, A, B, operands of the epilogue ...): groups begin..end.

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
        self.extras = nest.epilogue.extras
        assert len(nest.columns_extra) == self.extras, "a stride for each operand"
        self.tiles = self.all_tiles()

    # -- one tile --

    def tile(self, rows: Sequence[int], columns: int) -> Any:
        """Adds a function (C, A, B, extras..., count, more, final): one tile, inner[0] to `count`.

        If `more`, C is added to, else it is written; if `final`, the epilogue is done.
        """
        flag = ir.IntType(1)
        kind = ir.FunctionType(ir.VoidType(), [PTR] * (3 + self.extras) + [I64, flag, flag])
        function = ir.Function(self.module, kind, f"{self.name}_{math.prod(rows)}x{columns}")
        function.linkage = "internal"
        function.attributes.add("noinline")
        c, a, b, *extras, count, more, final = function.args
        c.add_attribute("noalias")
        offsets = [
            tuple(map(sum, zip(*(
                [r * stride for stride in axis.strides(self.extras)]
                for r, axis in zip(at, self.cut.tiled)
            ))))
            for at in itertools.product(*map(range, rows))
        ]  # fmt: skip
        parts = [
            (row, v, min(self.lanes, columns - v))
            for row in offsets
            for v in range(0, columns, self.lanes)
        ]
        builder = ir.IRBuilder(function.append_basic_block("start"))
        sums = [ir.Constant(self.vector, None)] * len(parts)
        is_whole = self.cut.block == self.nest.inner[0].extent
        if not is_whole:
            sums = self.loaded(builder, c, more, parts)
        sums = self.sum(builder, 0, a, b, sums, [row[1] for row in offsets], columns, count)
        if self.nest.epilogue.steps and not is_whole:
            partial, done = [function.append_basic_block(name) for name in ("partial", "done")]
            builder.cbranch(final, done, partial)
            self.finish(ir.IRBuilder(partial), c, None, sums, parts)
            builder.position_at_end(done)
        self.finish(builder, c, extras, sums, parts)
        return function

    def loaded(self, builder: Any, c: Any, more: Any, parts: list[Any]) -> list[Any]:
        """Returns the sums so far if there are `more`, else zeros."""
        start, function = builder.block, builder.function
        load, work = function.append_basic_block("load"), function.append_basic_block("work")
        builder.cbranch(more, load, work)
        builder.position_at_end(load)
        old = [self.load(builder, self.at(builder, c, row[0], v), n) for row, v, n in parts]
        builder.branch(work)
        builder.position_at_end(work)
        sums = []
        for value in old:
            phi = builder.phi(self.vector)
            phi.add_incoming(ir.Constant(self.vector, None), start)
            phi.add_incoming(value, load)
            sums.append(phi)
        return sums

    def finish(
        self, builder: Any, c: Any, extras: list[Any] | None, sums: list[Any], parts: list[Any]
    ) -> None:
        """Writes the sums to C, after the epilogue if its operands are given."""
        epilogue = self.nest.epilogue
        for (row, v, n), value in zip(parts, sums):
            if extras is not None:
                operands = [
                    self.load(builder, self.at(builder, p, offset, v), n)
                    if stride else self.broadcast(
                        builder, builder.load(self.at(builder, p, offset), typ=self.element)
                    )
                    for p, offset, stride in zip(extras, row[3:], self.nest.columns_extra)
                ]  # fmt: skip
                value = epilogue.apply(builder, [value, *operands])
            self.store(builder, value, self.at(builder, c, row[0], v), n)
        builder.ret_void()

    def sum(
        self, builder: Any, level: int, a: Any, b: Any, sums: list[Any], rows: list[int],
        columns: int, count: Any,
    ) -> list[Any]:  # fmt: skip
        """Adds the products of inner[level:] to the sums."""
        axis, last = self.nest.inner[level], level == len(self.nest.inner) - 1
        if last and self.nest.column_b != 1:
            return self.sum_turned(builder, a, b, sums, rows, columns)

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

    def sum_turned(
        self, builder: Any, a: Any, b: Any, sums: list[Any], rows: list[int], columns: int
    ) -> list[Any]:
        """Adds the products of the last axis: B is read along it, and turned square by square."""
        k = self.nest.inner[-1]

        def square(builder: Any, n: int, state: list[Any]) -> list[Any]:
            a, b, *sums = state
            read = [
                self.load(builder, self.at(builder, b, j * self.nest.column_b), n)
                for j in range(columns)
            ]
            read += [ir.Constant(self.vector, None)] * (self.lanes - columns)
            for i, vector in enumerate(self.turned(builder, read)[:n]):
                for j, row in enumerate(rows):
                    scalar = builder.load(self.at(builder, a, row, i * k.a), typ=self.element)
                    left = self.broadcast(builder, scalar)
                    sums[j] = builder.call(self.fma, [left, vector, sums[j]])
            return [self.at(builder, a, n * k.a), self.at(builder, b, n), *sums]

        full, rest = divmod(k.extent, self.lanes)
        state = [a, b, *sums]
        if full:
            state = loop(
                builder, I64(0), I64(full), state, lambda b, _, s: square(b, self.lanes, s)
            )
        return (square(builder, rest, state) if rest else state)[2:]

    def step(
        self, builder: Any, a: Any, b: Any, sums: list[Any], rows: list[int], columns: int
    ) -> list[Any]:
        """Adds one product to each sum."""
        vectors = [
            self.load(builder, self.at(builder, b, v), min(self.lanes, columns - v))
            for v in range(0, columns, self.lanes)
        ]
        if self.cut.ahead:
            for v in range(0, columns, self.lanes):
                self.fetch(builder, b, self.cut.ahead * self.nest.inner[-1].b + v)
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

    def fetch(self, builder: Any, pointer: Any, offset: int) -> None:
        """Asks for a line that will be read; what is no memory is ignored."""
        i32 = ir.IntType(32)
        fetch = declare(self.module, "llvm.prefetch.p0", ir.VoidType(), [PTR, i32, i32, i32])
        # Not `at`: the address may lie behind the array, which must not be promised otherwise.
        there = builder.gep(pointer, [I64(offset)], source_etype=self.element)
        builder.call(fetch, [there, i32(0), i32(3), i32(1)])

    # -- the loops around the tiles --

    def driver(self) -> None:
        """Adds the function that walks the groups, each block of k by block of k."""
        k, cut = self.nest.inner[0], self.cut
        builder, pointers, begin, end = ranged(self.module, self.name, 3 + self.extras)
        blocks = -(-k.extent // cut.block)

        def one_group(builder: Any, group: Any, _: list[Any]) -> list[Any]:
            def block(builder: Any, i: Any, _: list[Any]) -> list[Any]:
                done, until = part(builder, i, cut.block, k.extent)
                more = builder.icmp_unsigned("!=", i, I64(0))
                final = builder.icmp_unsigned("==", i, I64(blocks - 1))
                here = self.move(builder, pointers, done, Axis(1, k.a, k.b))
                self.group(builder, group, here, (builder.sub(until, done), more, final))
                return []

            return loop(builder, I64(0), I64(blocks), [], block)

        loop(builder, begin, end, [], one_group)
        builder.ret_void()

    def group(self, builder: Any, index: Any, here: list[Any], how: tuple[Any, ...]) -> None:
        """Calls the tiles of one group: column by column, so that B's tile serves all rows."""
        nest, cut = self.nest, self.cut
        row_tiles, column_tiles = cut.tiles(nest)
        tiles = self.tiles
        groups = -(-row_tiles // cut.group[0]), -(-column_tiles // cut.group[1])
        if cut.by_columns:
            index, rows = split(builder, index, groups[0])
            index, columns = split(builder, index, groups[1])
        else:
            index, columns = split(builder, index, groups[1])
            index, rows = split(builder, index, groups[0])
        for axis in reversed(cut.outer):
            index, position = split(builder, index, axis.extent)
            here = self.move(builder, here, position, axis)
        row, row_end = part(builder, rows, cut.group[0], row_tiles)
        column, column_end = part(builder, columns, cut.group[1], column_tiles)

        def one_column(builder: Any, column: Any, _: list[Any]) -> list[Any]:
            width = cut.width
            along = Axis(
                1, width if nest.by_column else 0, nest.panel or width * nest.column_b, width,
                tuple(width * stride for stride in nest.columns_extra),
            )  # fmt: skip
            first = self.move(builder, here, column, along)

            def one_row(builder: Any, row: Any, _: list[Any]) -> list[Any]:
                step = builder.mul(row, I64(cut.tile[0]))
                is_last = (
                    builder.icmp_unsigned("==", row, I64(row_tiles - 1)),
                    builder.icmp_unsigned("==", column, I64(column_tiles - 1)),
                )
                to, of, *others = self.move(builder, first, step, cut.tiled[0])
                if nest.row_panel:
                    of = self.at(builder, first[1], builder.mul(row, I64(nest.row_panel)))
                _choose(builder, tiles, is_last, (to, of, *others, *how))
                return []

            return loop(builder, row, row_end, [], one_row)

        loop(builder, column, column_end, [], one_column)

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
        """Returns (C, A, B, extras...) moved along an axis."""
        return [
            self.at(builder, p, builder.mul(position, I64(stride))) if stride else p
            for p, stride in zip(pointers, axis.strides(self.extras))
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
