"""Spectrograms of frames longer than one matrix of the transform, against NumPy's transform."""

import numpy as np
import pytest

import distflow as tf
from distflow.base import errors
from distflow.keras import layers
from distflow.keras.layers.preprocessing.mel_scale import mel_weights

SIZE, STRIDE, BANDS, RATE = 512, 128, 8, 8000
SETTINGS = {
    "fft_length": SIZE, "sequence_stride": STRIDE, "num_mel_bins": BANDS, "sampling_rate": RATE,
    "power_to_db": False,
}  # fmt: skip
X = np.random.default_rng(5).normal(size=(2, 2000)).astype("float32")
# The window that its formula gives: periodic, in the middle of the frame.
HANN = np.pad(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400), 56)


@pytest.mark.parametrize(
    ("window", "weights"),
    [("hann", HANN), (HANN[56:456], HANN), (None, np.ones(SIZE))],
    ids=["name", "numbers", "none"],
)
def test_bands_are_the_weighted_powers_of_numpys_transform(window, weights):
    found = layers.MelSpectrogram(window=window, sequence_length=400, **SETTINGS)(X)
    padded = np.pad(X.astype(float), ((0, 0), (SIZE // 2, SIZE // 2)), mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, SIZE, 1)[:, ::STRIDE]
    power = np.abs(np.fft.rfft(frames * weights)) ** 2
    bands = power @ mel_weights(BANDS, SIZE // 2 + 1, RATE, 20.0, RATE / 2)
    np.testing.assert_allclose(found, bands.transpose(0, 2, 1), rtol=1e-4)


def test_no_step_holds_the_matrix_of_the_whole_transform():
    layer = layers.MelSpectrogram(**SETTINGS)
    run = tf.function(lambda x: layer(x)).get_concrete_function(tf.TensorSpec(X.shape, tf.float32))
    sizes = [node.attributes["value"].size for node in run.graph.nodes
             if node.primitive.name == "constant"]  # fmt: skip
    assert 0 < max(sizes) < SIZE * (SIZE // 2 + 1) // 8


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.MelSpectrogram(16, sequence_length=8, window=np.ones(7)),
        lambda: layers.STFTSpectrogram(frame_length=8, window=np.ones(7)),
    ],
    ids=["mel", "stft"],
)
def test_a_window_of_another_length_is_refused(make):
    with pytest.raises(errors.InvalidArgumentError, match=r"shape \[8\]; received \[7\]"):
        make()
