"""Tiles of a convolution as LLVM IR: sums in registers, and the loops around the tiles.

Strides are constants of the code, so that every address is a register plus a constant. The order
of an element's products is that of the `Nest`, each added by one fused multiply-add.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from distflow.compiler.cpu.isa import Target
from distflow.compiler.cpu.tiles import WRITTEN_OUT, Cut, Nest, most_parts
from distflow.compiler.cpu.vectors import I64, PTR, Vectors, declare, loop

# Fused multiply-adds in the body of an innermost loop, about; and those up to which all loops of
# a tile are unrolled.
_UNROLLED, _STRAIGHT = 64, 160
_BIT = ir.IntType(1)
_EVERYWHERE = (0, 1 << 62)


class Tiles(Vectors):
    """Adds the tile functions of a nest to a module, and the loops that call them."""

    def __init__(
        self, module: Any, name: str, dtype: str, nest: Nest, shape: Cut, target: Target
    ):  # fmt: skip
        super().__init__(dtype, target)
        self._module, self._name, self._nest, self._shape = module, name, nest, shape
        suffix = f"v{self.lanes}f{8 * self.item_bytes}"
        self._fma = declare(module, f"llvm.fma.{suffix}", self.vector, [self.vector] * 3)
        self._width = shape.vectors * self.lanes
        self._extras = nest.epilogue.extras
        self._made: dict[Any, Any] = {}
        self._loops = self._row_loops()
        self._clipped = nest.clipped(shape)
        # Places of a sliding tile that lie in the image: the first, and the first behind them.
        self._places = _EVERYWHERE

    # -- loops around the tiles --

    def emit(
        self, builder: Any, pointers: Sequence[Any], how: Sequence[Any] = (),
        part: tuple[Any, int] | None = None,
    ) -> None:  # fmt: skip
        """Adds the loops over all tiles of C, or over those of one part of the rows.

        Args:
          builder: where.
          pointers: to the first elements of C, A, B and the epilogue's operands.
          how: the extent of inner[0] if the nest is `counted`; whether to add if it `adds`.
          part: number of the part, and how many there are.
        """
        nest = self._nest
        first = [self.at(builder, p, s) for p, s in zip(pointers, nest.start)]
        full, tail = divmod(nest.columns, self._width)
        steps = [
            self._width, self._width if nest.by_column else 0, nest.panel or self._width,
            *(self._width * stride for stride in nest.columns_extra),
        ]  # fmt: skip

        def column(builder: Any, i: Any, _: list[Any]) -> list[Any]:
            here = _moved(self, builder, first, i, steps)
            self._walk(builder, here, how, part, 0, self._width, None)
            return []

        if full == 1:
            column(builder, I64(0), [])
        elif full:
            loop(builder, I64(0), I64(full), [], column)
        if tail:
            here = [self.at(builder, p, full * step) for p, step in zip(first, steps)]
            self._walk(builder, here, how, part, 0, tail, None)

    def _row_loops(self) -> list[tuple[int, list[int], bool]]:
        """Returns (count, distances, whether the last may be smaller) of the loops over rows."""
        size = dict(zip(self._shape.tiled, self._shape.tile))
        loops = []
        for i, axis in enumerate(self._nest.rows):
            n = size.get(i, 1)
            loops.append(
                (-(-axis.extent // n), [n * s for s in axis.strides(self._extras)],
                 axis.extent % n != 0)
            )  # fmt: skip
        return loops

    def _walk(
        self, builder: Any, here: list[Any], how: Sequence[Any], part: Any, level: int,
        columns: int, is_last: Any,
    ) -> None:  # fmt: skip
        """Adds the loops over rows from `level` on."""
        if level == len(self._loops):
            self._call(builder, here, how, columns, is_last)
            return
        count, steps, ragged = self._loops[level]
        begin, end = I64(0), I64(count)
        edge = self._nest.edge if level == self._nest.sliding and self._shape.slides else None
        if part is not None and count == most_parts(self._nest, self._shape):
            edge = None
            index, parts = part
            begin, end = (
                builder.udiv(builder.mul(i, I64(count)), I64(parts))
                for i in (index, builder.add(index, I64(1)))
            )
            part = None

        def body(builder: Any, i: Any, _: list[Any]) -> list[Any]:
            moved = _moved(self, builder, here, i, steps)
            last = builder.icmp_unsigned("==", i, I64(count - 1)) if ragged else is_last
            seen = [*how, *self._range(builder, i)] if level == self._clipped else how
            self._walk(builder, moved, seen, part, level + 1, columns, last)
            return []

        if edge is None or self._nest.inner[-1].extent > WRITTEN_OUT:
            loop(builder, begin, end, [], body)
            return
        # The first and the last tile leave out what lies beyond the edges.
        size = self._shape.tile[self._shape.tiled.index(level)]
        behind = -(-edge.limit // edge.step)

        def inside(builder: Any, i: Any, _: list[Any]) -> list[Any]:
            moved = _moved(self, builder, here, i, steps)
            last = False if ragged else is_last
            self._walk(builder, moved, how, part, level + 1, columns, last)
            return []

        for i in sorted({0, count - 1}):
            moved = [self.at(builder, p, i * step) for p, step in zip(here, steps)]
            last = i == count - 1 if ragged else is_last
            self._places = (-(-edge.low // edge.step) if i == 0 else 0, behind - i * size)
            self._walk(builder, moved, how, part, level + 1, columns, last)
            self._places = _EVERYWHERE
            if i == 0 and count > 2:
                loop(builder, I64(1), I64(count - 1), [], inside)

    def _range(self, builder: Any, i: Any) -> tuple[Any, Any]:
        """Returns where the steps of inner[0] begin and end that see the image from row i."""
        clip = self._nest.clip
        assert clip is not None
        assert clip.step == 1
        moved = builder.mul(i, I64(clip.move))

        def clamped(value: Any, low: Any) -> Any:
            return builder.select(builder.icmp_signed("<", value, low), low, value)

        first = clamped(builder.sub(I64(clip.low), moved), I64(0))
        last = builder.sub(I64(clip.limit), moved)
        extent = I64(clip.inner.extent)
        last = builder.select(builder.icmp_signed("<", last, extent), last, extent)
        return first, clamped(last, first)

    def _call(
        self, builder: Any, here: list[Any], how: Sequence[Any], columns: int, is_last: Any
    ) -> None:
        arguments = [*here, *how]
        size, *others = self._shape.tile
        rest = self._nest.rows[self._shape.tiled[0]].extent % size
        if is_last is None or isinstance(is_last, bool):
            builder.call(self._tile((rest if is_last else size, *others), columns), arguments)
            return
        with builder.if_else(is_last) as (then, other):
            with then:
                builder.call(self._tile((rest, *others), columns), arguments)
            with other:
                builder.call(self._tile((size, *others), columns), arguments)

    # -- one tile --

    def _tile(self, rows: tuple[int, ...], columns: int) -> Any:
        """Returns the function (C, A, B, *operands of the epilogue, *how) of one tile."""
        key = rows, columns, self._places
        if key not in self._made:
            self._made[key] = self._make_tile(rows, columns, len(self._made))
        return self._made[key]

    def _make_tile(self, rows: tuple[int, ...], columns: int, number: int) -> Any:
        nest = self._nest
        arguments = [PTR] * (3 + self._extras) + [I64] * nest.counted + [_BIT] * nest.adds
        arguments += [I64] * (2 * (self._clipped >= 0))
        name = f"{self._name}_{number}_{'x'.join(map(str, rows))}x{columns}"
        function = ir.Function(self._module, ir.FunctionType(ir.VoidType(), arguments), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        # Vectors are explicit: this keeps LLVM's vectorizers out, a third of the time to compile.
        function.attributes.add("noimplicitfloat")
        c, a, b = function.args[:3]
        extras, how = function.args[3 : 3 + self._extras], function.args[3 + self._extras :]
        c.add_attribute("noalias")
        tiled = [nest.rows[i] for i in self._shape.tiled]
        places = list(itertools.product(*map(range, rows)))
        of_c = [sum(r * axis.c for r, axis in zip(at, tiled)) for at in places]
        of_a: list[Any] = [sum(r * axis.a for r, axis in zip(at, tiled)) for at in places]
        if self._shape.slides:
            along = self._shape.tiled.index(nest.sliding)
            of_a = [(at[along], of - at[along] * tiled[along].a) for at, of in zip(places, of_a)]
        pieces = [
            (row, v, min(self.lanes, columns - v))
            for row in range(len(places))
            for v in range(0, columns, self.lanes)
        ]
        zero = ir.Constant(self.vector, None)
        sums: list[Any] = [zero] * len(pieces)
        builder = ir.IRBuilder(function.append_basic_block("start"))
        if nest.adds:
            start, load = builder.block, function.append_basic_block("load")
            work = function.append_basic_block("work")
            builder.cbranch(how[-1], load, work)
            builder.position_at_end(load)
            old = [self.load(builder, self.at(builder, c, of_c[r], v), n) for r, v, n in pieces]
            builder.branch(work)
            builder.position_at_end(work)
            for i, value in enumerate(old):
                sums[i] = builder.phi(self.vector)
                sums[i].add_incoming(zero, start)
                sums[i].add_incoming(value, load)
        count = how[0] if nest.counted else None
        if self._clipped >= 0:
            axis, (first, last) = nest.inner[0], how[-2:]
            a = self.at(builder, a, builder.mul(first, I64(axis.a)))
            b = self.at(builder, b, builder.mul(first, I64(axis.b)))
            count = builder.sub(last, first)
        sums = self._sum(builder, 0, a, b, sums, of_a, columns, count)
        for (row, v, n), value in zip(pieces, sums):
            operands = []
            for i, (p, stride) in enumerate(zip(extras, nest.columns_extra)):
                here = self.at(builder, p, sum(r * x.extra[i] for r, x in zip(places[row], tiled)))
                if stride:
                    operands.append(self.load(builder, self.at(builder, here, v), n))
                else:
                    scalar = builder.load(here, typ=self.element)
                    operands.append(self.broadcast(builder, scalar))
            value = nest.epilogue.apply(builder, [value, *operands])
            self.store(builder, value, self.at(builder, c, of_c[row], v), n)
        builder.ret_void()
        return function

    def _sum(
        self, builder: Any, level: int, a: Any, b: Any, sums: list[Any], rows: list[Any],
        columns: int, count: Any,
    ) -> list[Any]:  # fmt: skip
        """Adds the products of inner[level:] to the sums; `count`: extent, if not the axis's."""
        axis, last = self._nest.inner[level], level == len(self._nest.inner) - 1
        if last and self._shape.slides:
            return self._slide(builder, a, b, sums, rows, columns)
        below = math.prod(x.extent for x in self._nest.inner[level:])

        def steps(builder: Any, n: int, state: list[Any]) -> list[Any]:
            a, b, *sums = state
            for i in range(n):
                here = self.at(builder, a, i * axis.a), self.at(builder, b, i * axis.b)
                if last:
                    sums = self._step(builder, *here, sums, rows, columns)
                else:
                    sums = self._sum(builder, level + 1, *here, sums, rows, columns, None)
            return [self.at(builder, a, n * axis.a), self.at(builder, b, n * axis.b), *sums]

        state = [a, b, *sums]
        if count is not None:
            return loop(builder, I64(0), count, state, lambda b, _, s: steps(b, 1, s))[2:]
        if below * len(sums) <= _STRAIGHT:
            return steps(builder, axis.extent, state)[2:]
        unroll = _unroll(axis.extent, max(_UNROLLED // len(sums), 1)) if last else 1
        if axis.extent // unroll > 1:
            many = I64(axis.extent // unroll)
            state = loop(builder, I64(0), many, state, lambda b, _, s: steps(b, unroll, s))
            return steps(builder, axis.extent % unroll, state)[2:]
        return steps(builder, axis.extent, state)[2:]

    def _slide(
        self, builder: Any, a: Any, b: Any, sums: list[Any], rows: list[tuple[int, int]],
        columns: int,
    ) -> list[Any]:  # fmt: skip
        """Adds the products of the last inner axis, place by place in A.

        What lies at place p serves row r at step p - r. The steps of a row come in order.

        Args:
          builder, a, b, sums, columns: as elsewhere.
          rows: (row along the sliding axis, offset in A by the other axis) of each row.
        """
        axis, n = self._nest.inner[-1], 1 + max(r for r, _ in rows)
        pieces = range(0, columns, self.lanes)
        others = list(dict.fromkeys(offset for _, offset in rows))
        number = {row: i * len(pieces) for i, row in enumerate(rows)}

        def held(builder: Any, b: Any, step: int) -> list[Any]:
            return [
                self.load(builder, self.at(builder, b, step * axis.b, v),
                          min(self.lanes, columns - v))
                for v in pieces
            ]  # fmt: skip

        def place(
            builder: Any, a: Any, p: int, sums: list[Any], steps: dict[int, list[Any]]
        ) -> list[Any]:
            """Adds what lies at a place; steps: the vectors of B for each row."""
            sums = list(sums)
            for offset in others:
                at = self.at(builder, a, p * axis.a + offset)
                left = self.broadcast(builder, builder.load(at, typ=self.element))
                for r, vectors in steps.items():
                    for j, vector in enumerate(vectors):
                        i = number[r, offset] + j
                        sums[i] = builder.call(self._fma, [left, vector, sums[i]])
            return sums

        def split_up(state: list[Any]) -> tuple[list[list[Any]], list[Any]]:
            """Returns the vectors of B that stay from round to round, youngest first, and sums."""
            end = (n - 1) * len(pieces)
            return [state[i : i + len(pieces)] for i in range(0, end, len(pieces))], state[end:]

        extent, window = axis.extent, dict[int, list[Any]]()

        def written_out(builder: Any, first: int, last: int, sums: list[Any]) -> list[Any]:
            for p in range(first, last):
                if p < extent:
                    window[p] = held(builder, b, p)
                if not self._places[0] <= p < self._places[1]:
                    continue
                steps = {r: window[p - r] for r in range(n) if 0 <= p - r < extent}
                sums = place(builder, a, p, sums, steps)
            return sums

        if extent <= WRITTEN_OUT:
            return written_out(builder, 0, n + extent - 1, sums)
        sums = written_out(builder, 0, n - 1, sums)
        many = (extent - n + 1) // n  # rounds of n places: what is held then moves by itself

        def round_(builder: Any, _: Any, state: list[Any]) -> list[Any]:
            a, b, *rest = state
            older, sums = split_up(rest)
            for i in range(n):
                older = [held(builder, b, i), *older]
                sums = place(builder, a, i, sums, {r: older[r] for r in range(n)})
            kept = [vector for vectors in older[: n - 1] for vector in vectors]
            return [self.at(builder, a, n * axis.a), self.at(builder, b, n * axis.b), *kept, *sums]

        first = n - 1
        kept = [vector for p in reversed(range(first)) for vector in window[p]]
        here = [self.at(builder, a, first * axis.a), self.at(builder, b, first * axis.b)]
        state = loop(builder, I64(0), I64(many), [*here, *kept, *sums], round_)[2:]
        done = first + many * n
        older, sums = split_up(state)
        window = {done - 1 - i: vectors for i, vectors in enumerate(older)}
        return written_out(builder, done, extent + n - 1, sums)

    def _step(
        self, builder: Any, a: Any, b: Any, sums: list[Any], rows: list[int], columns: int
    ) -> list[Any]:
        """Adds one product to each sum."""
        places = range(0, columns, self.lanes)
        sizes = [min(self.lanes, columns - v) for v in places]
        vectors = [self.load(builder, self.at(builder, b, v), n) for v, n in zip(places, sizes)]
        result = []
        for i, row in enumerate(rows):
            if not self._nest.by_column:
                scalar = builder.load(self.at(builder, a, row), typ=self.element)
                left = self.broadcast(builder, scalar)
            for j, vector in enumerate(vectors):
                if self._nest.by_column:
                    left = self.load(builder, self.at(builder, a, row, places[j]), sizes[j])
                old = sums[i * len(vectors) + j]
                result.append(builder.call(self._fma, [left, vector, old]))
        return result


def _moved(
    vectors: Vectors, builder: Any, pointers: Sequence[Any], index: Any, steps: Sequence[int]
) -> list[Any]:
    """Returns pointers moved by `index` steps each."""
    return [
        vectors.at(builder, p, builder.mul(index, I64(step))) if step else p
        for p, step in zip(pointers, steps)
    ]


def _unroll(extent: int, most: int) -> int:
    """Returns how many steps to write out: near `most`, dividing the extent if it can."""
    for n in range(most + most // 2, most // 2, -1):
        if extent % n == 0:
            return n
    return most
