"""The compiler's own functions: their error over the whole range of float32, special values."""

import ctypes
import math

import numpy as np
import pytest

from distflow.base import flags
from distflow.compiler.cpu import isa, jit, loops
from distflow.compiler.cpu import math as cpu_math
from distflow.compiler.cpu.emit import Code
from distflow.compiler.cpu.nest import contiguous

pytest.importorskip("llvmlite")

inf, nan = math.inf, math.nan


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


REFERENCES = {
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "tanh": np.tanh,
    "sigmoid": sigmoid, "erf": np.vectorize(math.erf, otypes=[float]), "sin": np.sin,
    "cos": np.cos, "pow": np.power,
}  # fmt: skip
UNARY = sorted(set(REFERENCES) - {"pow"})


def compute(name, *arrays):
    """The function on float32 arrays, by a loop of its own."""
    shape = arrays[0].shape
    loop = loops.Loop(
        shape,
        tuple(("float32", contiguous(shape)) for _ in arrays),
        (loops.Step(name, tuple(range(len(arrays))), "float32"),),
        ((len(arrays), contiguous(shape)),),
    )
    code = Code()
    (stage,) = loops.emit_loop(code, loop, "f")
    module = jit.compile_module(code.text() + loops.metadata(), name)
    result = np.empty(shape, np.float32)
    held = [np.ascontiguousarray(a) for a in arrays] + [result]
    pointers = (ctypes.c_void_p * len(held))(*[a.ctypes.data for a in held])
    function = module.function("f", None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    function(ctypes.addressof(pointers), 0, stage.units)
    return result


def whole_range(count):
    """float32 numbers spread evenly over all bit patterns: every exponent, both signs, NaNs."""
    return np.linspace(0, 2**32 - 1, count).astype(np.uint32).view(np.float32)


def ulps(result, exact):
    """The error in units in the last place of a float32 near the exact value."""
    exponent = np.floor(np.log2(np.maximum(np.abs(exact), 2.0**-126)))
    return np.abs(result.astype(np.float64) - exact) / 2.0 ** (exponent - 23)


def check(name, *arrays):
    result = compute(name, *arrays)
    with np.errstate(all="ignore"):
        exact = REFERENCES[name](*[a.astype(np.float64) for a in arrays])
        rounded = exact.astype(np.float32)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(rounded))
    np.testing.assert_array_equal(np.isinf(result), np.isinf(rounded))
    number = ~np.isnan(rounded)
    np.testing.assert_array_equal(np.signbit(result[number]), np.signbit(rounded[number]))
    finite = np.isfinite(rounded)
    assert ulps(result[finite], exact[finite]).max() <= cpu_math.ULP_BOUND


@pytest.mark.parametrize("name", UNARY)
def test_error_over_the_whole_range(name):
    check(name, whole_range(1 << (17 if name == "erf" else 20)))


@pytest.mark.parametrize("name", UNARY)
def test_error_where_values_are_ordinary(name):
    rng = np.random.default_rng(1)
    check(name, rng.normal(size=100_000).astype(np.float32) * 4)


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_error_next_to_multiples_of_half_pi(name):
    multiples = np.arange(1, 50_000) * (np.pi / 2)
    check(name, multiples.astype(np.float32))


def test_error_of_pow():
    rng = np.random.default_rng(2)
    x = np.exp(rng.uniform(-20, 20, 200_000)).astype(np.float32)
    y = rng.uniform(-6, 6, 200_000).astype(np.float32)
    check("pow", x, y)


def test_pow_near_one_to_large_powers():
    rng = np.random.default_rng(3)
    x = (1 + rng.uniform(-1e-3, 1e-3, 100_000)).astype(np.float32)
    check("pow", x, rng.uniform(-5e4, 5e4, 100_000).astype(np.float32))


def test_pow_over_the_whole_range():
    bits = np.random.default_rng(4).integers(0, 2**32, (2, 1 << 18), dtype=np.uint32)
    check("pow", *bits.view(np.float32))


def test_pow_of_special_values():
    special = [0.0, -0.0, 1, -1, 2, -2, 3, -3, 0.5, -0.5, inf, -inf, nan, 1e-45, -1e-45, 3e38]
    x, y = np.meshgrid(np.asarray(special, np.float32), np.asarray(special, np.float32))
    check("pow", x.reshape(-1), y.reshape(-1))


@pytest.mark.parametrize("name", UNARY)
def test_special_values(name):
    check(
        name,
        np.asarray(
            [0.0, -0.0, inf, -inf, nan, 1, -1, 1e-45, -1e-45, 1.1754942e-38, 88.72284, -103.97,
             -104, -87.4, 3.4028235e38, -3.4028235e38, 2.0**-28, 2.0**-30, 1.0000001, 0.99999994],
            np.float32,
        ),
    )  # fmt: skip


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_bits_are_those_of_every_vector_unit(name):
    x = whole_range(20_011)
    arrays = (x, np.flip(x)) if name == "pow" else (x,)
    found = []
    for level in ["native", *isa.offered()]:
        with flags.override(DISTFLOW_CPU=level):
            result = compute(name, *arrays)
            found.append(result[~np.isnan(result)].tobytes())
    assert len(set(found)) == 1


def test_every_function_is_tested():
    assert set(cpu_math.FUNCTIONS) == set(REFERENCES)
