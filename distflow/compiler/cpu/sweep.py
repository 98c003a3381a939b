"""The code of one pass over a nest: units, loops, blocks of 16 lanes, and accumulators."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence

from distflow.compiler.cpu import formats, integers, philox
from distflow.compiler.cpu import nest as nests
from distflow.compiler.cpu.emit import LANES, MEMORY, REGISTER, Block, Code, Operand
from distflow.compiler.cpu.flow import METADATA, Flow
from distflow.compiler.cpu.nest import Cut, Dimension, Nest
from distflow.compiler.cpu.steps import Loop, Step
from distflow.compiler.cpu.table import ELEMENTWISE, EXACT, REDUCTIONS, accumulator, bitcast, cost

__all__ = ["METADATA", "Sweep"]

# A unit of work takes about so long: short enough to be spread over threads, long enough that
# finding its place costs nothing.
_UNIT_NS = 2000
_LEAST_ELEMENTS, _MOST_ELEMENTS = 256, 16384
# Loops of cheap steps do so many blocks at once; what is dearer has enough to do in one.
_CHEAP_NS = 0.3
_UNROLL = 4


class Sweep:
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
        places: Sequence[tuple[int, int]], element_ns: float, chunks: Cut | None = None,
        chunk_stride: int = 0,
    ):  # fmt: skip
        self.flow = Flow(code)
        self.code = code
        self.loop = loop
        self.nest = nest
        self.dtypes = list(dtypes)
        self.places = places
        self.chunks = chunks
        self.first = len(dtypes) - len(loop.reductions)
        self.counters = {s: len(dtypes) + i for i, s in enumerate(loop.counters())}
        self.chunk_dimension = Dimension(
            chunks.count if chunks else 1,
            (0,) * self.first + (chunk_stride,) * len(loop.reductions) + (0,) * len(self.counters),
        )
        self.start = ["0"] * (len(dtypes) + len(self.counters))
        steps_ns = sum(cost(s.primitive) for s in loop.steps)
        self.unroll = _UNROLL if steps_ns <= _CHEAP_NS else 2 if steps_ns <= 2 * _CHEAP_NS else 1
        self.most = int(min(max(_UNIT_NS / element_ns, _LEAST_ELEMENTS), _MOST_ELEMENTS))
        self.pointers = [f"%p{i}" for i in range(len(self.dtypes))]

    def emit(self, name: str) -> int:
        """Adds the function; returns its units of work."""
        for i, (position, offset) in enumerate(self.places):
            self.flow.entry.append(f"%a{i} = getelementptr ptr, ptr %pointers, i64 {position}")
            self.flow.entry.append(f"%b{i} = load ptr, ptr %a{i}, align 8")
            self.flow.entry.append(f"%p{i} = getelementptr i8, ptr %b{i}, i64 {offset}")
        units = self.crossed() if self.nest.crossed else self.units()
        self.code.add(self.flow.function(name))
        return units

    # -- units -----------------------------------------------------------------------------

    def units(self) -> int:
        """Writes the loop over units of work; returns their number."""
        kept = self.nest.kept
        chunks = self.chunks
        reduced = math.prod(d.extent for d in self.nest.reduced)
        if chunks is not None:
            reduced = -(-reduced // chunks.count)
        multiple = 1 if self.nest.by_rows else LANES * self.unroll
        pieces = nests.cut([d.extent for d in kept], max(1, self.most // reduced), multiple)
        if pieces.at == 0 and chunks is None:
            # Parts of one dimension: a range of units is a range of it.
            begin = self.flow.times("%begin", pieces.part)
            end = self.flow.minimum(self.flow.times("%end", pieces.part), kept[0].extent)
            self.over_kept(self.start, 0, begin, end, "0")
            return pieces.count
        with self.flow.loop("%begin", "%end") as unit:
            piece, chunk = self.flow.divide(unit, chunks.count if chunks else 1)
            outer, part = self.flow.divide(piece, pieces.parts)
            begin, end = self.flow.part(part, pieces.part, kept[pieces.at].extent)
            offsets = self.decode(self.start, outer, kept[: pieces.at])
            offsets = self.advance(offsets, self.chunk_dimension, chunk)
            self.over_kept(offsets, pieces.at, begin, end, chunk)
        return pieces.count * (chunks.count if chunks else 1)

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
            self.blocks(
                dimension, low, high,
                lambda indices, count: self.column(
                    [self.advance(offsets, dimension, i) for i in indices], count, chunk
                ),
            )  # fmt: skip

    def crossed(self) -> int:
        """Writes a transposition: blocks along the last dimension, and the one before in each."""
        *outer, wide, inner = self.nest.kept
        extents = [d.extent for d in self.nest.kept]
        pieces = nests.cut_crossed(extents, self.most)
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
        return pieces.count

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
        """Reduces a row: 16 partial results, combined in a tree at the end."""
        accumulators = self._start_accumulators(LANES)

        def visit_last(places: list[str], low: str, high: str) -> None:
            last = self.nest.reduced[-1]

            def visit(indices: list[str], count: int) -> None:
                for index in indices:
                    values = self.body(LANES, count, self.advance(places, last, index), last)
                    self.accumulate(LANES, count, accumulators, values)

            self.blocks(last, low, high, visit)

        self.over_reduced(offsets, chunk, visit_last)
        for i, place in enumerate(accumulators):
            total = self.tree(i, self._read(i, place, LANES))
            self._finish(1, 1, self.first + i, offsets[self.first + i], total, 1)

    def column(self, places: list[list[str]], count: int, chunk: str) -> None:
        """Does blocks of the last kept dimension, each reduced in the order of the axes."""
        inner = self.nest.kept[-1]
        width = _width(count)
        if not self.nest.reduced:
            for place in places:
                self.body(width, count, place, inner)
            return
        all_accumulators = [self._start_accumulators(width) for _ in places]
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
            for i in range(len(self.loop.reductions)):
                total = self._read(i, accumulators[i], width)
                operand = self.first + i
                self._finish(width, count, operand, place[operand], total, inner.strides[operand])

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

    # -- the body --------------------------------------------------------------------------

    def body(self, width: int, count: int, offsets: list[str], inner: Dimension) -> list[Operand]:
        """Loads, computes and stores at the offsets; returns the value of each position."""
        block = Block(self.code, self.flow.lines, width, count)
        values = []
        for i, (dtype, _) in enumerate(self.loop.inputs):
            raw = block.load(dtype, self._address(i, offsets[i]), inner.strides[i])
            values.append(formats.to_register(block, dtype, raw))
        for step in self.loop.steps:
            values.append(self._step(block, step, values, offsets, inner))
        for i, (position, _) in enumerate(self.loop.stores, len(self.loop.inputs)):
            held = formats.to_memory(block, self.dtypes[i], values[position])
            block.store(held, self._address(i, offsets[i]), inner.strides[i])
        return values

    def _step(
        self, block: Block, step: Step, values: list[Operand], offsets: list[str],
        inner: Dimension,
    ) -> Operand:  # fmt: skip
        name, dtype = step.primitive, step.dtype
        operands = [values[p] for p in step.operands]
        if name == "constant":
            found = block.splat(REGISTER[dtype], step.value)
        elif step.strides is not None:
            counter = self.counters[step.strides]
            first, stride = offsets[counter], inner.strides[counter]
            found = _counted(block, step, operands, first, stride, self.aligned(counter, inner))
        elif name == "bitcast":
            found = bitcast(block, operands[0], self.loop.dtype(step.operands[0]), dtype)
        else:
            found = ELEMENTWISE[name].emit(block, *operands, to=dtype)
        if name not in EXACT:
            found = formats.rounded(block, dtype, found)
        return found._replace(unsigned=integers.is_unsigned(dtype))

    def aligned(self, counter: int, inner: Dimension) -> bool:
        """Whether blocks along `inner` begin at positions that are multiples of 4."""
        others = [d for d in (*self.nest.kept, *self.nest.reduced) if d is not inner]
        return all(d.strides[counter] % 4 == 0 for d in others)

    def kind(self, i: int) -> str:
        """The type in which reduction i runs."""
        reduced = self.loop.reductions[i]
        return REGISTER[accumulator(reduced.primitive, reduced.dtype)]

    def _start_accumulators(self, width: int) -> list[str]:
        block = Block(self.code, self.flow.lines, width)
        places = []
        for i, reduced in enumerate(self.loop.reductions):
            kind = self.kind(i)
            place = f"%{self.code.fresh('acc')}"
            self.flow.entry.append(f"{place} = alloca {block.type(kind)}, align 64")
            first = block.constant(kind, REDUCTIONS[reduced.primitive].identity(reduced.dtype))
            self.flow.lines.append(f"store {block.type(kind)} {first.text}, ptr {place}, align 64")
            places.append(place)
        return places

    def _read(self, i: int, place: str, width: int) -> Operand:
        block = Block(self.code, self.flow.lines, width)
        kind = self.kind(i)
        value = self.flow.let(f"load {block.type(kind)}, ptr {place}, align 64")
        return Operand(value, kind)

    def accumulate(self, width: int, count: int, places: list[str], values: list[Operand]) -> None:
        """Combines the first `count` lanes."""
        block = Block(self.code, self.flow.lines, width)
        for i, (place, reduced) in enumerate(zip(places, self.loop.reductions)):
            before = self._read(i, place, width)
            after = self._combine(block, i, before, values[reduced.position])
            if count < width:
                after = block.select(block.first_lanes(count), after, before)
            self.flow.lines.append(
                f"store {block.type(after.kind)} {after.text}, ptr {place}, align 64"
            )

    def _combine(self, block: Block, i: int, before: Operand, value: Operand) -> Operand:
        if value.kind != before.kind:
            value = block.convert("fpext", value, before.kind)
        reduced = self.loop.reductions[i]
        before = before._replace(unsigned=integers.is_unsigned(reduced.dtype))
        return REDUCTIONS[reduced.primitive].combine(block, before, value, to=reduced.dtype)

    def tree(self, i: int, vector: Operand) -> Operand:
        """Combines lane i with lane i + half, until one is left."""
        width = LANES
        while width > 1:
            half = width // 2
            block = Block(self.code, self.flow.lines, width)
            low, high = (block.part(vector, start, half) for start in (0, half))
            vector = self._combine(Block(self.code, self.flow.lines, half), i, low, high)
            width = half
        return vector

    def _finish(
        self, width: int, count: int, operand: int, offset: str, total: Operand, stride: int
    ) -> None:
        block = Block(self.code, self.flow.lines, width, count)
        dtype = self.dtypes[operand]
        if total.kind != REGISTER[dtype]:
            total = block.convert("fptrunc", total, REGISTER[dtype])
        held = formats.to_memory(block, dtype, total)
        block.store(held, self._address(operand, offset), stride)

    # -- addresses -------------------------------------------------------------------------

    def _address(self, operand: int, offset: str) -> str:
        if offset == "0":
            return self.pointers[operand]
        kind = MEMORY[self.dtypes[operand]]
        return self.flow.let(f"getelementptr {kind}, ptr {self.pointers[operand]}, i64 {offset}")

    def advance(self, offsets: list[str], dimension: Dimension, index: str) -> list[str]:
        """Returns the offsets of all operands, moved along a dimension."""
        return [
            self.flow.plus(offset, self.flow.times(index, stride)) if stride else offset
            for offset, stride in zip(offsets, dimension.strides)
        ]

    def decode(
        self, offsets: list[str], position: str, dimensions: Sequence[Dimension]
    ) -> list[str]:
        """Moves offsets to a position counted through dimensions (the last runs fastest)."""
        for i in reversed(range(len(dimensions))):
            # The outermost needs no remainder.
            position, index = (
                self.flow.divide(position, dimensions[i].extent) if i else ("0", position)
            )
            offsets = self.advance(offsets, dimensions[i], index)
        return offsets


def _counted(
    block: Block, step: Step, operands: Sequence[Operand], first: str, stride: int, aligned: bool
) -> Operand:  # fmt: skip
    """Returns what depends on the positions of elements: `first`, then `stride` apart."""
    if step.primitive == "random_bits":
        key, stream = (x.text if block.width == 1 else block.part(x, 0, 1).text for x in operands)
        return philox.words(block, first, key, stream, stride, aligned)
    position = block.repeat(Operand(first, "i64"))
    if block.width > 1:
        lanes = [stride * i for i in range(block.width)]
        position = block.op("add", position, block.numbers("i64", lanes))
    return ELEMENTWISE["cast"].emit(block, position, to=step.dtype)


def _width(count: int) -> int:
    """Returns the least power of two of so many lanes."""
    return 1 << (count - 1).bit_length()
