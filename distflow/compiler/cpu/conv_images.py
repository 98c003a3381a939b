"""conv image by image: the forward pass and the input's gradient.

A unit is some images (or a part of one, if there are few). It copies an image between zeros where
windows reach over its edges, into a buffer that stays in the cache, and then computes all of the
result's elements that belong to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from distflow.compiler.cpu import isa, pad
from distflow.compiler.cpu.epilogue import NOTHING, Epilogue
from distflow.compiler.cpu.packing import Step, emit_copy
from distflow.compiler.cpu.phases import Convolution, Phase
from distflow.compiler.cpu.recipe import BYTES, COPIES, PRODUCTS, Operand, Recipe, in_order
from distflow.compiler.cpu.task import Layout, contiguous
from distflow.compiler.cpu.tile_code import Tiles
from distflow.compiler.cpu.tiles import Cut, Edge, Nest, cut, forms, most_parts
from distflow.compiler.cpu.tiling import Axis
from distflow.compiler.cpu.vectors import I64, Vectors, loop, ranged, split

# Units that a batch is cut into at most; with fewer images than _FEW they are cut as well.
_UNITS, _FEW = 32, 8
# Positions of the result that one step should have at least, of several images if need be.
_POSITIONS = 16
# A filter above this size that several column tiles share is copied, tile by tile.
_BYTES_FOR_PANELS = 1 << 14


@dataclass(frozen=True)
class _Steps:
    """How the batch is walked.

    Attributes:
      count: number of steps.
      images: of one step.
      units: of steps: each has `count / units` of them, rounded up or down.
      parts: that each step is cut into, if there are few.
      of_x, of_y: distances of steps in the input (or its padded copy) and the result.
      of_extras: the same in the operands of an epilogue.
    """

    count: int
    images: int
    units: int
    parts: int
    of_x: int
    of_y: int
    of_extras: tuple[int, ...] = ()


def add(
    recipe: Recipe, conv: Convolution, x: Operand, w: Operand, y: Operand,
    epilogue: Epilogue = NOTHING, extras: Sequence[tuple[Layout, Operand]] = (),
) -> None:  # fmt: skip
    """Adds the calls that write the result to y, after an epilogue with further operands.

    With an epilogue, every output must see something (not `conv.has_empty`).
    """
    assert not (conv.has_empty and epilogue.steps), "outputs without products have no tile"
    dtype, target = conv.x.dtype, isa.current()
    vectors = Vectors(dtype, target)
    lanes, registers = vectors.lanes, target.num_registers
    images = _together(conv.x.shape[0], math.prod(conv.out[1:-1]))
    image = _padded(conv, images)
    filters = conv.w
    if filters.strides[-1] != 1 and filters.shape[-1] > 1 and conv.groups > 1:
        filters = contiguous(dtype, conv.w.shape)
        w = recipe.copy(conv.w, filters, w)
    more = {
        "epilogue": epilogue,
        "columns_extra": tuple(layout.strides[-1] for layout, _ in extras),
    }
    layouts = [layout for layout, _ in extras]
    nests, width, panel = _nests(conv, filters, image, images, layouts, more), 0, 0
    if nests:
        width = cut(max(nests, key=_products), lanes, registers)[1].vectors
        filters, w, panel = _panels(recipe, conv, filters, w, width * lanes)
        nests = _nests(conv, filters, image, images, layouts, {**more, "panel": panel})
    cuts = [cut(nest, lanes, registers, width) for nest in nests]
    count = conv.x.shape[0] // images
    most = max([most_parts(*c) for c in cuts], default=1)
    parts = 1 if count >= _FEW else min(-(-2 * _FEW // count), most)
    steps = _Steps(
        count, images, min(count, _UNITS), parts, images * conv.x.strides[0],
        images * math.prod(conv.out[1:]), tuple(images * e.strides[0] for e in layouts),
    )  # fmt: skip
    reads, slot = [x, w], None
    if image and parts > 1:
        reads[0] = pad.add_all(recipe, vectors, image, count, steps.of_x, x)
        steps = replace(steps, of_x=image.size)
    elif image:
        slot = image
        reads.append(recipe.buffer(dtype, steps.units * image.size))
    if conv.has_empty and parts > 1:
        recipe.zeros(dtype, math.prod(conv.out), y)
    work = steps.count * sum(_products(nest) for nest in nests) // PRODUCTS
    work += math.prod(conv.out) * vectors.item_bytes // BYTES
    units = steps.units if parts == 1 else count * parts
    writes = [y, reads.pop()] if slot else [y]
    reads += [operand for _, operand in extras]
    what = (dtype, steps, cuts, slot, conv.has_empty)
    recipe.call(
        "convolve", what, lambda module, name: _emit(module, name, target, *what),
        writes, reads, units, work,
    )  # fmt: skip


def _together(batch: int, positions: int) -> int:
    """Returns how many images make a step: a divisor of the batch."""
    wanted = min(-(-_POSITIONS // positions), batch)
    return next(n for n in range(wanted, batch + 1) if batch % n == 0)


def _padded(conv: Convolution, images: int) -> pad.Padded | None:
    """Returns the copy of the images of a step that is needed, if any is."""
    margins = conv.margins()
    if not any(map(any, margins)) and (conv.x.strides[-1] == 1 or conv.x.shape[-1] == 1):
        return None
    return pad.padded((images, *conv.x.shape[1:]), conv.x.strides, [(0, 0), *margins, (0, 0)])


def _products(nests: Sequence[Nest]) -> int:
    nest = nests[0]
    return math.prod(axis.extent for axis in nest.rows) * nest.products * nest.columns


def _nests(
    conv: Convolution, w: Layout, image: pad.Padded | None, images: int,
    extras: Sequence[Layout], more: dict[str, Any],
) -> list[list[Nest]]:  # fmt: skip
    """Returns the forms of the dense convolutions of one step."""
    of_x = image.strides if image else conv.x.strides
    low = [lo if image else 0 for lo, _ in conv.margins()]
    of_y = contiguous(w.dtype, conv.out).strides
    wide, narrow = conv.out[-1] // conv.groups, w.shape[-2]
    depthwise = wide == narrow == 1 and conv.groups > 1
    columns = conv.groups if depthwise else wide
    nests = []
    for phases in conv.dense():
        spatial = list(zip(phases, of_x[1:], w.strides, of_y[1:]))
        rows = [Axis(images, of_x[0], 0, of_y[0], tuple(e.strides[0] for e in extras))]
        rows += [
            Axis(p.count, p.move * a, 0, p.step * c,
                 tuple(p.step * e.strides[1 + i] for e in extras))
            for i, (p, a, _, c) in enumerate(spatial)
        ]  # fmt: skip
        inner = _taps(spatial)
        if not depthwise:
            # Along the last spatial axis an element of the image serves several outputs: from a
            # register, if the positions along it come right after each other.
            inner.insert(max(len(inner) - 1, 0), Axis(narrow, of_x[-1], w.strides[-2]))
            apart = tuple(wide * e.strides[-1] for e in extras)
            rows.insert(0, Axis(conv.groups, narrow * of_x[-1], wide, wide, apart))
        start = (
            sum(p.first * c for p, _, _, c in spatial),
            sum((p.base + lo) * a for (p, a, _, _), lo in zip(spatial, low)),
            sum(p.tap * b for p, _, b, _ in spatial),
            *(sum(p.first * n for p, n in zip(phases, e.strides[1:])) for e in extras),
        )
        edges: dict[str, Any] = {}
        if image and spatial:
            along = [Edge(r, k, -p.base, n - p.base, p.move, p.tap_move) for r, k, p, n in zip(
                rows[-len(phases) :], _taps(spatial), phases, conv.x.shape[1:]
            )]  # fmt: skip
            if along[-1].move == along[-1].step:
                edges["edge"] = along[-1]
            if len(along) > 1 and along[0].step == 1:
                edges["clip"] = along[0]
        nests.append(forms(rows, inner, columns, start=start, by_column=depthwise, **edges, **more))
    return nests


def _taps(spatial: Sequence[tuple[Phase, int, int, int]]) -> list[Axis]:
    return [Axis(p.taps, p.tap_move * a, p.tap_step * b) for p, a, b, _ in spatial]


def _panels(
    recipe: Recipe, conv: Convolution, w: Layout, place: Operand, width: int
) -> tuple[Layout, Operand, int]:
    """Copies the filter column tile by column tile where that pays.

    Returns its layout within a tile, where it is, and the distance of tiles (0: none are made).
    """
    columns = w.shape[-1]
    is_strided = w.strides[-1] != 1 and columns > 1
    item_bytes = 8 if w.dtype == "float64" else 4
    is_large = columns > width and w.size * item_bytes > _BYTES_FOR_PANELS
    if conv.groups > 1 or not (is_strided or is_large):
        return w, place, 0
    width = min(width, columns)
    rank = len(w.shape)
    order = (*range(rank - 3), *range(rank - 2, rank - 4, -1), rank - 1) if rank > 2 else (0, 1)
    tile = in_order(Layout(w.dtype, (*w.shape[:-1], width), w.strides), order)
    count = -(-columns // width)
    steps = [Step(count, width * w.strides[-1], tile.size)]
    steps += [Step(tile.shape[i], w.strides[i], tile.strides[i]) for i in order]
    panels, tail = recipe.buffer(w.dtype, count * tile.size), columns % width
    recipe.call(
        "panels", [w.dtype, steps, tail], lambda m, n: emit_copy(m, n, w.dtype, steps, tail),
        [panels], [place], count, w.size // COPIES,
    )  # fmt: skip
    return Layout(w.dtype, w.shape, tile.strides), panels, tile.size


def _emit(
    module: Any, name: str, target: isa.Target, dtype: str, steps: _Steps,
    cuts: Sequence[tuple[Nest, Cut]], slot: pad.Padded | None, has_empty: bool,
) -> None:  # fmt: skip
    """Adds the ranged function (y, [slots,] x, w, *operands of the epilogue) over the units."""
    vectors = Vectors(dtype, target)
    tiles = [Tiles(module, f"phase{i}", dtype, *c, target) for i, c in enumerate(cuts)]
    count = len(steps.of_extras)
    builder, pointers, begin, end = ranged(module, name, (4 if slot else 3) + count)
    extras = [pointers.pop() for _ in range(count)][::-1]
    y, x, w = pointers[0], pointers[-2], pointers[-1]
    pad.emit_return_if_empty(builder, begin, end)
    if slot:
        # Ranges that run at once begin at different units: each has a buffer of its own.
        place = vectors.at(builder, pointers[1], builder.mul(begin, I64(slot.size)))
        if slot.has_zeros:
            pad.emit_zeros(module, builder, vectors, place, I64(slot.size))
        copy = pad.emit_image_copy(module, "copy", vectors, slot)

    def step(builder: Any, i: Any, part: Any) -> None:
        to = vectors.at(builder, y, builder.mul(i, I64(steps.of_y)))
        of = vectors.at(builder, x, builder.mul(i, I64(steps.of_x)))
        if slot:
            builder.call(copy, [place, of])
            of = place
        if has_empty and part is None:
            pad.emit_zeros(module, builder, vectors, to, I64(steps.of_y))
        for tile in tiles:
            further = [
                vectors.at(builder, p, builder.mul(i, I64(n))) if n else p
                for p, n in zip(extras, steps.of_extras)
            ]
            tile.emit(builder, [to, of, w, *further], part=part)

    def unit(builder: Any, u: Any, _: list[Any]) -> list[Any]:
        if steps.parts > 1:
            i, index = split(builder, u, steps.parts)
            step(builder, i, (index, steps.parts))
            return []
        first, last = (
            builder.udiv(builder.mul(n, I64(steps.count)), I64(steps.units))
            for n in (u, builder.add(u, I64(1)))
        )

        def one(builder: Any, i: Any, _: list[Any]) -> list[Any]:
            step(builder, i, None)
            return []

        loop(builder, first, last, [], one)
        return []

    loop(builder, begin, end, [], unit)
    builder.ret_void()
