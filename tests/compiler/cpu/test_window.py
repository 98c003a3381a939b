import numpy as np
import pytest

from distflow.compiler.cpu import isa, table, task, window
from distflow.ops.prims import window as primitive
from tests.compiler.cpu.kernels import prepared

# name: (shape, window, strides, padding)
CASES = {
    "2x2": ((3, 8, 6, 16), (1, 2, 2, 1), (1, 2, 2, 1), "VALID"),
    "odd rest": ((2, 7, 9, 5), (1, 2, 2, 1), (1, 2, 2, 1), "VALID"),
    "same": ((2, 7, 9, 17), (1, 3, 3, 1), (1, 2, 2, 1), "SAME"),
    "overlapping": ((2, 9, 10, 33), (1, 5, 4, 1), (1, 1, 2, 1), "SAME"),
    "explicit": ((2, 5, 6, 3), (1, 3, 2, 1), (1, 2, 1, 1), ((0, 0), (2, 1), (0, 1), (0, 0))),
    "whole image": ((2, 5, 6, 31), (1, 5, 6, 1), (1, 1, 1, 1), "VALID"),
    "gaps": ((1, 11, 11, 2), (1, 2, 2, 1), (1, 4, 5, 1), "VALID"),
    "one": ((1, 1, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1), "VALID"),
    "line": ((2, 13, 7), (1, 3, 1), (1, 2, 1), "SAME"),
    "volume": ((1, 4, 5, 6, 4), (1, 2, 3, 2, 1), (1, 2, 1, 2, 1), "SAME"),
}


def attributes_of(case, **more):
    _, size, strides, padding = CASES[case]
    return {"window": size, "strides": strides, "padding": padding, **more}


def normal(seed, shape, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def run(name, attributes, *arrays):
    kernel = prepared(name, attributes, [a.shape for a in arrays], [a.dtype for a in arrays])
    return kernel(list(arrays))


def is_equal(result, expected):
    """Bit for bit, but that zeros need not agree in sign."""
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_maximum_and_sum_are_the_reference_s(case, dtype):
    x = normal(0, CASES[case][0], dtype)
    maximum = attributes_of(case)
    is_equal(run("reduce_window_max", maximum, x), primitive._max_ref(x, **maximum))
    total = attributes_of(case, dilation=(1,) * x.ndim)
    is_equal(run("reduce_window_sum", total, x), primitive._sum_ref(x, **total))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_scatter_is_the_reference_s(case, dtype):
    # Few distinct values: windows with ties, where the first maximum counts.
    x = np.round(normal(0, CASES[case][0], dtype))
    attributes = attributes_of(case)
    g = normal(1, primitive.window_shape(x.shape, **attributes), dtype)
    expected = primitive._scatter_ref(x, g, **attributes)
    is_equal(run("select_and_scatter_add", attributes, x, g), expected)


def test_sum_of_a_spread_array_is_the_reference_s():
    x = normal(0, (2, 4, 5, 6))
    attributes = {
        "window": (1, 3, 2, 1), "strides": (1, 1, 2, 1), "dilation": (1, 2, 3, 1),
        "padding": ((0, 0), (2, 2), (1, 1), (0, 0)),
    }  # fmt: skip
    is_equal(run("reduce_window_sum", attributes, x), primitive._sum_ref(x, **attributes))


def test_nan_and_inf_behave_as_in_the_reference():
    x = normal(0, (2, 6, 6, 5))
    x[0, 0, 0, 0], x[0, 3, 3, 1], x[1, 5, 5, 2], x[1] = np.nan, np.inf, -np.inf, x[1]
    x[1, :2, :2, 3] = -np.inf
    attributes = {"window": (1, 3, 3, 1), "strides": (1, 2, 2, 1), "padding": "SAME"}
    is_equal(run("reduce_window_max", attributes, x), primitive._max_ref(x, **attributes))
    g = normal(1, (2, 3, 3, 5))
    expected = primitive._scatter_ref(x, g, **attributes)
    is_equal(run("select_and_scatter_add", attributes, x, g), expected)


@pytest.mark.parametrize("level", isa.offered())
def test_vector_unit_does_not_change_bits(level, monkeypatch):
    x = normal(0, CASES["overlapping"][0])
    attributes = attributes_of("overlapping")
    g = normal(1, primitive.window_shape(x.shape, **attributes))
    monkeypatch.setenv("DISTFLOW_CPU", level)
    is_equal(run("reduce_window_max", attributes, x), primitive._max_ref(x, **attributes))
    expected = primitive._scatter_ref(x, g, **attributes)
    is_equal(run("select_and_scatter_add", attributes, x, g), expected)


def test_operands_may_lie_in_any_layout():
    x = normal(0, (3, 8, 6, 16))
    attributes = attributes_of("2x2")
    turned = np.ascontiguousarray(x.transpose(3, 1, 2, 0)).transpose(3, 1, 2, 0)
    expected = primitive._max_ref(x, **attributes)
    is_equal(run("reduce_window_max", attributes, turned), expected)
    g = normal(1, expected.shape)
    strided = np.repeat(g, 2, axis=-1)[..., ::2]
    expected = primitive._scatter_ref(x, g, **attributes)
    is_equal(run("select_and_scatter_add", attributes, turned, strided), expected)


def test_empty_arrays_give_empty_or_zero_results():
    attributes = attributes_of("2x2")
    assert run("reduce_window_max", attributes, normal(0, (0, 8, 6, 4))).shape == (0, 4, 3, 4)
    x, g = normal(0, (2, 0, 6, 4)), normal(1, (2, 0, 3, 4))
    assert run("select_and_scatter_add", attributes, x, g).shape == x.shape


def test_what_has_no_kernel_is_left_to_the_reference():
    over_channels = {"window": (1, 1, 1, 2), "strides": (1, 1, 1, 1), "padding": "VALID"}
    single, integer = [np.dtype(np.float32)], [np.dtype(np.int32)]
    assert prepared("reduce_window_max", over_channels, [(1, 2, 2, 4)], single) is None
    assert prepared("reduce_window_max", attributes_of("2x2"), [(3, 8, 6, 16)], integer) is None


def test_sixteen_bit_floats_are_computed_in_float32_and_rounded_once():
    x = normal(0, (2, 6, 6, 5)).astype(np.float16)
    attributes = {"window": (1, 3, 3, 1), "strides": (1, 2, 2, 1), "padding": "SAME"}
    best = run("reduce_window_max", attributes, x)
    is_equal(best, primitive._max_ref(x, **attributes))
    total = {**attributes, "dilation": (1,) * 4}
    wide = primitive._sum_ref(x.astype(np.float32), **total).astype(np.float16)
    is_equal(run("reduce_window_sum", total, x), wide)
    g = normal(1, best.shape).astype(np.float16)
    wide = primitive._scatter_ref(x.astype(np.float32), g.astype(np.float32), **attributes)
    is_equal(run("select_and_scatter_add", attributes, x, g), wide.astype(np.float16))


def test_windows_that_partition_the_image_leave_nothing_of_what_was_there():
    x, g = normal(0, (9, 6, 8, 18)), normal(1, (9, 3, 4, 18))
    attributes = attributes_of("2x2")
    kernel = window.lower_scatter(
        attributes, [task.layout_of(x), task.layout_of(g)], task.layout_of(x)
    )
    result = np.full_like(x, np.nan)
    task.run(kernel, [x, g, result])
    is_equal(result, primitive._scatter_ref(x, g, **attributes))


def test_the_average_s_gradient_reads_no_zeros_between_elements():
    g = normal(0, (2, 4, 5, 16))
    attributes = {
        "window": (1, 2, 2, 1), "strides": (1, 1, 1, 1), "dilation": (1, 2, 2, 1),
        "padding": ((0, 0), (1, 1), (1, 1), (0, 0)),
    }  # fmt: skip
    expected = primitive._sum_ref(g, **attributes)
    kernel = window.lower_sum(attributes, [task.layout_of(g)], task.layout_of(expected))
    assert kernel.scratch == ()
    result = np.empty_like(expected)
    task.run(kernel, [g, result])
    np.testing.assert_array_equal(result, g.repeat(2, axis=1).repeat(2, axis=2))


def test_the_table_offers_every_kernel():
    names = "dot_general conv reduce_window_max reduce_window_sum select_and_scatter_add".split()
    assert set(names) <= set(table.LIBRARY)
    x = np.zeros((3, 8, 6, 16), np.float32)
    result = np.zeros((3, 4, 3, 16), np.float32)
    kernel = table.LIBRARY["reduce_window_max"](
        attributes_of("2x2"), [task.layout_of(x)], task.layout_of(result)
    )
    assert kernel is not None
