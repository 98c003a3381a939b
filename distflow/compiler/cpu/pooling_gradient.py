"""The gradient of pooling by maxima: each window's gradient goes to its first maximum."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from distflow.compiler.cpu import isa, pad
from distflow.compiler.cpu.packing import Step
from distflow.compiler.cpu.phases import Phase
from distflow.compiler.cpu.pooling import everywhere, larger, over_images, reader
from distflow.compiler.cpu.recipe import BYTES, Operand, Recipe
from distflow.compiler.cpu.task import Layout, contiguous
from distflow.compiler.cpu.vectors import I64, Vectors, ranged

_UNITS = 32


def add(
    recipe: Recipe, x: Layout, g: Layout, axes: Sequence[Phase], image: pad.Padded | None,
    of: Operand, by: Operand, to: Operand,
) -> None:  # fmt: skip
    """Adds the call that writes the gradient of the images.

    Windows are walked backward: what several of them add to one element then comes in the order
    of its position in the window, as in the reference. Where windows do not overlap, elements are
    written once, not added to.

    Args:
      recipe: to add it to.
      x: layout of the images [batch, *spatial, channels], channels side by side.
      g: layout of the gradient, a window's in each place.
      axes: the phase of each spatial axis.
      image: how an image is put between -inf, if windows reach over its edges.
      of, by, to: where the images and the gradient are, and where the result comes.
    """
    vectors = Vectors(x.dtype, isa.current())
    plain = contiguous(x.dtype, x.shape)
    size = image.size if image else plain.strides[0]
    of_x = image.strides if image else x.strides[1:]
    of_y = image.strides if image else plain.strides[1:]
    low = [lo for lo, _ in image.margins] if image else [0] * len(axes)
    units = min(x.shape[0], _UNITS)

    def emit(module: Any, name: str) -> None:
        builder, pointers, begin, end = ranged(module, name, 5 if image else 3)
        y, slots, sums = pointers[0], pointers[1:-2], None
        pad.emit_return_if_empty(builder, begin, end)
        read = reader(module, vectors, builder, slots, begin, image, -math.inf)
        if image:
            sums = vectors.at(builder, slots[1], builder.mul(begin, I64(image.size)))
            steps = map(Step, x.shape[1:], of_y, plain.strides[1:])
            inside = pad.Padded(plain.shape[1:], ((0, 0),) * len(of_y), tuple(steps))
            crop = pad.emit_image_copy(module, "crop", vectors, inside)
        offsets = [
            [
                sum(j * p.tap_move * s for j, p, s in zip(at, axes, strides))
                for strides in (of_y, of_x)
            ]
            for at in itertools.product(*(range(p.taps) for p in axes))
        ]
        overlap = any(p.taps * p.tap_move > p.move and p.count > 1 for p in axes)
        covered = not image and not overlap and all(
            p.base == 0 and p.taps == p.move and p.count * p.move == n
            for p, n in zip(axes, x.shape[1:])
        )  # fmt: skip
        walk = [(p.count, (p.move * c, p.move * a, b))
                for p, c, a, b in zip(axes, of_y, of_x, g.strides[1:])]  # fmt: skip
        start = [sum((p.base + lo) * s for p, lo, s in zip(axes, low, st)) for st in (of_y, of_x)]

        def one_image(builder: Any, i: Any, _: Any) -> None:
            to = vectors.at(builder, y, builder.mul(i, I64(plain.strides[0])))
            source = read(
                builder, vectors.at(builder, pointers[-2], builder.mul(i, I64(x.strides[0])))
            )
            here = sums if image else to
            if not covered:
                pad.emit_zeros(module, builder, vectors, here, I64(size))
            first = (
                vectors.at(builder, here, start[0]), vectors.at(builder, source, start[1]),
                vectors.at(builder, pointers[-1], builder.mul(i, I64(g.strides[0]))),
            )  # fmt: skip
            one = functools.partial(_window, vectors, offsets, overlap)
            everywhere(builder, vectors, first, walk, x.shape[-1], one, backward=True)
            if image:
                builder.call(crop, [to, vectors.at(builder, here, image.start)])

        over_images(builder, begin, end, x.shape[0], units, 1, one_image)

    writes = [to]
    if image:
        writes += [recipe.buffer(x.dtype, units * size) for _ in range(2)]
    work = 2 * x.size * vectors.item_bytes // BYTES
    recipe.call("scatter", [x, g.strides, axes, image], emit, writes, [of, by], units, work)


def _window(
    vectors: Vectors, offsets: Sequence[Sequence[int]], overlap: bool, builder: Any,
    pointers: Any, n: int,
) -> None:  # fmt: skip
    """Adds one window's gradient in n channels to its first maximum, or writes it."""
    y, x, g = pointers
    zero = ir.Constant(vectors.vector, None)
    values = [vectors.load(builder, vectors.at(builder, x, of), n) for _, of in offsets]
    best = functools.reduce(lambda a, b: larger(builder, a, b), values)
    gradient = vectors.load(builder, g, n)
    bits = ir.VectorType(ir.IntType(1), vectors.lanes)
    is_open: Any = ir.Constant(bits, [1] * vectors.lanes)
    for (to, _), value in zip(offsets, values):
        hit = builder.and_(builder.fcmp_ordered("==", value, best), is_open)
        is_open = builder.and_(is_open, builder.not_(hit))
        place = vectors.at(builder, y, to)
        old = vectors.load(builder, place, n) if overlap else zero
        added = builder.fadd(old, builder.select(hit, gradient, zero))
        vectors.store(builder, added, place, n)
