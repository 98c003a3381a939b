"""All loops of a program as one module of machine code.

The module is named by what its loops are, not by its text: a second start writes none.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from distflow.compiler.cpu import jit, loops
from distflow.compiler.cpu.emit import Code
from distflow.compiler.cpu.loops import Loop, Stage

_SIGNATURE = (None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


def compiled(wanted: Sequence[Loop]) -> dict[Loop, list[tuple[Any, Stage]]]:
    """Returns the functions of each loop, with their stages; equal loops are compiled once."""
    distinct = list(dict.fromkeys(wanted))
    if not distinct:
        return {}
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
        loop: [(module.function(stage.symbol, *_SIGNATURE), stage) for stage in found]
        for loop, found in zip(distinct, stages)
    }
