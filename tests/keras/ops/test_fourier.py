"""Transforms of any size are NumPy's, native in functions, and have gradients."""

import numpy as np
import pytest

import distflow as tf
from distflow import keras
from distflow.base import flags

ops = keras.ops
_RNG = np.random.default_rng(3)


@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 67, 96, 101, 134, 1000, 4096])
def test_transforms_of_any_size_are_those_of_numpy(size):
    x, y = _RNG.normal(size=(2, 3, size))
    real, imaginary = ops.fft((x, y))
    np.testing.assert_allclose(np.asarray(real) + 1j * np.asarray(imaginary),
                               np.fft.fft(x + 1j * y), rtol=0, atol=1e-11 * size)  # fmt: skip


@pytest.mark.parametrize("size", [2, 7, 64, 130, 202])
def test_real_transforms_go_back(size):
    x = _RNG.normal(size=(2, size)).astype("float32")
    half = ops.rfft(x)
    np.testing.assert_allclose(np.asarray(half[0]), np.fft.rfft(x).real, atol=1e-4)
    np.testing.assert_allclose(ops.irfft(half, size), x, atol=1e-5)


def test_frames_go_back_to_the_signal():
    x = _RNG.normal(size=(2, 96)).astype("float32")
    back = ops.istft(ops.stft(x, 16, 4, 16), 16, 4, 16)
    # At the ends fewer frames overlap than a number is divided by, as in Keras.
    np.testing.assert_allclose(back[:, 8:-8], x[:, 8:-8], atol=1e-5)
    assert back.shape == x.shape


def test_a_transform_in_a_function_is_native_and_has_a_gradient():
    pytest.importorskip("llvmlite")
    x = _RNG.normal(size=(2, 67)).astype("float32")

    @tf.function
    def energy(x):
        real, imaginary = ops.fft((x, tf.zeros_like(x)))
        return tf.reduce_sum(real**2 + imaginary**2)

    with flags.override(DISTFLOW_EXECUTOR="cpu"):
        assert "0 on the host" in energy.explain(tf.constant(x))
    with tf.GradientTape() as tape:
        t = tf.constant(x)
        tape.watch(t)
        found = energy(t)
    # Parseval: n times the sum of squares, whose gradient is 2 n x.
    np.testing.assert_allclose(found, 67 * (x**2).sum(), rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(found, t), 2 * 67 * x, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.fft(np.zeros(4)), "tuple of two tensors"),
        (lambda: ops.fft((np.zeros(4), np.zeros(5))), "same shape"),
        (lambda: ops.fft2((np.zeros(4), np.zeros(4))), "at least 2 axes"),
        (lambda: ops.stft(np.zeros(9, "float32"), 4, 0, 4), "positive integer"),
        (lambda: ops.stft(np.zeros(9, "float32"), 8, 2, 4), "equal or larger"),
        (lambda: ops.stft(np.zeros(9, "float32"), 4, 2, 4, window="blackman"), "must be one of"),
        (lambda: ops.stft(np.zeros(9, "float32"), 4, 2, 4, window=np.ones(3)), r"shape \[4\]"),
        (lambda: ops.stft(np.zeros(9, "int32"), 4, 2, 4), "Invalid input type"),
    ],
)  # fmt: skip
def test_wrong_calls_say_what_is_wrong(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
