"""Pooling over windows and over all positions, in one to three dimensions."""

from __future__ import annotations

from typing import Any

from distflow.keras import config as settings
from distflow.keras.engine.input_spec import InputSpec
from distflow.keras.engine.layer import Layer
from distflow.keras.layers import arguments
from distflow.keras.layers.arguments import described, sizes
from distflow.ops import array, math, pool
from distflow.ops.reduce import reduce_max, reduce_mean, reduce_sum

_LAST = {1: "NWC", 2: "NHWC", 3: "NDHWC"}
_FIRST = {1: "NCW", 2: "NCHW", 3: "NCDHW"}


class _Pooling(Layer):
    """Reduces each window of the spatial dimensions to one value.

    Args:
      pool_size: the window: an int, or one for each dimension.
      strides: distance of windows; default the window's size.
      padding: "valid" or "same".
    """

    _n = 2
    _operation: Any = None

    def __init__(self, pool_size: Any, strides: Any = None, padding: str = "valid",
                 data_format: str | None = None, name: str | None = None,
                 **kwargs: Any):  # fmt: skip
        super().__init__(name=name, **kwargs)
        self.pool_size = sizes("pool_size", pool_size, self._n)
        self.strides = sizes("strides", pool_size if strides is None else strides, self._n)
        self.padding = arguments.padding(padding)
        self.data_format = settings.standardize_data_format(data_format)
        self.input_spec = InputSpec(ndim=self._n + 2)

    def call(self, inputs: Any) -> Any:
        """Returns one value for each window."""
        layout = (_FIRST if self.data_format == "channels_first" else _LAST)[self._n]
        operation = type(self)._operation
        return operation(inputs, self.pool_size, self.strides, self.padding.upper(), layout)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | described(
            self, "pool_size", "padding", "strides", "data_format"
        )


class MaxPooling1D(_Pooling):
    """The maximum of each window of steps."""

    _n = 1
    _operation = staticmethod(pool.max_pool)

    def __init__(self, pool_size: Any = 2, strides: Any = None, padding: str = "valid",
                 data_format: str | None = None, name: str | None = None,
                 **kwargs: Any):  # fmt: skip
        super().__init__(pool_size, strides, padding, data_format, name, **kwargs)


class MaxPooling2D(_Pooling):
    """The maximum of each window of an image."""

    _operation = staticmethod(pool.max_pool)

    def __init__(self, pool_size: Any = (2, 2), strides: Any = None, padding: str = "valid",
                 data_format: str | None = None, name: str | None = None,
                 **kwargs: Any):  # fmt: skip
        super().__init__(pool_size, strides, padding, data_format, name, **kwargs)


class MaxPooling3D(_Pooling):
    """The maximum of each window of a volume."""

    _n = 3
    _operation = staticmethod(pool.max_pool)

    def __init__(self, pool_size: Any = (2, 2, 2), strides: Any = None, padding: str = "valid",
                 data_format: str | None = None, name: str | None = None,
                 **kwargs: Any):  # fmt: skip
        super().__init__(pool_size, strides, padding, data_format, name, **kwargs)


class AveragePooling1D(_Pooling):
    """The mean of each window of steps; padding does not count."""

    _n = 1
    _operation = staticmethod(pool.avg_pool)


# Keras gives average pooling no default window; TF2.0 gave it that of max pooling.
class AveragePooling2D(_Pooling):
    """The mean of each window of an image; padding does not count."""

    _operation = staticmethod(pool.avg_pool)

    def __init__(self, pool_size: Any = (2, 2), strides: Any = None, padding: str = "valid",
                 data_format: str | None = None, name: str | None = None,
                 **kwargs: Any):  # fmt: skip
        super().__init__(pool_size, strides, padding, data_format, name, **kwargs)


class AveragePooling3D(_Pooling):
    """The mean of each window of a volume; padding does not count."""

    _n = 3
    _operation = staticmethod(pool.avg_pool)


class _GlobalPooling(Layer):
    """Reduces all positions to one value a channel."""

    _n = 2
    _reduce: Any = None

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = settings.standardize_data_format(data_format)
        self.keepdims = keepdims
        self.input_spec = InputSpec(ndim=self._n + 2)

    @property
    def _axes(self) -> list[int]:
        start = 2 if self.data_format == "channels_first" else 1
        return list(range(start, start + self._n))

    def call(self, inputs: Any) -> Any:
        """Returns one value for each channel."""
        return type(self)._reduce(inputs, axis=self._axes, keepdims=self.keepdims)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | described(self, "data_format", "keepdims")


class GlobalAveragePooling1D(_GlobalPooling):
    """The mean over all steps that the mask leaves in."""

    _n = 1
    _reduce = staticmethod(reduce_mean)

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any):
        super().__init__(data_format, keepdims, **kwargs)
        self.supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Returns one value for each channel."""
        if mask is None:
            return super().call(inputs)
        axis = self._axes[0]
        mask = array.expand_dims(math.cast(mask, inputs.dtype), 3 - axis)
        total = reduce_sum(inputs * mask, axis=axis, keepdims=self.keepdims)
        return total / reduce_sum(mask, axis=axis, keepdims=self.keepdims)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """There are no steps left to mask."""
        return None


class GlobalAveragePooling2D(_GlobalPooling):
    """The mean over an image."""

    _reduce = staticmethod(reduce_mean)


class GlobalAveragePooling3D(_GlobalPooling):
    """The mean over a volume."""

    _n = 3
    _reduce = staticmethod(reduce_mean)


class GlobalMaxPooling1D(_GlobalPooling):
    """The maximum over all steps."""

    _n = 1
    _reduce = staticmethod(reduce_max)


class GlobalMaxPooling2D(_GlobalPooling):
    """The maximum over an image."""

    _reduce = staticmethod(reduce_max)


class GlobalMaxPooling3D(_GlobalPooling):
    """The maximum over a volume."""

    _n = 3
    _reduce = staticmethod(reduce_max)


MaxPool1D = MaxPooling1D
MaxPool2D = MaxPooling2D
MaxPool3D = MaxPooling3D
AvgPool1D = AveragePooling1D
AvgPool2D = AveragePooling2D
AvgPool3D = AveragePooling3D
GlobalAvgPool1D = GlobalAveragePooling1D
GlobalAvgPool2D = GlobalAveragePooling2D
GlobalAvgPool3D = GlobalAveragePooling3D
GlobalMaxPool1D = GlobalMaxPooling1D
GlobalMaxPool2D = GlobalMaxPooling2D
GlobalMaxPool3D = GlobalMaxPooling3D
