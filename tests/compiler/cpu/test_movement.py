"""Native movement against the references: any layout of the operands, any axis, bad indices."""

import ctypes

import ml_dtypes
import numpy as np
import pytest

from distflow.base import dtypes, errors
from distflow.compiler.cpu import jit, task
from distflow.compiler.cpu.table import LIBRARY
from distflow.core.primitive import REGISTRY

pytest.importorskip("llvmlite")


def run(name, arrays, **attributes):
    """Runs the kernel of a primitive, each unit by itself; None if there is none."""
    expected = REGISTRY[name].reference(*arrays, **attributes)
    result = np.full(expected.shape, 77, expected.dtype)
    layouts = [task.layout_of(a) for a in arrays]
    kernel = LIBRARY[name](attributes, layouts, task.layout_of(result))
    if kernel is None:
        return None, expected
    task.run(kernel, [*arrays, result])
    return result, expected


def check(name, arrays, **attributes):
    result, expected = run(name, arrays, **attributes)
    assert result.tobytes() == np.ascontiguousarray(expected).tobytes()


def draw(*shape, dtype=np.float32, seed=0):
    return np.asarray(np.random.default_rng(seed).normal(size=shape) * 50).astype(dtype)


DTYPES = [np.float32, np.float64, np.int8, np.uint16, np.bool_, np.complex64, ml_dtypes.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_concat(axis, dtype):
    shapes = [[3, 4, 5] for _ in range(3)]
    shapes[1][axis] = 17
    shapes[2][axis] = 0
    check("concat", [draw(*s, dtype=dtype) for s in shapes], axis=axis)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pad_with_gaps_and_crops(dtype):
    x, value = draw(5, 9, 3, dtype=dtype), draw(dtype=dtype, seed=1)
    for config in (
        ((1, 2, 0), (0, 3, 1), (2, 0, 2)), ((-1, 1, 0), (2, -3, 0), (0, 0, 0)),
        ((-2, 0, 3), (-1, -1, 1), (0, 0, 0)), ((0, 0, 0), (-9, 4, 0), (1, 1, 0)),
    ):  # fmt: skip
        check("pad", [x, value], config=config)


def test_slices_with_strides():
    x = draw(9, 20, 5)
    check("slice", [x], starts=(1, -7, 0), stops=(8, None, -1), strides=(2, 3, 1))
    check("slice", [x], starts=(8, 5, 0), stops=(2, 9, None), strides=(1, 1, 4))


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (0, 1, 2), ()])
def test_reverse(axes):
    check("reverse", [draw(3, 18, 33)], axes=axes)
    check("reverse", [draw(33, 3, 18).transpose(1, 2, 0)], axes=axes)


def test_copies_of_any_layout():
    x = draw(6, 10, 20)[:, ::2].transpose(2, 0, 1)
    check("reshape", [x], shape=(20, 30))
    check("transpose", [x], perm=(1, 2, 0))
    check("broadcast_to", [x[:, :1]], shape=(2, 20, 6, 5))


# -- gather and scatter --------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint8])
@pytest.mark.parametrize("inner", [(), (1,), (5,), (16,), (2, 33)])
def test_gather_along_every_axis(inner, kind):
    rng = np.random.default_rng(0)
    for before in ((), (3,), (2, 4)):
        table = draw(*before, 11, *inner)
        for shape in ((), (1,), (40,), (6, 7)):
            check("gather", [table, rng.integers(0, 11, shape).astype(kind)], axis=len(before))


@pytest.mark.parametrize("dtype", DTYPES)
def test_gather_moves_any_dtype_out_of_any_rows(dtype):
    table = draw(20, 30, dtype=dtype)[::2, 3:20]
    check("gather", [table, np.array([9, 0, 0, 5])], axis=0)


def test_gather_has_no_kernel_for_scattered_rows():
    assert run("gather", [draw(9, 8).T, np.array([1, 2])], axis=0)[0] is None


@pytest.mark.parametrize("bad", [-1, 11, 2**31 - 1, -(2**31)])
def test_bad_indices_are_noted_and_do_no_harm(bad):
    indices = np.arange(7000, dtype=np.int32) % 11
    indices[5000] = bad
    for name, arrays, attributes in (
        ("gather", [draw(11, 4), indices], {"axis": 0}),
        ("scatter", [draw(11, 4), indices[:, None], draw(7000, 4)], {"mode": "add"}),
    ):
        with pytest.raises(errors.InvalidArgumentError) as reference:
            REGISTRY[name].reference(*arrays, **attributes)
        result = np.empty((7000, 4) if name == "gather" else (11, 4), np.float32)
        layouts = [task.layout_of(a) for a in (*arrays, result)]
        kernel = LIBRARY[name](attributes, layouts[:-1], layouts[-1])
        held = [task.aligned_bytes(s.num_bytes, s.zeroed) for s in kernel.scratch]
        addresses = [a.ctypes.data for a in (*arrays, result, *held)]
        for call in kernel.calls:
            pointers = (ctypes.c_void_p * len(call.arguments))(
                *[addresses[i] + offset for i, offset in call.arguments]
            )
            call.function(ctypes.addressof(pointers), 0, call.units)
        with pytest.raises(errors.InvalidArgumentError) as native:
            kernel.verify(held[kernel.bounds - len(arrays) - 1])
        assert str(native.value) == str(reference.value)


@pytest.mark.parametrize("mode", ["add", "sub", "max", "min", "update"])
@pytest.mark.parametrize("inner", [(), (1,), (5,), (16,), (2, 33)])
def test_scatter_in_the_order_of_the_indices(inner, mode):
    rng = np.random.default_rng(0)
    for rows, count in ((3, 50), (40, 7), (17, 200)):
        operand, updates = draw(rows, *inner), draw(count, *inner, seed=1)
        indices = rng.integers(0, rows, (count, 1)).astype(np.int32)
        check("scatter", [operand, indices, updates], mode=mode)


def test_gradient_of_an_embedding():
    zeros = np.broadcast_to(np.float32(0), (50, 8))
    indices = np.random.default_rng(0).integers(0, 50, (4, 30, 1))
    check("scatter", [zeros, indices, draw(4, 30, 8)], mode="add")


@pytest.mark.parametrize("dtype", [np.int32, np.float64, ml_dtypes.bfloat16])
def test_scatter_of_other_dtypes(dtype):
    operand, updates = draw(6, 20, dtype=dtype), draw(30, 20, dtype=dtype, seed=1)
    indices = np.random.default_rng(0).integers(0, 6, (30, 1))
    check("scatter", [operand, indices, updates], mode="add")


# -- positions -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8, np.bool_, ml_dtypes.bfloat16])
def test_position_of_the_first_extreme_element(name, dtype):
    x = draw(5, 7, 18, dtype=dtype)
    x = np.round(x.astype(np.float32) / 20).astype(dtype)  # ties
    for array in (x, x.transpose(2, 0, 1), x[:, ::2]):
        for axis in range(3):
            for kind in (dtypes.int64, dtypes.int32):
                check(name, [array], axis=axis, dtype=kind)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_position_of_the_first_nan(name):
    x = draw(4, 9)
    x[1, 3] = x[1, 5] = x[2, 0] = np.nan
    x[3, 8] = np.nan
    check(name, [x], axis=1, dtype=dtypes.int64)


def test_kernels_are_compiled_once():
    table, indices = draw(11, 4), np.array([1, 2])
    check("gather", [table, indices], axis=0)
    before = jit.counts()
    check("gather", [table, indices], axis=0)
    assert jit.counts() == before
