"""Sums and maxima of the windows of images, vector by vector of channels."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from distflow.compiler.cpu import isa, pad
from distflow.compiler.cpu.phases import Phase
from distflow.compiler.cpu.recipe import BYTES, Operand, Recipe
from distflow.compiler.cpu.task import Layout, contiguous
from distflow.compiler.cpu.vectors import I64, Vectors, loop, ranged, split

# Units that a batch is cut into at most; with fewer images than _FEW they are cut as well.
_UNITS, _FEW = 32, 8


def add(
    recipe: Recipe, kind: str, x: Layout, out: tuple[int, ...],
    axes: Sequence[tuple[Phase, ...]], image: pad.Padded | None, of: Operand, to: Operand,
) -> None:  # fmt: skip
    """Adds the call that writes the "sum" or "max" of every window.

    Args:
      recipe: to add it to.
      kind: "sum" or "max".
      x: layout of the images [batch, *spatial, channels], channels side by side.
      out: shape of the result.
      axes: the phases of each spatial axis.
      image: how an image is put between fill values, if windows reach over its edges.
      of, to: where the images are and where the result comes.
    """
    vectors = Vectors(x.dtype, isa.current())
    combine = _plus if kind == "sum" else larger
    of_x, of_y = image.strides if image else x.strides[1:], contiguous(x.dtype, out).strides[1:]
    low = [lo for lo, _ in image.margins] if image else [0] * len(axes)
    batch = out[0]
    parts = 1
    if batch < _FEW and not image and axes:
        parts = min(-(-2 * _FEW // batch), max(p.count for p in axes[0]))
    units = batch * parts if parts > 1 else min(batch, _UNITS)
    fill = 0.0 if kind == "sum" else -math.inf

    def emit(module: Any, name: str) -> None:
        builder, pointers, begin, end = ranged(module, name, 3 if image else 2)
        pad.emit_return_if_empty(builder, begin, end)
        read = reader(module, vectors, builder, pointers[1:-1], begin, image, fill)

        def one_image(builder: Any, i: Any, part: Any) -> None:
            y = vectors.at(builder, pointers[0], builder.mul(i, I64(math.prod(out[1:]))))
            source = read(
                builder, vectors.at(builder, pointers[-1], builder.mul(i, I64(x.strides[0])))
            )
            for chosen in itertools.product(*axes):
                offsets = [
                    sum(j * p.tap_move * s for j, p, s in zip(at, chosen, of_x))
                    for at in itertools.product(*(range(p.taps) for p in chosen))
                ]
                seen = sum((p.base + lo) * s for p, lo, s in zip(chosen, low, of_x))
                first = (
                    vectors.at(builder, y, sum(p.first * s for p, s in zip(chosen, of_y))),
                    vectors.at(builder, source, seen),
                )
                steps = [(p.count, (p.step * c, p.move * s))
                         for p, c, s in zip(chosen, of_y, of_x)]  # fmt: skip
                one = functools.partial(_window, vectors, combine, offsets)
                everywhere(builder, vectors, first, steps, out[-1], one, part)

        over_images(builder, begin, end, batch, units, parts, one_image)

    work = (x.size + math.prod(out)) * vectors.item_bytes // BYTES
    writes = [to]
    if image:
        writes.append(recipe.buffer(x.dtype, units * image.size))
    recipe.call(kind, [x, out, axes, image, parts], emit, writes, [of], units, work)


def larger(builder: Any, a: Any, b: Any) -> Any:
    """Returns the maximum, NaN if one is NaN, the first of equals: as `np.maximum`."""
    first = builder.or_(builder.fcmp_ordered(">=", a, b), builder.fcmp_unordered("uno", a, a))
    return builder.select(first, a, b)


def _plus(builder: Any, a: Any, b: Any) -> Any:
    return builder.fadd(a, b)


def _window(
    vectors: Vectors, combine: Any, offsets: Sequence[int], builder: Any, pointers: Any, n: int
) -> None:
    """Combines one window's elements in n channels."""
    y, x = pointers
    result = None
    for offset in offsets:
        value = vectors.load(builder, vectors.at(builder, x, offset), n)
        result = value if result is None else combine(builder, result, value)
    if result is None:  # sees only zeros between elements
        result = ir.Constant(vectors.vector, None)
    vectors.store(builder, result, y, n)


# -- shared with the gradient --------------------------------------------------------------


def reader(
    module: Any, vectors: Vectors, builder: Any, slots: Sequence[Any], begin: Any,
    image: pad.Padded | None, fill: float,
) -> Callable[[Any, Any], Any]:  # fmt: skip
    """Returns read(builder, pointer of an image) -> pointer to it between fill values."""
    if image is None:
        return lambda builder, source: source
    # Ranges that run at once begin at different units: each has a buffer of its own.
    slot = vectors.at(builder, slots[0], builder.mul(begin, I64(image.size)))
    pad.emit_fill(module, builder, vectors, slot, image.size, fill)
    copy = pad.emit_image_copy(module, "copy", vectors, image)

    def read(builder: Any, source: Any) -> Any:
        builder.call(copy, [slot, source])
        return slot

    return read


def over_images(
    builder: Any, begin: Any, end: Any, batch: int, units: int, parts: int,
    body: Callable[[Any, Any, Any], None],
) -> None:  # fmt: skip
    """Ends a ranged function: body(builder, image, part) over its units.

    `units` share the images; if there are several parts, a unit is one part (number, parts).
    """

    def unit(builder: Any, u: Any, _: list[Any]) -> list[Any]:
        if parts > 1:
            i, index = split(builder, u, parts)
            body(builder, i, (index, parts))
            return []

        def one(builder: Any, i: Any, _: list[Any]) -> list[Any]:
            body(builder, i, None)
            return []

        first, last = (
            builder.udiv(builder.mul(n, I64(batch)), I64(units))
            for n in (u, builder.add(u, I64(1)))
        )
        loop(builder, first, last, [], one)
        return []

    loop(builder, begin, end, [], unit)
    builder.ret_void()


def everywhere(
    builder: Any, vectors: Vectors, pointers: Sequence[Any],
    steps: Sequence[tuple[int, tuple[int, ...]]], channels: int,
    one: Callable[[Any, Any, int], None], part: tuple[Any, int] | None = None,
    backward: bool = False,
) -> None:  # fmt: skip
    """Runs one(builder, pointers, lanes) at all positions, or those of a part of the first axis.

    Args:
      builder: where.
      vectors: of the elements.
      pointers: at the first position.
      steps: (extent, distance of neighbours for each pointer) of each axis but the channels.
      channels: of each position, side by side for all pointers.
      one: does one vector of channels.
      part: (number, how many) of the first axis.
      backward: from the last position to the first.
    """
    if not steps:
        _channels(builder, vectors, pointers, channels, one)
        return
    (extent, strides), *rest = steps
    first, last = I64(0), I64(extent)
    if part is not None:
        index, parts = part
        first, last = (
            builder.udiv(builder.mul(n, I64(extent)), I64(parts))
            for n in (index, builder.add(index, I64(1)))
        )

    def position(builder: Any, i: Any, _: list[Any]) -> list[Any]:
        if backward:
            i = builder.sub(I64(extent - 1), i)
        moved = [vectors.at(builder, p, builder.mul(i, I64(s))) for p, s in zip(pointers, strides)]
        everywhere(builder, vectors, moved, rest, channels, one, None, backward)
        return []

    loop(builder, first, last, [], position)


def _channels(
    builder: Any, vectors: Vectors, pointers: Sequence[Any], channels: int,
    one: Callable[[Any, Any, int], None],
) -> None:  # fmt: skip
    whole, rest = divmod(channels, vectors.lanes)

    def vector(builder: Any, i: Any, _: list[Any]) -> list[Any]:
        here = builder.mul(i, I64(vectors.lanes))
        one(builder, [vectors.at(builder, p, here) for p in pointers], vectors.lanes)
        return []

    if whole == 1:
        one(builder, pointers, vectors.lanes)
    elif whole:
        loop(builder, I64(0), I64(whole), [], vector)
    if rest:
        one(builder, [vectors.at(builder, p, whole * vectors.lanes) for p in pointers], rest)
