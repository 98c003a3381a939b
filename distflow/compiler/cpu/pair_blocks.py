"""Blocks of products of bfloat16 as LLVM IR: summed in float32, rounded, and written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from distflow.compiler.cpu import pair_sums
from distflow.compiler.cpu.isa import Target
from distflow.compiler.cpu.pair_copies import BLOCK, TILE, TILE_BYTES
from distflow.compiler.cpu.vectors import I64, PTR, Vectors, loop, ranged, split

_I8, _I16, _I32 = ir.IntType(8), ir.IntType(16), ir.IntType(32)
_PLAIN_NAN = 0x7FC0


@dataclass(frozen=True)
class Product:
    """C [batch, rows, columns] = A·B, contiguous, of operands in tiles (`pair_copies`).

    Attributes:
      batch, rows, columns: its extents.
      groups: of products for each element.
      by_tiles: whether they are summed in matrix tiles.
    """

    batch: int
    rows: int
    columns: int
    groups: int
    by_tiles: bool

    @property
    def blocks(self) -> tuple[int, int]:
        """Blocks of rows and of columns."""
        return -(-self.rows // BLOCK), -(-self.columns // BLOCK)

    @property
    def units(self) -> int:
        """Blocks of C."""
        down, across = self.blocks
        return self.batch * down * across


def emit(module: Any, name: str, product: Product, target: Target) -> None:
    """Adds a ranged function on (C, A, B): blocks begin..end, those of a row of blocks in order."""
    _Emitter(module, name, product, target).driver()


class _Emitter:
    """Writes a function for each size of block, and the loop over blocks."""

    def __init__(self, module: Any, name: str, product: Product, target: Target):
        self.module, self.name, self.product = module, name, product
        self.vectors = Vectors("float32", target)
        kind = pair_sums.InTiles if product.by_tiles else pair_sums.InVectors
        self.sums: Any = kind(module, name, product.groups, target)

    def driver(self) -> None:
        """Adds the loop over blocks."""
        product = self.product
        builder, (c, a, b), begin, end = ranged(self.module, self.name, 3)
        buffer = builder.alloca(ir.ArrayType(ir.FloatType(), BLOCK * BLOCK + self.sums.spare))
        buffer.align = 64
        down, across = product.blocks
        last_rows = product.rows - (down - 1) * BLOCK
        last_columns = product.columns - (across - 1) * BLOCK
        of_a, of_b = (
            -(-n // TILE) * product.groups * TILE_BYTES for n in (product.rows, product.columns)
        )
        whole = 2 * product.groups * TILE_BYTES

        def block(builder: Any, i: Any, _: list[Any]) -> list[Any]:
            rest, column = split(builder, i, across)
            batch, row = split(builder, rest, down)
            left, right = (
                builder.gep(
                    p,
                    [builder.add(builder.mul(batch, I64(each)), builder.mul(n, I64(whole)))],
                    source_etype=_I8,
                )
                for p, each, n in ((a, of_a, row), (b, of_b, column))
            )
            place = builder.add(
                builder.mul(batch, I64(product.rows * product.columns)),
                builder.add(
                    builder.mul(row, I64(BLOCK * product.columns)), builder.mul(column, I64(BLOCK))
                ),
            )
            to = builder.gep(c, [place], source_etype=_I16)
            is_low = builder.icmp_unsigned("==", row, I64(down - 1))
            is_right = builder.icmp_unsigned("==", column, I64(across - 1))
            for low, rows in ((True, last_rows), (False, BLOCK)):
                for at_right, columns in ((True, last_columns), (False, BLOCK)):
                    if (not low and down == 1) or (not at_right and across == 1):
                        continue
                    here = builder.and_(
                        is_low if low else builder.not_(is_low),
                        is_right if at_right else builder.not_(is_right),
                    )
                    with builder.if_then(here):
                        function = self.block(rows, columns)
                        builder.call(function, [to, left, right, buffer])
            return []

        self.sums.begin(builder)
        loop(builder, begin, end, [], block)
        self.sums.end(builder)
        builder.ret_void()

    def block(self, rows: int, columns: int) -> Any:
        """Returns the function (C, A, B, buffer) of a block of this size."""
        name = f"{self.name}_{rows}x{columns}"
        if name in self.module.globals:
            return self.module.globals[name]
        kind = ir.FunctionType(ir.VoidType(), [PTR] * 4)
        function = ir.Function(self.module, kind, name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        c, a, b, buffer = function.args
        for pointer in (c, buffer):
            pointer.add_attribute("noalias")
        builder = ir.IRBuilder(function.append_basic_block("start"))
        self.sums.block(builder, buffer, a, b, rows, columns)
        self.write(builder, c, buffer, rows, columns)
        builder.ret_void()
        return function

    def write(self, builder: Any, c: Any, buffer: Any, rows: int, columns: int) -> None:
        """Rounds the sums to bfloat16 and writes those that are in C."""
        lanes = self.vectors.lanes

        def row(builder: Any, i: Any, _: list[Any]) -> list[Any]:
            to = builder.gep(c, [builder.mul(i, I64(self.product.columns))], source_etype=_I16)
            of = builder.gep(buffer, [builder.mul(i, I64(BLOCK))], source_etype=ir.FloatType())
            for v in range(0, columns, lanes):
                here = builder.gep(of, [I64(v)], source_etype=ir.FloatType())
                value = self.rounded(builder, builder.load(here, typ=self.vectors.vector, align=4))
                there = builder.gep(to, [I64(v)], source_etype=_I16)
                if v + lanes <= columns:
                    builder.store(value, there, align=2)
                    continue
                for n in range(columns - v):
                    one = builder.gep(there, [I64(n)], source_etype=_I16)
                    builder.store(builder.extract_element(value, _I32(n)), one)
            return []

        loop(builder, I64(0), I64(rows), [], row)

    def rounded(self, builder: Any, value: Any) -> Any:
        """Returns a vector of float32 as bfloat16: to nearest, ties to even, one NaN."""
        wide, narrow = (ir.VectorType(kind, self.vectors.lanes) for kind in (_I32, _I16))

        def all_(kind: Any, number: int) -> Any:
            return ir.Constant(kind, [number] * self.vectors.lanes)

        bits = builder.bitcast(value, wide)
        even = builder.and_(builder.lshr(bits, all_(wide, 16)), all_(wide, 1))
        moved = builder.add(bits, builder.add(even, all_(wide, 0x7FFF)))
        found = builder.trunc(builder.lshr(moved, all_(wide, 16)), narrow)
        is_nan = builder.fcmp_unordered("uno", value, value)
        return builder.select(is_nan, all_(narrow, _PLAIN_NAN), found)
