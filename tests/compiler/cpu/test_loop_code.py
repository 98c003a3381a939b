"""All loops of a program as one module: written at the first start only."""

import pytest

from distflow.base import flags
from distflow.compiler.cpu import jit, loop_code, loops
from distflow.compiler.cpu.emit import Code
from distflow.compiler.cpu.loops import Loop, Reduced, Step

pytest.importorskip("llvmlite")

FLAT = Loop((100,), (("float32", (1,)),), (Step("neg", (0,), "float32"),), ((1, (1,)),))
TURNED = Loop((70, 40), (("float32", (1, 70)),), (Step("neg", (0,), "float32"),), ((1, (40, 1)),))
LONG_ROWS = Loop(
    (3, 20000), (("float32", (20000, 1)),), (), (), (Reduced("reduce_sum", 0, "float32"),), (1,)
)
LONG_COLUMNS = Loop(
    (2000, 30), (("float32", (30, 1)),), (), (), (Reduced("reduce_sum", 0, "float32"),), (0,)
)
ALL = [FLAT, TURNED, LONG_ROWS, LONG_COLUMNS]


def test_second_start_writes_no_loop(tmp_path, monkeypatch):
    with flags.override(DISTFLOW_CACHE_DIR=str(tmp_path)):
        first = loop_code.compiled(ALL)
        jit.wait()
        jit._modules.clear()
        monkeypatch.setattr(loops, "emit_loop", lambda *_: pytest.fail("a loop was written"))
        second = loop_code.compiled(ALL)
    assert [[s for _, s in found] for found in first.values()] == [
        [s for _, s in found] for found in second.values()
    ]


def test_equal_loops_are_compiled_once():
    found = loop_code.compiled([FLAT, TURNED, Loop(*vars(FLAT).values())])
    assert len(found) == 2


@pytest.mark.parametrize("loop", ALL)
def test_stages_are_known_without_the_text(loop):
    assert loops.stages_of(loop, "f") == loops.emit_loop(Code(), loop, "f")


def test_long_reductions_have_a_second_stage():
    assert [s.symbol for s in loops.stages_of(LONG_ROWS, "f")] == ["f", "f.last"]
