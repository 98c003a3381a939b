import ml_dtypes
import numpy as np
import pytest
from llvmlite import ir

from distflow.compiler.cpu import contract, isa, jit
from distflow.compiler.cpu.packing import Step, emit_copy

HALVES = np.arange(1 << 16, dtype=np.uint16)
# Every float32 exponent and sign with fractions around the ties of both 16-bit kinds.
FLOATS = (
    (np.arange(512, dtype=np.uint32)[:, None] << 23)
    | np.array(
        [a ^ b for shift in (12, 13, 15, 16) for a in (0, 1 << shift, 3 << shift, 0x7FFFFF)
         for b in (0, 1, 0x7FFF, 0xFFF)], np.uint32,
    )
).ravel().view(np.float32)  # fmt: skip
KINDS = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


def converted(x, to):
    result = np.empty(x.shape, to)
    module = ir.Module("convert")
    emit_copy(module, "convert", to.name, [Step(x.size, 1, 1)], source=x.dtype.name)
    function = contract.function(jit.compile_module(module, "convert"), "convert")
    contract.run(function, x.size, 1, result.ctypes.data, x.ctypes.data)
    return result


@pytest.fixture(params=isa.offered())
def level(request, monkeypatch):
    monkeypatch.setenv("DISTFLOW_CPU", request.param)


@pytest.mark.parametrize("kind", KINDS)
def test_every_16_bit_number_is_widened_exactly(level, kind):
    x = HALVES.view(KINDS[kind])
    np.testing.assert_array_equal(converted(x, np.dtype(np.float32)), x.astype(np.float32))
    zero = converted(x, np.dtype(np.float32)) == 0
    assert np.signbit(converted(x, np.dtype(np.float32))[zero]).sum() == 1


@pytest.mark.parametrize("kind", KINDS)
def test_narrowing_rounds_to_nearest_with_ties_to_even(level, kind):
    with np.errstate(over="ignore", invalid="ignore"):
        expected = FLOATS.astype(KINDS[kind])
    result = converted(FLOATS, KINDS[kind])
    is_nan = np.isnan(FLOATS)
    assert np.isnan(result[is_nan].astype(np.float32)).all()
    np.testing.assert_array_equal(
        result[~is_nan].view(np.uint16), expected[~is_nan].view(np.uint16)
    )
