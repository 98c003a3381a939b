import ctypes
import itertools
import math

import numpy as np
import pytest
from llvmlite import ir

from distflow.compiler.cpu import contract, isa, jit, microkernel
from distflow.compiler.cpu.microkernel import Axis, Nest, collapse, emit, plan
from distflow.compiler.cpu.packing import Part, Step, emit_copy, emit_joined


def fma(a, b, c):
    """a * b + c rounded once to float32: the product of two float32 is exact in long double."""
    assert np.finfo(np.longdouble).nmant >= 63
    return np.float32(np.longdouble(a) * np.longdouble(b) + np.longdouble(c))


def in_order(a, b, order=None):
    """A @ B in float32 by one fused multiply-add after the other, k as in `order`."""
    c = np.zeros((a.shape[0], b.shape[1]), np.float32)
    for k in range(a.shape[1]) if order is None else order:
        c = fma(a[:, k, None], b[None, k, :], c)
    return c


def run(nest, c, a, b, cut=None, begin=0, end=None):
    target = isa.current()
    cut = cut or plan(nest, target)
    module = ir.Module("test")
    emit(module, "contract", nest, cut, target)
    function = contract.function(jit.compile_module(module, "test"), "contract")
    end = cut.num_groups(nest) if end is None else end
    pointers = (ctypes.c_void_p * 3)(c.ctypes.data, a.ctypes.data, b.ctypes.data)
    function(ctypes.addressof(pointers), begin, end)
    return c


def matmul_nest(m, k, n, dtype="float32"):
    return Nest(dtype, (Axis(m, k, 0, n),), (Axis(k, 1, n, 0),), n)


def normal(seed, *shape, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def test_bits_are_those_of_fused_multiply_adds_with_k_ascending():
    a, b = normal(0, 9, 101), normal(1, 101, 37)
    c = run(matmul_nest(9, 101, 37), np.full((9, 37), np.nan, np.float32), a, b)
    np.testing.assert_array_equal(c, in_order(a, b))
    assert (c != in_order(a, b, reversed(range(101)))).any()  # another order would be seen


@pytest.mark.parametrize("tile", [1, 2, 5, 7, 13])
@pytest.mark.parametrize("vectors", [1, 2])
@pytest.mark.parametrize("block", [1, 7, 50, 101])
def test_tile_group_and_block_do_not_change_bits(tile, vectors, block):
    a, b = normal(0, 23, 101), normal(1, 101, 37)
    nest = matmul_nest(23, 101, 37)
    width = vectors * isa.current().lanes(4)
    cut = microkernel.Plan((), nest.rows, (tile,), width, (2, 2), block)
    c = run(nest, np.full((23, 37), np.nan, np.float32), a, b, cut)
    np.testing.assert_array_equal(c, in_order(a, b))


def test_groups_write_their_own_elements_only():
    nest = matmul_nest(40, 8, 70)
    cut = plan(nest, isa.current())
    groups = cut.num_groups(nest)
    assert groups > 1
    a, b = normal(0, 40, 8), normal(1, 8, 70)
    whole = run(nest, np.zeros((40, 70), np.float32), a, b)
    count = np.zeros((40, 70), int)
    for g in range(groups):
        part = run(nest, np.full((40, 70), np.nan, np.float32), a, b, cut, g, g + 1)
        np.testing.assert_array_equal(part[~np.isnan(part)], whole[~np.isnan(part)])
        count += ~np.isnan(part)
    assert (count == 1).all()


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 65])
def test_ragged_tiles_leave_their_surroundings_alone(n):
    a, b = normal(0, 3, 4), normal(1, 4, n)
    canary = np.full(3 * n + 128, 7, np.float32)
    nest = matmul_nest(3, 4, n)
    run(nest, canary[64:], a, b)
    np.testing.assert_array_equal(canary[64 : 64 + 3 * n].reshape(3, n), in_order(a, b))
    assert (canary[:64] == 7).all()
    assert (canary[64 + 3 * n :] == 7).all()


def test_two_row_axes_share_a_tile():
    nest = Nest("float32", (Axis(4, 300, 0, 40), Axis(5, 20, 0, 8)), (Axis(20, 1, 8, 0),), 8)
    cut = plan(nest, isa.current())
    assert math.prod(cut.tile) > 5
    x, b = normal(0, 4, 15, 20), normal(1, 20, 8)
    c = run(nest, np.zeros((4, 5, 8), np.float32), x, b)
    np.testing.assert_array_equal(c.reshape(20, 8), in_order(x[:, :5].reshape(20, 20), b))


def test_nested_sums_go_slowest_axis_first():
    nest = Nest("float32", (Axis(3, 77, 0, 5),), (Axis(7, 1, 5, 0), Axis(11, 7, 35, 0)), 5)
    a, b = normal(0, 3, 77), normal(1, 77, 5)
    c = run(nest, np.zeros((3, 5), np.float32), a, b)
    order = [j * 7 + i for i in range(7) for j in range(11)]
    np.testing.assert_array_equal(c, in_order(a, b, order))
    assert (c != in_order(a, b)).any()


def test_collapse_joins_only_what_lies_as_one():
    assert collapse((Axis(3, 20, 0, 8), Axis(4, 5, 0, 2))) == (Axis(12, 5, 0, 2),)
    assert len(collapse((Axis(3, 21, 0, 8), Axis(4, 5, 0, 2)))) == 2
    assert collapse((Axis(1, 9, 9, 9),)) == ()


def test_copy_makes_panels_with_a_narrow_last_one():
    source = np.arange(5 * 7, dtype=np.float64).reshape(5, 7)
    target = np.full((3, 5, 3), -1.0)
    module = ir.Module("copy")
    emit_copy(module, "copy", "float64", [Step(3, 3, 15), Step(5, 7, 3), Step(3, 1, 1)], tail=1)
    function = contract.function(jit.compile_module(module, "copy"), "copy")
    contract.run(function, 3, 1, target.ctypes.data, source.ctypes.data)
    np.testing.assert_array_equal(target[0], source[:, :3])
    np.testing.assert_array_equal(target[2, :, 0], source[:, 6])
    assert (target[2, :, 1:] == -1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2, 2), (16, 16), (15, 17), (33, 8), (1, 5), (7, 64)], ids=str)
def test_transposing_copy_turns_blocks_and_their_rests(shape, dtype):
    m, n = shape
    source = np.arange(3 * m * (n + 2), dtype=dtype).reshape(3, m, n + 2)
    target = np.full((3, n, m + 1), -1, dtype)
    steps = [Step(3, m * (n + 2), n * (m + 1)), Step(n, 1, m + 1), Step(m, n + 2, 1)]
    module = ir.Module("copy")
    emit_copy(module, "copy", target.dtype.name, steps)
    function = contract.function(jit.compile_module(module, "copy"), "copy")
    contract.run(function, 3, 1, target.ctypes.data, source.ctypes.data)
    np.testing.assert_array_equal(target[:, :, :m], source[:, :, :n].transpose(0, 2, 1))
    assert (target[:, :, m] == -1).all()


def test_joined_copies_do_each_unit_once_however_they_are_shared():
    source = np.arange(40, dtype=np.float32)
    module = ir.Module("joined")
    emit_copy(module, "a", "float32", [Step(5, 2, 1)])
    emit_copy(module, "b", "float32", [Step(3, 1, 4), Step(4, 3, 1)])
    emit_joined(module, "both", "float32", [Part("a", 5, 1, 0), Part("b", 3, 20, 5)])
    function = contract.function(jit.compile_module(module, "joined"), "both")
    expected = np.concatenate([source[1:11:2], source[20:32].reshape(4, 3).T.ravel()])
    for cuts in ([0, 8], [0, 3, 8], [0, 5, 8], [0, 1, 6, 7, 8]):
        target = np.zeros(17, np.float32)
        pointers = (ctypes.c_void_p * 2)(target.ctypes.data, source.ctypes.data)
        for begin, end in itertools.pairwise(cuts):
            before = target.copy()
            function(ctypes.addressof(pointers), begin, end)
            assert (before[before != 0] == target[before != 0]).all()
        np.testing.assert_array_equal(target, expected)


def test_transposing_copy_is_the_same_for_any_range_of_units():
    source = np.arange(37 * 21, dtype=np.float32).reshape(21, 37)
    module = ir.Module("turn")
    emit_copy(module, "turn", "float32", [Step(37, 1, 21), Step(21, 37, 1)])
    function = contract.function(jit.compile_module(module, "turn"), "turn")
    for cuts in ([0, 37], [0, 1, 37], [0, 16, 17, 36, 37]):
        target = np.zeros((37, 21), np.float32)
        pointers = (ctypes.c_void_p * 2)(target.ctypes.data, source.ctypes.data)
        for begin, end in itertools.pairwise(cuts):
            function(ctypes.addressof(pointers), begin, end)
        np.testing.assert_array_equal(target, source.T)
