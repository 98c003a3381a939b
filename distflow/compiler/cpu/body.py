"""What a loop does at each place: addresses, steps, stores and accumulators, as IR text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from distflow.compiler.cpu import formats, integers, philox
from distflow.compiler.cpu.emit import LANES, MEMORY, REGISTER, Block, Code, Operand
from distflow.compiler.cpu.flow import Flow
from distflow.compiler.cpu.nest import Dimension, Nest
from distflow.compiler.cpu.rows import Pass
from distflow.compiler.cpu.steps import Loop, Step
from distflow.compiler.cpu.table import ELEMENTWISE, EXACT, REDUCTIONS, accumulator, bitcast


class Body:
    """The making of one function, without the order in which elements are visited.

    Args:
      code: the module.
      loop: its steps and reductions.
      nest: with strides of all operands: inputs, stores, results, counters.
      dtypes: of the operands that have pointers.
      places: (position among the pointers, offset in bytes) of each of those; None: a result that
        nobody wants.
    """

    def __init__(
        self, code: Code, loop: Loop, nest: Nest, dtypes: Sequence[str],
        places: Sequence[tuple[int, int] | None],
    ):  # fmt: skip
        self.flow = Flow(code)
        self.code = code
        self.loop = loop
        self.nest = nest
        self.rows = loop.rows()
        self.dtypes = list(dtypes)
        self.places = places
        self.pointers = [f"%p{i}" for i in range(len(self.dtypes))]
        self.first = len(dtypes) - len(loop.reductions)  # result of a reduction
        counters = loop.counters()
        self.counters = {s: len(dtypes) + i for i, s in enumerate(counters)}
        self.beside = len(dtypes) + len(counters)  # what is kept of a row counts through it
        self.start = ["0"] * (self.beside + (1 if self.rows.kept else 0))

    def open(self) -> None:
        """Writes what comes before the loops: pointers, and room for what passes leave behind."""
        entry = self.flow.entry
        for i, place in enumerate(self.places):
            if place is None:
                continue
            position, offset = place
            entry.append(f"%a{i} = getelementptr ptr, ptr %pointers, i64 {position}")
            entry.append(f"%b{i} = load ptr, ptr %a{i}, align 8")
            entry.append(f"%p{i} = getelementptr i8, ptr %b{i}, i64 {offset}")
        if self.rows.left:
            size = math.prod(d.extent for d in self.nest.reduced)
            for i, reduced in enumerate(self.loop.reductions):
                entry.append(f"%row{i} = alloca {REGISTER[reduced.dtype]}, align 8")
            for p in self.rows.kept:
                kind = MEMORY[self.loop.dtype(p)]
                entry.append(f"%kept{p} = alloca [{size} x {kind}], align 64")

    # -- the body --------------------------------------------------------------------------

    def body(
        self, width: int, count: int, offsets: list[str], inner: Dimension, one: Pass | None = None
    ) -> dict[int, Operand]:
        """Reads, computes and writes what a pass does; returns the value of each position."""
        one = self.rows.passes[0] if one is None else one
        block = Block(self.code, self.flow.lines, width, count)
        values: dict[int, Operand] = {}
        first = len(self.loop.inputs)
        for p in one.positions:
            if p in one.recalled:
                values[p] = self._recall(block, p, offsets)
            elif p < first:
                dtype = self.loop.inputs[p][0]
                raw = block.load(dtype, self._address(p, offsets[p]), inner.strides[p])
                values[p] = formats.to_register(block, dtype, raw)
            else:
                values[p] = self._step(block, self.loop.steps[p - first], values, offsets, inner)
            if p in one.kept:
                dtype, place = self.loop.dtype(p), self._beside(p, offsets)
                block.store(formats.to_memory(block, dtype, values[p]), place)
        for i in one.stores:
            operand = first + i
            held = formats.to_memory(block, self.dtypes[operand], values[self.loop.stores[i][0]])
            block.store(held, self._address(operand, offsets[operand]), inner.strides[operand])
        return values

    def _beside(self, position: int, offsets: list[str]) -> str:
        """Returns where what is kept of a row lies."""
        kind = MEMORY[self.loop.dtype(position)]
        offset = offsets[self.beside]
        return self.flow.let(f"getelementptr {kind}, ptr %kept{position}, i64 {offset}")

    def _recall(self, block: Block, position: int, offsets: list[str]) -> Operand:
        dtype = self.loop.dtype(position)
        return formats.to_register(
            block, dtype, block.load(dtype, self._beside(position, offsets), 1)
        )

    def _step(
        self, block: Block, step: Step, values: Mapping[int, Operand], offsets: list[str],
        inner: Dimension,
    ) -> Operand:  # fmt: skip
        name, dtype = step.primitive, step.dtype
        if name == "row":
            kind = REGISTER[dtype]
            held = self.flow.let(f"load {kind}, ptr %row{step.operands[0]}, align 8")
            return block.repeat(Operand(held, kind, integers.is_unsigned(dtype)))
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

    def _start_accumulators(self, width: int, one: Pass) -> dict[int, str]:
        block = Block(self.code, self.flow.lines, width)
        places = {}
        for i in one.reductions:
            reduced = self.loop.reductions[i]
            kind = self.kind(i)
            place = f"%{self.code.fresh('acc')}"
            self.flow.entry.append(f"{place} = alloca {block.type(kind)}, align 64")
            first = block.constant(kind, REDUCTIONS[reduced.primitive].identity(reduced.dtype))
            self.flow.lines.append(f"store {block.type(kind)} {first.text}, ptr {place}, align 64")
            places[i] = place
        return places

    def sums(self, size: int) -> dict[int, str]:
        """Returns places of `size` accumulators side by side for each reduction, cleared."""
        block = Block(self.code, self.flow.lines, LANES)
        places = {}
        for i, reduced in enumerate(self.loop.reductions):
            kind = self.kind(i)
            place = places[i] = f"%{self.code.fresh('sums')}"
            self.flow.entry.append(f"{place} = alloca [{size} x {kind}], align 64")
            first = block.constant(kind, REDUCTIONS[reduced.primitive].identity(reduced.dtype))
            with self.flow.loop("0", str(size), LANES) as index:
                at = self.flow.let(f"getelementptr {kind}, ptr {place}, i64 {index}")
                self.flow.lines.append(f"store {block.type(kind)} {first.text}, ptr {at}, align 64")
        return places

    def _read(self, i: int, place: str, width: int) -> Operand:
        block = Block(self.code, self.flow.lines, width)
        kind = self.kind(i)
        value = self.flow.let(f"load {block.type(kind)}, ptr {place}, align 64")
        return Operand(value, kind)

    def accumulate(
        self, width: int, count: int, places: Mapping[int, str], values: Mapping[int, Operand]
    ) -> None:
        """Combines the first `count` lanes."""
        block = Block(self.code, self.flow.lines, width)
        for i, place in places.items():
            before = self._read(i, place, width)
            after = self._combine(block, i, before, values[self.loop.reductions[i].position])
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

    def _leave(self, i: int, total: Operand) -> None:
        """Leaves the result of a reduction for the passes to come, as its dtype holds it."""
        block = Block(self.code, self.flow.lines, 1)
        dtype = self.loop.reductions[i].dtype
        if total.kind != REGISTER[dtype]:
            total = block.convert("fptrunc", total, REGISTER[dtype])
        held = formats.rounded(block, dtype, total)
        self.flow.lines.append(f"store {held.kind} {held.text}, ptr %row{i}, align 8")

    def _finish(
        self, width: int, count: int, operand: int, offset: str, total: Operand, stride: int
    ) -> None:
        if self.places[operand] is None:
            return
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
