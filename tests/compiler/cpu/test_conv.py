import numpy as np
import pytest
from llvmlite import ir

from distflow.compiler.cpu import conv, conv_filter_gradient, isa, jit, task
from distflow.compiler.cpu.tile_code import Tiles
from distflow.compiler.cpu.tiles import cut, forms
from distflow.compiler.cpu.tiling import Axis
from distflow.compiler.cpu.vectors import ranged
from distflow.ops.prims import contraction
from tests.compiler.cpu.kernels import prepared

ONE = {
    "strides": (1, 1),
    "padding": "VALID",
    "lhs_dilation": (1, 1),
    "rhs_dilation": (1, 1),
    "groups": 1,
}

# name: (input, filter, attributes that are not those of ONE)
CASES = {
    "1x1": ((2, 5, 6, 7), (1, 1, 7, 9), {}),
    "one of everything": ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    "3x3": ((3, 9, 11, 4), (3, 3, 4, 17), {}),
    "window as large as the input": ((2, 5, 7, 3), (5, 7, 3, 2), {}),
    "same": ((2, 8, 8, 16), (3, 3, 16, 16), {"padding": "SAME"}),
    "same with an even window": ((2, 7, 6, 3), (2, 4, 3, 5), {"padding": "SAME"}),
    "explicit": ((2, 6, 5, 3), (3, 2, 3, 5), {"padding": ((2, 1), (0, 3))}),
    "cropped": ((2, 9, 9, 3), (3, 3, 3, 5), {"padding": ((-1, 0), (2, -2))}),
    "strided": ((2, 9, 10, 5), (3, 3, 5, 8), {"strides": (2, 3), "padding": "SAME"}),
    "stride beyond the window": ((1, 11, 11, 2), (2, 2, 2, 3), {"strides": (4, 5)}),
    "dilated": ((2, 12, 11, 3), (3, 2, 3, 4), {"rhs_dilation": (2, 4)}),
    "spread": ((2, 4, 5, 3), (3, 3, 3, 4), {"lhs_dilation": (2, 3), "padding": ((2, 2), (2, 2))}),
    "spread beyond the window": (
        (2, 4, 3, 3), (1, 2, 3, 4), {"lhs_dilation": (3, 4), "padding": ((1, 1), (0, 2))},
    ),
    "all of them": (
        (3, 6, 7, 4), (3, 2, 4, 5),
        {
            "strides": (3, 2), "lhs_dilation": (2, 3), "rhs_dilation": (2, 1),
            "padding": ((3, 2), (1, 4)),
        },
    ),
    "groups": ((2, 7, 8, 12), (3, 3, 4, 15), {"groups": 3, "padding": "SAME"}),
    "depthwise": ((2, 9, 8, 37), (3, 3, 1, 37), {"groups": 37, "padding": "SAME"}),
    "depthwise strided": ((2, 9, 8, 5), (3, 3, 1, 5), {"groups": 5, "strides": (2, 2)}),
    "depthwise with a multiplier": ((2, 6, 6, 3), (3, 3, 1, 6), {"groups": 3}),
    "line": (
        (2, 13, 4), (5, 4, 6),
        {"strides": (2,), "lhs_dilation": (1,), "rhs_dilation": (1,), "padding": "SAME"},
    ),
    "volume": (
        (1, 4, 5, 6, 3), (2, 3, 2, 3, 4),
        {
            "strides": (1, 2, 1), "lhs_dilation": (1,) * 3, "rhs_dilation": (1, 1, 2),
            "padding": "SAME",
        },
    ),
}  # fmt: skip


def normal(seed, *shape, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def attributes_of(changes):
    return {**ONE, **changes}


def convolve(x, w, attributes):
    return prepared("conv", attributes, [x.shape, w.shape], [x.dtype, w.dtype])([x, w])


def in_layout(x, perm):
    return np.ascontiguousarray(x.transpose(perm)).transpose(np.argsort(perm))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_reference_in_float64(case, dtype):
    x_shape, w_shape, changes = CASES[case]
    x, w, attributes = normal(0, *x_shape), normal(1, *w_shape), attributes_of(changes)
    exact = contraction._conv_ref(x.astype(np.float64), w.astype(np.float64), **attributes)
    size = contraction._conv_ref(np.abs(x.astype(np.float64)), np.abs(w), **attributes)
    result = convolve(x.astype(dtype), w.astype(dtype), attributes)
    assert result.dtype == dtype
    assert result.shape == exact.shape
    terms = np.prod(w_shape[:-1]) + 1
    assert (np.abs(result - exact) <= terms * np.finfo(dtype).eps * size).all()


def gradient_convs(x_shape, w_shape, attributes):
    """The shapes, attributes and layouts of the two convolutions that are a conv's gradients."""
    out = contraction._conv_shape(x_shape, w_shape, **attributes)
    strides, dilation = attributes["strides"], attributes["rhs_dilation"]
    pads = contraction._pads(x_shape, w_shape, strides, attributes["padding"], (1, 1), dilation)
    extents = [contraction.dilated(k, d) for k, d in zip(w_shape, dilation)]
    of_input, of_filter = contraction.gradient_padding(
        "conv", x_shape[1:-1], extents, out[1:-1], strides, pads
    )
    return {
        "input": (
            out, (*w_shape[:2], w_shape[3], w_shape[2]),
            {**ONE, "padding": of_input, "lhs_dilation": strides, "rhs_dilation": dilation},
            ((0, 1, 2, 3), (0, 1, 3, 2)),
        ),
        "filter": (
            (x_shape[3], *x_shape[1:3], x_shape[0]), (*out[1:3], out[0], out[3]),
            {**ONE, "padding": of_filter, "strides": dilation, "rhs_dilation": strides},
            ((3, 1, 2, 0), (2, 0, 1, 3)),
        ),
    }  # fmt: skip


@pytest.mark.parametrize("which", ["input", "filter"])
@pytest.mark.parametrize("case", ["1x1", "3x3", "same", "strided", "dilated", "explicit"])
def test_gradient_forms_agree_and_do_not_depend_on_layout(case, which):
    x_shape, w_shape, changes = CASES[case]
    x_shape, w_shape, attributes, layouts = gradient_convs(
        x_shape, w_shape, attributes_of(changes)
    )[which]
    x, w = normal(0, *x_shape), normal(1, *w_shape)
    exact = contraction._conv_ref(x.astype(np.float64), w.astype(np.float64), **attributes)
    result = convolve(x, w, attributes)
    np.testing.assert_allclose(result, exact, rtol=1e-4, atol=1e-4)
    views = in_layout(x, layouts[0]), in_layout(w, layouts[1])
    np.testing.assert_array_equal(convolve(*views, attributes), result)


@pytest.mark.parametrize("case", ["1x1", "3x3", "same", "strided", "groups", "depthwise"])
def test_an_image_does_not_depend_on_the_other_images(case):
    x_shape, w_shape, changes = CASES[case]
    attributes = attributes_of(changes)
    x, w = normal(0, 7, *x_shape[1:]), normal(1, *w_shape)
    whole = convolve(x, w, attributes)
    for n in (1, 2, 5):
        np.testing.assert_array_equal(convolve(x[:n], w, attributes), whole[:n])
        np.testing.assert_array_equal(convolve(x[n:], w, attributes), whole[n:])


@pytest.mark.parametrize("case", ["same", "strided", "spread", "depthwise"])
@pytest.mark.parametrize("level", isa.offered())
def test_vector_unit_does_not_change_bits(case, level, monkeypatch):
    x_shape, w_shape, changes = CASES[case]
    x, w, attributes = normal(0, *x_shape), normal(1, *w_shape), attributes_of(changes)
    expected = convolve(x, w, attributes)
    monkeypatch.setenv("DISTFLOW_CPU", level)
    np.testing.assert_array_equal(convolve(x, w, attributes), expected)


def filter_gradient(seed, n, size, channels, columns):
    """Operands and attributes of a 3x3 convolution's filter gradient, as views of images."""
    x = normal(seed, n, size, size, channels).transpose(3, 1, 2, 0)
    g = normal(seed + 1, n, size, size, columns).transpose(1, 2, 0, 3)
    return x, g, {**ONE, "padding": ((1, 1), (1, 1))}


@pytest.mark.parametrize("channels", [3, 16, 33])
@pytest.mark.parametrize("level", isa.offered())
def test_vector_unit_does_not_change_bits_of_a_filter_gradient(level, channels, monkeypatch):
    case = filter_gradient(0, 9, 10, channels, 18)
    expected = convolve(*case)
    monkeypatch.setenv("DISTFLOW_CPU", level)
    np.testing.assert_array_equal(convolve(*case), expected)


def test_number_of_threads_does_not_change_bits_of_a_filter_gradient(monkeypatch):
    case = filter_gradient(0, 40, 24, 16, 16)
    results = []
    for count in ("1", "2", "3"):
        monkeypatch.setenv("DISTFLOW_THREADS", count)
        results.append(convolve(*case))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("size", [29, 30])
def test_filter_gradient_of_large_images_is_summed_in_bands_of_rows(size, padding, monkeypatch):
    x, g, attributes = filter_gradient(0, 3, size, 10, 33)
    if not padding:
        g, attributes = g[1:-1, 1:-1], ONE
    whole = convolve(x, g, attributes)
    exact = contraction._conv_ref(x.astype(np.float64), g.astype(np.float64), **attributes)
    np.testing.assert_allclose(whole, exact, rtol=1e-4, atol=1e-3)
    for num_bytes in (1 << 15, 1 << 12, 1):
        monkeypatch.setattr(conv_filter_gradient, "_CACHE_BYTES", num_bytes)
        conv._lowered.cache_clear()
        np.testing.assert_array_equal(convolve(x, g, attributes), whole)


def test_filter_gradient_does_not_depend_on_layout():
    x, g, attributes = filter_gradient(0, 32, 16, 5, 3)
    expected = convolve(x, g, attributes)
    copied = convolve(np.ascontiguousarray(x), np.ascontiguousarray(g), attributes)
    np.testing.assert_array_equal(copied, expected)


@pytest.mark.parametrize("case", ["same", "strided"])
def test_number_of_threads_does_not_change_bits(case, monkeypatch):
    _, w_shape, changes = CASES[case]
    attributes = attributes_of(changes)
    x, w = normal(0, 40, 40, 30, w_shape[2]), normal(1, *w_shape)
    results = []
    for count in ("1", "2", "3"):
        monkeypatch.setenv("DISTFLOW_THREADS", count)
        results.append(convolve(x, w, attributes))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_products_are_added_by_window_row_then_channel_then_position_in_the_row():
    x, w = normal(0, 1, 3, 3, 25), normal(1, 3, 3, 25, 1)

    def total(pairs):
        c = np.float32(0)
        for a, b in pairs:  # a product of two float32 is exact in long double
            c = np.float32(np.longdouble(a) * np.longdouble(b) + np.longdouble(c))
        return c

    result = convolve(x, w, ONE).item()
    assert result == total(zip(x.transpose(0, 1, 3, 2).ravel(), w.transpose(0, 2, 1, 3).ravel()))
    assert result != total(zip(x.ravel(), w.ravel()))  # another order would be seen


def test_with_a_large_window_channels_are_the_slowest():
    x, w = normal(0, 1, 8, 8, 3), normal(1, 8, 8, 3, 1)
    order = [a.transpose(2, 0, 1).ravel() for a in (x[0], w[..., 0])]
    c = np.float32(0)
    for a, b in zip(*order):
        c = np.float32(np.longdouble(a) * np.longdouble(b) + np.longdouble(c))
    assert convolve(x, w, ONE).item() == c


def test_large_windows_do_not_depend_on_layout():
    x, w = normal(0, 5, 12, 11, 6), normal(1, 9, 8, 6, 4)
    result = convolve(x, w, ONE)
    exact = contraction._conv_ref(x.astype(np.float64), w.astype(np.float64), **ONE)
    np.testing.assert_allclose(result, exact, rtol=1e-4, atol=1e-4)
    views = in_layout(x, (3, 1, 2, 0)), in_layout(w, (2, 0, 1, 3))
    np.testing.assert_array_equal(convolve(*views, ONE), result)


def test_nan_and_inf_reach_only_the_windows_that_see_them():
    x, w = np.ones((1, 6, 6, 2), np.float32), np.ones((3, 3, 2, 3), np.float32)
    x[0, 0, 0, 0], x[0, 5, 5, 1] = np.nan, np.inf
    result = convolve(x, w, {**ONE, "padding": "SAME"})[0, :, :, 0]
    expected_nan = np.zeros((6, 6), bool)
    expected_nan[:2, :2] = True
    np.testing.assert_array_equal(np.isnan(result), expected_nan)
    np.testing.assert_array_equal(np.isinf(result), expected_nan[::-1, ::-1])


def test_padding_stays_zero_from_call_to_call():
    attributes = {**ONE, "padding": "SAME"}
    x, w = normal(0, 2, 5, 5, 3), normal(1, 3, 3, 3, 4)
    kernel = prepared("conv", attributes, [x.shape, w.shape], [x.dtype] * 2)
    first = kernel([x, w])
    kernel([np.full_like(x, np.nan), w])
    np.testing.assert_array_equal(kernel([x, w]), first)


def test_reads_nothing_outside_and_writes_nothing_outside():
    # NaN around the operands would spread; the kernels' own results are fresh arrays.
    memory = np.full(4096, np.nan, np.float32)
    x, w = memory[1000:1300].reshape(1, 10, 10, 3), memory[2000:2135].reshape(3, 3, 3, 5)
    x[:], w[:] = normal(0, 1, 10, 10, 3), normal(1, 3, 3, 3, 5)
    assert np.isfinite(convolve(x, w, {**ONE, "padding": "SAME"})).all()
    assert np.isnan(np.delete(memory, [*range(1000, 1300), *range(2000, 2135)])).all()


@pytest.mark.parametrize("shape", [(0, 5, 5, 3), (2, 0, 5, 3), (2, 5, 5, 0)], ids=str)
def test_empty_inputs_give_zeros(shape):
    w = normal(1, 3, 3, shape[-1], 4)
    attributes = {**ONE, "padding": "SAME"}
    result = convolve(normal(0, *shape), w, attributes)
    assert result.shape == contraction._conv_shape(shape, w.shape, **attributes)
    assert (result == 0).all()


def test_sixteen_bit_floats_are_summed_in_float32_and_rounded_once():
    x, w = normal(0, 2, 6, 6, 30).astype(np.float16), normal(1, 3, 3, 30, 4).astype(np.float16)
    expected = convolve(x.astype(np.float32), w.astype(np.float32), ONE).astype(np.float16)
    np.testing.assert_array_equal(convolve(x, w, ONE), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arm_code_is_accepted_by_llvm(dtype):
    arm = isa.Target("generic", "aarch64-unknown-linux-gnu", "generic", "", 16, 32, True)
    rows, inner = [Axis(9, 60, 0, 100), Axis(10, 5, 0, 7)], [Axis(3, 60, 105), Axis(5, 1, 7)]
    nests = forms(rows, [*inner, Axis(3, 5, 35)], 7)
    nest, shape = cut(nests, arm.lanes(4 if dtype == "float32" else 8), arm.num_registers)
    module = ir.Module("arm")
    tiles = Tiles(module, "tile", dtype, nest, shape, arm)
    builder, pointers, _, _ = ranged(module, "convolve", 3)
    tiles.emit(builder, pointers)
    builder.ret_void()
    code = jit.verify_for(module, arm.triple)
    assert code[:4] == b"\x7fELF"
    assert int.from_bytes(code[18:20], "little") == 183  # EM_AARCH64


def test_equal_convolutions_share_a_kernel():
    inputs = [task.contiguous("float32", s) for s in ((2, 8, 8, 3), (3, 3, 3, 5))]
    result = task.contiguous("float32", (2, 6, 6, 5))
    again = {**ONE, "padding": "VALID", "strides": [1, 1]}
    assert conv.lower(ONE, inputs, result) is conv.lower(again, list(inputs), result)


def test_integers_have_no_kernel():
    assert prepared("conv", ONE, [(1, 3, 3, 1), (1, 1, 1, 1)], [np.dtype(np.int32)] * 2) is None
