"""The order in which a loop visits its elements: dimensions merged, permuted and cut into units.

Plain arithmetic on extents and strides; `sweep` writes the code. Everything here is a function of
shapes and layouts alone, never of the CPU or of the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from distflow.compiler.cpu.emit import LANES

# Elements that a chunk of a reduction has where the last dimension is reduced, and rows where it
# is kept: what is longer is added in chunks, whose results are added by a second stage.
ROW_CHUNK = 8192
COLUMN_CHUNK = 512
# The same for so many columns and more: there are enough elements in fewer rows.
WIDE_CHUNK, WIDE = 128, 256
# A tile of a transposition: so many rows of 16 stores each, whose lines stay in the first cache.
_TILE = 32


@dataclass(frozen=True)
class Dimension:
    """One level of a nest.

    Attributes:
      extent: its size.
      strides: how far each operand moves, in elements: inputs, stores, results of reductions, then
        the positions that steps count.
    """

    extent: int
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Nest:
    """The dimensions of a loop, outermost first.

    Attributes:
      kept: those that results of reductions have; never empty.
      reduced: in the order of the axes: the order of additions hangs on it.
      by_rows: whether vectors lie along the last reduced dimension, not along the last kept one.
      crossed: whether an operand is contiguous along the last but one kept dimension instead of
        the last: blocks of both are then visited together.
    """

    kept: tuple[Dimension, ...]
    reduced: tuple[Dimension, ...] = ()
    by_rows: bool = False
    crossed: bool = False


@dataclass(frozen=True)
class Cut:
    """How dimensions are cut: those before `at` one by one, `at` in parts, those after it whole."""

    at: int
    part: int
    parts: int
    count: int  # of pieces in all


def plan(
    shape: Sequence[int], axes: Sequence[int], strides: Sequence[Sequence[int]],
    num_inputs: int, num_stores: int,
) -> Nest:  # fmt: skip
    """Returns the nest of a loop.

    Dimensions of size 1 are dropped; where the last of the others is reduced, vectors lie along
    it. Kept dimensions are put in the order of the first store's strides (of the inputs where
    nothing is stored), with the one innermost along which most operands are contiguous.

    Args:
      shape: the iteration space; no dimension is 0.
      axes: that are reduced.
      strides: of each operand along each dimension.
      num_inputs: how many operands are inputs; they come first.
      num_stores: how many are stores; they come next.
    """
    real = [i for i, extent in enumerate(shape) if extent != 1]
    rows = {i: Dimension(shape[i], tuple(s[i] for s in strides)) for i in real}
    kept = [rows[i] for i in real if i not in axes]
    reduced = merged([rows[i] for i in real if i in axes])
    if len(kept) > 1:
        kept = merged(_ordered(kept, num_inputs, num_stores))
    by_rows = bool(reduced) and real[-1] in axes
    crossed = False
    if not axes and len(kept) > 1:
        kept, crossed = _uncrossed(kept)
    one = Dimension(1, (0,) * len(strides))
    kept = kept or [one]
    if axes and not reduced:
        reduced = [one]
    return Nest(tuple(kept), tuple(reduced), by_rows, crossed)


def _ordered(kept: list[Dimension], num_inputs: int, num_stores: int) -> list[Dimension]:
    stores = range(num_inputs, num_inputs + num_stores)
    others = [i for i in range(len(kept[0].strides)) if i not in stores]
    operands = [*stores, *others]
    ordered = sorted(kept, key=lambda d: [-d.strides[i] for i in operands])

    def votes(dimension: Dimension) -> int:
        return sum(
            3 if i in stores else 1 for i, stride in enumerate(dimension.strides) if stride == 1
        )

    best = max(votes(d) for d in ordered)
    inner = next(d for d in reversed(ordered) if votes(d) == best)
    return [*(d for d in ordered if d is not inner), inner]


def _uncrossed(kept: list[Dimension]) -> tuple[list[Dimension], bool]:
    """Moves the dimension along which a strided operand is contiguous next to the last."""
    *outer, inner = kept
    for i, stride in enumerate(inner.strides):
        if stride > 1:
            for dimension in outer:
                if dimension.strides[i] == 1:
                    rest = [d for d in outer if d is not dimension]
                    return [*rest, dimension, inner], True
    return kept, False


def merged(dimensions: Sequence[Dimension]) -> list[Dimension]:
    """Returns dimensions with neighbours joined where all operands move on alike."""
    found: list[Dimension] = []
    for new in dimensions:
        if found:
            outer = found[-1]
            if all(a == b * new.extent for a, b in zip(outer.strides, new.strides)):
                found[-1] = replace(new, extent=outer.extent * new.extent)
                continue
        found.append(new)
    return found


def cut(extents: Sequence[int], most: int, multiple: int = 1) -> Cut:
    """Returns the cut into pieces of about `most` elements.

    A part of the last dimension is a multiple of `multiple`, unless it is all of it.
    """
    inner, at = 1, 0
    for i in reversed(range(len(extents))):
        at = i
        if inner * extents[i] >= most:
            break
        if i:
            inner *= extents[i]
    part = max(1, -(-most // inner))
    if at == len(extents) - 1:
        part = -(-part // multiple) * multiple
    return cut_at(extents, at, min(part, extents[at]))


def cut_crossed(extents: Sequence[int], most: int) -> Cut:
    """Returns the cut of a transposition: one of the last two dimensions in parts."""
    *outer, wide, inner = extents
    if wide > _TILE:
        return cut_at([*outer, wide], len(outer), _TILE)
    part = -(-max(1, most // wide) // LANES) * LANES
    found = cut_at([*outer, inner], len(outer), min(part, inner))
    return replace(found, at=len(outer) + 1)


def cut_at(extents: Sequence[int], at: int, part: int) -> Cut:
    """Returns the cut of one dimension into parts of a size, the last one perhaps smaller."""
    parts = -(-extents[at] // part)
    before = math.prod(extents[:at]) if at else 1
    return Cut(at, part, parts, before * parts)


def chunks_of(nest: Nest) -> Cut | None:
    """Returns how the reduced dimensions are cut into chunks; None if they are one."""
    extents = [d.extent for d in nest.reduced]
    most = ROW_CHUNK
    if not nest.by_rows:
        most = WIDE_CHUNK if nest.kept[-1].extent >= WIDE else COLUMN_CHUNK
    if math.prod(extents) <= most:
        return None
    return cut(extents, most, LANES if nest.by_rows else 1)


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Returns the strides of a C-contiguous array, in elements."""
    strides, step = [0] * len(shape), 1
    for i in reversed(range(len(shape))):
        strides[i] = step
        step *= shape[i]
    return tuple(strides)


def broadcast(
    shape: Sequence[int], strides: Sequence[int], space: Sequence[int]
) -> tuple[int, ...]:
    """Returns an operand's strides along each dimension of a larger space: 0 where repeated."""
    missing = len(space) - len(shape)
    return (0,) * missing + tuple(0 if d == 1 else s for d, s in zip(shape, strides))


def spread(strides: Sequence[int], axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """Returns strides of the kept dimensions with 0 put in where `axes` are."""
    rest = iter(strides)
    return tuple(0 if i in axes else next(rest) for i in range(rank))


def redirected(nest: Nest, operands: range, strides: Sequence[int]) -> Nest:
    """Returns a nest in which some operands have other strides, one for each kept dimension."""
    kept = tuple(
        replace(d, strides=tuple(s if i in operands else t for i, t in enumerate(d.strides)))
        for d, s in zip(nest.kept, strides)
    )
    return replace(nest, kept=kept)
