"""Adaptive pooling: as many windows as are asked for, of nearly equal size.

Window i of n over a size s reaches from floor(i s / n) to ceil((i + 1) s / n), as in PyTorch.
Windows are boxes, so one dimension is reduced after another.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import errors
from distflow.core.convert import convert_to_tensor
from distflow.keras import config as settings
from distflow.keras.engine.input_spec import InputSpec
from distflow.keras.engine.layer import Layer
from distflow.keras.layers.arguments import described, sizes
from distflow.ops import array
from distflow.ops.indexing import gather
from distflow.ops.matmul import tensordot
from distflow.ops.reduce import reduce_max


class _AdaptivePooling(Layer):
    """Reduces the spatial dimensions to `output_size`: an int, or one for each dimension."""

    _n = 2

    def __init__(self, output_size: Any, data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.output_size = sizes("output_size", output_size, self._n)
        self.data_format = settings.standardize_data_format(data_format)
        self.input_spec = InputSpec(ndim=self._n + 2)

    def _first_axis(self) -> int:
        return 2 if self.data_format == "channels_first" else 1

    def call(self, inputs: Any) -> Any:
        """Returns one value for each window."""
        x = inputs
        for axis, count in enumerate(self.output_size, self._first_axis()):
            size = x.shape[axis]
            if size is None:
                raise errors.invalid(
                    type(self).__name__, "all spatial dimensions must be known",
                    f"input shape {tuple(x.shape)}",
                )  # fmt: skip
            x = self._reduce(x, axis, _bounds(int(size), count))
        return x

    def _reduce(self, x: Any, axis: int, bounds: list[tuple[int, int]]) -> Any:
        raise AssertionError("subclasses define _reduce")

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the input's shape with the spatial dimensions asked for."""
        first = self._first_axis()
        return (*input_shape[:first], *self.output_size, *input_shape[first + self._n :])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | described(self, "output_size", "data_format")


def _bounds(size: int, count: int) -> list[tuple[int, int]]:
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


class _AdaptiveAverage(_AdaptivePooling):
    def _reduce(self, x: Any, axis: int, bounds: list[tuple[int, int]]) -> Any:
        weights = np.zeros((int(x.shape[axis]), len(bounds)), x.dtype.numpy)
        for i, (start, stop) in enumerate(bounds):
            weights[start:stop, i] = 1 / (stop - start)
        y = tensordot(x, convert_to_tensor(weights), [[axis], [0]])
        order = list(range(x.ndim - 1))
        order.insert(axis, x.ndim - 1)
        return array.transpose(y, order)


class _AdaptiveMax(_AdaptivePooling):
    def _reduce(self, x: Any, axis: int, bounds: list[tuple[int, int]]) -> Any:
        longest = max(stop - start for start, stop in bounds)
        # Shorter windows hold their last element several times.
        rows = [[min(start + k, stop - 1) for k in range(longest)] for start, stop in bounds]
        return reduce_max(gather(x, np.asarray(rows, np.int32), axis=axis), axis=axis + 1)


class AdaptiveAveragePooling1D(_AdaptiveAverage):
    """The means of `output_size` windows of steps."""

    _n = 1


class AdaptiveAveragePooling2D(_AdaptiveAverage):
    """The means of `output_size` windows of an image."""


class AdaptiveAveragePooling3D(_AdaptiveAverage):
    """The means of `output_size` windows of a volume."""

    _n = 3


class AdaptiveMaxPooling1D(_AdaptiveMax):
    """The maxima of `output_size` windows of steps."""

    _n = 1


class AdaptiveMaxPooling2D(_AdaptiveMax):
    """The maxima of `output_size` windows of an image."""


class AdaptiveMaxPooling3D(_AdaptiveMax):
    """The maxima of `output_size` windows of a volume."""

    _n = 3
