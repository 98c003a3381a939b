"""Products of odd sizes on buffers beside forbidden pages, against fused multiply-adds in order."""

import ctypes

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llvmlite import ir

from distflow.compiler.cpu import isa, jit, matmul, task
from distflow.compiler.cpu.epilogue import Epilogue
from distflow.compiler.cpu.microkernel import Axis, Nest, emit, plan
from tests.compiler.cpu.guarded import guarded

# 0, 1, primes, and neighbours of the tiles' sizes.
SIZES = [0, 1, 2, 3, 5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 101]
LAYOUTS = ["plain", "turned", "gaps", "repeated"]


def laid_out(values, layout, at_end):
    """A guarded copy of a matrix in some layout."""
    m, n = values.shape
    strides = {"plain": None, "turned": (1, m), "gaps": (2 * n + 3, 2), "repeated": (0, 1)}[layout]
    x = guarded(values.shape, values.dtype, strides, at_end)
    x[...] = values[:1] if layout == "repeated" else values
    return x


def run(kernel, arrays):
    """Runs a kernel with scratch buffers that hold NaN and end at forbidden pages."""
    buffers = [guarded((s.num_bytes,), np.uint8) for s in kernel.scratch]
    for buffer in buffers:
        buffer.fill(255)
    addresses = [x.ctypes.data for x in (*arrays, *buffers)]
    for call in kernel.calls:
        pointers = (ctypes.c_void_p * len(call.arguments))(
            *[addresses[i] + offset for i, offset in call.arguments]
        )
        middle = call.units // 3
        call.function(ctypes.addressof(pointers), middle, call.units)
        call.function(ctypes.addressof(pointers), 0, middle)


def integers(rng, *shape, dtype):
    """Small whole numbers, so that products and sums are exact in any order."""
    return rng.integers(-8, 9, shape).astype(dtype)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.tuples(*[st.sampled_from(SIZES)] * 3), st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS),
    st.sampled_from(["float32", "float64", "float16", "bfloat16"]), st.booleans(),
    st.integers(0, 1000),
)  # fmt: skip
def test_product_touches_its_arrays_only(size, left, right, dtype, at_end, seed):
    m, k, n = size
    rng = np.random.default_rng(seed)
    dtype = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    a = laid_out(integers(rng, m, k, dtype=dtype), left, at_end)
    b = laid_out(integers(rng, k, n, dtype=dtype), right, at_end)
    c = guarded((m, n), dtype, None, at_end)
    c.fill(77)
    kernel = matmul.lower(
        {"contract": ((1,), (0,)), "batch": ((), ())},
        [task.layout_of(a), task.layout_of(b)], task.contiguous(dtype.name, (m, n)),
    )  # fmt: skip
    run(kernel, [a, b, c])
    expected = (a.astype(np.float64) @ b.astype(np.float64)).astype(dtype)
    np.testing.assert_array_equal(c, expected)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    st.sampled_from([128, 130, 257, 300]), st.sampled_from([1, 7, 33, 130]),
    st.sampled_from([17, 33, 65, 129, 200]), st.sampled_from(LAYOUTS[:3]),
    st.sampled_from(LAYOUTS[:3]), st.sampled_from(["float32", "float64"]),
)  # fmt: skip
def test_panels_fit_their_buffers(m, k, n, left, right, dtype):
    rng = np.random.default_rng(m + k + n)
    a = laid_out(integers(rng, m, k, dtype=dtype), left, True)
    b = laid_out(integers(rng, k, n, dtype=dtype), right, True)
    c = guarded((m, n), dtype)
    kernel = matmul.lower(
        {"contract": ((1,), (0,)), "batch": ((), ())},
        [task.layout_of(x) for x in (a, b)], task.layout_of(c),
    )  # fmt: skip
    run(kernel, [a, b, c])
    np.testing.assert_array_equal(c, a @ b)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    st.tuples(*[st.sampled_from(SIZES[1:])] * 3), st.sampled_from(["rows", "columns", "all"]),
    st.sampled_from(LAYOUTS[:3]), st.booleans(),
)  # fmt: skip
def test_epilogue_touches_its_operands_only(size, repeated, right, at_end):
    m, k, n = size
    rng = np.random.default_rng(m + k + n)
    a = laid_out(integers(rng, m, k, dtype=np.float32), "plain", at_end)
    b = laid_out(integers(rng, k, n, dtype=np.float32), right, at_end)
    c = guarded((m, n), np.float32, None, at_end)
    shape, strides = {
        "rows": ((1, n), (0, 1)), "columns": ((m, 1), (1, 0)), "all": ((m, n), (n, 1)),
    }[repeated]  # fmt: skip
    extra = guarded((m, n), np.float32, strides, at_end)
    extra[...] = integers(rng, *shape, dtype=np.float32)
    arrays = [a, b, extra, c]
    inputs = [task.layout_of(x) for x in arrays[:2]] + [task.Layout("float32", (m, n), strides)]
    kernel = matmul.lower(
        {"contract": ((1,), (0,)), "batch": ((), ())}, inputs, task.layout_of(c),
        Epilogue(1, (("add", 0, 1), ("relu", 2))),
    )  # fmt: skip
    run(kernel, arrays)
    np.testing.assert_array_equal(c, np.maximum(a @ b + extra, 0))


@pytest.mark.parametrize("level", isa.offered())
@pytest.mark.parametrize("size", [(13, 9, 33), (14, 3, 47), (1, 17, 65), (65, 5, 1)], ids=str)
def test_no_level_touches_what_is_not_there(level, size, monkeypatch):
    monkeypatch.setenv("DISTFLOW_CPU", level)
    m, k, n = size
    rng = np.random.default_rng(0)
    for layout in LAYOUTS:
        a = laid_out(integers(rng, m, k, dtype=np.float32), layout, True)
        b = laid_out(integers(rng, k, n, dtype=np.float32), layout, True)
        c = guarded((m, n), np.float32)
        inputs = [task.layout_of(x) for x in (a, b)]
        kernel = matmul.lower(
            {"contract": ((1,), (0,)), "batch": ((), ())}, inputs, task.layout_of(c)
        )
        run(kernel, [a, b, c])
        np.testing.assert_array_equal(c, a @ b)


def test_kernels_divide_into_units_for_many_threads():
    for m, k, n in [(64, 784, 512), (1024, 256, 768), (1024, 1024, 1024), (784, 64, 512)]:
        nest = Nest("float32", (Axis(m, k, 0, n),), (Axis(k, 1, n),), n)
        assert plan(nest, isa.current()).num_groups(nest) >= 16


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arm_code_is_accepted_by_llvm(dtype):
    arm = isa.Target("generic", "aarch64-unknown-linux-gnu", "generic", "", 16, 32, True)
    nest = Nest(
        dtype, (Axis(70, 300, 0, 50, (0,)),), (Axis(300, 1, 50),), 50,
        epilogue=Epilogue(1, (("add", 0, 1), ("relu", 2))), columns_extra=(1,),
    )  # fmt: skip
    module = ir.Module("arm")
    emit(module, "contract", nest, plan(nest, arm), arm)
    code = jit.verify_for(module, arm.triple)
    assert code[:4] == b"\x7fELF"
    assert int.from_bytes(code[18:20], "little") == 183  # EM_AARCH64
