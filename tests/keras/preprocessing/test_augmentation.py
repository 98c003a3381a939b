import numpy as np
import pytest

from distflow import keras

image = keras.preprocessing.image
X = np.linspace(0, 255, 27, dtype=np.float32).reshape(3, 3, 3)


def test_channels_are_shifted_within_their_range():
    found = image.apply_channel_shift(X, 10.0)
    np.testing.assert_allclose(found, np.clip(X + 10, 0, 255))
    assert image.random_channel_shift(X, 5.0).shape == X.shape


def test_brightness_is_a_factor():
    np.testing.assert_allclose(
        image.apply_brightness_shift(X, 0.5, scale=False), np.floor(np.floor(X) * 0.5)
    )
    assert image.apply_brightness_shift(X, 3.0).max() == pytest.approx(255)
    with pytest.raises(ValueError, match="brightness_range"):
        image.random_brightness(X, [1.0])


def test_a_function_runs_what_is_between_tensors():
    x = keras.Input((2,))
    h = x * 2.0
    double = keras.Function(x, {"y": h + 1.0})
    np.testing.assert_array_equal(double(np.ones((1, 2), "float32"))["y"], [[3, 3]])
    assert tuple(double(keras.Input((2,)))["y"].shape) == (None, 2)
    with pytest.raises(ValueError, match="expects 1 input"):
        double([np.ones(2), np.ones(2)])
