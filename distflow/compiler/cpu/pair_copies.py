"""Copies of bfloat16 matrices into tiles of pairs, as LLVM IR: what `pair_sums` reads.

A tile is 16 lines (rows of A, columns of B) by 32 elements along the contracted axis, as 16 x 16
pairs of neighbours there, 1024 bytes. Tiles of A have a line's pairs side by side; those of B the
lines of a pair, as the instruction takes them. Lines and elements that are not there are zeros.

In memory: [batch, block of two tiles, group of 32 elements, tile]; a last block of 16 lines or
fewer has one tile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from llvmlite import ir

from distflow.compiler.cpu.isa import Target
from distflow.compiler.cpu.vectors import I64, PTR, Vectors, loop, ranged, split

# Lines of a tile and of a block; elements of a group along the contracted axis.
TILE, BLOCK, GROUP = 16, 32, 32
TILE_BYTES = 1024
_I8, _I16 = ir.IntType(8), ir.IntType(16)
_ROW_BYTES = 64


class Extent(NamedTuple):
    """Elements along an axis, and how far apart they lie."""

    extent: int
    stride: int


@dataclass(frozen=True)
class Lines:
    """An operand: lines of elements that are contracted. All extents are at least 2.

    Attributes:
      batch, free, contracted: its axes, slowest first; none is one of extent 1.
      pairs_first: whether a tile has its pairs as rows, as B's do.
    """

    batch: tuple[Extent, ...]
    free: tuple[Extent, ...]
    contracted: tuple[Extent, ...]
    pairs_first: bool

    @property
    def is_even(self) -> bool:
        """Whether each block of lines, and each group, lies along one axis."""
        return all(
            len(axes) < 2 or axes[-1].extent % size == 0
            for axes, size in ((self.free, BLOCK), (self.contracted, GROUP))
        )

    @property
    def num_lines(self) -> int:
        """Lines in each of the batch."""
        return math.prod(axis.extent for axis in self.free)

    @property
    def num_elements(self) -> int:
        """Elements of a line."""
        return math.prod(axis.extent for axis in self.contracted)

    @property
    def groups(self) -> int:
        """Groups of elements of a line."""
        return -(-self.num_elements // GROUP)

    @property
    def blocks(self) -> int:
        """Blocks of lines in each of the batch."""
        return -(-self.num_lines // BLOCK)

    @property
    def units(self) -> int:
        """Blocks by groups, of the whole batch."""
        return math.prod(axis.extent for axis in self.batch) * self.blocks * self.groups

    @property
    def size(self) -> int:
        """Elements of all tiles."""
        each = -(-self.num_lines // TILE) * self.groups * TILE_BYTES // 2
        return math.prod(axis.extent for axis in self.batch) * each


def emit(module: Any, name: str, lines: Lines, target: Target) -> None:
    """Adds a ranged function on (tiles, array): copies units begin..end of `lines`."""
    _Emitter(module, name, lines, target).driver()


class _Emitter:
    """Writes the copies of whole and of ragged blocks, and the loop over units."""

    def __init__(self, module: Any, name: str, lines: Lines, target: Target):
        self.module, self.name, self.lines = module, name, lines
        # Pairs are moved as numbers of 32 bits.
        self.pairs = Vectors("float32", target)
        self.line_stride = lines.free[-1].stride if lines.free else 1
        self.stride = lines.contracted[-1].stride if lines.contracted else 1
        self.made: dict[tuple[int, int], Any] = {}

    def driver(self) -> None:
        """Adds the loop over units."""
        lines = self.lines
        builder, (to, of), begin, end = ranged(self.module, self.name, 2)
        last_lines = lines.num_lines - (lines.blocks - 1) * BLOCK
        last_size = lines.num_elements - (lines.groups - 1) * GROUP
        last_bytes = -(-last_lines // TILE) * TILE_BYTES
        batch_bytes = -(-lines.num_lines // TILE) * lines.groups * TILE_BYTES

        def unit(builder: Any, i: Any, _: list[Any]) -> list[Any]:
            # Along what lies side by side.
            if self.line_stride == 1:
                rest, block = split(builder, i, lines.blocks)
                rest, group = split(builder, rest, lines.groups)
            else:
                rest, group = split(builder, i, lines.groups)
                rest, block = split(builder, rest, lines.blocks)
            source = self.moved(builder, of, rest, lines.batch, 1)
            source = self.moved(builder, source, block, lines.free, BLOCK)
            source = self.moved(builder, source, group, lines.contracted, GROUP)
            is_last = builder.icmp_unsigned("==", block, I64(lines.blocks - 1))
            at_end = builder.icmp_unsigned("==", group, I64(lines.groups - 1))
            size = builder.select(is_last, I64(last_bytes), I64(2 * TILE_BYTES))
            place = builder.add(
                builder.mul(rest, I64(batch_bytes)),
                builder.add(
                    builder.mul(block, I64(lines.groups * 2 * TILE_BYTES)),
                    builder.mul(group, size),
                ),
            )
            target = builder.gep(to, [place], source_etype=_I8)
            for line_end, num_lines in ((True, last_lines), (False, BLOCK)):
                for k_end, num_elements in ((True, last_size), (False, GROUP)):
                    if (not line_end and lines.blocks == 1) or (not k_end and lines.groups == 1):
                        continue
                    here = builder.and_(
                        is_last if line_end else builder.not_(is_last),
                        at_end if k_end else builder.not_(at_end),
                    )
                    with builder.if_then(here):
                        builder.call(self.block(num_lines, num_elements), [target, source])
            return []

        loop(builder, begin, end, [], unit)
        builder.ret_void()

    def moved(
        self, builder: Any, pointer: Any, index: Any, axes: Sequence[Extent], size: int
    ) -> Any:
        """Returns a pointer moved by `index` parts of `size` elements along some axes."""
        for axis in reversed(axes):
            n = axis.extent // size if len(axes) > 1 and axis is not axes[0] else 0
            index, position = split(builder, index, n) if n else (index, index)
            step = builder.mul(position, I64(axis.stride * size))
            pointer = builder.gep(pointer, [step], source_etype=_I16)
            size = 1
        return pointer

    def block(self, num_lines: int, num_elements: int) -> Any:
        """Returns the function (tiles, array) that copies a block of so many lines."""
        key = num_lines, num_elements
        if key not in self.made:
            kind = ir.FunctionType(ir.VoidType(), [PTR, PTR])
            name = f"{self.name}_{num_lines}x{num_elements}"
            function = self.made[key] = ir.Function(self.module, kind, name)
            function.linkage = "internal"
            to, of = function.args
            to.add_attribute("noalias")
            builder = ir.IRBuilder(function.append_basic_block("start"))
            whole = num_lines % TILE == 0 and num_elements == GROUP
            if whole and 1 in (self.stride, self.line_stride):
                self.whole(builder, to, of, num_lines)
            else:
                self.ragged(builder, to, of, num_lines, num_elements)
            builder.ret_void()
        return self.made[key]

    def ragged(self, builder: Any, to: Any, of: Any, num_lines: int, num_elements: int) -> None:
        """Copies element by element, after zeros."""
        zeros = ir.Constant(ir.VectorType(_I8, _ROW_BYTES), None)
        count = I64(-(-num_lines // TILE) * TILE)

        def clear(builder: Any, i: Any, _: list[Any]) -> list[Any]:
            row = builder.gep(to, [builder.mul(i, I64(_ROW_BYTES))], source_etype=_I8)
            builder.store(zeros, row, align=1)
            return []

        def line(builder: Any, i: Any, _: list[Any]) -> list[Any]:
            source = builder.gep(of, [builder.mul(i, I64(self.line_stride))], source_etype=_I16)
            tile, within = split(builder, i, TILE)
            # In elements: a line is a row of A's tiles, a column of pairs in B's.
            step = 2 if self.lines.pairs_first else GROUP
            place = builder.add(
                builder.mul(tile, I64(TILE_BYTES // 2)), builder.mul(within, I64(step))
            )
            target = builder.gep(to, [place], source_etype=_I16)

            def element(builder: Any, j: Any, _: list[Any]) -> list[Any]:
                here = builder.gep(source, [builder.mul(j, I64(self.stride))], source_etype=_I16)
                value = builder.load(here, typ=_I16)
                if self.lines.pairs_first:
                    pair, half = split(builder, j, 2)
                    j = builder.add(builder.mul(pair, I64(_ROW_BYTES // 2)), half)
                builder.store(value, builder.gep(target, [j], source_etype=_I16))
                return []

            loop(builder, I64(0), I64(num_elements), [], element)
            return []

        loop(builder, I64(0), count, [], clear)
        loop(builder, I64(0), I64(num_lines), [], line)

    def whole(self, builder: Any, to: Any, of: Any, num_lines: int) -> None:
        """Copies whole tiles by vectors: rows as they lie, or squares of them turned."""
        lanes = self.pairs.lanes
        by_line = self.stride == 1
        # A row of the source has the pairs of a line, or the lines of a pair.
        turns = by_line == self.lines.pairs_first
        for tile in range(num_lines // TILE):
            start = builder.gep(to, [I64(tile * TILE_BYTES)], source_etype=_I8)
            array = builder.gep(of, [I64(tile * TILE * self.line_stride)], source_etype=_I16)

            def square(
                builder: Any, index: Any, _: list[Any], start: Any = start, array: Any = array
            ) -> list[Any]:
                i, j = split(builder, index, TILE // lanes)
                rows, columns = (builder.mul(n, I64(lanes)) for n in (i, j))
                values = []
                for n in range(lanes):
                    row = builder.add(rows, I64(n))
                    values.append(self.row(builder, array, row, columns, by_line))
                if turns:
                    values = self.pairs.turned(builder, values)
                    rows, columns = columns, rows
                for n, value in enumerate(values):
                    place = builder.add(builder.mul(builder.add(rows, I64(n)), I64(TILE)), columns)
                    here = builder.gep(start, [place], source_etype=self.pairs.element)
                    builder.store(value, here, align=4)
                return []

            loop(builder, I64(0), I64((TILE // lanes) ** 2), [], square)

    def row(self, builder: Any, array: Any, row: Any, column: Any, by_line: bool) -> Any:
        """Returns a vector of pairs: neighbours in a line, or one pair of neighbouring lines."""
        lanes = self.pairs.lanes
        if by_line:
            place = builder.add(
                builder.mul(row, I64(self.line_stride)), builder.mul(column, I64(2))
            )
            here = builder.gep(array, [place], source_etype=_I16)
            return builder.load(here, typ=self.pairs.vector, align=2)
        narrow = ir.VectorType(_I16, lanes)
        halves = []
        for n in range(2):
            k = builder.add(builder.mul(row, I64(2)), I64(n))
            place = builder.add(builder.mul(k, I64(self.stride)), column)
            here = builder.gep(array, [place], source_etype=_I16)
            halves.append(builder.load(here, typ=narrow, align=2))
        order = [n // 2 + lanes * (n % 2) for n in range(2 * lanes)]
        mixed = builder.shuffle_vector(*halves, self.pairs.lane_numbers(order))
        return builder.bitcast(mixed, self.pairs.vector)
