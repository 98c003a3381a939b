"""The gradient of a depthwise filter, against sums over positions in plain NumPy."""

from typing import NamedTuple

import numpy as np
import pytest

import distflow as tf
from distflow.ops.prims import depthwise


class Case(NamedTuple):
    size: tuple[int, int]
    window: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    several: int = 1


CASES = {
    "plain": Case((7, 6), (3, 3)),
    "strided": Case((8, 9), (3, 2), strides=(2, 2)),
    "dilated": Case((9, 8), (2, 3), dilations=(2, 2)),
    "several filters": Case((5, 6), (3, 3), several=3),
    "one tap": Case((4, 4), (1, 1), several=2),
}
CHANNELS = 5


def pads_of(size, window, stride, dilation, padding):
    """TensorFlow's rule: the odd zero at the end."""
    extent = (window - 1) * dilation + 1
    if padding == "VALID":
        return 0, 0, (size - extent) // stride + 1
    out = -(-size // stride)
    total = max((out - 1) * stride + extent - size, 0)
    return total // 2, total - total // 2, out


def reference(x, slope, window, strides, dilations, padding, several):
    (top, bottom, rows), (left, right, columns) = (
        pads_of(*args, padding) for args in zip(x.shape[1:3], window, strides, dilations)
    )
    x = np.pad(x.astype(float), ((0, 0), (top, bottom), (left, right), (0, 0)))
    result = np.zeros((*window, CHANNELS, several))
    for i in range(rows):
        for j in range(columns):
            for a in range(window[0]):
                for b in range(window[1]):
                    seen = x[
                        :, i * strides[0] + a * dilations[0], j * strides[1] + b * dilations[1]
                    ]
                    part = slope[:, i, j].reshape(-1, CHANNELS, several).astype(float)
                    result[a, b] += np.einsum("nc,ncm->cm", seen, part)
    return result


def gradient(x, w, slope, strides, dilations, padding):
    with tf.GradientTape() as tape:
        tape.watch(w)
        y = tf.nn.depthwise_conv2d(x, w, [1, *strides, 1], padding, dilations=dilations)
    return tape.gradient(y, w, output_gradients=slope)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("name", CASES)
def test_gradient_is_the_sum_over_positions(name, padding, executor):
    case = CASES[name]
    numbers = np.random.default_rng(0)
    x = tf.constant(numbers.normal(size=(2, *case.size, CHANNELS)).astype(np.float32))
    w = tf.constant(numbers.normal(size=(*case.window, CHANNELS, case.several)), "float32")
    how = case.strides, case.dilations, padding
    shape = tf.nn.depthwise_conv2d(x, w, [1, *how[0], 1], padding, dilations=how[1]).shape
    slope = tf.constant(numbers.normal(size=shape).astype(np.float32))
    expected = reference(x.numpy(), slope.numpy(), case.window, *how, case.several)
    found = tf.function(lambda *a: gradient(*a, *how))(x, w, slope)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(gradient(x, w, slope, *how), expected, rtol=1e-4, atol=1e-4)


def test_a_batch_of_unknown_size_needs_no_convolution_for_each_channel():
    spec = [tf.TensorSpec((None, 6, 6, CHANNELS)), tf.TensorSpec((3, 3, CHANNELS, 1))]

    @tf.function(input_signature=spec)
    def both(x, w):
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            y = tf.nn.depthwise_conv2d(x, w, [1, 1, 1, 1], "SAME")
        return tape.gradient(y, [x, w])

    names = [n.primitive.name for n in both.get_concrete_function().graph.nodes]
    assert names.count("conv") <= 2
    x = np.random.default_rng(0).normal(size=(3, 6, 6, CHANNELS)).astype(np.float32)
    w = np.random.default_rng(1).normal(size=(3, 3, CHANNELS, 1)).astype(np.float32)
    slope = np.ones((3, 6, 6, CHANNELS), np.float32)
    of_x, of_w = both(x, w)
    expected = reference(x, slope, (3, 3), (1, 1), (1, 1), "SAME", 1)
    np.testing.assert_allclose(of_w, expected, rtol=1e-4, atol=1e-4)
    # Each element counts for each tap that sees it.
    inside = np.pad(np.ones((6, 6)), 1)
    seen = sum(
        inside[2 - a : 8 - a, 2 - b : 8 - b, None] * w[a, b, :, 0]
        for a in range(3) for b in range(3)
    )  # fmt: skip
    np.testing.assert_allclose(of_x, np.broadcast_to(seen, x.shape), rtol=1e-4, atol=1e-4)


def test_large_windows_are_left_to_the_convolution():
    x, w = tf.zeros((1, 9, 9, 4)), tf.zeros((8, 8, 4, 1))
    w4 = tf.reshape(w, (8, 8, 1, 4))
    assert not depthwise.is_for(x, w4, tf.zeros((1, 2, 2, 4)), ((0, 0), (0, 0)), (1, 1), 4)
