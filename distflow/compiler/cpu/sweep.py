"""The order in which a function visits its elements: units, loops, blocks of 16 lanes, passes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence

from distflow.compiler.cpu import nest as nests
from distflow.compiler.cpu.body import Body
from distflow.compiler.cpu.emit import LANES, Code
from distflow.compiler.cpu.flow import METADATA
from distflow.compiler.cpu.nest import Cut, Dimension, Nest
from distflow.compiler.cpu.rows import Pass
from distflow.compiler.cpu.steps import Loop
from distflow.compiler.cpu.table import cost

__all__ = ["METADATA", "Sweep"]

# A unit of work takes about so long: short enough to be spread over threads, long enough that
# finding its place costs nothing.
_UNIT_NS = 2000
_LEAST_ELEMENTS, _MOST_ELEMENTS = 256, 16384
# Loops of cheap steps do so many blocks at once; what is dearer has enough to do in one.
_CHEAP_NS = 0.3
_UNROLL = 4
# Columns that are reduced in registers at once lie in short runs of each row, which memory is slow
# to give. Where there are more, a unit adds whole runs to sums beside it: 2.0 -> 0.9 ms for the
# gradients of a bias and of gelu, [1024, 1024] (Xeon, 2026-11). At most so many columns, for so
# many units.
_MOST_COLUMNS, _UNITS = 1024, 16
_SUMS = ("float", "double", "i32", "i64")


class Sweep(Body):
    """The making of one function.

    Args:
      code: the module.
      loop: its steps and reductions.
      nest: with strides of all operands: inputs, stores, results.
      dtypes: of the operands.
      places: (position among the pointers, offset in bytes) of each operand.
      element_ns: rough cost of an element.
      chunks: how reduced dimensions are cut, if they are; `chunk_stride` apart lie the results.
    """

    def __init__(
        self, code: Code, loop: Loop, nest: Nest, dtypes: Sequence[str],
        places: Sequence[tuple[int, int] | None], element_ns: float, chunks: Cut | None = None,
        chunk_stride: int = 0,
    ):  # fmt: skip
        super().__init__(code, loop, nest, dtypes, places)
        self.chunks = chunks
        results = range(self.first, len(dtypes))
        self.chunk_dimension = Dimension(
            chunks.count if chunks else 1,
            tuple(chunk_stride if i in results else 0 for i in range(len(self.start))),
        )
        steps_ns = sum(cost(s.primitive) for s in loop.steps)
        self.unroll = _UNROLL if steps_ns <= _CHEAP_NS else 2 if steps_ns <= 2 * _CHEAP_NS else 1
        self.most = int(min(max(_UNIT_NS / element_ns, _LEAST_ELEMENTS), _MOST_ELEMENTS))

    def emit(self, name: str) -> None:
        """Adds the function."""
        self.open()
        if self.nest.crossed:
            self.crossed()
        else:
            self.in_units()
        self.code.add(self.flow.function(name))

    # -- units -----------------------------------------------------------------------------

    @property
    def units(self) -> int:
        """The number of units of work."""
        return self._pieces().count * (self.chunks.count if self.chunks else 1)

    def _pieces(self) -> Cut:
        extents = [d.extent for d in self.nest.kept]
        if self.nest.crossed:
            return nests.cut_crossed(extents, self.most)
        reduced = math.prod(d.extent for d in self.nest.reduced)
        if self.chunks is not None:
            reduced = -(-reduced // self.chunks.count)
        multiple = 1 if self.nest.by_rows else LANES * self.unroll
        found = nests.cut(extents, max(1, self.most // reduced), multiple)
        if self.nest.by_rows or not self.nest.reduced or found.at != len(extents) - 1:
            return found
        # Columns that are reduced.
        others = found.count // found.parts * (self.chunks.count if self.chunks else 1)
        part = -(-extents[-1] // max(_UNITS // others, 1))
        part = min(-(-part // multiple) * multiple, _MOST_COLUMNS, extents[-1])
        return nests.cut_at(extents, found.at, part) if part > found.part else found

    def in_units(self) -> None:
        """Writes the loop over units of work."""
        kept, chunks, pieces = self.nest.kept, self.chunks, self._pieces()
        if pieces.at == 0 and chunks is None and not self._is_wide():
            # Parts of one dimension: a range of units is a range of it.
            begin = self.flow.times("%begin", pieces.part)
            end = self.flow.minimum(self.flow.times("%end", pieces.part), kept[0].extent)
            self.over_kept(self.start, 0, begin, end, "0")
            return
        with self.flow.loop("%begin", "%end") as unit:
            piece, chunk = self.flow.divide(unit, chunks.count if chunks else 1)
            outer, part = self.flow.divide(piece, pieces.parts)
            begin, end = self.flow.part(part, pieces.part, kept[pieces.at].extent)
            offsets = self.decode(self.start, outer, kept[: pieces.at])
            offsets = self.advance(offsets, self.chunk_dimension, chunk)
            self.over_kept(offsets, pieces.at, begin, end, chunk)

    def over_kept(self, offsets: list[str], at: int, begin: str, end: str, chunk: str) -> None:
        """Visits a range of one kept dimension, and all of those inside of it."""
        kept = self.nest.kept
        ranges = [(begin, end), *(("0", str(d.extent)) for d in kept[at + 1 :])]
        dimensions = list(zip(kept[at:], ranges))
        vector = None if self.nest.by_rows else dimensions.pop()
        with contextlib.ExitStack() as stack:
            for dimension, (low, high) in dimensions:
                index = stack.enter_context(self.flow.loop(low, high))
                offsets = self.advance(offsets, dimension, index)
            if vector is None:
                self.row(offsets, chunk)
                return
            dimension, (low, high) = vector
            if self._is_wide():
                self.wide(offsets, dimension, (low, high), chunk)
                return
            self.blocks(
                dimension, low, high,
                lambda indices, count: self.column(
                    [self.advance(offsets, dimension, i) for i in indices], count, chunk
                ),
            )  # fmt: skip

    def crossed(self) -> None:
        """Writes a transposition: blocks along the last dimension, and the one before in each."""
        *outer, wide, inner = self.nest.kept
        extents = [d.extent for d in self.nest.kept]
        pieces = self._pieces()
        flow = self.flow
        with flow.loop("%begin", "%end") as unit:
            piece, part = flow.divide(unit, pieces.parts)
            begin, end = flow.part(part, pieces.part, extents[pieces.at])
            offsets = self.decode(self.start, piece, outer)
            whole = [("0", str(wide.extent)), ("0", str(inner.extent))]
            whole[pieces.at - len(outer)] = (begin, end)
            (low, high), (first, last) = whole

            def visit(indices: list[str], count: int) -> None:
                places = [self.advance(offsets, inner, i) for i in indices]
                with flow.loop(low, high) as index:
                    for place in places:
                        self.body(_width(count), count, self.advance(place, wide, index), inner)

            self.blocks(inner, first, last, visit, unroll=1)

    # -- blocks ----------------------------------------------------------------------------

    def blocks(
        self, dimension: Dimension, begin: str, end: str,
        visit: Callable[[list[str], int], None], unroll: int | None = None,
    ) -> None:  # fmt: skip
        """Calls `visit` with the indices of neighbouring blocks of `count` lanes each.

        `begin` is a multiple of 16, and `end` another one or the end of the dimension.
        """
        unroll = self.unroll if unroll is None else unroll
        flow = self.flow
        full = dimension.extent - dimension.extent % LANES
        rest = dimension.extent - full
        if full:
            stop = flow.minimum(end, full)
            large = LANES * unroll
            middle = begin
            if unroll > 1 and dimension.extent >= large:
                if stop.startswith("%") or begin.startswith("%"):
                    span = flow.let(f"sub nsw i64 {stop}, {begin}")
                    middle = flow.plus(begin, flow.let(f"and i64 {span}, {-large}"))
                else:
                    middle = str(int(begin) + (int(stop) - int(begin)) // large * large)
                with flow.loop(begin, middle, large) as index:
                    visit([flow.plus(index, str(LANES * k)) for k in range(unroll)], LANES)
            if not (middle == stop):
                with flow.loop(middle, stop, LANES) as index:
                    visit([index], LANES)
        if rest:
            if not end.startswith("%"):
                visit([str(full)], rest)
                return
            with flow.loop(flow.maximum(begin, full), end, LANES) as index:
                visit([index], rest)

    # -- reductions ------------------------------------------------------------------------

    def row(self, offsets: list[str], chunk: str) -> None:
        """Does the passes over a row: 16 partial results each, combined in a tree at the end."""
        for one in self.rows.passes:
            self._pass(one, offsets, chunk)
        if self.rows.last.stores:
            self.body(1, 1, offsets, Dimension(1, (0,) * len(self.start)), self.rows.last)

    def _pass(self, one: Pass, offsets: list[str], chunk: str) -> None:
        accumulators = self._start_accumulators(LANES, one)

        def visit_last(places: list[str], low: str, high: str) -> None:
            last = self.nest.reduced[-1]

            def visit(indices: list[str], count: int) -> None:
                for index in indices:
                    values = self.body(LANES, count, self.advance(places, last, index), last, one)
                    self.accumulate(LANES, count, accumulators, values)

            self.blocks(last, low, high, visit)

        self.over_reduced(offsets, chunk, visit_last)
        for i, place in accumulators.items():
            total = self.tree(i, self._read(i, place, LANES))
            if self.rows.left:
                self._leave(i, total)
            self._finish(1, 1, self.first + i, offsets[self.first + i], total, 1)

    def column(self, places: list[list[str]], count: int, chunk: str) -> None:
        """Does blocks of the last kept dimension, each reduced in the order of the axes."""
        inner = self.nest.kept[-1]
        width = _width(count)
        if not self.nest.reduced:
            for place in places:
                self.body(width, count, place, inner)
            return
        all_accumulators = [self._start_accumulators(width, self.rows.passes[0]) for _ in places]
        # The blocks lie side by side: what moves along reduced dimensions is common to them.

        def visit(moved: list[str]) -> None:
            for k, accumulators in enumerate(all_accumulators):
                shift = [
                    self.flow.plus(offset, str(LANES * k * stride)) if k else offset
                    for offset, stride in zip(moved, inner.strides)
                ]
                values = self.body(width, count, shift, inner)
                self.accumulate(width, count, accumulators, values)

        def visit_last(offsets: list[str], low: str, high: str) -> None:
            last = self.nest.reduced[-1]
            with self.flow.loop(low, high) as index:
                visit(self.advance(offsets, last, index))

        self.over_reduced(places[0], chunk, visit_last)
        for place, accumulators in zip(places, all_accumulators):
            for i, accumulator in accumulators.items():
                total = self._read(i, accumulator, width)
                operand = self.first + i
                self._finish(width, count, operand, place[operand], total, inner.strides[operand])

    def _is_wide(self) -> bool:
        """Whether the columns of a unit are reduced row by row, into sums beside them."""
        return (
            bool(self.nest.reduced) and not self.nest.by_rows
            and self._pieces().part > LANES * self.unroll
            and all(self.kind(i) in _SUMS for i in range(len(self.loop.reductions)))
        )  # fmt: skip

    def wide(
        self, offsets: list[str], dimension: Dimension, columns: tuple[str, str], chunk: str
    ) -> None:
        """Reduces a range of columns, at most those of a unit."""
        flow, (low, high) = self.flow, columns
        sums = self.sums(-(-self._pieces().part // LANES) * LANES)

        def places(index: str) -> dict[int, str]:
            at = flow.let(f"sub nsw i64 {index}, {low}")
            return {
                i: flow.let(f"getelementptr {self.kind(i)}, ptr {place}, i64 {at}")
                for i, place in sums.items()
            }

        def add(moved: list[str], indices: list[str], count: int) -> None:
            for index in indices:
                here = self.advance(moved, dimension, index)
                values = self.body(_width(count), count, here, dimension)
                self.accumulate(_width(count), count, places(index), values)

        def row(moved: list[str], first: str, end: str) -> None:
            last = self.nest.reduced[-1]
            with flow.loop(first, end) as index:
                here = self.advance(moved, last, index)
                self.blocks(dimension, low, high, lambda at, count: add(here, at, count))

        def finish(indices: list[str], count: int) -> None:
            for index in indices:
                here = self.advance(offsets, dimension, index)
                for i, place in places(index).items():
                    operand = self.first + i
                    total = self._read(i, place, _width(count))
                    self._finish(
                        _width(count), count, operand, here[operand], total,
                        dimension.strides[operand],
                    )  # fmt: skip

        self.over_reduced(offsets, chunk, row)
        self.blocks(dimension, low, high, finish, unroll=1)

    def over_reduced(
        self, offsets: list[str], chunk: str, visit_last: Callable[[list[str], str, str], None]
    ) -> None:
        """Visits the reduced dimensions (those of a chunk); the last one by `visit_last`."""
        reduced = self.nest.reduced
        ranges = [("0", str(d.extent)) for d in reduced]
        if self.chunks is not None:
            at = self.chunks.at
            outer, part = self.flow.divide(chunk, self.chunks.parts)
            offsets = self.decode(offsets, outer, reduced[:at])
            ranges[at] = self.flow.part(part, self.chunks.part, reduced[at].extent)
            reduced, ranges = reduced[at:], ranges[at:]
        with contextlib.ExitStack() as stack:
            for dimension, (low, high) in zip(reduced[:-1], ranges):
                index = stack.enter_context(self.flow.loop(low, high))
                offsets = self.advance(offsets, dimension, index)
            visit_last(offsets, *ranges[-1])


def _width(count: int) -> int:
    """Returns the least power of two of so many lanes."""
    return 1 << (count - 1).bit_length()
