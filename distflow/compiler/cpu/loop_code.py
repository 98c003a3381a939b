"""The loops of a program as a few modules of machine code.

A module is named by what its loops are, not by its text: a second start writes none. There is more
than one for many loops, so that several threads compile them.
"""

from __future__ import annotations

from collections.abc import Sequence

from distflow.compiler.cpu import jit, loops
from distflow.compiler.cpu.emit import Code
from distflow.compiler.cpu.loops import Loop, Stage

# Loops of one module: 16 of them take LLVM 60 ms (Xeon with AVX-512, 2026-11).
_MOST_LOOPS = 16


def compiled(wanted: Sequence[Loop]) -> dict[Loop, list[tuple[jit.Ranged, Stage]]]:
    """Returns the functions of each loop, with their stages; equal loops are compiled once."""
    distinct = list(dict.fromkeys(wanted))
    found: dict[Loop, list[tuple[jit.Ranged, Stage]]] = {}
    for i in range(0, len(distinct), _MOST_LOOPS):
        found.update(_module(distinct[i : i + _MOST_LOOPS]))
    return found


def _module(distinct: list[Loop]) -> dict[Loop, list[tuple[jit.Ranged, Stage]]]:
    names = [f"loop{i}" for i in range(len(distinct))]
    stages = [loops.stages_of(loop, name) for loop, name in zip(distinct, names)]

    def write() -> str:
        code = Code()
        for loop, name in zip(distinct, names):
            loops.emit_loop(code, loop, name)
        return code.text() + loops.metadata()

    symbols = [stage.symbol for found in stages for stage in found]
    module = jit.compile_described(repr(distinct), symbols, write, explicit=True)
    return {
        loop: [(module.ranged(stage.symbol), stage) for stage in found]
        for loop, found in zip(distinct, stages)
    }
