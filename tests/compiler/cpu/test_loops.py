"""Fused loops against NumPy: odd shapes, broadcasts, reductions over any axes, no stray writes."""

import ctypes
import itertools

import numpy as np
import pytest

from distflow.base import flags
from distflow.compiler.cpu import isa, jit, loops
from distflow.compiler.cpu.emit import Code
from distflow.compiler.cpu.loops import Loop, Step

pytest.importorskip("llvmlite")

CANARY = 64  # elements on each side of every buffer, which must keep their value


def guarded(shape, dtype, odd):
    """An array inside of a larger one; with `odd` it starts off any vector's alignment."""
    size = int(np.prod(shape))
    around = np.full(size + 2 * CANARY + 1, 77, dtype)
    start = CANARY + (1 if odd else 0)
    return around, around[start : start + size].reshape(shape)


def run(loop, arrays, cuts=None, odd=False):
    """Runs a loop; returns its stores and results, after checking what surrounds them."""
    code = Code()
    units = loops.emit_loop(code, loop, "f")
    module = jit.compile_module(code.text() + loops.metadata(), "test")
    function = module.function("f", None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    kept = tuple(d for i, d in enumerate(loop.shape) if i not in loop.axes)
    kinds = [(loop.shape, loop.dtype(p)) for p in loop.stores]
    kinds += [(kept, dtype) for _, _, dtype in loop.reductions]
    results = [guarded(shape, dtype, odd) for shape, dtype in kinds]
    inputs = []
    for array in arrays:
        around, inside = guarded(array.shape, array.dtype, odd)
        inside[...] = array
        inputs.append((around, inside))
    pointers = (ctypes.c_void_p * (len(inputs) + len(results)))(
        *[inside.ctypes.data for _, inside in (*inputs, *results)]
    )
    edges = sorted({0, units, *(c % (units + 1) for c in cuts or [])})
    for begin, end in reversed(list(itertools.pairwise(edges))):
        function(ctypes.addressof(pointers), begin, end)
    for around, inside in results:
        outside = np.full(around.size, True)
        start = (inside.ctypes.data - around.ctypes.data) // around.itemsize
        outside[start : start + inside.size] = False
        assert np.all(around[outside] == np.asarray(77, around.dtype)), "wrote out of bounds"
    return [inside for _, inside in results]


def draw(shape, dtype="float32", seed=0):
    values = np.random.default_rng(seed).normal(size=shape) * 10
    return values > 0 if dtype == "bool" else values.astype(dtype)


SIZES = [1, 2, 3, 7, 15, 16, 17, 31, 32, 33, 127, 1023, 1024, 1025, 4099]


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_one_dimension_of_any_size(size, odd):
    x, y = draw(size), draw(size, seed=1)
    loop = Loop((size,), (("float32", (size,)),) * 2, (Step("add", (0, 1), "float32"),), (2,))
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
    loop = Loop(shape, (("float32", a), ("float32", b)), (Step("sub", (0, 1), "float32"),), (2,))
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
    loop = Loop(shape, ((dtype, shape),), (), (), ((name, 0, dtype),), axes)
    (result,) = run(loop, [x], cuts=[1, 3])
    wide = x.astype("float64") if x.dtype.kind == "f" else x
    expected = NUMPY[name](wide, axis=axes)
    np.testing.assert_allclose(result, expected, rtol=1e-6 if dtype == "float32" else 1e-12,
                               atol=1e-12)  # fmt: skip


def test_sum_of_float32_is_rounded_once():
    x = draw(100_003)
    loop = Loop(x.shape, (("float32", x.shape),), (), (), (("reduce_sum", 0, "float32"),), (0,))
    (result,) = run(loop, [x])
    assert result == np.float32(np.sum(x.astype(np.float64)))


def test_several_results_in_one_pass():
    x, scale = draw((6, 21)), draw((21,), seed=1)
    loop = Loop(
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
        loop = Loop(x.shape, (("float32", x.shape),), (), (), (("reduce_sum", 0, "float32"),), axes)
        (result,) = run(loop, [x])
        assert np.all(np.signbit(result))


@pytest.mark.parametrize("name", ["reduce_max", "reduce_min"])
@pytest.mark.parametrize("where", [0, 15, 16, 36])
def test_nan_wins_in_extrema(name, where):
    x = draw((37,))
    x[where] = np.nan
    loop = Loop((37,), (("float32", (37,)),), (), (), ((name, 0, "float32"),), (0,))
    assert np.isnan(run(loop, [x])[0])


def test_constants_keep_the_sign_of_zero():
    step = Step("constant", (), "float32", "0x8000000000000000")
    loop = Loop((3,), (("float32", (3,)),), (step, Step("mul", (0, 1), "float32")), (2,))
    assert np.all(np.signbit(run(loop, [np.ones(3, np.float32)])[0]))


def test_bools_are_read_and_written_as_bytes():
    x, y = draw((5, 19), "bool"), draw((19,), "bool", 1)
    loop = Loop(
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
    loop = Loop(
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
    loop = Loop(x.shape, (("float64", x.shape),), (), (), (("reduce_sum", 0, "float64"),), (1,))
    lanes = np.full((3, 16), -0.0)
    for i in range(53):
        lanes[:, i % 16] += x[:, i]
    for half in (8, 4, 2, 1):
        lanes = lanes[:, :half] + lanes[:, half : 2 * half]
    np.testing.assert_array_equal(run(loop, [x])[0], lanes[:, 0])


def test_loop_for_aarch64_is_emitted():
    loop = Loop((5, 37), (("float32", (5, 37)),), (Step("tanh", (0,), "float32"),), (1,),
                (("reduce_sum", 1, "float32"),), (1,))  # fmt: skip
    code = Code()
    loops.emit_loop(code, loop, "f")
    text = code.text() + loops.metadata()
    assert jit.verify_for(text, "aarch64-unknown-linux-gnu")[:4] == b"\x7fELF"
