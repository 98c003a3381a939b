"""Wrong settings and inputs of layers: one clear error each."""

import numpy as np
import pytest

import distflow.ops.operators  # noqa: F401
from distflow.keras import layers


def zeros(*shape):
    return np.zeros(shape, "float32")


CASES = [
    (lambda: layers.Dense(-1), "expected a positive integer"),
    (lambda: layers.Dense("a"), "expected a positive integer"),
    (lambda: layers.Dense(3)(zeros(2)), "min_ndim=2"),
    (lambda: layers.Dense(3, activation="rleu"), "Did you mean 'relu'"),
    (lambda: layers.Dense(3, kernel_initializer="glorot"), "initializer"),
    (lambda: layers.Conv2D(3, 3)(zeros(2, 4, 4)), "min_ndim=4"),
    (lambda: layers.Conv2D(3, (3, 3, 3)), "kernel_size"),
    (lambda: layers.Conv2D(3, 0), "kernel_size"),
    (lambda: layers.Conv2D(0, 3), "filters"),
    (lambda: layers.Conv2D(3, 3, strides=2, dilation_rate=2), "not supported in conjunction"),
    (lambda: layers.Conv2D(3, 3, groups=2), "evenly divisible"),
    (lambda: layers.Conv2D(4, 3, groups=2)(zeros(2, 4, 4, 3)), "evenly divisible"),
    (lambda: layers.Conv2D(4, 5)(zeros(2, 4, 4, 3)), "zero or negative"),
    (lambda: layers.Conv2D(4, 5, padding="foo"), "padding"),
    (lambda: layers.Conv2D(4, 5, padding="causal"), "padding"),
    (lambda: layers.MaxPooling2D(5)(zeros(2, 4, 4, 3)), "must fit"),
    (lambda: layers.Reshape((5,))(zeros(2, 4)), "total size"),
    (lambda: layers.Reshape((-1, -1)), "at most one"),
    (lambda: layers.Permute((1, 3)), "consecutive"),
    (lambda: layers.Dropout(1.5), "between 0 and 1"),
    (lambda: layers.BatchNormalization(axis=4)(zeros(2, 4)), "axis"),
    (lambda: layers.Embedding(3, 2)(np.array([[5]])), "received 5"),
    (lambda: layers.Add()(zeros(2, 4)), "list of inputs"),
    (lambda: layers.Add()([zeros(2, 4), zeros(2, 3)]), "incompatible shapes"),
    (lambda: layers.Concatenate()([zeros(2, 4), zeros(3, 3)]), "matching shapes"),
    (lambda: layers.Subtract()([zeros(2, 4)] * 3), "exactly 2"),
    (lambda: layers.Dot(1)([zeros(2, 4), zeros(2, 3)]), "axis values 4"),
    (lambda: layers.ZeroPadding2D((1, 2, 3)), "padding"),
    (lambda: layers.ReLU(max_value=-1), "negative"),
    (lambda: layers.LeakyReLU(None), "negative_slope"),
    (lambda: layers.GaussianNoise(-1), "between 0 and 1"),
    (lambda: layers.Cropping1D(3)(zeros(1, 5, 2)), "must leave something"),
]


@pytest.mark.parametrize(("call", "message"), CASES)
def test_mistake_is_one_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_channels_are_checked_against_those_of_the_first_call():
    layer = layers.Conv2D(2, 1)
    layer(zeros(1, 3, 3, 3))
    with pytest.raises(ValueError, match="value 3"):
        layer(zeros(1, 3, 3, 4))


def test_repeat_vector_needs_an_int():
    with pytest.raises(TypeError, match="integer"):
        layers.RepeatVector("a")
