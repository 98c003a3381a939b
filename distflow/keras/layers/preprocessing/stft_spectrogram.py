"""STFTSpectrogram: the frequencies of a signal over time, by convolutions that can be trained."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import errors
from distflow.keras import config as settings
from distflow.keras import windows
from distflow.keras.engine.layer import Layer
from distflow.keras.layers.arguments import padding as checked_padding
from distflow.keras.layers.arguments import positive
from distflow.ops import array, math
from distflow.ops.conv import convolution
from distflow.ops.shaping import concat

_MODES = ("log", "magnitude", "psd", "real", "imag", "angle", "stft")
_NAME = "STFTSpectrogram"


class STFTSpectrogram(Layer):
    """Short-time Fourier transform of [batch, time, channels]: each channel's frequencies.

    Args:
      mode: "real", "imag", both behind each other ("stft"), "magnitude", its logarithm ("log"),
        "angle", or "psd": the power of each frequency and its negative.
      frame_length: samples of a frame.
      frame_step: samples from frame to frame; default half a frame.
      fft_length: the frequencies are multiples of 1 / fft_length; default the next power of two.
      window: "hann", "hamming", None, or numbers [frame_length] that frames are multiplied with.
      scaling: "density", "spectrum" or None: what the window's size is divided out by.
      expand_dims: whether the output is [batch, time, frequencies, channels], else
        [batch, time, channels * frequencies].
    """

    def __init__(self, mode: str = "log", frame_length: int = 256, frame_step: int | None = None,
                 fft_length: int | None = None, window: Any = "hann", periodic: bool = False,
                 scaling: str | None = "density", padding: str = "valid",
                 expand_dims: bool = False, data_format: str | None = None,
                 **kwargs: Any):  # fmt: skip
        super().__init__(**kwargs)
        positive(_NAME, "frame_length", frame_length)
        if mode not in _MODES:
            raise errors.invalid(_NAME, f"`mode` among {_MODES}", f"mode={mode!r}")
        if frame_step is not None and not 0 < frame_step <= frame_length:
            raise errors.invalid(
                _NAME, "`frame_step` should be a positive integer not greater than `frame_length`",
                f"frame_step={frame_step}, frame_length={frame_length}",
            )  # fmt: skip
        if fft_length is not None and fft_length < frame_length:
            raise errors.invalid(
                _NAME, "`fft_length` should be not less than `frame_length`",
                f"fft_length={fft_length}, frame_length={frame_length}",
            )  # fmt: skip
        if scaling not in ("density", "spectrum", None):
            raise errors.invalid(
                _NAME, "`scaling` must be None, 'density' or 'spectrum'", f"scaling={scaling!r}"
            )
        self.mode, self.scaling, self.expand_dims = mode, scaling, expand_dims
        self.frame_length, self.frame_step, self.fft_length = frame_length, frame_step, fft_length
        self._step = frame_step or max(frame_length // 2, 1)
        self._length = fft_length or 1 << (frame_length - 1).bit_length()
        self.window, self.periodic = window, periodic
        self._weights_of_frame = windows.weights_of_frame(
            _NAME, window, frame_length, periodic=periodic
        )
        self.padding = checked_padding(padding)
        self.data_format = settings.standardize_data_format(data_format)

    @property
    def _bins(self) -> int:
        return self._length // 2 + 1

    def build(self, input_shape: Any) -> None:
        """Makes the kernels [frame_length, 1, frequencies]: cosines and sines under the window."""
        if len(input_shape) != 3:
            raise errors.invalid(_NAME, "inputs of rank 3: [batch, time, channels]",
                                 f"shape {tuple(input_shape)}")  # fmt: skip
        real, imaginary = self._kernels()
        shape = (self.frame_length, 1, self._bins)
        if self.mode != "imag":
            self.real_kernel = self.add_weight(
                name="real_kernel", shape=shape, initializer=lambda _, dtype: real.astype(dtype)
            )
        if self.mode != "real":
            self.imag_kernel = self.add_weight(
                name="imag_kernel", shape=shape,
                initializer=lambda _, dtype: imaginary.astype(dtype),
            )  # fmt: skip

    def _kernels(self) -> tuple[Any, Any]:
        window = self._weights_of_frame
        if self.scaling == "density":
            window = window / np.sqrt(np.square(window).sum())
        elif self.scaling == "spectrum":
            window = window / window.sum()
        turns = np.outer(np.arange(self.frame_length), np.arange(self._bins)) % self._length
        angles = 2 * np.pi * turns / self._length
        sines = np.sin(angles)
        # Of frequencies without an imaginary part, exactly.
        sines[:, 0] = 0
        if self._length % 2 == 0:
            sines[:, -1] = 0
        kernels = (np.cos(angles), -sines + 0.0)
        return tuple((k * window[:, None])[:, None, :] for k in kernels)  # type: ignore[return-value]

    def call(self, inputs: Any) -> Any:
        """Returns the spectrograms."""
        x = math.cast(inputs, self.compute_dtype)
        if self.data_format == "channels_last":
            x = array.transpose(x, (0, 2, 1))
        channels = int(x.shape[1])
        # [batch * channels, time, 1]: each channel by itself.
        x = array.reshape(x, [-1, self._samples(x), 1])
        found = self._spectrum(x)
        steps = found.shape[1] if found.shape[1] is not None else -1
        found = array.reshape(found, [-1, channels, steps, int(found.shape[-1])])
        return self._arranged(found)

    def _samples(self, x: Any) -> int:
        return x.shape[2] if x.shape[2] is not None else -1

    def _spectrum(self, x: Any) -> Any:
        def product(kernel: Any) -> Any:
            return convolution(x, kernel, self._step, self.padding.upper(), "NWC", 1)

        if self.mode == "real":
            return product(self.real_kernel)
        if self.mode == "imag":
            return product(self.imag_kernel)
        real, imaginary = product(self.real_kernel), product(self.imag_kernel)
        if self.mode == "stft":
            return concat([real, imaginary], -1)
        if self.mode == "angle":
            return math.atan2(imaginary, real)
        power = math.square(real) + math.square(imaginary)
        if self.mode == "psd":
            return power * self._twins()
        magnitude = math.sqrt(power)
        if self.mode == "magnitude":
            return magnitude
        return math.log(math.maximum(magnitude, _LEAST))

    def _twins(self) -> Any:
        """2 for frequencies whose negative is another one, else 1."""
        counts = np.full(self._bins, 2.0)
        counts[0] = 1.0
        if self._length % 2 == 0:
            counts[-1] = 1.0
        return counts.astype(self.compute_dtype)

    def _arranged(self, found: Any) -> Any:
        """From [batch, channels, steps, frequencies]."""
        first = self.data_format == "channels_first"
        if self.expand_dims:
            return found if first else array.transpose(found, (0, 2, 3, 1))
        channels, depth = int(found.shape[1]), int(found.shape[3])
        steps = found.shape[2] if found.shape[2] is not None else -1
        if first:
            found = array.transpose(found, (0, 1, 3, 2))
            return array.reshape(found, [-1, channels * depth, steps])
        found = array.transpose(found, (0, 2, 1, 3))
        return array.reshape(found, [-1, steps, channels * depth])

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the spectrograms' shape."""
        first = self.data_format == "channels_first"
        batch = input_shape[0]
        channels, time = input_shape[1:] if first else reversed(input_shape[1:])
        steps = None
        if time is not None:
            reach = time - self.frame_length + 1 if self.padding == "valid" else time
            steps = -(-reach // self._step)
        depth = self._bins * (2 if self.mode == "stft" else 1)
        if self.expand_dims:
            return (batch, channels, steps, depth) if first else (batch, steps, depth, channels)
        wide = None if channels is None else channels * depth
        return (batch, wide, steps) if first else (batch, steps, wide)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        window = self.window
        return super().get_config() | {
            "mode": self.mode, "frame_length": self.frame_length, "frame_step": self.frame_step,
            "fft_length": self.fft_length,
            "window": window if isinstance(window, str | None) else np.asarray(window).tolist(),
            "periodic": self.periodic, "scaling": self.scaling, "padding": self.padding,
            "data_format": self.data_format, "expand_dims": self.expand_dims,
        }  # fmt: skip


_LEAST = 1e-7
