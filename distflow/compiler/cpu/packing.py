"""Copies between strided arrays as LLVM IR: panels for the microkernel, padding, transposition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from llvmlite import ir

from distflow.compiler.cpu import isa
from distflow.compiler.cpu.rounding import ITEM_BYTES, convert, element_of
from distflow.compiler.cpu.vectors import I64, PTR, Vectors, loop, ranged, split

# Vectors of a run of neighbours that are spelled out; longer ones LLVM makes a call.
_MOST_VECTORS = 8


@dataclass(frozen=True)
class Step:
    """An axis of a copy: its extent, and its strides in source and target in elements."""

    extent: int
    source: int
    target: int


def emit_copy(
    module: Any, name: str, dtype: str, axes: Sequence[Step], tail: int = 0, source: str = "",
    together: int = 1,
) -> None:  # fmt: skip
    """Adds a ranged function on (target, source): copies positions begin..end of the first axis.

    Args:
      module: the llvmlite module.
      name: of the function.
      dtype: of the target's elements.
      axes: slowest first. Extents are at least 1.
      tail: extent of the last axis at the last position of the first one; 0: as elsewhere.
      source: dtype of the source's elements; "": the same. One of the two is float32 then.
      together: number of leading axes whose positions are counted as one axis.
    """
    # A function of its own, so that LLVM knows that source and target are apart.
    kind = ir.FunctionType(ir.VoidType(), [PTR, PTR, I64, I64])
    function = ir.Function(module, kind, f"{name}_range")
    function.linkage = "internal"
    to, of, begin, end = function.args
    to.add_attribute("noalias")
    of.add_attribute("noalias")
    builder = ir.IRBuilder(function.append_basic_block("start"))
    copy = _Copy(dtype, source or dtype, isa.current())
    leading, others = axes[:together], copy.arranged(axes[together:])
    if not tail and together == 1 and copy.turns([*others[:-1], leading[0], *others[-1:]]):
        copy.turn_first(builder, (to, of), (begin, end), leading[0], others)
    else:

        def unit(builder: Any, i: Any, _: list[Any]) -> list[Any]:
            here = to, of
            for axis in reversed(leading):
                i, position = split(builder, i, axis.extent) if axis is not leading[0] else (i, i)
                here = copy.moved(builder, here, position, axis)
            if not tail or tail == others[-1].extent:
                copy.nest(builder, here, others)
                return []
            is_last = builder.icmp_unsigned("==", i, I64(leading[0].extent - 1))
            with builder.if_else(is_last) as (then, other):
                with then:
                    copy.nest(builder, here, [*others[:-1], replace(others[-1], extent=tail)])
                with other:
                    copy.nest(builder, here, others)
            return []

        loop(builder, begin, end, [], unit)
    builder.ret_void()
    builder, pointers, begin, end = ranged(module, name, 2)
    builder.call(function, [*pointers, begin, end])
    builder.ret_void()


@dataclass(frozen=True)
class Part:
    """One of several copies: the name it was emitted by, its units, where it begins in elements."""

    name: str
    units: int
    source: int
    target: int


def emit_joined(module: Any, name: str, dtype: str, parts: Sequence[Part]) -> None:
    """Adds a ranged function on (target, source) that is several of `emit_copy`, one after another.

    Its units are those of the first part, then those of the second, and so on.
    """
    builder, pointers, begin, end = ranged(module, name, 2)
    first = 0
    for part in parts:
        low, high = (
            builder.select(
                builder.icmp_unsigned("<", n, I64(first)), I64(first),
                builder.select(
                    builder.icmp_unsigned(">", n, I64(first + part.units)),
                    I64(first + part.units), n,
                ),
            ) for n in (begin, end)
        )  # fmt: skip
        here = [
            builder.gep(pointer, [I64(n)], inbounds=True, source_etype=element_of(dtype))
            for pointer, n in zip(pointers, (part.target, part.source))
        ]
        places = [builder.sub(n, I64(first)) for n in (low, high)]
        builder.call(module.get_global(f"{part.name}_range"), [*here, *places])
        first += part.units
    builder.ret_void()


class _Copy(Vectors):
    """Copies of some axes. What is contiguous on one side each is turned in registers."""

    def __init__(self, dtype: str, source: str, target: isa.Target):
        super().__init__(dtype if ITEM_BYTES[dtype] > 2 else "float32", target)
        self.dtypes, self.target = (source, dtype), target
        self.types = element_of(dtype), element_of(source)
        # 16-bit elements, and those that are converted, are copied one by one.
        self.in_vectors = source == dtype and ITEM_BYTES[dtype] > 2

    def arranged(self, axes: Sequence[Step]) -> list[Step]:
        """Returns the axes with the one that is contiguous in the source next to the last."""
        for i, axis in enumerate(axes[:-1]):
            result = [*axes[:i], *axes[i + 1 : -1], axis, axes[-1]]
            if self.turns(result):
                return result
        return list(axes)

    def turns(self, axes: Sequence[Step]) -> bool:
        """Returns whether the last axes are contiguous in the source and in the target."""
        if len(axes) < 2 or not self.in_vectors:
            return False
        slow, fast = axes[-2:]
        return (
            slow.source == 1 and fast.target == 1 and slow.target != 1 and fast.source != 1
            and min(slow.extent, fast.extent) > 1
        )  # fmt: skip

    def moved(self, builder: Any, here: tuple[Any, Any], position: Any, axis: Step) -> Any:
        """Returns (target, source) moved along an axis."""
        return tuple(
            builder.gep(p, [builder.mul(position, I64(n))], inbounds=True, source_etype=kind)
            for p, n, kind in zip(here, (axis.target, axis.source), self.types)
        )

    def nest(self, builder: Any, here: tuple[Any, Any], axes: Sequence[Step]) -> None:
        """Copies all positions of the axes."""
        if self.turns(axes) and len(axes) == 2:
            self.turn(builder, *here, *axes)
        elif not axes:
            value = builder.load(here[1], typ=self.types[1])
            builder.store(convert(builder, value, *self.dtypes, self.target), here[0])
        elif len(axes) == 1 and self.is_run(axes[0]):
            for v in range(0, axes[0].extent, self.lanes):
                n = min(self.lanes, axes[0].extent - v)
                value = self.load(builder, self.at(builder, here[1], v), n)
                self.store(builder, value, self.at(builder, here[0], v), n)
        else:
            axis, *rest = axes

            def body(builder: Any, i: Any, _: list[Any]) -> list[Any]:
                self.nest(builder, self.moved(builder, here, i, axis), rest)
                return []

            loop(builder, I64(0), I64(axis.extent), [], body)

    def is_run(self, axis: Step) -> bool:
        """Returns whether an axis is a few neighbours, copied by a few vectors."""
        return (
            axis.source == axis.target == 1 and self.in_vectors
            and axis.extent <= _MOST_VECTORS * self.lanes
        )  # fmt: skip

    def turn_first(
        self, builder: Any, here: tuple[Any, Any], units: tuple[Any, Any], first: Step,
        others: Sequence[Step],
    ) -> None:  # fmt: skip
        """Copies units of the first axis, which turns: by whole blocks, then one by one."""
        begin, end = units
        count = builder.udiv(builder.sub(end, begin), I64(self.lanes))
        rest = builder.add(begin, builder.mul(count, I64(self.lanes)))
        block = [*others[:-1], replace(first, extent=self.lanes), others[-1]]

        def whole(builder: Any, i: Any, _: list[Any]) -> list[Any]:
            position = builder.add(begin, builder.mul(i, I64(self.lanes)))
            self.nest(builder, self.moved(builder, here, position, first), block)
            return []

        def single(builder: Any, i: Any, _: list[Any]) -> list[Any]:
            self.nest(builder, self.moved(builder, here, i, first), others)
            return []

        loop(builder, I64(0), count, [], whole)
        loop(builder, rest, end, [], single)

    def turn(self, builder: Any, to: Any, of: Any, slow: Step, fast: Step) -> None:
        """Copies two axes block by block."""
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
