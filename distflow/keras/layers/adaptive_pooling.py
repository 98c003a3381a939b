"""Adaptive pooling: as many windows as are asked for, see `keras.ops.adaptive_average_pool`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distflow.keras import config as settings
from distflow.keras.engine.input_spec import InputSpec
from distflow.keras.engine.layer import Layer
from distflow.keras.layers.arguments import described, sizes
from distflow.keras.ops.adaptive import adaptive_average_pool, adaptive_max_pool


class _AdaptivePooling(Layer):
    """Reduces the spatial dimensions to `output_size`: an int, or one for each dimension."""

    _n = 2
    _pool: Callable[..., Any]

    def __init__(self, output_size: Any, data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.output_size = sizes("output_size", output_size, self._n)
        self.data_format = settings.standardize_data_format(data_format)
        self.input_spec = InputSpec(ndim=self._n + 2)

    def call(self, inputs: Any) -> Any:
        """Returns one value for each window."""
        return type(self)._pool(inputs, self.output_size, self.data_format)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the input's shape with the spatial dimensions asked for."""
        first = 2 if self.data_format == "channels_first" else 1
        return (*input_shape[:first], *self.output_size, *input_shape[first + self._n :])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | described(self, "output_size", "data_format")


class AdaptiveAveragePooling1D(_AdaptivePooling):
    """The means of `output_size` windows of steps."""

    _n = 1
    _pool = staticmethod(adaptive_average_pool)


class AdaptiveAveragePooling2D(_AdaptivePooling):
    """The means of `output_size` windows of an image."""

    _pool = staticmethod(adaptive_average_pool)


class AdaptiveAveragePooling3D(_AdaptivePooling):
    """The means of `output_size` windows of a volume."""

    _n = 3
    _pool = staticmethod(adaptive_average_pool)


class AdaptiveMaxPooling1D(_AdaptivePooling):
    """The maxima of `output_size` windows of steps."""

    _n = 1
    _pool = staticmethod(adaptive_max_pool)


class AdaptiveMaxPooling2D(_AdaptivePooling):
    """The maxima of `output_size` windows of an image."""

    _pool = staticmethod(adaptive_max_pool)


class AdaptiveMaxPooling3D(_AdaptivePooling):
    """The maxima of `output_size` windows of a volume."""

    _n = 3
    _pool = staticmethod(adaptive_max_pool)
