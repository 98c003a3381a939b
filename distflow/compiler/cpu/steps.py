"""What a loop computes: its steps, the layouts of what it reads and writes, its reductions."""

from __future__ import annotations

import math
from dataclasses import dataclass

from distflow.compiler.cpu import nest as nests
from distflow.compiler.cpu.emit import ITEM_BYTES, MEMORY
from distflow.compiler.cpu.nest import Cut, Nest
from distflow.compiler.cpu.rows import Rows, rows_of
from distflow.compiler.cpu.table import accumulator, cost


@dataclass(frozen=True)
class Step:
    """One operation.

    Attributes:
      primitive: its name; "constant" for a number; "row" for the result of a reduction of the loop,
        the number of which is its operand.
      operands: positions among the loop's inputs, then its steps.
      dtype: of the result.
      value: of a constant, as `emit.literal` writes it: 0.0 is not -0.0.
      strides: of the positions that `iota` gives and `random_bits` counts by, along each dimension
        of the loop; the operands of `random_bits` are inputs of dtype `emit.PAIR`.
    """

    primitive: str
    operands: tuple[int, ...]
    dtype: str
    value: str = ""
    strides: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Reduced:
    """A reduction that a loop ends with.

    Attributes:
      primitive: its name.
      position: of what it reduces.
      dtype: of its result.
      strides: of its result along each dimension of the loop, those reduced included (ignored);
        None: contiguous over the kept dimensions.
      wanted: whether its result is written to memory; steps "row" read it in any case.
    """

    primitive: str
    position: int
    dtype: str
    strides: tuple[int, ...] | None = None
    wanted: bool = True


@dataclass(frozen=True)
class Loop:
    """A cluster. Strides are in elements, one for each dimension of `shape`.

    Attributes:
      shape: the iteration space; no dimension is 0.
      inputs: dtype and strides of each array that is read; stride 0 repeats it.
      steps: in order.
      stores: (position, strides) of values that are written; strides of 0 along `axes` are for
        values that are one for a row. What is stored may lie exactly where an input of the same
        strides and item size lies: each element is read before it is written.
      reductions: their results have the shape without `axes`, and lie where no input lies.
      axes: that are reduced; empty without reductions.
    """

    shape: tuple[int, ...]
    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    steps: tuple[Step, ...]
    stores: tuple[tuple[int, tuple[int, ...]], ...]
    reductions: tuple[Reduced, ...] = ()
    axes: tuple[int, ...] = ()

    def dtype(self, position: int) -> str:
        """The dtype of an input or step."""
        if position < len(self.inputs):
            return self.inputs[position][0]
        return self.steps[position - len(self.inputs)].dtype

    def counters(self) -> list[tuple[int, ...]]:
        """The distinct strides of positions that steps need."""
        return list(dict.fromkeys(s.strides for s in self.steps if s.strides is not None))

    def rows(self) -> Rows:
        """The passes over a row; only steps "row" make more than one."""
        long = [i for i in self.axes if self.shape[i] > 1]

        def repeated(strides: tuple[int, ...]) -> bool:
            return bool(long) and all(strides[i] == 0 for i in long)

        return rows_of(
            [repeated(s) for _, s in self.inputs], self.steps,
            [(p, repeated(s)) for p, s in self.stores], [r.position for r in self.reductions],
        )  # fmt: skip

    @property
    def scratch_bytes(self) -> int:
        """Size of the buffer for results of chunks, aligned to 64 bytes; 0: none is needed."""
        nest = nest_of(self)
        chunks = nests.chunks_of(nest)
        return 0 if chunks is None else offsets_of(self, nest, chunks)[-1]

    def work_ns(self) -> int:
        """Rough cost of all of it on one core."""
        return int(math.prod(self.shape) * element_ns(self)) + 1


def nest_of(loop: Loop) -> Nest:
    """Returns the nest of a loop; operands: inputs, stores, results of reductions, counters."""
    kept = [d for i, d in enumerate(loop.shape) if i not in loop.axes]
    default = nests.spread(nests.contiguous(kept), loop.axes, len(loop.shape))
    results = [
        default if r.strides is None
        else tuple(0 if i in loop.axes else s for i, s in enumerate(r.strides))
        for r in loop.reductions
    ]  # fmt: skip
    strides = [*(s for _, s in loop.inputs), *(s for _, s in loop.stores), *results]
    strides += loop.counters()
    if loop.rows().kept:
        inside = [d if i in loop.axes else 1 for i, d in enumerate(loop.shape)]
        beside = nests.contiguous(inside)
        strides.append(tuple(s if i in loop.axes else 0 for i, s in enumerate(beside)))
    return nests.plan(loop.shape, loop.axes, strides, len(loop.inputs), len(loop.stores))


def offsets_of(loop: Loop, nest: Nest, chunks: Cut) -> list[int]:
    """Returns where each reduction's part of the scratch begins, in bytes, and its end."""
    size = chunks.count * math.prod(d.extent for d in nest.kept)
    offsets = [0]
    for r in loop.reductions:
        item = ITEM_BYTES[MEMORY[accumulator(r.primitive, r.dtype)]]
        offsets.append(-(-(offsets[-1] + size * item) // 64) * 64)
    return offsets


def element_ns(loop: Loop) -> float:
    """Rough cost of an element: memory at 25 GB/s, arithmetic by the table."""
    size = math.prod(loop.shape)
    moved = [
        (dtype, strides) for dtype, strides in loop.inputs
    ] + [(loop.dtype(p), strides) for p, strides in loop.stores]  # fmt: skip
    total = 0.02
    for dtype, strides in moved:
        reused = math.prod(d for d, s in zip(loop.shape, strides) if s == 0)
        total += 0.04 * ITEM_BYTES[MEMORY[dtype]] / min(reused, size)
    total += sum(cost(step.primitive) for step in loop.steps)
    return total + 0.05 * len(loop.reductions)
