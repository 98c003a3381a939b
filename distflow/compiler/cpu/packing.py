"""Copies between strided arrays as LLVM IR: panels for the microkernel, padding, transposition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from distflow.compiler.cpu.vectors import I64, PTR, loop, ranged


@dataclass(frozen=True)
class Step:
    """An axis of a copy: its extent, and its strides in source and target in elements."""

    extent: int
    source: int
    target: int


def emit_copy(module: Any, name: str, dtype: str, axes: Sequence[Step], tail: int = 0) -> None:
    """Adds a ranged function on (target, source): copies positions begin..end of the first axis.

    Args:
      module: the llvmlite module.
      name: of the function.
      dtype: "float32" or "float64".
      axes: slowest first; at least two. Extents are at least 1.
      tail: extent of the last axis at the last position of the first one; 0: as elsewhere.
    """
    element = ir.FloatType() if dtype == "float32" else ir.DoubleType()
    # A function of its own, so that LLVM knows that source and target are apart.
    kind = ir.FunctionType(ir.VoidType(), [PTR, PTR, I64, I64])
    function = ir.Function(module, kind, f"{name}_range")
    function.linkage = "internal"
    target, source, begin, end = function.args
    target.add_attribute("noalias")
    source.add_attribute("noalias")
    first, *others = axes

    def at(builder: Any, pointer: Any, index: Any, stride: int) -> Any:
        offset = builder.mul(index, I64(stride))
        return builder.gep(pointer, [offset], inbounds=True, source_etype=element)

    def nest(builder: Any, to: Any, of: Any, axes: Sequence[Step]) -> None:
        if not axes:
            builder.store(builder.load(of, typ=element), to)
            return
        axis, *rest = axes

        def body(builder: Any, i: Any, _: list[Any]) -> list[Any]:
            nest(builder, at(builder, to, i, axis.target), at(builder, of, i, axis.source), rest)
            return []

        loop(builder, I64(0), I64(axis.extent), [], body)

    def outermost(builder: Any, i: Any, _: list[Any]) -> list[Any]:
        here = at(builder, target, i, first.target), at(builder, source, i, first.source)
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
