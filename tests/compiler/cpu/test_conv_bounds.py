"""Convolutions and pooling of odd sizes beside forbidden pages, their units in any order."""

import ctypes
import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from distflow.base import errors
from distflow.compiler.cpu import conv, isa, task, window
from distflow.compiler.cpu.epilogue import Epilogue
from distflow.ops.prims import contraction
from distflow.ops.prims import window as primitive
from tests.compiler.cpu.guarded import guarded

CHANNELS = [1, 2, 3, 5, 8, 15, 16, 17, 31, 33]
EXTENTS = [1, 2, 3, 5, 7, 8, 13, 16, 17]
LAYOUTS = ["plain", "turned", "gaps", "repeated"]


def strides_of(shape, layout):
    """Strides in elements: C order, the first axis innermost, with gaps, the first one repeated."""
    order = list(range(len(shape)))
    if layout == "turned":
        order = [*order[1:], order[0]]
    strides, step = [0] * len(shape), 1 + (layout == "gaps")
    for i in reversed(order):
        strides[i] = step
        step = step * shape[i] + (layout == "gaps")
    if layout == "repeated":
        strides[0] = 0
    return tuple(strides)


def laid_out(rng, shape, dtype, layout="plain", at_end=True):
    """A guarded array of small whole numbers: sums of their products are exact in any order."""
    x = guarded(shape, dtype, strides_of(shape, layout), at_end)
    values = rng.integers(-4, 5, shape)
    x[...] = values[:1] if layout == "repeated" else values
    return x


def run_kernel(kernel, inputs, result, rng=None):
    """Runs a kernel; with `rng` its units in ranges of any size, in any order."""
    if rng is None:
        task.run(kernel, [*inputs, result])
        return
    buffers = [guarded((s.num_bytes,), np.uint8) for s in kernel.scratch]
    for buffer in buffers:
        buffer.fill(255)  # NaN: nobody counts on zeros
    addresses = [a.ctypes.data for a in (*inputs, result, *buffers)]
    for call in kernel.calls:
        pointers = (ctypes.c_void_p * len(call.arguments))(
            *[addresses[i] + offset for i, offset in call.arguments]
        )
        many = rng.integers(0, min(call.units, 8) + 1)
        cuts = sorted([0, call.units, *rng.integers(0, call.units + 1, many).tolist()])
        ranges = [*itertools.pairwise(cuts), (call.units, call.units)]  # some of them empty
        rng.shuffle(ranges)
        for begin, end in ranges:
            call.function(ctypes.addressof(pointers), int(begin), int(end))


@st.composite
def convolutions(draw):
    rank = draw(st.integers(1, 2))

    def each(*values):
        return tuple(draw(st.sampled_from(values)) for _ in range(rank))

    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    narrow, wide = draw(st.sampled_from(CHANNELS)), draw(st.sampled_from(CHANNELS))
    if draw(st.sampled_from([False] * 5 + [True])):  # depthwise
        groups, narrow, wide = draw(st.sampled_from(CHANNELS)), 1, 1
    pads = st.sampled_from([-1, 0, 0, 1, 2, 5])
    explicit = tuple((draw(pads), draw(pads)) for _ in range(rank))
    spatial = each(*EXTENTS)
    return {
        "x": (draw(st.sampled_from([1, 2, 3, 9, 17])), *spatial, narrow * groups),
        "w": (*each(1, 2, 3, 3, 5, 7), narrow, wide * groups),
        "attributes": {
            "strides": each(1, 1, 2, 3), "lhs_dilation": each(1, 1, 1, 2, 3),
            "rhs_dilation": each(1, 1, 1, 2), "groups": groups,
            "padding": draw(st.sampled_from(["SAME", "VALID", explicit])),
        },
        "layouts": (draw(st.sampled_from(LAYOUTS)), draw(st.sampled_from(LAYOUTS))),
        "dtype": draw(st.sampled_from(["float32", "float32", "float64"])),
        "at_end": draw(st.booleans()),
        "seed": draw(st.integers(0, 1000)),
    }  # fmt: skip


@settings(max_examples=40, deadline=None, derandomize=True)
@given(convolutions())
def test_conv_is_right_and_touches_its_arrays_only(case):
    attributes, rng = case["attributes"], np.random.default_rng(case["seed"])
    try:
        out = contraction._conv_shape(case["x"], case["w"], **attributes)
    except errors.InvalidArgumentError:
        assume(False)
    x, w = (
        laid_out(rng, case[name], case["dtype"], layout, case["at_end"])
        for name, layout in zip("xw", case["layouts"])
    )
    y = guarded(out, case["dtype"], None, case["at_end"])
    y.fill(np.nan)
    inputs = [task.Layout(case["dtype"], a.shape, strides_of(a.shape, layout))
              for a, layout in zip((x, w), case["layouts"])]  # fmt: skip
    run_kernel(conv.lower(attributes, inputs, task.contiguous(case["dtype"], out)), [x, w], y, rng)
    np.testing.assert_array_equal(y, contraction._conv_ref(x, w, **attributes))


@st.composite
def filter_gradients(draw):
    n, size = draw(st.sampled_from([1, 2, 7, 16, 33])), draw(st.integers(4, 14))
    k = draw(st.integers(1, min(5, size - 3)))
    return n, size, k, draw(st.sampled_from(CHANNELS)), draw(st.sampled_from(CHANNELS)), {
        "stride": draw(st.sampled_from([1, 1, 2])),
        "pad": draw(st.sampled_from([(0, 0), (1, 1), (0, 2)])),
        "turned": draw(st.booleans()),
    }  # fmt: skip


@settings(max_examples=40, deadline=None, derandomize=True)
@given(filter_gradients(), st.integers(0, 1000))
def test_filter_gradient_is_right_and_touches_its_arrays_only(case, seed):
    n, size, k, channels, columns, more = case
    rng, stride, pad = np.random.default_rng(seed), more["stride"], more["pad"]
    steps = (size + sum(pad) - k) // stride + 1
    x_shape, w_shape = (channels, size, size, n), (steps, steps, n, columns)
    attributes = {
        "strides": (1, 1), "lhs_dilation": (1, 1), "rhs_dilation": (stride,) * 2, "groups": 1,
        "padding": ((pad[0], pad[1]), (pad[0], pad[1])),
    }  # fmt: skip
    x = laid_out(rng, (n, size, size, channels), "float32").transpose(3, 1, 2, 0)
    w = laid_out(rng, (n, steps, steps, columns), "float32").transpose(1, 2, 0, 3)
    if not more["turned"]:
        x, w = (np.ascontiguousarray(a) for a in (x, w))
    out = contraction._conv_shape(x_shape, w_shape, **attributes)
    results = []
    for order in (None, rng):
        y = guarded(out, "float32")
        inputs = [task.layout_of(a) for a in (x, w)]
        run_kernel(conv.lower(attributes, inputs, task.layout_of(y)), [x, w], y, order)
        results.append(y)
    np.testing.assert_array_equal(results[0], contraction._conv_ref(x, w, **attributes))
    np.testing.assert_array_equal(results[1], results[0])


@pytest.mark.parametrize("level", isa.offered())
@pytest.mark.parametrize("columns", [1, 7, 16, 33])
def test_no_level_touches_what_is_not_there(level, columns, monkeypatch):
    monkeypatch.setenv("DISTFLOW_CPU", level)
    rng = np.random.default_rng(0)
    attributes = {
        "strides": (1, 1), "lhs_dilation": (1, 1), "rhs_dilation": (1, 1), "groups": 1,
        "padding": "SAME",
    }  # fmt: skip
    for layout in LAYOUTS:
        x, w = (laid_out(rng, s, "float32", layout) for s in ((3, 6, 9, 5), (3, 3, 5, columns)))
        y = guarded((3, 6, 9, columns), "float32")
        inputs = [task.Layout("float32", a.shape, strides_of(a.shape, layout)) for a in (x, w)]
        run_kernel(conv.lower(attributes, inputs, task.layout_of(y)), [x, w], y, rng)
        np.testing.assert_array_equal(y, contraction._conv_ref(x, w, **attributes))


@pytest.mark.parametrize("batch", [1, 3, 16])
@pytest.mark.parametrize("strides", [(0, 0, 0, 1), (0, 0, 0, 0), (9 * 9 * 17, 9 * 17, 17, 1)])
@pytest.mark.parametrize("groups", [1, 17])
def test_epilogue_is_done_on_every_element(batch, strides, groups):
    rng = np.random.default_rng(0)
    x = laid_out(rng, (batch, 9, 9, 17), "float32")
    w = laid_out(rng, (3, 3, 17 // groups, 17), "float32")
    attributes = {
        "strides": (1, 1), "lhs_dilation": (1, 1), "rhs_dilation": (1, 1), "groups": groups,
        "padding": "SAME",
    }  # fmt: skip
    y = guarded(x.shape, "float32")
    extra = guarded(x.shape, "float32", strides)
    extra[...] = rng.integers(-60, 61, x.shape if strides[0] else (17 if strides[3] else ()))
    inputs = [*(task.layout_of(a) for a in (x, w)), task.Layout("float32", y.shape, strides)]
    epilogue = Epilogue(1, (("add", 0, 1), ("relu", 2)))
    kernel = conv.lower(attributes, inputs, task.layout_of(y), epilogue)
    run_kernel(kernel, [x, w, extra], y, rng)
    expected = np.maximum(contraction._conv_ref(x, w, **attributes) + extra, 0)
    np.testing.assert_array_equal(y, expected)


def test_there_is_no_epilogue_where_outputs_see_nothing_or_sums_are_in_chunks():
    relu = Epilogue(0, (("relu", 0),))
    spread = {
        "strides": (1, 1), "lhs_dilation": (2, 2), "rhs_dilation": (1, 1), "groups": 1,
        "padding": "VALID",
    }  # fmt: skip
    x, w, y = ((2, 4, 4, 3), (1, 1, 3, 5), (2, 7, 7, 5))
    layouts = [task.contiguous("float32", shape) for shape in (x, w, y)]
    assert conv.lower(spread, layouts[:2], layouts[2], relu) is None
    dense = {**spread, "lhs_dilation": (1, 1)}
    x, w, y = ((2, 10, 10, 3), (8, 8, 3, 5), (2, 3, 3, 5))
    layouts = [task.contiguous("float32", shape) for shape in (x, w, y)]
    assert conv.lower(dense, layouts[:2], layouts[2], relu) is None


@st.composite
def poolings(draw):
    rank = draw(st.integers(1, 2))

    def each(*values):
        return (1, *(draw(st.sampled_from(values)) for _ in range(rank)), 1)

    sizes = each(1, 2, 2, 3, 4)
    pads = tuple((draw(st.integers(0, k - 1)), draw(st.integers(0, k - 1))) for k in sizes)
    return {
        "x": (draw(st.sampled_from([1, 3, 9, 40])), *each(*EXTENTS)[1:-1],
              draw(st.sampled_from(CHANNELS))),
        "attributes": {
            "window": sizes, "strides": each(1, 2, 2, 3),
            "padding": draw(st.sampled_from(["SAME", "VALID", pads])),
        },
        "dilation": each(1, 1, 2, 3),
        "layouts": (draw(st.sampled_from(LAYOUTS)), draw(st.sampled_from(LAYOUTS))),
        "at_end": draw(st.booleans()),
        "seed": draw(st.integers(0, 1000)),
    }  # fmt: skip


@settings(max_examples=40, deadline=None, derandomize=True)
@given(poolings())
def test_pooling_is_right_and_touches_its_arrays_only(case):
    attributes, rng = case["attributes"], np.random.default_rng(case["seed"])
    try:
        out = primitive.window_shape(case["x"], **attributes)
        total = {**attributes, "dilation": case["dilation"]}
        out_of_sum = primitive.window_shape(case["x"], **total)
    except errors.InvalidArgumentError:
        assume(False)
    x = laid_out(rng, case["x"], "float32", case["layouts"][0], case["at_end"])
    g = laid_out(rng, out, "float32", case["layouts"][1], case["at_end"])
    of_x, of_g = (task.Layout("float32", a.shape, strides_of(a.shape, layout))
                  for a, layout in zip((x, g), case["layouts"]))  # fmt: skip
    for lower, settings_, layouts, inputs, shape, expected in [
        (window.lower_max, attributes, [of_x], [x], out, primitive._max_ref),
        (window.lower_sum, total, [of_x], [x], out_of_sum, primitive._sum_ref),
        (window.lower_scatter, attributes, [of_x, of_g], [x, g], x.shape, primitive._scatter_ref),
    ]:
        y = guarded(shape, "float32", None, case["at_end"])
        y.fill(np.nan)
        kernel = lower(settings_, layouts, task.contiguous("float32", shape))
        run_kernel(kernel, inputs, y, rng)
        np.testing.assert_array_equal(y, expected(*inputs, **settings_))
