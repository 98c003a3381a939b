"""conv with windows larger than its result: the filter's gradient.

The input's channels are the images of a batch, its batch their channels. Few results take very
many products each, so that threads share the sums: the images are cut into chunks, a function of
the shapes alone. Within a chunk an element takes its products image by image, slowest position
first; then the chunks' sums are added in order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from distflow.compiler.cpu import isa, pad
from distflow.compiler.cpu.phases import Convolution
from distflow.compiler.cpu.recipe import BYTES, PRODUCTS, Operand, Recipe, in_order
from distflow.compiler.cpu.task import Layout, contiguous
from distflow.compiler.cpu.tile_code import Tiles
from distflow.compiler.cpu.tiles import Cut, Nest, cut, forms, most_parts
from distflow.compiler.cpu.tiling import Axis
from distflow.compiler.cpu.vectors import I64, Vectors, loop, ranged, split

# Chunks at most, and products of an element that a chunk has at least: adding a chunk to the
# others then costs little beside computing it.
_CHUNKS, _PRODUCTS = 16, 256
# Windows smaller than this are left to `conv_images`.
_WINDOW = 16
# Units wanted at least: with fewer chunks, each is cut along the result.
_UNITS = 8
# What is read again for each tile stays within this.
_CACHE_BYTES = 3 << 17


@dataclass(frozen=True)
class _Chunks:
    """How the images are walked.

    Attributes:
      images: of the batch.
      count: chunks: each has `images / count` of them, rounded up or down.
      parts: that a chunk's results are cut into, if there are few chunks.
      block: images whose products are added while tiles stay in registers.
      band, lines: where one image is too large for that, rows for which it is true, and the axis
        of all rows; else 0.
      of_x, of_w, of_y: distances of images in the input, in the filter, and of chunks' sums.
    """

    images: int
    count: int
    parts: int
    block: int
    band: int
    lines: Axis
    of_x: int
    of_w: int
    of_y: int


def is_for(conv: Convolution) -> bool:
    """Returns whether this is the way to compute a convolution; a function of its shapes."""
    window = math.prod(conv.w.shape[:-2])
    return conv.groups == 1 and window >= _WINDOW and window > math.prod(conv.out[1:-1])


def add(recipe: Recipe, conv: Convolution, x: Operand, w: Operand, y: Operand) -> None:
    """Adds the calls that write the result to y."""
    dtype, target = conv.x.dtype, isa.current()
    vectors = Vectors(dtype, target)
    size, images = math.prod(conv.out), conv.x.shape[-1]
    window = math.prod(conv.w.shape[:-2])
    count = max(min(_CHUNKS, images, images * window // _PRODUCTS), 1)
    filters = conv.w
    if filters.strides[-1] != 1 and filters.shape[-1] > 1:
        rank = len(filters.shape)
        filters = in_order(filters, (rank - 2, *range(rank - 2), rank - 1))
        w = recipe.copy(conv.w, filters, w)
    image = _padded(conv)
    place, of_y = y, contiguous(dtype, conv.out)
    if count > 1:
        place = recipe.buffer(dtype, count * size)
        of_y = in_order(of_y, (*range(1, len(conv.out) - 1), 0, len(conv.out) - 1))
    read = (image.size if image else conv.x.size // images) + conv.w.size // images
    most = min(_CACHE_BYTES // (read * vectors.item_bytes), -(-images // count))
    block, band, lines = max(most, 1), 0, Axis(0)
    if most < 1 and len(conv.dense()) == 1:
        taps = conv.dense()[0][0].taps
        band = max(taps * _CACHE_BYTES // (2 * read * vectors.item_bytes), 1)
    of_x = image.size if image else conv.x.strides[-1]
    nests = _nests(conv, filters, of_y, image, block, band)
    if band:
        lines = replace(nests[0][0].inner[0], extent=taps)
    cuts = [cut(nest, vectors.lanes, target.num_registers) for nest in nests]
    parts = 1
    if count < _UNITS:
        parts = min(-(-2 * _UNITS // count), max([most_parts(*c) for c in cuts], default=1))
    chunks = _Chunks(images, count, parts, block, band, lines, of_x, filters.strides[-2], size)
    if conv.has_empty:
        recipe.zeros(dtype, count * size, place)
    reads, slot = [x, w], None
    if image and parts > 1:
        reads[0] = pad.add_all(recipe, vectors, image, images, conv.x.strides[-1], x)
    elif image:
        slot = image
        reads.append(recipe.buffer(dtype, count * block * image.size))
    work = size * images * window // PRODUCTS
    writes = [place, reads.pop()] if slot else [place]
    what = (dtype, chunks, cuts, conv.x.strides[-1], slot)
    recipe.call(
        "sums", what, lambda module, name: _emit(module, name, target, *what),
        writes, reads, count * parts, work,
    )  # fmt: skip
    if count > 1:
        _add_up(recipe, vectors, conv.out, of_y, count, place, y)


def _padded(conv: Convolution) -> pad.Padded | None:
    """Returns the copy of an image that is needed, if any is: channels side by side."""
    margins, channels = conv.margins(), conv.x.shape[0]
    is_near = channels == 1 or conv.x.strides[0] == 1
    width = conv.x.shape[-2]
    if not any(map(any, margins)) and is_near and (width == 1 or conv.x.strides[-2] <= channels):
        return None
    order = (*range(1, len(conv.x.shape) - 1), 0)
    return pad.padded(
        [conv.x.shape[i] for i in order], [conv.x.strides[i] for i in order], [*margins, (0, 0)]
    )


def _nests(
    conv: Convolution, w: Layout, y: Layout, image: pad.Padded | None, block: int, band: int
) -> list[list[Nest]]:
    """Returns the forms of the dense convolutions of one block of images, or band of one."""
    if image:
        *of_x, of_channel = image.strides
        moved = image.size
    else:
        of_channel, *of_x, moved = conv.x.strides
    low = [lo if image else 0 for lo, _ in conv.margins()]
    nests = []
    for phases in conv.dense():
        spatial = list(zip(phases, of_x, w.strides, y.strides[1:]))
        rows = [Axis(p.count, p.move * a, 0, p.step * c) for p, a, _, c in spatial]
        rows.append(Axis(conv.out[0], of_channel, 0, y.strides[0]))
        inner = [Axis(p.taps, p.tap_move * a, p.tap_step * b) for p, a, b, _ in spatial]
        start = (
            sum(p.first * c for p, _, _, c in spatial),
            sum((p.base + lo) * a for (p, a, _, _), lo in zip(spatial, low)),
            sum(p.tap * b for p, _, b, _ in spatial),
        )
        counted = Axis(block, moved, w.strides[-2])
        if band:
            lines, *inner = inner
            counted = replace(lines, extent=band)
        nests.append(forms(rows, inner, conv.out[-1], counted, start=start, adds=True))
    return nests


def _emit(
    module: Any, name: str, target: isa.Target, dtype: str, chunks: _Chunks,
    cuts: Sequence[tuple[Nest, Cut]], of_x: int, slot: pad.Padded | None,
) -> None:  # fmt: skip
    """Adds the ranged function (sums, [slots,] x, w) over chunks and their parts."""
    vectors = Vectors(dtype, target)
    tiles = [Tiles(module, f"phase{i}", dtype, *c, target) for i, c in enumerate(cuts)]
    builder, pointers, begin, end = ranged(module, name, 4 if slot else 3)
    y, x, w = pointers[0], pointers[-2], pointers[-1]
    pad.emit_return_if_empty(builder, begin, end)
    if slot:
        # Ranges that run at once begin at different units: each has a buffer of its own.
        size = chunks.block * slot.size
        place = vectors.at(builder, pointers[1], builder.mul(begin, I64(size)))
        if slot.has_zeros:
            pad.emit_zeros(module, builder, vectors, place, I64(size))
        copy = pad.emit_image_copy(module, "copy", vectors, slot)

    def images(builder: Any, first: Any, count: Any) -> Any:
        """Returns where the images are read."""
        if not slot:
            return vectors.at(builder, x, builder.mul(first, I64(chunks.of_x)))
        source = vectors.at(builder, x, builder.mul(first, I64(of_x)))

        def one(builder: Any, i: Any, _: list[Any]) -> list[Any]:
            to = vectors.at(builder, place, builder.mul(i, I64(slot.size)))
            builder.call(copy, [to, vectors.at(builder, source, builder.mul(i, I64(of_x)))])
            return []

        loop(builder, I64(0), count, [], one)
        return place

    def bands(builder: Any, pointers: list[Any], more: Any, part: Any) -> None:
        """Adds the products of one image, band by band."""
        lines = chunks.lines

        def one(builder: Any, i: Any, _: list[Any]) -> list[Any]:
            start = builder.mul(i, I64(chunks.band))
            rest = builder.sub(I64(lines.extent), start)
            is_short = builder.icmp_unsigned("<", rest, I64(chunks.band))
            count = builder.select(is_short, rest, I64(chunks.band))
            y, x, w = pointers
            x = vectors.at(builder, x, builder.mul(start, I64(lines.a)))
            w = vectors.at(builder, w, builder.mul(start, I64(lines.b)))
            adds = builder.or_(more, builder.icmp_unsigned("!=", i, I64(0)))
            for tile in tiles:
                tile.emit(builder, [y, x, w], [count, adds], part)
            return []

        loop(builder, I64(0), I64(-(-lines.extent // chunks.band)), [], one)

    def unit(builder: Any, u: Any, _: list[Any]) -> list[Any]:
        chunk, part = split(builder, u, chunks.parts)
        here = (part, chunks.parts) if chunks.parts > 1 else None
        to = vectors.at(builder, y, builder.mul(chunk, I64(chunks.of_y)))
        first, last = (
            builder.udiv(builder.mul(n, I64(chunks.images)), I64(chunks.count))
            for n in (chunk, builder.add(chunk, I64(1)))
        )
        extent = builder.sub(last, first)
        blocks = builder.udiv(builder.add(extent, I64(chunks.block - 1)), I64(chunks.block))

        def block(builder: Any, i: Any, _: list[Any]) -> list[Any]:
            done = builder.mul(i, I64(chunks.block))
            image, rest = builder.add(first, done), builder.sub(extent, done)
            is_short = builder.icmp_unsigned("<", rest, I64(chunks.block))
            count = builder.select(is_short, rest, I64(chunks.block))
            more = builder.icmp_unsigned("!=", i, I64(0))
            of = images(builder, image, count)
            by = vectors.at(builder, w, builder.mul(image, I64(chunks.of_w)))
            if chunks.band:
                bands(builder, [to, of, by], more, here)
                return []
            for tile in tiles:
                tile.emit(builder, [to, of, by], [count, more], here)
            return []

        loop(builder, I64(0), blocks, [], block)
        return []

    loop(builder, begin, end, [], unit)
    builder.ret_void()


def _add_up(
    recipe: Recipe, vectors: Vectors, out: tuple[int, ...], of_sums: Layout, count: int,
    sums: Operand, y: Operand,
) -> None:  # fmt: skip
    """Adds the call that adds the chunks' sums to the result, in order."""
    size, columns = math.prod(out), out[-1]
    whole, rest = divmod(columns, vectors.lanes)

    def emit(module: Any, name: str) -> None:
        builder, (to, of), begin, end = ranged(module, name, 2)

        def row(builder: Any, u: Any, _: list[Any]) -> list[Any]:
            target = vectors.at(builder, to, builder.mul(u, I64(columns)))
            source, index = of, u
            for extent, stride in zip(reversed(out[:-1]), reversed(of_sums.strides[:-1])):
                index, position = split(builder, index, extent)
                source = vectors.at(builder, source, builder.mul(position, I64(stride)))

            def vector(builder: Any, here: Any, n: int) -> None:
                place = vectors.at(builder, source, here)
                total = vectors.load(builder, place, n)
                for i in range(1, count):
                    more = vectors.load(builder, vectors.at(builder, place, i * size), n)
                    total = builder.fadd(total, more)
                vectors.store(builder, total, vectors.at(builder, target, here), n)

            def one(builder: Any, i: Any, _: list[Any]) -> list[Any]:
                vector(builder, builder.mul(i, I64(vectors.lanes)), vectors.lanes)
                return []

            loop(builder, I64(0), I64(whole), [], one)
            if rest:
                vector(builder, I64(whole * vectors.lanes), rest)
            return []

        loop(builder, begin, end, [], row)
        builder.ret_void()

    work = count * size * vectors.item_bytes // BYTES
    units = size // columns
    recipe.call("add_up", [of_sums, out, count], emit, [y], [sums], units, work)
