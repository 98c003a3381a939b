"""Loops whose steps read results of their own reductions: several passes over each row."""

import numpy as np
import pytest

from distflow.base import flags
from distflow.compiler.cpu import isa
from distflow.compiler.cpu.emit import literal
from distflow.compiler.cpu.loops import Loop, Reduced, Step
from distflow.compiler.cpu.steps import nest_of
from tests.compiler.cpu.test_loops import call, draw, whole

pytest.importorskip("llvmlite")

LENGTHS = [2, 3, 15, 16, 17, 33, 128, 1000]


def softmax(shape, strides=None, dtype="float32"):
    """Reads x; writes the softmax over the last axis, the maximum and the sum of each row."""
    steps = (
        Step("row", (0,), dtype), Step("sub", (0, 1), dtype), Step("exp", (2,), dtype),
        Step("row", (1,), dtype), Step("div", (3, 4), dtype),
    )  # fmt: skip
    reductions = (Reduced("reduce_max", 0, dtype), Reduced("reduce_sum", 3, dtype))
    axes = (len(shape) - 1,)
    inputs = ((dtype, whole(shape) if strides is None else strides),)
    return Loop(shape, inputs, steps, ((5, whole(shape)),), reductions, axes)


def run_softmax(x, loop, cuts=()):
    kept = x.shape[:-1]
    result, largest, total = (np.full(s, 77, x.dtype) for s in (x.shape, kept, kept))
    call(loop, [a.ctypes.data for a in (x, result, largest, total)], cuts)
    return result, largest, total


@pytest.mark.parametrize("length", LENGTHS)
def test_softmax_in_three_passes(length):
    x = draw((7, 5, length))
    loop = softmax(x.shape)
    assert len(loop.rows().passes) == 3
    result, largest, total = run_softmax(x, loop, cuts=[1, 2])
    e = np.exp((x - x.max(-1, keepdims=True)).astype(np.float64))
    np.testing.assert_array_equal(largest, x.max(-1))
    np.testing.assert_allclose(total, e.sum(-1), rtol=1e-6)
    np.testing.assert_allclose(result, e / e.sum(-1, keepdims=True), rtol=1e-6, atol=1e-30)


def test_what_is_dear_is_computed_once():
    rows = softmax((4, 9)).rows()
    assert rows.kept == (3,)
    assert [one.positions for one in rows.passes] == [(0,), (0, 1, 2, 3), (3, 4, 5)]
    assert rows.passes[2].recalled == (3,)


def test_rows_may_have_any_strides():
    x = draw((5, 33, 7)).transpose(2, 0, 1)
    loop = softmax(x.shape, tuple(s // 4 for s in x.strides))
    found = run_softmax(x, loop)
    plain = run_softmax(np.ascontiguousarray(x), softmax(x.shape))
    assert [a.tobytes() for a in found] == [a.tobytes() for a in plain]


def test_bits_are_those_of_single_reductions_on_every_vector_unit():
    x = draw((6, 53))
    found = set()
    for level in isa.offered():
        with flags.override(DISTFLOW_CPU=level):
            for cuts in ([], [1], [1, 2, 3]):
                result, _, total = run_softmax(x, softmax(x.shape), cuts)
                found.add((result.tobytes(), total.tobytes()))
    assert len(found) == 1
    e = np.empty_like(x)
    largest = x.max(-1, keepdims=True)
    steps = (Step("sub", (0, 1), "float32"), Step("exp", (2,), "float32"))
    loop = Loop(x.shape, (("float32", (53, 1)), ("float32", (1, 0))), steps, ((3, (53, 1)),),
                (Reduced("reduce_sum", 3, "float32"),), (1,))  # fmt: skip
    total = np.empty(6, np.float32)
    call(loop, [a.ctypes.data for a in (x, largest, e, total)])
    ((bits, sums),) = found
    assert sums == total.tobytes()
    assert bits == (e / total[:, None]).tobytes()


def test_result_may_overwrite_the_operand():
    x = draw((9, 40))
    expected = run_softmax(x, softmax(x.shape))[0]
    spare = np.empty((2, 9), np.float32)
    call(softmax(x.shape), [x.ctypes.data, x.ctypes.data, *(a.ctypes.data for a in spare)])
    assert x.tobytes() == expected.tobytes()


def layer_norm(shape):
    """Reads x, scale and offset; writes the result, and what is one for a row: 1 / deviation."""
    f = "float32"
    steps = (
        Step("constant", (), f, literal("float", 1 / shape[-1])), Step("constant", (), f,
        literal("float", 1e-3)), Step("row", (0,), f), Step("mul", (5, 3), f),
        Step("sub", (0, 6), f), Step("mul", (7, 7), f), Step("row", (1,), f),
        Step("mul", (9, 3), f), Step("add", (10, 4), f), Step("rsqrt", (11,), f),
        Step("mul", (7, 12), f), Step("mul", (13, 1), f), Step("add", (14, 2), f),
    )  # fmt: skip
    reductions = tuple(Reduced("reduce_sum", p, f, wanted=False) for p in (0, 8))
    inputs = ((f, whole(shape)), (f, (0, 1)), (f, (0, 1)))
    stores = ((15, whole(shape)), (12, (1, 0)))
    return Loop(shape, inputs, steps, stores, reductions, (1,))


@pytest.mark.parametrize("length", LENGTHS)
def test_layer_norm_and_what_is_one_for_a_row(length):
    x, scale, offset = draw((11, length)), draw((length,), seed=1), draw((length,), seed=2)
    loop = layer_norm(x.shape)
    result, inverse = np.full(x.shape, 77, np.float32), np.full(11, 77, np.float32)
    call(loop, [a.ctypes.data for a in (x, scale, offset, result, inverse)], cuts=[1, 5])
    wide = x.astype(np.float64)
    expected = 1 / np.sqrt(wide.var(-1, keepdims=True) + 1e-3)
    np.testing.assert_allclose(inverse, expected[:, 0], rtol=1e-5)
    want = (wide - wide.mean(-1, keepdims=True)) * expected * scale + offset
    np.testing.assert_allclose(result, want, rtol=1e-4, atol=1e-4)


def test_passes_keep_their_memory_within_the_function():
    loop = softmax((4, 5, 6))
    assert loop.scratch_bytes == 0
    assert nest_of(loop).by_rows
