"""Rows of the table against NumPy: integers, 16-bit floats, positions, random bits."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distflow.base import dtypes, flags
from distflow.compiler.cpu import isa
from distflow.compiler.cpu.emit import PAIR
from distflow.compiler.cpu.loops import Loop, Reduced, Step
from distflow.core.primitive import REGISTRY
from distflow.ops.prims import philox
from tests.compiler.cpu.test_loops import call, elementwise, run, whole

pytest.importorskip("llvmlite")

INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
HALVES = {"bfloat16": np.dtype(ml_dtypes.bfloat16), "float16": np.dtype(np.float16)}


def compute(name, arrays, result, **attributes):
    """A primitive on arrays of one shape by a loop, and by its reference."""
    shape = arrays[0].shape
    kinds = tuple((a.dtype.name, shape) for a in arrays)
    step = Step(name, tuple(range(len(arrays))), result)
    loop = elementwise(shape, kinds, (step,), (len(arrays),))
    output = np.empty(shape, dtypes.as_dtype(result).numpy)
    held = [np.ascontiguousarray(a) for a in arrays]
    call(loop, [a.ctypes.data for a in (*held, output)])
    return output, REGISTRY[name].reference(*held, **attributes)


def edges(dtype):
    """Integers at both ends of the range, around 0, and some between."""
    info = np.iinfo(dtype)
    near = [info.min, info.min + 1, info.max, info.max - 1, 0, 1, 2, 3, 5, 7, 100]
    near += [] if dtype.startswith("u") else [-1, -2, -3, -7, -100]
    random = np.random.default_rng(0).integers(info.min, info.max, 30, dtype, endpoint=True)
    return np.concatenate([np.array(near, dtype), random])


def pairs(dtype):
    x = edges(dtype)
    return np.repeat(x, x.size), np.tile(x, x.size)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", ["add", "sub", "mul", "max", "min", "and", "or", "xor"])
def test_integers_of_every_width(name, dtype):
    found, expected = compute(name, pairs(dtype), dtype)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le"])
def test_comparisons_know_the_sign(name, dtype):
    found, expected = compute(name, pairs(dtype), "bool")
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", ["div", "floordiv", "mod"])
def test_division_of_integers(name, dtype):
    x, y = pairs(dtype)
    x, y = x[y != 0], y[y != 0]
    if name == "div":  # the reference overflows on the least integer / -1, and corrects by 1
        keep = (y.astype(object) != -1) | (x != np.iinfo(dtype).min)
        x, y = x[keep], y[keep]
    found, expected = compute(name, (x, y), dtype)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_powers_of_integers(dtype):
    x, y = pairs(dtype)
    found, expected = compute("pow", (x[y >= 0], y[y >= 0]), dtype)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", ["shl", "shr"])
def test_shifts(name, dtype):
    x = edges(dtype)
    y = np.arange(x.size).astype(dtype) % 70
    found, expected = compute(name, (x, y), dtype)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", ["neg", "abs", "sign", "not"])
def test_unary_integers(name, dtype):
    found, expected = compute(name, (edges(dtype),), dtype)
    np.testing.assert_array_equal(found, expected)


NUMBERS = [*INTEGERS, "float32", "float64", "bool", *HALVES]


@pytest.mark.parametrize("source", NUMBERS)
@pytest.mark.parametrize("target", NUMBERS)
def test_casts(source, target):
    if source in INTEGERS:
        x = edges(source)
    elif source == "bool":
        x = np.array([True, False, True])
    else:
        x = np.array([0, -0.0, 1.5, 2.5, 100.75, 77, 3e-3, 65504, 120.9])
        x = np.concatenate([x, [] if target.startswith("u") else [-1.5, -2.5, -100.2]])
        if target in ("int8", "uint8"):
            x = x[np.abs(x) < 127]
        if target == "int16":
            x = x[np.abs(x) < 30000]
        x = x.astype(HALVES.get(source, source))
    found, expected = compute("cast", (x,), target, dtype=dtypes.as_dtype(target))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("source", "target"),
    [("float32", "uint32"), ("uint32", "float32"), ("int64", "float64"), ("float64", "uint64"),
     ("bfloat16", "uint16"), ("int16", "float16"), ("int8", "uint8"), ("float16", "bfloat16")],
)  # fmt: skip
def test_bitcasts(source, target):
    wide = np.random.default_rng(0).normal(size=99) * 100
    x = wide.astype(HALVES.get(source, source))
    found, expected = compute("bitcast", (x,), target, dtype=dtypes.as_dtype(target))
    assert found.tobytes() == expected.tobytes()


# -- 16-bit floats -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", HALVES)
def test_every_number_of_16_bits_is_read_and_written(dtype):
    x = np.arange(1 << 16).astype(np.uint16).view(HALVES[dtype])
    wide, _ = compute("cast", (x,), "float32", dtype=dtypes.float32)
    np.testing.assert_array_equal(wide, x.astype(np.float32))
    back, _ = compute("cast", (wide,), dtype, dtype=dtypes.as_dtype(dtype))
    number = ~np.isnan(wide)
    assert back[number].tobytes() == x[number].tobytes()
    assert np.all(np.isnan(back[~number].astype(np.float32)))


@pytest.mark.parametrize("dtype", HALVES)
def test_rounds_to_nearest_even(dtype):
    bits = np.linspace(0, 2**32 - 1, 200_001).astype(np.uint32)
    ties = np.arange(1 << 16, dtype=np.uint32) << 16 | 0x8000
    halfway = (np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)[1:]
               + np.arange(0x7C00, dtype=np.uint16).view(np.float16)[:-1]) / 2  # fmt: skip
    x = np.concatenate([bits.view(np.float32), ties.view(np.float32), halfway.astype(np.float32)])
    x = x[~np.isnan(x)]
    found, _ = compute("cast", (x,), dtype, dtype=dtypes.as_dtype(dtype))
    with np.errstate(over="ignore"):
        assert found.tobytes() == x.astype(HALVES[dtype]).tobytes()


@pytest.mark.parametrize("dtype", HALVES)
def test_every_step_is_rounded(dtype):
    rng = np.random.default_rng(0)
    x, y, z = (rng.normal(size=999).astype(HALVES[dtype]) for _ in range(3))
    loop = elementwise(
        x.shape, ((dtype, x.shape),) * 3,
        (Step("mul", (0, 1), dtype), Step("add", (3, 2), dtype), Step("floordiv", (4, 1), dtype)),
        (4, 5),
    )  # fmt: skip
    total, quotient = np.empty_like(x), np.empty_like(x)
    call(loop, [a.ctypes.data for a in (x, y, z, total, quotient)])
    assert total.tobytes() == (x * y + z).tobytes()
    assert quotient.tobytes() == REGISTRY["floordiv"].reference(x * y + z, y).tobytes()


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("axis", [0, 1])
def test_sums_of_16_bit_floats_are_rounded_once(dtype, axis):
    x = np.random.default_rng(0).integers(-50, 50, (700, 9000 if axis else 33))
    x = x.astype(HALVES[dtype])
    loop = Loop(x.shape, ((dtype, whole(x.shape)),), (), (), (Reduced("reduce_sum", 0, dtype),),
                (axis,))  # fmt: skip
    result = np.empty(x.shape[1 - axis], HALVES[dtype])
    call(loop, [x.ctypes.data, result.ctypes.data])
    exact = x.astype(np.float64).sum(axis)
    assert result.tobytes() == exact.astype(HALVES[dtype]).tobytes()


# -- floats --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_modulo_of_floats(dtype):
    values = [0.0, -0.0, 1, -1, 2.5, -2.5, 7, 1e10, -3.25, np.inf, -np.inf, np.nan]
    x = np.array(values, dtype)
    x, y = np.repeat(x, x.size), np.tile(x, x.size)
    found, expected = compute("mod", (x, y), dtype)
    np.testing.assert_array_equal(found, expected)
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(found[number]), np.signbit(expected[number]))


@pytest.mark.parametrize("axis", [0, 1])
def test_products(axis):
    x = np.random.default_rng(0).normal(size=(37, 21))
    loop = elementwise(x.shape, (("float64", x.shape),), (), (), (("reduce_prod", 0, "float64"),),
                       (axis,))  # fmt: skip
    np.testing.assert_allclose(run(loop, [x])[0], np.prod(x, axis), rtol=1e-12)


# -- positions and random bits -------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "uint8"])
@pytest.mark.parametrize("shape", [(1,), (15,), (100,), (7, 33)])
def test_positions(shape, dtype):
    step = Step("iota", (), dtype, strides=whole(shape))
    (found,) = run(Loop(shape, (), (step,), ((0, whole(shape)),)), [], cuts=[1])
    np.testing.assert_array_equal(found.reshape(-1), np.arange(found.size).astype(dtype))


def random_bits(shape, key, stream, order=None):
    """The bits by a loop that writes the elements in some order of the axes."""
    strides = whole(shape)
    zero = (0,) * len(shape)
    step = Step("random_bits", (0, 1), "uint32", strides=strides)
    result = np.empty(shape, np.uint32)
    if order is not None:
        result = np.empty([shape[i] for i in order], np.uint32).transpose(np.argsort(order))
    laid = tuple(s // 4 for s in result.strides)
    loop = Loop(tuple(shape), ((PAIR, zero), (PAIR, zero)), (step,), ((2, laid),))
    call(loop, [key.ctypes.data, stream.ctypes.data, result.ctypes.data], cuts=[1, 2])
    return result


WORDS = st.integers(0, 2**32 - 1)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([1, 2, 3, 4, 15, 16, 33]), max_size=3), WORDS, WORDS, WORDS)
def test_random_bits_are_those_of_philox(shape, low, high, word):
    key, stream = np.array([low, high], np.uint32), np.array([word, low], np.uint32)
    found = random_bits(shape, key, stream)
    expected = philox.bits(key, stream, found.size)
    np.testing.assert_array_equal(found.reshape(-1), expected)


def test_random_bits_in_any_layout():
    key, stream = np.array([1, 2], np.uint32), np.array([3, 4], np.uint32)
    for shape in ((48, 20), (5, 33), (32, 64)):
        expected = philox.bits(key, stream, shape[0] * shape[1]).reshape(shape)
        np.testing.assert_array_equal(random_bits(shape, key, stream, (1, 0)), expected)


def test_random_bits_of_rows_that_begin_anywhere():
    key, stream = np.array([1, 2], np.uint32), np.array([3, 4], np.uint32)
    step = Step("random_bits", (0, 1), "uint32", strides=(33, 1))
    result = np.zeros((5, 40), np.uint32)
    loop = Loop((5, 33), ((PAIR, (0, 0)), (PAIR, (0, 0))), (step,), ((2, (40, 1)),))
    call(loop, [key.ctypes.data, stream.ctypes.data, result.ctypes.data])
    np.testing.assert_array_equal(result[:, :33].reshape(-1), philox.bits(key, stream, 165))


def test_random_bits_are_those_of_every_vector_unit():
    key, stream = np.array([1, 2], np.uint32), np.array([3, 4], np.uint32)
    found = set()
    for level in isa.offered():
        with flags.override(DISTFLOW_CPU=level):
            found.add(random_bits((77,), key, stream).tobytes())
    assert len(found) == 1
