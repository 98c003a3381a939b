"""A cluster of elementwise operations, perhaps ending in reductions, as one loop nest.

The iteration space is the shape that all of its operations share; each array that is read or
written has strides over it (0 where it is repeated), so views cost nothing. Neighbouring
dimensions are merged where all strides allow it, and `nest` chooses the innermost one, which runs
in blocks of 16 virtual lanes; a block at the end may be narrower.

Order of additions: where the last dimension (of size > 1) is reduced, element i of a row goes to
partial result i mod 16, and the 16 are combined pairwise in a fixed tree; otherwise each kept
element is reduced in the order of the reduced axes. Rows of more than 8192 elements, and columns
of more than 512, are reduced in chunks of about so many; a second stage then reduces the results
of the chunks by the same rule. All of it depends on shapes and layouts alone, neither on the CPU
nor on the number of threads; nor does a row depend on how many rows there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from distflow.compiler.cpu import nest as nests
from distflow.compiler.cpu.emit import Code
from distflow.compiler.cpu.nest import Cut, Dimension, Nest
from distflow.compiler.cpu.steps import Loop, Reduced, Step, element_ns, nest_of, offsets_of
from distflow.compiler.cpu.sweep import METADATA, Sweep
from distflow.compiler.cpu.table import accumulator

__all__ = ["Loop", "Reduced", "Stage", "Step", "emit_loop", "metadata", "stages_of"]


@dataclass(frozen=True)
class Stage:
    """A function of a loop, to be run over all its units before the next stage starts.

    Attributes:
      symbol: of `void symbol(ptr pointers, i64 begin, i64 end)`. Units may run in any order and at
        once. `pointers`: inputs, stores, results of reductions that are
        wanted, then the scratch if there is any.
      units: number of units of work.
      work_ns: rough cost of all units on one core.
    """

    symbol: str
    units: int
    work_ns: int


def metadata() -> str:
    """Returns what a module with loops ends with."""
    return METADATA


def emit_loop(code: Code, loop: Loop, name: str) -> list[Stage]:
    """Adds the functions of a loop to a module; returns its stages, in order."""
    made = _sweeps(code, loop, name)
    for sweep, stage in made:
        sweep.emit(stage.symbol)
    return [stage for _, stage in made]


def stages_of(loop: Loop, name: str) -> list[Stage]:
    """Returns the stages that `emit_loop` adds, and adds nothing."""
    return [stage for _, stage in _sweeps(Code(), loop, name)]


def _sweeps(code: Code, loop: Loop, name: str) -> list[tuple[Sweep, Stage]]:
    nest = nest_of(loop)
    chunks = nests.chunks_of(nest)
    cost = element_ns(loop)
    dtypes = [
        *(dtype for dtype, _ in loop.inputs),
        *(loop.dtype(p) for p, _ in loop.stores),
        *(r.dtype for r in loop.reductions),
    ]
    wanted = [True] * (len(dtypes) - len(loop.reductions)) + [r.wanted for r in loop.reductions]
    places = [(sum(wanted[:i]), 0) if want else None for i, want in enumerate(wanted)]
    if chunks is None:
        sweep = Sweep(code, loop, nest, dtypes, places, cost)
        return [(sweep, Stage(name, sweep.units, loop.work_ns()))]
    assert not loop.rows().left, "rows that passes go over are short"
    count = len(loop.reductions)
    first = len(dtypes) - count
    results = range(first, first + count)
    scratch = [
        (sum(wanted), offset) for offset in offsets_of(loop, nest, chunks)[: len(loop.reductions)]
    ]
    step, strides = _partial_strides(nest, chunks)
    kinds = [accumulator(r.primitive, r.dtype) for r in loop.reductions]
    sweep = Sweep(
        code, loop, nests.redirected(nest, results, strides), [*dtypes[:first], *kinds],
        [*places[:first], *scratch], cost, chunks, step,
    )  # fmt: skip
    # The second stage: a loop over results of chunks.
    last = Loop(
        (), tuple((kind, ()) for kind in kinds), (), (),
        tuple(replace(r, position=i) for i, r in enumerate(loop.reductions)),
    )  # fmt: skip
    kept = tuple(
        Dimension(d.extent, (s,) * count + tuple(d.strides[i] for i in results))
        for d, s in zip(nest.kept, strides)
    )
    over = Dimension(chunks.count, (step,) * count + (0,) * count)
    combining = Sweep(
        code, last, Nest(kept, (over,), nest.by_rows), [*kinds, *dtypes[first:]],
        [*scratch, *places[first:]], element_ns(last),
    )  # fmt: skip
    size = chunks.count * math.prod(d.extent for d in kept)
    work = int(size * element_ns(last)) + 1
    return [
        (sweep, Stage(name, sweep.units, loop.work_ns())),
        (combining, Stage(f"{name}.last", combining.units, work)),
    ]


def _partial_strides(nest: Nest, chunks: Cut) -> tuple[int, tuple[int, ...]]:
    """Returns how results of chunks lie in the scratch: the stride of chunks, and the others."""
    if nest.by_rows:
        return 1, tuple(s * chunks.count for s in nests.contiguous([d.extent for d in nest.kept]))
    extents = [d.extent for d in nest.kept]
    return math.prod(extents), nests.contiguous(extents)
