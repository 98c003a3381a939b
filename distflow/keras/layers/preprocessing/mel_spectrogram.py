"""MelSpectrogram: the loudness of a sound over time in bands as ears hear them."""

from __future__ import annotations

import math as _math
from typing import Any

import numpy as np

from distflow.base import errors
from distflow.core.convert import convert_to_tensor
from distflow.keras import windows
from distflow.keras.layers.arguments import positive
from distflow.keras.layers.preprocessing.data_layer import DataLayer
from distflow.keras.layers.preprocessing.mel_scale import mel_weights
from distflow.keras.ops.fourier import rfft
from distflow.ops import array, dims, math
from distflow.ops.indexing import gather
from distflow.ops.matmul import matmul
from distflow.ops.reduce import reduce_max

_NAME = "MelSpectrogram"


class MelSpectrogram(DataLayer):
    """Mel spectrograms [(batch,) bands, time] of signals [(batch,) samples].

    Args:
      fft_length: size of the Fourier transform; frames are centred, and the signal is reflected
        at its ends.
      sequence_stride: samples from frame to frame.
      sequence_length: samples of a frame; default `fft_length`.
      window: "hann", "hamming", None, or numbers that frames are multiplied with.
      sampling_rate: samples a second.
      num_mel_bins, min_freq, max_freq: number of bands, and where they begin and end in hertz;
        `max_freq` is by default half the sampling rate.
      power_to_db: whether loudness is in decibels relative to `ref_power`, at most `top_db` below
        the loudest one of the batch.
      mag_exp: the exponent of the magnitude, 2 for power.
      min_power: powers below count as this one.
    """

    def __init__(self, fft_length: int = 2048, sequence_stride: int = 512,
                 sequence_length: int | None = None, window: Any = "hann",
                 sampling_rate: int = 16000, num_mel_bins: int = 128, min_freq: float = 20.0,
                 max_freq: float | None = None, power_to_db: bool = True, top_db: float = 80.0,
                 mag_exp: float = 2.0, min_power: float = 1e-10, ref_power: float = 1.0,
                 **kwargs: Any):  # fmt: skip
        super().__init__(**kwargs)
        for name, value in (("fft_length", fft_length), ("sequence_stride", sequence_stride),
                            ("num_mel_bins", num_mel_bins),
                            ("sampling_rate", sampling_rate)):  # fmt: skip
            positive(_NAME, name, value)
        self.fft_length, self.sequence_stride = fft_length, sequence_stride
        self.sequence_length = sequence_length or fft_length
        if self.sequence_length > fft_length:
            raise errors.invalid(_NAME, f"a `sequence_length` of at most fft_length={fft_length}",
                                 f"sequence_length={sequence_length}")  # fmt: skip
        self.window, self.sampling_rate, self.num_mel_bins = window, sampling_rate, num_mel_bins
        self.min_freq, self.max_freq = min_freq, max_freq or int(sampling_rate / 2)
        if not 0 <= min_freq < self.max_freq <= sampling_rate / 2:
            raise errors.invalid(
                _NAME, "0 <= min_freq < max_freq <= sampling_rate / 2",
                f"min_freq={min_freq}, max_freq={max_freq}, sampling_rate={sampling_rate}",
            )  # fmt: skip
        self.power_to_db, self.top_db, self.mag_exp = power_to_db, top_db, mag_exp
        self.min_power, self.ref_power = min_power, ref_power
        self._frame = windows.weights_of_frame(_NAME, window, self.sequence_length, fft_length)

    def call(self, inputs: Any) -> Any:
        """Returns the spectrograms."""
        if inputs.ndim not in (1, 2):
            raise errors.invalid(_NAME, "signals [samples] or [batch, samples]",
                                 f"shape {tuple(inputs.shape)}")  # fmt: skip
        x = math.cast(inputs, self.compute_dtype)
        x = array.expand_dims(x, 0) if inputs.ndim == 1 else x
        loudness = self._decibels(self._bands(self._frames(x)))
        return array.squeeze(loudness, 0) if inputs.ndim == 1 else loudness

    def _frames(self, x: Any) -> Any:
        """Returns [batch, time, fft_length], each frame about one of every stride samples."""
        half, samples = self.fft_length // 2, dims.size(x, 1)
        if isinstance(samples, int) and samples <= half:
            raise errors.invalid(_NAME, f"signals of more than fft_length / 2 = {half} samples",
                                 f"{samples} samples")  # fmt: skip
        x = array.pad(x, [[0, 0], [half, half]], mode="REFLECT")
        count = (samples + 2 * half - self.fft_length) // self.sequence_stride + 1
        starts = array.reshape(math.range(count) * self.sequence_stride, [-1, 1])
        return gather(x, starts + np.arange(self.fft_length, dtype=np.int32)[None], axis=1)

    def _bands(self, frames: Any) -> Any:
        """Returns the powers [batch, bands, time]."""
        dtype = frames.dtype.numpy
        real, imaginary = rfft(frames * self._frame.astype(dtype), self.fft_length)
        power = math.square(real) + math.square(imaginary)
        if self.mag_exp != 2.0:
            power = math.pow(math.sqrt(power), float(self.mag_exp))
        weights = mel_weights(self.num_mel_bins, self.fft_length // 2 + 1, self.sampling_rate,
                              self.min_freq, self.max_freq)  # fmt: skip
        return array.transpose(matmul(power, convert_to_tensor(weights.astype(dtype))), (0, 2, 1))

    def _decibels(self, power: Any) -> Any:
        if not self.power_to_db:
            return power
        reference = 10.0 * _math.log10(max(self.min_power, abs(self.ref_power)))
        loudness = math.log(math.maximum(power, self.min_power)) * (10.0 / _math.log(10.0))
        loudness = loudness - reference
        return math.maximum(loudness, reduce_max(loudness) - self.top_db)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns [(batch,) bands, time]."""
        samples, half = input_shape[-1], self.fft_length // 2
        count = None
        if samples is not None:
            count = (samples + 2 * half - self.fft_length) // self.sequence_stride + 1
        return (*input_shape[:-1], self.num_mel_bins, count)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        names = ("fft_length", "sequence_stride", "sequence_length", "window", "sampling_rate",
                 "num_mel_bins", "min_freq", "max_freq", "power_to_db", "top_db", "mag_exp",
                 "min_power", "ref_power")  # fmt: skip
        config = super().get_config() | {name: getattr(self, name) for name in names}
        if not isinstance(self.window, str | None):
            config["window"] = np.asarray(self.window).tolist()
        return config
