"""Copies of images between zeros, in vectors: they run inside the units that then read them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from distflow.compiler.cpu.packing import Step
from distflow.compiler.cpu.recipe import BYTES, Operand, Recipe
from distflow.compiler.cpu.vectors import I64, PTR, Vectors, declare, loop, ranged


@dataclass(frozen=True)
class Padded:
    """An image between zeros.

    Attributes:
      shape: with the zeros, slowest axis first; contiguous.
      margins: elements before and behind each axis of the image.
      steps: of the copy of the image.
    """

    shape: tuple[int, ...]
    margins: tuple[tuple[int, int], ...]
    steps: tuple[Step, ...]

    @property
    def strides(self) -> tuple[int, ...]:
        """Distances of neighbours, in elements."""
        strides, step = [0] * len(self.shape), 1
        for i in reversed(range(len(self.shape))):
            strides[i] = step
            step *= self.shape[i]
        return tuple(strides)

    @property
    def start(self) -> int:
        """Where the image begins, in elements."""
        return sum(lo * stride for (lo, _), stride in zip(self.margins, self.strides))

    @property
    def size(self) -> int:
        """Number of elements, a whole number of cache lines."""
        return -(-math.prod(self.shape) // 16) * 16

    @property
    def has_zeros(self) -> bool:
        """Whether there is anything but the image."""
        return math.prod(self.shape) != math.prod(step.extent for step in self.steps)


def padded(
    extents: Sequence[int], strides: Sequence[int], margins: Sequence[tuple[int, int]]
) -> Padded:
    """Returns how an image is put between zeros.

    Args:
      extents, strides: of the image, in the order that its axes shall have in the copy.
      margins: zeros before and behind each axis.
    """
    shape = tuple(lo + n + hi for n, (lo, hi) in zip(extents, margins))
    to = Padded(shape, (), ()).strides
    return Padded(shape, tuple(margins), tuple(map(Step, extents, strides, to)))


def emit_image_copy(module: Any, name: str, vectors: Vectors, image: Padded) -> Any:
    """Adds and returns the function (target, source) that copies an image; zeros stay as they are.

    `target` is where the zeros begin.
    """
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [PTR, PTR]), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    target, source = function.args
    for argument in function.args:
        argument.add_attribute("noalias")
    builder = ir.IRBuilder(function.append_basic_block("start"))

    def walk(builder: Any, to: Any, of: Any, steps: Sequence[Step]) -> None:
        if not steps:
            builder.store(builder.load(of, typ=vectors.element), to)
            return
        step, *rest = steps
        if not rest and step.source == step.target == 1:
            _copy_row(builder, vectors, to, of, step.extent)
            return

        def one(builder: Any, i: Any, _: list[Any]) -> list[Any]:
            there = vectors.at(builder, to, builder.mul(i, I64(step.target)))
            walk(builder, there, vectors.at(builder, of, builder.mul(i, I64(step.source))), rest)
            return []

        loop(builder, I64(0), I64(step.extent), [], one)

    walk(builder, vectors.at(builder, target, image.start), source, _joined(image.steps))
    builder.ret_void()
    return function


def emit_zeros(module: Any, builder: Any, vectors: Vectors, pointer: Any, size: Any) -> None:
    """Clears `size` elements."""
    kinds = [PTR, ir.IntType(8), I64, ir.IntType(1)]
    clear = declare(module, "llvm.memset.p0.i64", ir.VoidType(), kinds)
    num_bytes = builder.mul(size, I64(vectors.item_bytes))
    builder.call(clear, [pointer, ir.IntType(8)(0), num_bytes, ir.IntType(1)(0)])


def add_all(
    recipe: Recipe, vectors: Vectors, image: Padded, count: int, distance: int, x: Operand
) -> Operand:
    """Adds the call that puts images between zeros, and returns where they are.

    Args:
      recipe: to add it to.
      vectors: of the images' dtype.
      image: how one lies; their copies lie `image.size` apart.
      count, distance: number of images, and how far apart they lie.
      x: the first of them.
    """

    def emit(module: Any, name: str) -> None:
        copy = emit_image_copy(module, "copy", vectors, image)
        builder, (target, source), begin, end = ranged(module, name, 2)

        def one(builder: Any, i: Any, _: list[Any]) -> list[Any]:
            to = vectors.at(builder, target, builder.mul(i, I64(image.size)))
            if image.has_zeros:
                emit_zeros(module, builder, vectors, to, I64(image.size))
            builder.call(copy, [to, vectors.at(builder, source, builder.mul(i, I64(distance)))])
            return []

        loop(builder, begin, end, [], one)
        builder.ret_void()

    size = count * image.size
    buffer = recipe.buffer("float32" if vectors.item_bytes == 4 else "float64", size)
    work = size * vectors.item_bytes // BYTES
    recipe.call("pad", [vectors.item_bytes, image, distance], emit, [buffer], [x], count, work)
    return buffer


def emit_return_if_empty(builder: Any, begin: Any, end: Any) -> None:
    """Returns from a ranged function without units: its buffer would be another range's."""
    inside = builder.function.append_basic_block("units")
    nothing = builder.function.append_basic_block("nothing")
    builder.cbranch(builder.icmp_unsigned("<", begin, end), inside, nothing)
    builder.position_at_end(nothing)
    builder.ret_void()
    builder.position_at_end(inside)


def emit_fill(
    module: Any, builder: Any, vectors: Vectors, pointer: Any, size: int, value: float
) -> None:
    """Writes a value everywhere; `size` is that of an image between zeros."""
    if value == 0:
        emit_zeros(module, builder, vectors, pointer, I64(size))
        return
    filled = ir.Constant(vectors.vector, [value] * vectors.lanes)

    def one(builder: Any, i: Any, _: list[Any]) -> list[Any]:
        here = vectors.at(builder, pointer, builder.mul(i, I64(vectors.lanes)))
        vectors.store(builder, filled, here, vectors.lanes)
        return []

    loop(builder, I64(0), I64(size // vectors.lanes), [], one)


def _copy_row(builder: Any, vectors: Vectors, to: Any, of: Any, extent: int) -> None:
    whole, rest = divmod(extent, vectors.lanes)

    def one(builder: Any, i: Any, _: list[Any]) -> list[Any]:
        here = builder.mul(i, I64(vectors.lanes))
        value = vectors.load(builder, vectors.at(builder, of, here), vectors.lanes)
        vectors.store(builder, value, vectors.at(builder, to, here), vectors.lanes)
        return []

    if whole:
        loop(builder, I64(0), I64(whole), [], one)
    if rest:
        here = whole * vectors.lanes
        value = vectors.load(builder, vectors.at(builder, of, here), rest)
        vectors.store(builder, value, vectors.at(builder, to, here), rest)


def _joined(steps: Sequence[Step]) -> list[Step]:
    """Joins neighbours that together are one axis, and drops axes of extent 1."""
    result: list[Step] = []
    for step in steps:
        if step.extent == 1:
            continue
        if result:
            last, n = result[-1], step.extent
            if (last.source, last.target) == (step.source * n, step.target * n):
                result[-1] = Step(last.extent * n, step.source, step.target)
                continue
        result.append(step)
    return result
