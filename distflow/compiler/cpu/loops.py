"""A cluster of elementwise operations, perhaps ending in reductions, as one loop nest.

The iteration space is the shape that all of its operations share; operands are broadcast into it
by strides of 0. Neighbouring dimensions are merged where all strides allow it. The innermost one
runs in blocks of 16 virtual lanes; what is left over runs one element at a time.

Order of additions: where the last dimension is reduced, element i goes to partial result i mod 16,
and the 16 are combined pairwise in a fixed tree; otherwise each kept element is reduced in the
order of memory. Neither depends on the CPU or on the number of threads.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from distflow.compiler.cpu.emit import LANES, MEMORY, REGISTER, Block, Code, Operand
from distflow.compiler.cpu.table import ELEMENTWISE, REDUCTIONS, accumulator

# Blocks of 16 in one unit of work of a loop without reductions: the finest cut between threads.
_BLOCKS_PER_UNIT = 64
# Loops over left-over elements: LLVM need not spend its time on them.
_PLAIN = "!0"
_METADATA = """!0 = distinct !{!0, !1, !2}
!1 = !{!"llvm.loop.vectorize.enable", i1 false}
!2 = !{!"llvm.loop.unroll.disable"}"""


@dataclass(frozen=True)
class Step:
    """One operation; operands are positions among the loop's inputs, then its steps."""

    primitive: str  # "constant" for a number
    operands: tuple[int, ...]
    dtype: str
    value: str = ""  # of a constant, as `emit.literal` writes it: 0.0 is not -0.0


@dataclass(frozen=True)
class Loop:
    """A cluster.

    Attributes:
      shape: the iteration space; no dimension is 0.
      inputs: dtype and shape of each array that is read (contiguous, broadcast to `shape`).
      steps: in order.
      stores: positions whose values are written, in the full shape.
      reductions: (primitive, position, dtype); their results have the shape without `axes`.
      axes: that are reduced; empty without reductions.
    """

    shape: tuple[int, ...]
    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    steps: tuple[Step, ...]
    stores: tuple[int, ...]
    reductions: tuple[tuple[str, int, str], ...] = ()
    axes: tuple[int, ...] = ()

    def dtype(self, position: int) -> str:
        """The dtype of an input or step."""
        if position < len(self.inputs):
            return self.inputs[position][0]
        return self.steps[position - len(self.inputs)].dtype

    def work(self) -> int:
        """Rough number of element operations."""
        return math.prod(self.shape) * (len(self.steps) + len(self.reductions) + 1)


@dataclass
class _Dimension:
    extent: int
    reduced: bool
    strides: tuple[int, ...]  # of inputs, stores and results of reductions, in elements


def metadata() -> str:
    """Returns what a module with loops ends with."""
    return _METADATA


def emit_loop(code: Code, loop: Loop, name: str) -> int:
    """Adds `void name(ptr pointers, i64 begin, i64 end)` to a module; returns its units of work.

    `pointers` holds the addresses of inputs, stores and results of reductions; the function does
    the units in [begin, end). Units may run in any order and at once.
    """
    return _Nest(code, loop).emit(name)


class _Nest:
    """The making of one function."""

    def __init__(self, code: Code, loop: Loop):
        self.code = code
        self.loop = loop
        self.lines: list[str] = []
        self.entry: list[str] = []
        self.dimensions = _dimensions(loop)
        self.dtypes = [
            *(dtype for dtype, _ in loop.inputs),
            *(loop.dtype(p) for p in loop.stores),
            *(dtype for _, _, dtype in loop.reductions),
        ]
        self.pointers = [f"%p{i}" for i in range(len(self.dtypes))]

    def emit(self, name: str) -> int:
        for i, pointer in enumerate(self.pointers):
            self.entry.append(f"%a{i} = getelementptr ptr, ptr %pointers, i64 {i}")
            self.entry.append(f"{pointer} = load ptr, ptr %a{i}, align 8")
        last = self.dimensions[-1]
        reduced = [d for d in self.dimensions if d.reduced]
        kept = [d for d in self.dimensions if not d.reduced]
        if last.reduced:
            units = math.prod(d.extent for d in kept)
            with self.loop_over("%begin", "%end") as unit:
                self.row(self.decode(unit, kept), reduced)
        else:
            blocks = 1 if self.loop.reductions else _BLOCKS_PER_UNIT
            per_row = -(-last.extent // (LANES * blocks))
            units = math.prod(d.extent for d in kept[:-1]) * per_row
            with self.loop_over("%begin", "%end") as unit:
                outer, chunk = self.divide(unit, per_row)
                self.columns(self.decode(outer, kept[:-1]), chunk, last, reduced, blocks)
        self.code.add(
            f"define void @{name}(ptr %pointers, i64 %begin, i64 %end) {{\n"
            + "\n".join(["entry:", *self.entry, *self.lines, "ret void"])
            + "\n}"
        )
        return units

    # -- the two shapes of nests -----------------------------------------------------------

    def row(self, offsets: list[str], reduced: list[_Dimension]) -> None:
        """Reduces the last dimension: 16 partial results, combined in a tree at the end."""
        accumulators = self.start_accumulators(LANES)
        *outer, last = reduced
        with contextlib.ExitStack() as stack:
            for dimension in outer:
                index = stack.enter_context(self.loop_over("0", str(dimension.extent)))
                offsets = self.advance(offsets, dimension, index)
            full = last.extent - last.extent % LANES
            if full:
                with self.loop_over("0", str(full), LANES) as index:
                    values = self.body(LANES, self.advance(offsets, last, index), last)
                    self.accumulate(LANES, accumulators, values)
            if full < last.extent:
                with self.loop_over(str(full), str(last.extent), plain=True) as index:
                    values = self.body(1, self.advance(offsets, last, index), last)
                    lane = self.let(f"sub i64 {index}, {full}")
                    self.accumulate_lane(accumulators, values, lane)
        start = len(self.dtypes) - len(self.loop.reductions)
        for i, (primitive, _, dtype) in enumerate(self.loop.reductions):
            total = self.tree(primitive, self.read(accumulators[i], LANES, primitive, dtype))
            self.finish(1, start + i, offsets[start + i], total)

    def columns(
        self, offsets: list[str], chunk: str, last: _Dimension, reduced: list[_Dimension],
        blocks: int,
    ) -> None:  # fmt: skip
        """Keeps the last dimension: blocks of it, each reduced in the order of memory."""
        full = last.extent - last.extent % LANES
        size = blocks * LANES
        begin = self.let(f"mul i64 {chunk}, {size}")
        end = self.let(f"add i64 {begin}, {size}")
        if full:
            stop = self.minimum(end, full)
            with self.loop_over(begin, stop, LANES) as index:
                self.column(LANES, self.advance(offsets, last, index), last, reduced)
        if full < last.extent:
            start = self.maximum(begin, full)
            stop = self.minimum(end, last.extent)
            with self.loop_over(start, stop, plain=True) as index:
                self.column(1, self.advance(offsets, last, index), last, reduced)

    def column(
        self, width: int, offsets: list[str], last: _Dimension, reduced: list[_Dimension]
    ) -> None:
        accumulators = self.start_accumulators(width)
        inner = offsets
        with contextlib.ExitStack() as stack:
            for dimension in reduced:
                index = stack.enter_context(self.loop_over("0", str(dimension.extent), plain=True))
                inner = self.advance(inner, dimension, index)
            values = self.body(width, inner, last)
            self.accumulate(width, accumulators, values)
        start = len(self.dtypes) - len(self.loop.reductions)
        for i, (primitive, _, dtype) in enumerate(self.loop.reductions):
            total = self.read(accumulators[i], width, primitive, dtype)
            self.finish(width, start + i, offsets[start + i], total)

    # -- the body --------------------------------------------------------------------------

    def body(self, width: int, offsets: list[str], inner: _Dimension) -> list[Operand]:
        """Loads, computes and stores at the offsets; returns the value of each position."""
        block = Block(self.code, self.lines, width)
        values = [
            block.load(dtype, self.address(i, offsets[i]), inner.strides[i])
            for i, (dtype, _) in enumerate(self.loop.inputs)
        ]
        for step in self.loop.steps:
            kind = REGISTER[step.dtype]
            if step.primitive == "constant":
                values.append(block.splat(kind, step.value))
                continue
            operands = [values[p] for p in step.operands]
            values.append(ELEMENTWISE[step.primitive].emit(block, *operands, to=kind))
        for i, position in enumerate(self.loop.stores, len(self.loop.inputs)):
            block.store(self.dtypes[i], values[position], self.address(i, offsets[i]))
        return values

    def start_accumulators(self, width: int) -> list[str]:
        block = Block(self.code, self.lines, width)
        places = []
        for primitive, _, dtype in self.loop.reductions:
            kind = REGISTER[accumulator(primitive, dtype)]
            place = f"%{self.code.fresh('acc')}"
            self.entry.append(f"{place} = alloca {block.type(kind)}, align 64")
            first = block.constant(kind, REDUCTIONS[primitive].identity(dtype))
            self.lines.append(f"store {block.type(kind)} {first.text}, ptr {place}, align 64")
            places.append(place)
        return places

    def read(self, place: str, width: int, primitive: str, dtype: str) -> Operand:
        kind = REGISTER[accumulator(primitive, dtype)]
        block = Block(self.code, self.lines, width)
        return Operand(self.let(f"load {block.type(kind)}, ptr {place}, align 64"), kind)

    def accumulate(self, width: int, places: list[str], values: list[Operand]) -> None:
        block = Block(self.code, self.lines, width)
        for place, (primitive, position, dtype) in zip(places, self.loop.reductions):
            before = self.read(place, width, primitive, dtype)
            after = self.combine(block, primitive, before, values[position])
            self.lines.append(f"store {block.type(after.kind)} {after.text}, ptr {place}, align 64")

    def accumulate_lane(self, places: list[str], values: list[Operand], lane: str) -> None:
        one, all_ = Block(self.code, self.lines, 1), Block(self.code, self.lines, LANES)
        for place, (primitive, position, dtype) in zip(places, self.loop.reductions):
            before = self.read(place, LANES, primitive, dtype)
            vector = all_.type(before.kind)
            item = Operand(
                self.let(f"extractelement {vector} {before.text}, i64 {lane}"), before.kind
            )
            item = self.combine(one, primitive, item, values[position])
            after = self.let(
                f"insertelement {vector} {before.text}, {item.kind} {item.text}, i64 {lane}"
            )
            self.lines.append(f"store {vector} {after}, ptr {place}, align 64")

    def combine(self, block: Block, primitive: str, before: Operand, value: Operand) -> Operand:
        if value.kind != before.kind:
            value = block.convert("fpext", value, before.kind)
        return REDUCTIONS[primitive].combine(block, before, value, to=before.kind)

    def tree(self, primitive: str, vector: Operand) -> Operand:
        """Combines lane i with lane i + half, until one is left."""
        width = LANES
        while width > 1:
            half = width // 2
            low, high = (
                Operand(self.part(vector, width, range(start, start + half)), vector.kind)
                for start in (0, half)
            )
            vector = self.combine(Block(self.code, self.lines, half), primitive, low, high)
            width = half
        return vector

    def part(self, vector: Operand, width: int, lanes: range) -> str:
        kind = f"<{width} x {vector.kind}>"
        if len(lanes) == 1:
            return self.let(f"extractelement {kind} {vector.text}, i32 {lanes[0]}")
        mask = ", ".join(f"i32 {lane}" for lane in lanes)
        return self.let(
            f"shufflevector {kind} {vector.text}, {kind} poison, <{len(lanes)} x i32> <{mask}>"
        )

    def finish(self, width: int, operand: int, offset: str, total: Operand) -> None:
        block = Block(self.code, self.lines, width)
        dtype = self.dtypes[operand]
        if total.kind != REGISTER[dtype]:
            total = block.convert("fptrunc", total, REGISTER[dtype])
        block.store(dtype, total, self.address(operand, offset))

    # -- indices ---------------------------------------------------------------------------

    def let(self, text: str) -> str:
        name = f"%{self.code.fresh()}"
        self.lines.append(f"{name} = {text}")
        return name

    def address(self, operand: int, offset: str) -> str:
        kind = MEMORY[self.dtypes[operand]]
        return self.let(f"getelementptr {kind}, ptr {self.pointers[operand]}, i64 {offset}")

    def advance(self, offsets: list[str], dimension: _Dimension, index: str) -> list[str]:
        """Returns the offsets of all operands, moved along a dimension."""
        moved = []
        for offset, stride in zip(offsets, dimension.strides):
            if stride:
                step = index if stride == 1 else self.let(f"mul i64 {index}, {stride}")
                offset = step if offset == "0" else self.let(f"add i64 {offset}, {step}")
            moved.append(offset)
        return moved

    def decode(self, unit: str, dimensions: Sequence[_Dimension]) -> list[str]:
        """Returns the offsets for a position counted through dimensions (the last runs fastest)."""
        offsets = ["0"] * len(self.dtypes)
        for dimension in reversed(dimensions):
            unit, index = self.divide(unit, dimension.extent)
            offsets = self.advance(offsets, dimension, index)
        return offsets

    def divide(self, x: str, by: int) -> tuple[str, str]:
        if by == 1:
            return x, "0"
        return self.let(f"udiv i64 {x}, {by}"), self.let(f"urem i64 {x}, {by}")

    def minimum(self, x: str, limit: int) -> str:
        less = self.let(f"icmp slt i64 {x}, {limit}")
        return self.let(f"select i1 {less}, i64 {x}, i64 {limit}")

    def maximum(self, x: str, limit: int) -> str:
        more = self.let(f"icmp sgt i64 {x}, {limit}")
        return self.let(f"select i1 {more}, i64 {x}, i64 {limit}")

    @contextlib.contextmanager
    def loop_over(self, begin: str, end: str, step: int = 1, plain: bool = False) -> Iterator[str]:
        """Writes a loop around what the `with` block writes; gives its index."""
        label = self.code.fresh("loop")
        self.entry.append(f"%{label}.i = alloca i64, align 8")
        self.lines += [f"store i64 {begin}, ptr %{label}.i", f"br label %{label}", f"{label}:"]
        index = self.let(f"load i64, ptr %{label}.i")
        more = self.let(f"icmp slt i64 {index}, {end}")
        self.lines += [f"br i1 {more}, label %{label}.body, label %{label}.end", f"{label}.body:"]
        yield index
        after = self.let(f"add i64 {index}, {step}")
        self.lines += [
            f"store i64 {after}, ptr %{label}.i",
            f"br label %{label}" + (f", !llvm.loop {_PLAIN}" if plain else ""),
            f"{label}.end:",
        ]


def _dimensions(loop: Loop) -> list[_Dimension]:
    """Returns the dimensions of the nest: those of size 1 dropped, neighbours merged."""
    shape, axes = loop.shape, loop.axes
    kept = [1 if i in axes else d for i, d in enumerate(shape)]
    operands = [
        *(_strides((1,) * (len(shape) - len(s)) + tuple(s)) for _, s in loop.inputs),
        *(_strides(shape) for _ in loop.stores),
        *(_strides(kept) for _ in loop.reductions),
    ]
    merged: list[_Dimension] = []
    for i, extent in enumerate(shape):
        if extent == 1:
            continue
        new = _Dimension(extent, i in axes, tuple(s[i] for s in operands))
        if merged and merged[-1].reduced == new.reduced:
            outer = merged[-1]
            if all(a == b * extent for a, b in zip(outer.strides, new.strides)):
                merged[-1] = _Dimension(outer.extent * extent, new.reduced, new.strides)
                continue
        merged.append(new)
    return merged or [_Dimension(1, False, (0,) * len(operands))]


def _strides(shape: Sequence[int]) -> list[int]:
    """Returns the strides of a contiguous array in elements; 0 for dimensions of size 1."""
    strides, step = [0] * len(shape), 1
    for i in reversed(range(len(shape))):
        if shape[i] != 1:
            strides[i] = step
            step *= shape[i]
    return strides
