"""Vectors of a target's width and counted loops as LLVM IR, for kernels that cut their own work."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from llvmlite import ir

from distflow.compiler.cpu.isa import Target

I64, PTR = ir.IntType(64), ir.PointerType()
# Levels whose every CPU loads and stores some lanes of a vector by one instruction.
_MASKING = ("avx2", "avx512")


class Vectors:
    """Loads, stores and addresses of one element type on a target."""

    def __init__(self, dtype: str, target: Target):
        self.element = ir.FloatType() if dtype == "float32" else ir.DoubleType()
        self.item_bytes = 4 if dtype == "float32" else 8
        self.lanes = target.lanes(self.item_bytes)
        self.vector = ir.VectorType(self.element, self.lanes)
        self.masks = target.level in _MASKING

    def at(self, builder: Any, pointer: Any, *offsets: Any) -> Any:
        """Returns pointer + offsets, in elements."""
        for offset in offsets:
            if isinstance(offset, int):
                offset = I64(offset)
            if not isinstance(offset, ir.Constant) or offset.constant:
                pointer = builder.gep(pointer, [offset], inbounds=True, source_etype=self.element)
        return pointer

    def broadcast(self, builder: Any, scalar: Any) -> Any:
        """Returns a vector of one scalar."""
        empty = ir.Constant(self.vector, ir.Undefined)
        first = builder.insert_element(empty, scalar, ir.IntType(32)(0))
        return builder.shuffle_vector(first, empty, self.lane_numbers([0] * self.lanes))

    def load(self, builder: Any, pointer: Any, n: int) -> Any:
        """Returns a vector of the n elements at a pointer and zeros; reads no further."""
        if n == self.lanes:
            return builder.load(pointer, typ=self.vector, align=self.item_bytes)
        if n == 1:  # not by a vector of one element: LLVM 22 fails on some programs with them
            value = builder.load(pointer, typ=self.element, align=self.item_bytes)
            return builder.insert_element(ir.Constant(self.vector, None), value, I64(0))
        if self.masks:
            kinds = [PTR, ir.IntType(32), self.mask(n).type, self.vector]
            load = declare(builder.module, f"llvm.masked.load.{self._kind}", self.vector, kinds)
            align, zeros = ir.IntType(32)(self.item_bytes), ir.Constant(self.vector, None)
            return builder.call(load, [pointer, align, self.mask(n), zeros])
        part = ir.VectorType(self.element, n)
        value = builder.load(pointer, typ=part, align=self.item_bytes)
        lanes = [min(i, n) for i in range(self.lanes)]
        return builder.shuffle_vector(value, ir.Constant(part, None), self.lane_numbers(lanes))

    def store(self, builder: Any, value: Any, pointer: Any, n: int) -> None:
        """Writes the first n elements of a vector, and nothing behind them."""
        if n == 1:
            value = builder.extract_element(value, I64(0))
        elif n < self.lanes and self.masks:
            kinds = [self.vector, PTR, ir.IntType(32), self.mask(n).type]
            store = declare(builder.module, f"llvm.masked.store.{self._kind}", ir.VoidType(), kinds)
            align = ir.IntType(32)(self.item_bytes)
            builder.call(store, [value, pointer, align, self.mask(n)])
            return
        elif n < self.lanes:
            value = builder.shuffle_vector(value, value, self.lane_numbers(list(range(n))))
        builder.store(value, pointer, align=self.item_bytes)

    def turned(self, builder: Any, rows: list[Any]) -> list[Any]:
        """Returns the columns of a square block: halves are interleaved until all are apart."""
        half = self.lanes // 2
        low = self.lane_numbers([k // 2 + self.lanes * (k % 2) for k in range(self.lanes)])
        high = self.lane_numbers([half + k // 2 + self.lanes * (k % 2) for k in range(self.lanes)])
        for _ in range(half.bit_length()):
            pairs = list(zip(rows[:half], rows[half:]))
            rows = [builder.shuffle_vector(a, b, m) for a, b in pairs for m in (low, high)]
        return rows

    @property
    def _kind(self) -> str:
        return f"v{self.lanes}f{8 * self.item_bytes}.p0"

    def mask(self, n: int) -> Any:
        """Returns the mask of the first n lanes."""
        return _constant(1, tuple([i < n for i in range(self.lanes)]))

    def lane_numbers(self, lanes: list[int]) -> Any:
        """Returns the mask of a shuffle."""
        return _constant(32, tuple(lanes))


@functools.cache
def _constant(bits: int, numbers: tuple[int, ...]) -> Any:
    """Returns a vector of numbers; kept, as constants are, with their text, which is long."""
    return ir.Constant(ir.VectorType(ir.IntType(bits), len(numbers)), list(numbers))


def ranged(module: Any, name: str, count: int) -> tuple[Any, list[Any], Any, Any]:
    """Adds `void name(pointers, begin, end)`, as `threads.parallel_for` runs it.

    Returns (builder, the `count` pointers, begin, end).
    """
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [PTR, I64, I64]), name)
    arguments, begin, end = function.args
    builder = ir.IRBuilder(function.append_basic_block("start"))
    pointers = [
        builder.load(builder.gep(arguments, [I64(i)], source_etype=PTR), typ=PTR)
        for i in range(count)
    ]
    return builder, pointers, begin, end


def declare(module: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """Returns a function that is defined elsewhere, declared once."""
    if name in module.globals:
        return module.globals[name]
    return ir.Function(module, ir.FunctionType(result, arguments), name)


def loop(
    builder: Any, begin: Any, end: Any, state: list[Any],
    body: Callable[[Any, Any, list[Any]], list[Any]],
) -> list[Any]:  # fmt: skip
    """Runs body(builder, index, state) -> state for begin <= index < end; returns the state."""
    function = builder.function
    entry = builder.block
    head, inside = function.append_basic_block("head"), function.append_basic_block("body")
    done = function.append_basic_block("done")
    builder.branch(head)
    builder.position_at_end(head)
    index = builder.phi(I64)
    index.add_incoming(begin, entry)
    phis = []
    for value in state:
        phi = builder.phi(value.type)
        phi.add_incoming(value, entry)
        phis.append(phi)
    builder.cbranch(builder.icmp_unsigned("<", index, end), inside, done)
    builder.position_at_end(inside)
    new = body(builder, index, list(phis))
    index.add_incoming(builder.add(index, I64(1)), builder.block)
    for phi, value in zip(phis, new):
        phi.add_incoming(value, builder.block)
    builder.branch(head)
    builder.position_at_end(done)
    return list(phis)


def split(builder: Any, index: Any, extent: int) -> tuple[Any, Any]:
    """Returns (index / extent, index % extent)."""
    if extent == 1:
        return index, I64(0)
    return builder.udiv(index, I64(extent)), builder.urem(index, I64(extent))


def part(builder: Any, index: Any, size: int, total: int) -> tuple[Any, Any]:
    """Returns where the part `index` of size `size` begins and ends, cut at the total."""
    begin = builder.mul(index, I64(size))
    end = builder.add(begin, I64(size))
    beyond = builder.icmp_unsigned(">", end, I64(total))
    return begin, builder.select(beyond, I64(total), end)
