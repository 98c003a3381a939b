"""The compiler's own functions: their error over the whole range of both types, special values."""

import ctypes
import functools
import math

import numpy as np
import pytest

from distflow.base import flags
from distflow.compiler.cpu import isa, jit
from distflow.compiler.cpu import math as cpu_math
from distflow.compiler.cpu.emit import LANES, Block, Code, Operand
from distflow.ops.prims import reference

pytest.importorskip("llvmlite")

inf, nan = math.inf, math.nan
KINDS = {"float32": "float", "float64": "double"}
DTYPES = list(KINDS)


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def erfinv(x):
    """The library's reference, some Newton steps closer, of log(1 - erf) for large ones."""
    x = x.astype(np.float64)
    y = np.asarray(reference.erfinv(x))
    inside = (np.abs(y) < inf) & (x != 0)
    z, size = np.abs(y[inside]), np.abs(x[inside])
    for _ in range(4):
        slope = 2 / math.sqrt(math.pi) * np.exp(-z * z)
        left = erfc(z)
        by_logarithm = -left * np.log(left / (1 - size))
        excess = np.where(size < 0.5, erf(z) - size, by_logarithm)
        z = z - np.where(size < 2.0**-500, 0, excess / slope)
    y[inside] = np.copysign(z, x[inside])
    return np.where(np.abs(x) < 2.0**-500, x * (math.sqrt(math.pi) / 2), y)


def digamma(x):
    """Recurrence and Stirling's series, from 40 on, in the widest type."""
    x = x.astype(np.longdouble)
    z = np.where(x < 0.5, 1 - x, x)
    total = np.zeros_like(z)
    for _ in range(40):
        total, z = np.where(z < 40, total - 1 / z, total), np.where(z < 40, z + 1, z)
    s = 1 / (z * z)
    total = total + np.log(z) - 0.5 / z - s * (1 / 12 - s * (1 / 120 - s * (1 / 252 - s / 240)))
    pi = np.longdouble(np.pi) + np.longdouble(1.2246467991473532e-16)
    total = np.where(x < 0.5, total - pi / np.tan(pi * (x - np.rint(x))), total)
    return np.where((x <= 0) & (x == np.floor(x)), nan, total)


erf, erfc = (np.vectorize(f, otypes=[float]) for f in (math.erf, math.erfc))
REFERENCES = {
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "tanh": np.tanh,
    "sigmoid": sigmoid, "erf": erf, "sin": np.sin,
    "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "atan2": np.arctan2, "pow": np.power, "erfinv": erfinv, "digamma": digamma,
}  # fmt: skip
BINARY = ["atan2", "pow"]
UNARY = sorted(set(REFERENCES) - set(BINARY))
# Every 4099th pattern of bits, and for the slow test every 61st; 1 would be all of them.
STRIDE, SLOW_STRIDE = 4099, 61


def compute(name, *arrays, width=LANES):
    """The function on arrays of one dtype, by a loop of its own over blocks of `width` lanes."""
    dtype = arrays[0].dtype
    size = arrays[0].size
    padded = [np.resize(a, -(-size // width) * width) for a in arrays]
    result = np.empty_like(padded[0])
    function = _compiled(name, dtype.name, len(arrays), width, flags.get("DISTFLOW_CPU"))
    function(*[a.ctypes.data for a in (*padded, result)], result.size)
    return result[:size]


@functools.cache
def _compiled(name, dtype, count, width, level):
    kind = KINDS[dtype]
    code, lines = Code(), []
    block = Block(code, lines, width)
    operands = []
    for i in range(count):
        lines.append(f"%place{i} = getelementptr {kind}, ptr %p{i}, i64 %i")
        lines.append(f"%x{i} = load {block.type(kind)}, ptr %place{i}, align 4")
        operands.append(Operand(f"%x{i}", kind))
    result = cpu_math.FUNCTIONS[name](block, *operands)
    lines.append(f"%place = getelementptr {kind}, ptr %p{count}, i64 %i")
    lines.append(f"store {block.type(kind)} {result.text}, ptr %place, align 4")
    body = "\n".join(lines)
    pointers = ", ".join(f"ptr %p{i}" for i in range(count + 1))
    code.add(f"""define void @f({pointers}, i64 %n) {{
entry:
  %at = alloca i64
  store i64 0, ptr %at
  br label %loop
loop:
  %i = load i64, ptr %at
{body}
  %next = add i64 %i, {width}
  store i64 %next, ptr %at
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %end
end:
  ret void
}}""")
    arguments = [*[ctypes.c_void_p] * (count + 1), ctypes.c_int64]
    return jit.compile_module(code.text(), name).function("f", None, *arguments)


def every(stride, start=0):
    """Every so many of all float32 numbers: every exponent, both signs, NaNs."""
    return np.arange(start, 2**32, stride, dtype=np.uint64).astype(np.uint32).view(np.float32)


def whole_range(dtype, count):
    """Numbers spread evenly over all bit patterns of a type."""
    if dtype == "float32":
        return every(2**32 // count)
    step = 2**64 // count
    return (np.arange(count, dtype=np.uint64) * np.uint64(step)).view(np.float64)


def ulps(result, exact, digits, least):
    """The error in units in the last place of a number near the exact value, or at `least`."""
    lowest = np.ldexp(exact.dtype.type(1), -125 if digits == 24 else -1021)
    _, exponent = np.frexp(np.maximum(np.maximum(np.abs(exact), lowest), least))
    return np.abs(result - exact) / np.ldexp(exact.dtype.type(1), exponent - digits)


def check(name, *arrays):
    dtype = arrays[0].dtype
    single = dtype == np.float32
    result = compute(name, *arrays)
    # The next wider type is the reference; erf and its inverse have none above float64.
    wider = np.float64 if single or name in ("erf", "erfinv") else np.longdouble
    with np.errstate(all="ignore"):
        exact = np.asarray(REFERENCES[name](*[a.astype(wider) for a in arrays]), wider)
        rounded = exact.astype(dtype)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(rounded))
    np.testing.assert_array_equal(np.isinf(result), np.isinf(rounded))
    number = ~np.isnan(rounded)
    np.testing.assert_array_equal(np.signbit(result[number]), np.signbit(rounded[number]))
    finite = np.isfinite(rounded)
    least = 0
    if name == "digamma":  # a logarithm, less what may be as large
        least = np.maximum(1, np.log(np.abs(arrays[0][finite].astype(wider))))
    error = ulps(result[finite].astype(wider), exact[finite], 24 if single else 53, least)
    assert error.max(initial=0) <= cpu_math.ULP_BOUNDS[name][0 if single else 1]


def ordinary(dtype, count=100_000):
    return (np.random.default_rng(1).normal(size=count) * 4).astype(dtype)


@pytest.mark.parametrize("name", UNARY)
def test_error_over_all_float32(name):
    check(name, every(STRIDE))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(UNARY) - {"erfinv", "digamma"}))
def test_error_over_more_of_float32(name):
    for start in range(0, SLOW_STRIDE * 16, SLOW_STRIDE):
        check(name, every(SLOW_STRIDE * 16, start))


# Found by trying every float32 where the function is neither its argument nor constant.
WORST = {
    "exp": -5.848642, "expm1": 59.316883, "log": 0.63565737, "log1p": 0.49999997,
    "tanh": 0.061673597, "sigmoid": -6.237699, "erf": 1.1772809, "sin": 13188.657,
    "cos": 43835.96,
}  # fmt: skip


@pytest.mark.parametrize("name", WORST)
def test_error_where_it_is_largest(name):
    check(name, np.asarray([WORST[name]], np.float32))


@pytest.mark.parametrize("name", UNARY)
def test_error_over_all_float64(name):
    check(name, whole_range("float64", 50_000))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNARY)
def test_error_where_values_are_ordinary(name, dtype):
    check(name, ordinary(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNARY)
def test_error_between_minus_one_and_one(name, dtype):
    check(name, np.random.default_rng(2).uniform(-1.01, 1.01, 100_000).astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["log", "log1p", "exp", "erf", "tanh"])
def test_error_of_neighbours_where_formulas_change(name, dtype):
    edges = [2.0**k * m for k in range(-3, 4) for m in (2 / 3, 0.75, math.sqrt(0.5), 1, 19 / 16)]
    near = [np.asarray(e, dtype) * (1 + np.arange(-40, 40) * np.finfo(dtype).eps) for e in edges]
    check(name, np.concatenate(near).astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_error_next_to_multiples_of_half_pi(name, dtype):
    multiples = np.arange(1, 100_000) * (np.pi / 2)
    check(name, multiples.astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_error_around_the_bounds_of_reductions(name, dtype):
    near = np.concatenate([b * (1 + np.arange(-200, 200) * 2.0**-23) for b in (2.0**16, 2.0**25)])
    check(name, np.concatenate([near, -near]).astype(dtype))


def test_sine_of_the_float64_that_is_hardest_to_reduce():
    # Muller 2016, section 11.1: the closest that a float64 comes to a multiple of pi/2.
    x = np.ldexp([6381956970095103.0], 797)
    np.testing.assert_allclose(compute("cos", x), [-4.6871659242546276e-19], rtol=4e-16)
    np.testing.assert_array_equal(compute("sin", x), [1.0])


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("exp", -104, -80), ("exp", 88, 89), ("tanh", 7, 10), ("sigmoid", 12, 20)],
)
def test_float32_rises_steadily_near_saturation(name, low, high):
    result = compute(name, between(low, high))
    assert (result[1:] >= result[:-1]).all()


def test_float32_erf_falls_by_one_rounding_at_most_and_ends_at_one():
    result = compute("erf", between(3, 4.5))
    assert (result[1:] >= result[:-1] - np.float32(2.0**-24)).all()
    assert result.max() == result[-1] == 1


def between(low, high):
    """All float32 numbers of one sign from one to another."""
    bits = np.sort(np.asarray([low, high], np.float32).view(np.uint32))
    return np.sort(np.arange(*bits, dtype=np.uint32).view(np.float32))


@pytest.mark.parametrize("dtype", DTYPES)
def test_error_of_pow(dtype):
    rng = np.random.default_rng(2)
    x = np.exp(rng.uniform(-20, 20, 100_000)).astype(dtype)
    check("pow", x, rng.uniform(-6, 6, 100_000).astype(dtype))


@pytest.mark.parametrize(("dtype", "largest"), [("float32", 5e4), ("float64", 5e5)])
def test_pow_near_one_to_large_powers(dtype, largest):
    rng = np.random.default_rng(3)
    x = (1 + rng.uniform(-1e-3, 1e-3, 100_000)).astype(dtype)
    check("pow", x, rng.uniform(-largest, largest, 100_000).astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BINARY)
def test_error_of_two_operands_over_the_whole_range(name, dtype):
    rng = np.random.default_rng(4)
    bits = rng.integers(0, 2**64, (2, 1 << 17), dtype=np.uint64)
    x, y = bits.view(np.float64) if dtype == "float64" else bits.astype(np.uint32).view(np.float32)
    check(name, x, y)


@pytest.mark.parametrize("dtype", DTYPES)
def test_error_of_atan2_where_values_are_ordinary(dtype):
    check("atan2", ordinary(dtype), np.flip(ordinary(dtype)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BINARY)
def test_special_values_of_two_operands(name, dtype):
    tiny, huge = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max
    special = [0.0, -0.0, 1, -1, 2, -2, 3, -3, 0.5, -0.5, inf, -inf, nan, tiny, -tiny, huge, -huge]
    x, y = np.meshgrid(np.asarray(special, dtype), np.asarray(special, dtype))
    check(name, x.reshape(-1), y.reshape(-1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNARY)
def test_special_values(name, dtype):
    info = np.finfo(dtype)
    special = [
        0.0, -0.0, inf, -inf, nan, 1, -1, info.smallest_subnormal, -info.smallest_subnormal,
        info.tiny * (1 - info.eps), info.max, -info.max, 1 + info.eps, 1 - info.eps / 2,
        2.0**-28, 2.0**-30, 2.0**-60, 88.72284, 88.72283, -103.97, -103.98, -104, -87.4,
        709.78, 709.79, -708.5, -745.13, -745.14, -746,
    ]  # fmt: skip
    check(name, np.asarray(special, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_bits_are_those_of_every_vector_unit_and_width(name, dtype):
    x = np.concatenate([whole_range(dtype, 5_003), ordinary(dtype, 5_003)])
    arrays = (x, np.flip(x)) if name in BINARY else (x,)
    found = []
    for level in ["native", *isa.offered()]:
        with flags.override(DISTFLOW_CPU=level):
            result = compute(name, *arrays)
            found.append(result[~np.isnan(result)].tobytes())
    result = compute(name, *arrays, width=1)
    found.append(result[~np.isnan(result)].tobytes())
    assert len(set(found)) == 1


def test_every_function_is_tested():
    tables = (cpu_math.FUNCTIONS, cpu_math.DTYPES, cpu_math.ULP_BOUNDS)
    assert all(set(table) == set(REFERENCES) for table in tables)
