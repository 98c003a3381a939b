"""Products of bfloat16: groups of 32 products, their even and odd ones summed apart.

The order is that of x86's matrix tiles (TDPBF16PS), and every CPU follows it, so that all have the
same bits. For each element of C, in float32:

    sum = +0
    for each 32 products along the contracted axes, the last filled up with zeros:
        even = fma over products 0, 2, ... 30, from +0
        odd = fma over products 1, 3, ... 31, from +0
        sum = sum + (even + odd)
    C = sum as bfloat16

Denormal operands count as zeros of their sign, so do denormal results of each step (found after
rounding, as x86 does); all round to nearest, ties to even. A NaN becomes bfloat16's plain one.

The NumPy references (the numpy executor, small eager products) sum float32 in NumPy's order: equal
within the tolerance of bfloat16, not bit for bit.

A and B are copied into tiles first (`pair_copies`), then blocks of 32 x 32 elements are summed in
tiles, or in vectors where there are none (`pair_sums`), and rounded. AVX512-BF16's own products
are not used: they add pairs of products in yet another order, and are slower than float32's
(113 against 217 GFLOP/s a core, Xeon with AMX, 2026-11).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

from distflow.compiler.cpu import isa, pair_blocks, pair_copies
from distflow.compiler.cpu.microkernel import Axis, collapse
from distflow.compiler.cpu.pair_copies import GROUP, Extent, Lines
from distflow.compiler.cpu.recipe import Recipe, in_order
from distflow.compiler.cpu.task import Kernel, Layout

# What a core does in a nanosecond, about: multiply-adds in tiles and in vectors, elements copied.
_IN_TILES, _IN_VECTORS, _COPIES = 500, 60, 8


def lower(attributes: dict[str, Any], inputs: Sequence[Layout], result: Layout) -> Kernel:
    """Returns the kernel of a dot_general of bfloat16. No extent is 0.

    Args:
      attributes: of the node.
      inputs: a and b.
      result: contiguous. No input may overlap it.
    """
    work, target = Recipe(2), isa.current()
    contracted, batch = attributes["contract"], attributes["batch"]
    tiles, counts = [], []
    for i, x in enumerate(inputs):
        free = [n for n in range(len(x.shape)) if n not in (*contracted[i], *batch[i])]
        order, place = (batch[i], free, contracted[i]), (i, 0)
        lines = _lines(x, *order, pairs_first=bool(i))
        if not lines.is_even:
            to = in_order(x, [*batch[i], *free, *contracted[i]])
            place, x = work.copy(x, to, place), to
            lines = _lines(x, *order, pairs_first=bool(i))
        tiles.append(work.buffer("bfloat16", lines.size))
        emit = functools.partial(pair_copies.emit, lines=lines, target=target)
        work.call(
            "tiles", [lines], emit, [tiles[i]], [place], lines.units, x.size // _COPIES
        )  # fmt: skip
        counts.append(lines.num_lines)
    many = math.prod(inputs[0].shape[i] for i in batch[0])
    k = math.prod(inputs[0].shape[i] for i in contracted[0])
    m, n = counts
    product = pair_blocks.Product(many, m, n, -(-k // GROUP), target.has_tiles)
    work.note = f"bfloat16 in {'matrix tiles' if target.has_tiles else 'vectors'}"
    speed = _IN_TILES if target.has_tiles else _IN_VECTORS
    work.call(
        "pairs", [product], lambda module, name: pair_blocks.emit(module, name, product, target),
        [work.result], tiles, product.units, many * m * n * k // speed,
    )  # fmt: skip
    return work.kernel()


def _lines(
    x: Layout, batch: Sequence[int], free: Sequence[int], contracted: Sequence[int],
    *, pairs_first: bool,
) -> Lines:  # fmt: skip
    def joined(axes: Sequence[int]) -> tuple[Extent, ...]:
        found = collapse(tuple(Axis(x.shape[i], x.strides[i]) for i in axes))
        return tuple(Extent(axis.extent, axis.a) for axis in found)

    return Lines(joined(batch), joined(free), joined(contracted), pairs_first)
