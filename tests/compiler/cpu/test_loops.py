"""Fused loops against NumPy: odd shapes, broadcasts, reductions over any axes, no stray writes."""

import ctypes
import itertools

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from distflow.base import flags
from distflow.compiler.cpu import isa, jit, loops, nest
from distflow.compiler.cpu.emit import Code
from distflow.compiler.cpu.loops import Loop, Reduced, Step

pytest.importorskip("llvmlite")

CANARY = 64  # elements on each side of every buffer, which must keep their value


def guarded(shape, dtype, odd):
    """An array inside of a larger one; with `odd` it starts off any vector's alignment."""
    size = int(np.prod(shape))
    around = np.full(size + 2 * CANARY + 1, 77, dtype)
    start = CANARY + (1 if odd else 0)
    return around, around[start : start + size].reshape(shape)


def address_of(around, odd):
    """Where the elements begin in a guarded buffer."""
    return around.ctypes.data + (CANARY + (1 if odd else 0)) * around.itemsize


def whole(shape):
    """The strides of a contiguous array."""
    return nest.contiguous(shape)


def over(shape, space):
    """The strides of a contiguous array that is broadcast."""
    return nest.broadcast(shape, whole(shape), space)


def elementwise(shape, operands, steps, stores, reductions=(), axes=()):
    """A loop over contiguous operands: (dtype, shape) each; its stores and results likewise."""
    return Loop(
        shape, tuple((dtype, over(s, shape)) for dtype, s in operands), steps,
        tuple((p, whole(shape)) for p in stores), tuple(Reduced(*r) for r in reductions), axes,
    )  # fmt: skip


def compiled(loop):
    """The stages of a loop as (function, units)."""
    code = Code()
    stages = loops.emit_loop(code, loop, "f")
    module = jit.compile_module(jit.vectors(code.text() + loops.metadata()), "test")
    types = (None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    return [(module.function(s.symbol, *types), s.units) for s in stages]


def call(loop, pointers, cuts=()):
    """Runs the stages, the units of each in pieces that come in reverse."""
    scratch = np.full(loop.scratch_bytes + 64 + CANARY, 77, np.uint8)
    start = -scratch.ctypes.data % 64
    held = [*pointers, scratch.ctypes.data + start]
    table = (ctypes.c_void_p * len(held))(*held)
    for function, units in compiled(loop):
        edges = sorted({0, units, *(c % (units + 1) for c in cuts)})
        for begin, end in reversed(list(itertools.pairwise(edges))):
            function(ctypes.addressof(table), begin, end)
    assert np.all(scratch[:start] == 77)
    assert np.all(scratch[start + loop.scratch_bytes :] == 77), "wrote behind the scratch"


def run(loop, arrays, cuts=(), odd=False):
    """Runs a loop of contiguous operands; returns its stores and results, checked for edges."""
    kept = tuple(d for i, d in enumerate(loop.shape) if i not in loop.axes)
    kinds = [(loop.shape, loop.dtype(p)) for p, _ in loop.stores]
    kinds += [(kept, r.dtype) for r in loop.reductions]
    results = [guarded(shape, dtype, odd) for shape, dtype in kinds]
    inputs = []
    for array in arrays:
        around, inside = guarded(array.shape, array.dtype, odd)
        inside[...] = array
        inputs.append((around, inside))
    call(loop, [address_of(around, odd) for around, _ in (*inputs, *results)], cuts)
    for around, inside in results:
        check_edges(around, inside)
    return [inside for _, inside in results]


def check_edges(around, inside):
    """Nothing was written but the elements themselves."""
    outside = np.full(around.size, True)
    start = (inside.ctypes.data - around.ctypes.data) // around.itemsize
    steps = np.zeros(1, int)
    for extent, stride in zip(inside.shape, inside.strides):
        moves = np.arange(extent) * (stride // around.itemsize)
        steps = (steps[:, None] + moves).reshape(-1)
    outside[start + steps] = False
    assert np.all(around[outside] == np.asarray(77, around.dtype)), "wrote out of bounds"


def draw(shape, dtype="float32", seed=0):
    values = np.random.default_rng(seed).normal(size=shape) * 10
    return values > 0 if dtype == "bool" else values.astype(dtype)


SIZES = [1, 2, 3, 7, 15, 16, 17, 31, 32, 33, 127, 1023, 1024, 1025, 4099]


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_one_dimension_of_any_size(size, odd):
    x, y = draw(size), draw(size, seed=1)
    loop = elementwise(
        (size,), (("float32", (size,)),) * 2, (Step("add", (0, 1), "float32"),), (2,)
    )
    (result,) = run(loop, [x, y], odd=odd)
    np.testing.assert_array_equal(result, x + y)


@pytest.mark.parametrize(
    ("shape", "a", "b"),
    [
        ((5, 7), (5, 7), (7,)),
        ((5, 7), (5, 1), (1, 7)),
        ((5, 7), (), (5, 7)),
        ((5, 33), (5, 1), (33,)),
        ((3, 1, 17), (3, 1, 17), (1, 1)),
        ((2, 3, 4, 18), (3, 1, 18), (2, 1, 4, 1)),
        ((2, 3, 4, 18), (2, 3, 4, 18), (4, 18)),
        ((1, 1), (1, 1), (1,)),
        ((), (), ()),
        ((4, 1), (4, 1), (4, 1)),
    ],
)
def test_broadcasts_as_numpy(shape, a, b):
    x, y = draw(a), draw(b, seed=1)
    loop = elementwise(
        shape, (("float32", a), ("float32", b)), (Step("sub", (0, 1), "float32"),), (2,)
    )
    (result,) = run(loop, [x, y])
    np.testing.assert_array_equal(result, np.broadcast_to(x - y, shape))


NUMPY = {"reduce_sum": np.sum, "reduce_max": np.max, "reduce_min": np.min}
SPACES = [
    ((1,), (0,)), ((16,), (0,)), ((37,), (0,)), ((5, 37), (1,)), ((5, 37), (0,)), ((37, 5), (1,)),
    ((37, 48), (0,)), ((3, 4, 5), (1,)), ((3, 4, 5), (0, 2)), ((3, 4, 5), (0, 1)),
    ((3, 4, 5), (0, 1, 2)), ((1, 9), (0,)), ((9, 1), (1,)), ((9, 1, 4), (1, 2)), ((1, 1), (0, 1)),
    ((2, 3, 2, 33), (0, 1, 2)), ((2, 3, 2, 33), (1, 3)), ((2, 3, 2, 33), (0, 2)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
@pytest.mark.parametrize("name", sorted(NUMPY))
@pytest.mark.parametrize(("shape", "axes"), SPACES)
def test_reduces_over_any_axes(shape, axes, name, dtype):
    x = draw(shape, dtype)
    loop = elementwise(shape, ((dtype, shape),), (), (), ((name, 0, dtype),), axes)
    (result,) = run(loop, [x], cuts=[1, 3])
    wide = x.astype("float64") if x.dtype.kind == "f" else x
    expected = NUMPY[name](wide, axis=axes)
    np.testing.assert_allclose(result, expected, rtol=1e-6 if dtype == "float32" else 1e-12,
                               atol=1e-12)  # fmt: skip


def test_sum_of_float32_is_rounded_once():
    x = draw(100_003)
    loop = elementwise(
        x.shape, (("float32", x.shape),), (), (), (("reduce_sum", 0, "float32"),), (0,)
    )
    (result,) = run(loop, [x])
    assert result == np.float32(np.sum(x.astype(np.float64)))


def test_several_results_in_one_pass():
    x, scale = draw((6, 21)), draw((21,), seed=1)
    loop = elementwise(
        (6, 21),
        (("float32", (6, 21)), ("float32", (21,))),
        (Step("mul", (0, 1), "float32"), Step("mul", (2, 2), "float32")),
        (2,),
        (("reduce_sum", 3, "float32"), ("reduce_max", 2, "float32")),
        (1,),
    )
    product, squares, largest = run(loop, [x, scale])
    np.testing.assert_array_equal(product, x * scale)
    np.testing.assert_allclose(squares, np.sum((x * scale) ** 2, 1), rtol=1e-6)
    np.testing.assert_array_equal(largest, np.max(x * scale, 1))


def test_sum_of_negative_zeros_is_negative_zero():
    x = np.full((3, 21), -0.0, np.float32)
    for axes in ((0,), (1,), (0, 1)):
        loop = elementwise(
            x.shape, (("float32", x.shape),), (), (), (("reduce_sum", 0, "float32"),), axes
        )
        (result,) = run(loop, [x])
        assert np.all(np.signbit(result))


@pytest.mark.parametrize("name", ["reduce_max", "reduce_min"])
@pytest.mark.parametrize("where", [0, 15, 16, 36])
def test_nan_wins_in_extrema(name, where):
    x = draw((37,))
    x[where] = np.nan
    loop = elementwise((37,), (("float32", (37,)),), (), (), ((name, 0, "float32"),), (0,))
    assert np.isnan(run(loop, [x])[0])


def test_constants_keep_the_sign_of_zero():
    step = Step("constant", (), "float32", "0x8000000000000000")
    loop = elementwise((3,), (("float32", (3,)),), (step, Step("mul", (0, 1), "float32")), (2,))
    assert np.all(np.signbit(run(loop, [np.ones(3, np.float32)])[0]))


def test_bools_are_read_and_written_as_bytes():
    x, y = draw((5, 19), "bool"), draw((19,), "bool", 1)
    loop = elementwise(
        (5, 19), (("bool", (5, 19)), ("bool", (19,))),
        (Step("and", (0, 1), "bool"), Step("not", (2,), "bool")), (2, 3),
    )  # fmt: skip
    both, neither = run(loop, [x, y])
    np.testing.assert_array_equal(both, x & y)
    np.testing.assert_array_equal(neither, ~(x & y))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "axes"), [((1 << 14,), ()), ((67, 129), (0,)), ((67, 129), (1,)),
                                             ((9, 5, 40), (1,)), ((4, 3000), ())])  # fmt: skip
def test_bits_depend_neither_on_cuts_nor_on_the_vector_unit(shape, axes, dtype):
    x = draw(shape, dtype)
    loop = elementwise(
        shape, ((dtype, shape),), (Step("exp" if dtype == "float32" else "sqrt", (0,), dtype),),
        () if axes else (1,), (("reduce_sum", 0, dtype),) if axes else (), axes,
    )  # fmt: skip
    found = []
    for level in isa.offered():
        with flags.override(DISTFLOW_CPU=level):
            for cuts in ([], [1], [1, 2, 5]):
                found.append(np.nan_to_num(run(loop, [x], cuts)[0]).tobytes())
    assert len(set(found)) == 1


def test_order_of_additions_is_that_of_16_lanes():
    x = draw((3, 53), "float64")
    loop = elementwise(
        x.shape, (("float64", x.shape),), (), (), (("reduce_sum", 0, "float64"),), (1,)
    )
    lanes = np.full((3, 16), -0.0)
    for i in range(53):
        lanes[:, i % 16] += x[:, i]
    for half in (8, 4, 2, 1):
        lanes = lanes[:, :half] + lanes[:, half : 2 * half]
    np.testing.assert_array_equal(run(loop, [x])[0], lanes[:, 0])


def test_loop_for_aarch64_is_emitted():
    loop = elementwise((5, 37), (("float32", (5, 37)),), (Step("tanh", (0,), "float32"),), (1,),
                (("reduce_sum", 1, "float32"),), (1,))  # fmt: skip
    code = Code()
    loops.emit_loop(code, loop, "f")
    text = code.text() + loops.metadata()
    assert jit.verify_for(text, "aarch64-unknown-linux-gnu")[:4] == b"\x7fELF"


# -- strides -------------------------------------------------------------------------------

EXTENTS = st.sampled_from([1, 1, 2, 3, 7, 15, 16, 17, 33, 67])


@st.composite
def strided(draw, shape):
    """A permutation of the axes in memory, a gap behind each row, and axes that are repeated."""
    order = draw(st.permutations(range(len(shape))))
    repeated = [i for i in range(len(shape)) if draw(st.integers(0, 4)) == 0]
    strides, step = [0] * len(shape), draw(st.sampled_from([1, 1, 1, 2]))
    for i in reversed(order):
        if i not in repeated:
            strides[i] = step
            step = step * shape[i] + draw(st.sampled_from([0, 0, 3]))
    return tuple(strides)


@st.composite
def strided_loops(draw):
    shape = tuple(draw(st.lists(EXTENTS, min_size=0, max_size=4)))
    if np.prod(shape) > 30_000:
        reject()
    axes = tuple(i for i in range(len(shape)) if draw(st.booleans()))
    inputs = (draw(strided(shape)), draw(strided(shape)))
    order = draw(st.permutations(range(len(shape))))
    store, step = [0] * len(shape), 1
    for i in reversed(order):
        store[i], step = step, step * shape[i]
    kept = [d for i, d in enumerate(shape) if i not in axes]
    result = nest.spread(tuple(np.array(whole(kept), int) * 2), axes, len(shape))
    return shape, axes, inputs, tuple(store), tuple(int(s) for s in result)


def placed(shape, strides, dtype="float32"):
    """A guarded buffer, and the array with those strides (in elements) inside of it."""
    extent = 1 + sum((d - 1) * s for d, s in zip(shape, strides))
    around, flat = guarded((extent,), dtype, False)
    size = around.itemsize
    return around, np.lib.stride_tricks.as_strided(flat, shape, [s * size for s in strides])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(strided_loops())
def test_any_strides_agree_with_numpy(case):
    shape, axes, strides, store, result = case
    (_, x), (_, y) = (placed(shape, s) for s in strides)
    for seed, array in enumerate((x, y)):
        array[...] = np.random.default_rng(seed).integers(-9, 9, shape)
    steps = (Step("mul", (0, 1), "float32"),)
    reductions = (Reduced("reduce_sum", 2, "float32", result),) if axes else ()
    loop = Loop(
        shape, tuple(("float32", s) for s in strides), steps, ((2, store),), reductions, axes
    )
    kept = [d for i, d in enumerate(shape) if i not in axes]
    outputs = [placed(shape, store)]
    if axes:
        outputs.append(placed(kept, [s for i, s in enumerate(result) if i not in axes]))
    call(loop, [a.ctypes.data for a in (x, y, *(o for _, o in outputs))], cuts=[1, 4])
    np.testing.assert_array_equal(outputs[0][1], x * y)
    if axes:
        # Small integers: every order of additions gives the same sum.
        np.testing.assert_array_equal(outputs[1][1], np.sum(x * y, axes))
    for around, inside in outputs:
        check_edges(around, inside)


@pytest.mark.parametrize("shape", [(512, 512), (33, 1000), (1000, 33), (3, 70, 70), (16, 16)])
def test_transposition_is_a_copy_with_strides(shape):
    x = draw(shape)
    turned = np.moveaxis(x, 0, -1)
    strides = tuple(s // 4 for s in turned.strides)
    loop = Loop(turned.shape, (("float32", strides),), (), ((0, whole(turned.shape)),))
    result = np.empty(turned.shape, np.float32)
    call(loop, [x.ctypes.data, result.ctypes.data], cuts=[1, 2, 5])
    np.testing.assert_array_equal(result, turned)


def test_result_may_lie_where_an_operand_lies():
    for shape in ((4099,), (67, 129)):
        x, y = draw(shape), draw(shape, seed=1)
        loop = elementwise(
            shape, (("float32", shape),) * 2, (Step("sub", (0, 1), "float32"),), (2,)
        )
        expected = x - y
        call(loop, [x.ctypes.data, y.ctypes.data, x.ctypes.data], cuts=[3])
        np.testing.assert_array_equal(x, expected)


def test_dimensions_merge_only_where_all_operands_allow_it():
    both = nest.plan((4, 5, 6), (), [(30, 6, 1), (30, 6, 1)], 1, 1)
    assert [d.extent for d in both.kept] == [120]
    padded = nest.plan((4, 5, 6), (), [(40, 6, 1), (30, 6, 1)], 1, 1)
    assert [d.extent for d in padded.kept] == [4, 30]
    turned = nest.plan((4, 5), (), [(1, 4), (1, 4)], 1, 1)
    assert [(d.extent, d.strides) for d in turned.kept] == [(20, (1, 1))]


# -- stages --------------------------------------------------------------------------------

LONG = [
    ((100_003,), (0,)), ((3, 20_000), (1,)), ((32, 26, 26, 16), (0, 1, 2)), ((5000, 10), (0,)),
    ((600, 70), (0,)), ((2, 1500, 33), (1,)), ((50, 3, 400), (0, 2)), ((9, 700, 2, 3), (1,)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize(("shape", "axes"), LONG)
def test_long_reductions_have_two_stages_and_agree(shape, axes, dtype):
    x = draw(shape, dtype)
    loop = elementwise(
        shape, ((dtype, shape),), (Step("add", (0, 0), dtype),), (1,),
        (("reduce_sum", 1, dtype), ("reduce_max", 0, dtype)), axes,
    )  # fmt: skip
    assert len(compiled(loop)) == 2
    assert loop.scratch_bytes > 0
    twice, total, largest = run(loop, [x], cuts=[1, 2, 7])
    np.testing.assert_array_equal(twice, x + x)
    np.testing.assert_array_equal(largest, np.max(x, axes))
    wide = (x + x).astype(np.float64 if dtype != "int32" else np.int32)
    np.testing.assert_allclose(total, np.sum(wide, axes), rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize(("shape", "axes"), LONG)
def test_several_threads_can_share_a_long_reduction(shape, axes):
    loop = elementwise(shape, (("float32", shape),), (), (), (("reduce_sum", 0, "float32"),), axes)
    assert compiled(loop)[0][1] >= 4


@pytest.mark.parametrize(("shape", "axes"), LONG)
def test_bits_of_long_reductions_are_those_of_any_cuts_and_vector_unit(shape, axes):
    x = draw(shape, "float64")
    loop = elementwise(shape, (("float64", shape),), (), (), (("reduce_sum", 0, "float64"),), axes)
    found = set()
    for level in isa.offered():
        with flags.override(DISTFLOW_CPU=level):
            for cuts in ([], [1], [1, 2, 5]):
                found.add(run(loop, [x], cuts)[0].tobytes())
    assert len(found) == 1


def test_a_long_row_does_not_depend_on_how_many_there_are():
    x = draw((40, 9000), "float64")
    kinds = (("reduce_sum", 0, "float64"),)

    def sums(rows):
        loop = elementwise(rows.shape, (("float64", rows.shape),), (), (), kinds, (1,))
        return run(loop, [rows])[0].tobytes()

    assert sums(x)[: 8 * 3] == sums(x[:3])


def test_order_of_additions_over_chunks():
    x = draw((1200, 2), "float64")
    loop = elementwise(
        x.shape, (("float64", x.shape),), (), (), (("reduce_sum", 0, "float64"),), (0,)
    )
    total = np.full(2, -0.0)
    for begin in range(0, 1200, nest.COLUMN_CHUNK):
        part = np.full(2, -0.0)
        for row in x[begin : begin + nest.COLUMN_CHUNK]:
            part = part + row
        total = total + part
    np.testing.assert_array_equal(run(loop, [x])[0], total)


@pytest.mark.parametrize("columns", [256, 300, 1037])
@pytest.mark.parametrize("rows", [5, 128, 700])
def test_many_columns_are_added_row_by_row(rows, columns):
    x = draw((rows, columns), "float64")
    kinds = (("reduce_sum", 0, "float64"), ("reduce_max", 0, "float64"))
    loop = elementwise(x.shape, (("float64", x.shape),), (), (), kinds, (0,))
    total = np.full(columns, -0.0)
    for begin in range(0, rows, nest.WIDE_CHUNK):
        part = np.full(columns, -0.0)
        for row in x[begin : begin + nest.WIDE_CHUNK]:
            part = part + row
        total = total + part
    for cuts in ([], [1], [2, 3]):
        sums, largest = run(loop, [x], cuts)
        np.testing.assert_array_equal(sums, total)
        np.testing.assert_array_equal(largest, x.max(0))
