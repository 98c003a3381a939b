"""Copies between strided arrays as LLVM IR: panels for the microkernel, padding, transposition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from distflow.compiler.cpu import isa
from distflow.compiler.cpu.rounding import convert, element_of
from distflow.compiler.cpu.vectors import I64, PTR, Vectors, loop, ranged


@dataclass(frozen=True)
class Step:
    """An axis of a copy: its extent, and its strides in source and target in elements."""

    extent: int
    source: int
    target: int


def emit_copy(
    module: Any, name: str, dtype: str, axes: Sequence[Step], tail: int = 0, source: str = ""
) -> None:
    """Adds a ranged function on (target, source): copies positions begin..end of the first axis.

    Args:
      module: the llvmlite module.
      name: of the function.
      dtype: of the target's elements.
      axes: slowest first. Extents are at least 1.
      tail: extent of the last axis at the last position of the first one; 0: as elsewhere.
      source: dtype of the source's elements; "": the same. One of the two is float32 then.
    """
    from_type, to_type = element_of(source or dtype), element_of(dtype)
    cpu = isa.current()
    turning = _Turning(dtype, cpu) if source in ("", dtype) else None
    # A function of its own, so that LLVM knows that source and target are apart.
    kind = ir.FunctionType(ir.VoidType(), [PTR, PTR, I64, I64])
    function = ir.Function(module, kind, f"{name}_range")
    function.linkage = "internal"
    to, of, begin, end = function.args
    to.add_attribute("noalias")
    of.add_attribute("noalias")
    first, *others = axes

    def at(builder: Any, pointer: Any, index: Any, stride: int, element: Any) -> Any:
        offset = builder.mul(index, I64(stride))
        return builder.gep(pointer, [offset], inbounds=True, source_etype=element)

    def nest(builder: Any, to: Any, of: Any, axes: Sequence[Step]) -> None:
        if turning and len(axes) == 2 and turning.fits(axes):
            turning.emit(builder, to, of, *axes)
            return
        if not axes:
            value = builder.load(of, typ=from_type)
            builder.store(convert(builder, value, source or dtype, dtype, cpu), to)
            return
        axis, *rest = axes

        def body(builder: Any, i: Any, _: list[Any]) -> list[Any]:
            there = at(builder, to, i, axis.target, to_type)
            nest(builder, there, at(builder, of, i, axis.source, from_type), rest)
            return []

        loop(builder, I64(0), I64(axis.extent), [], body)

    def outermost(builder: Any, i: Any, _: list[Any]) -> list[Any]:
        here = (
            at(builder, to, i, first.target, to_type),
            at(builder, of, i, first.source, from_type),
        )
        if not tail or tail == others[-1].extent:
            nest(builder, *here, others)
            return []
        is_last = builder.icmp_unsigned("==", i, I64(first.extent - 1))
        with builder.if_else(is_last) as (then, other):
            with then:
                nest(builder, *here, [*others[:-1], Step(tail, others[-1].source, 1)])
            with other:
                nest(builder, *here, others)
        return []

    builder = ir.IRBuilder(function.append_basic_block("start"))
    loop(builder, begin, end, [], outermost)
    builder.ret_void()
    builder, pointers, begin, end = ranged(module, name, 2)
    builder.call(function, [*pointers, begin, end])
    builder.ret_void()


class _Turning(Vectors):
    """Copies two axes, of which each is contiguous on one side, by blocks turned in registers."""

    def fits(self, axes: Sequence[Step]) -> bool:
        """Returns whether the slower axis is contiguous in the source, the faster in the target."""
        slow, fast = axes
        return (
            slow.source == 1 and fast.target == 1 and slow.target != 1 and fast.source != 1
            and min(slow.extent, fast.extent) > 1
        )  # fmt: skip

    def emit(self, builder: Any, to: Any, of: Any, slow: Step, fast: Step) -> None:
        """Copies all blocks."""
        lanes = self.lanes

        def across(builder: Any, j: Any, height: int) -> None:
            row = builder.mul(j, I64(lanes))
            there = self.at(builder, to, row)
            here = self.at(builder, of, builder.mul(row, I64(fast.source)))

            def block(builder: Any, i: Any, width: int) -> None:
                first = builder.mul(i, I64(lanes))
                source = self.at(builder, here, first)
                target = self.at(builder, there, builder.mul(first, I64(slow.target)))
                rows = [
                    self.load(builder, self.at(builder, source, k * fast.source), width)
                    for k in range(height)
                ]
                rows += [ir.Constant(self.vector, None)] * (lanes - height)
                for k, value in enumerate(self.turned(builder, rows)[:width]):
                    place = self.at(builder, target, k * slow.target)
                    self.store(builder, value, place, height)

            self.parts(builder, slow.extent, block)

        # Along the source: as many streams as a block has rows, which the CPU fetches ahead.
        self.parts(builder, fast.extent, across)

    def parts(self, builder: Any, extent: int, body: Any) -> None:
        """Runs body(builder, index, size) for parts of a vector's size and what is left."""
        full, rest = divmod(extent, self.lanes)

        def one(builder: Any, i: Any, _: list[Any]) -> list[Any]:
            body(builder, i, self.lanes)
            return []

        if full:
            loop(builder, I64(0), I64(full), [], one)
        if rest:
            body(builder, I64(full), rest)

    def turned(self, builder: Any, rows: list[Any]) -> list[Any]:
        """Returns the columns of a square block: halves are interleaved until all are apart."""
        half = self.lanes // 2
        low = self.lane_numbers([k // 2 + self.lanes * (k % 2) for k in range(self.lanes)])
        high = self.lane_numbers([half + k // 2 + self.lanes * (k % 2) for k in range(self.lanes)])
        for _ in range(half.bit_length()):
            pairs = list(zip(rows[:half], rows[half:]))
            rows = [builder.shuffle_vector(a, b, m) for a, b in pairs for m in (low, high)]
        return rows


def emit_zeros(module: Any, name: str, dtype: str) -> None:
    """Adds a ranged function on (target): its elements begin..end become zero."""
    element = element_of(dtype)
    builder, (target,), begin, end = ranged(module, name, 1)

    def one(builder: Any, i: Any, _: list[Any]) -> list[Any]:
        to = builder.gep(target, [i], inbounds=True, source_etype=element)
        builder.store(ir.Constant(element, None), to)
        return []

    loop(builder, begin, end, [], one)
    builder.ret_void()
