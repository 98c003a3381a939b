"""Convolutions of each channel by itself: depthwise, and separable (depthwise, then 1 x 1)."""

from __future__ import annotations

from typing import Any

from distflow.core.convert import convert_to_tensor
from distflow.keras import activations, constraints, initializers, regularizers
from distflow.keras.layers.arguments import announcing, described, positive
from distflow.keras.layers.conv import Convolutional
from distflow.ops import array
from distflow.ops.conv import convolution


class _Depthwise(Convolutional):
    """`depth_multiplier` filters for each input channel."""

    def __init__(self, kernel_size: Any, strides: Any, padding: str, depth_multiplier: int,
                 data_format: str | None, dilation_rate: Any, activation: Any, use_bias: bool,
                 depthwise_initializer: Any, bias_initializer: Any, depthwise_regularizer: Any,
                 bias_regularizer: Any, activity_regularizer: Any, depthwise_constraint: Any,
                 bias_constraint: Any, **kwargs: Any):  # fmt: skip
        positive(type(self).__name__, "depth_multiplier", depth_multiplier)
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
            bias_initializer, bias_regularizer, bias_constraint, activity_regularizer, **kwargs,
        )  # fmt: skip
        self.depth_multiplier = depth_multiplier
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)
        self.depthwise_constraint = constraints.get(depthwise_constraint)

    def _add_depthwise(self, channels: int, name: str) -> Any:
        return self.add_weight(
            name=name,
            shape=(*self.kernel_size, channels, self.depth_multiplier),
            initializer=self.depthwise_initializer,
            regularizer=self.depthwise_regularizer,
            constraint=self.depthwise_constraint,
        )

    def _depthwise(self, inputs: Any, kernel: Any) -> Any:
        # As a grouped convolution with one input channel a group.
        w = convert_to_tensor(kernel)
        *window, channels, multiplier = w.shape
        return self._convolve(inputs, array.reshape(w, (*window, 1, channels * multiplier)))


class DepthwiseConv(_Depthwise):
    """activation(each channel convolved with its own filters + bias)."""

    def __init__(self, kernel_size: Any, strides: Any = 1, padding: str = "valid",
                 depth_multiplier: int = 1, data_format: str | None = None,
                 dilation_rate: Any = 1, activation: Any = None, use_bias: bool = True,
                 depthwise_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros",
                 depthwise_regularizer: Any = None, bias_regularizer: Any = None,
                 activity_regularizer: Any = None, depthwise_constraint: Any = None,
                 bias_constraint: Any = None, **kwargs: Any):  # fmt: skip
        super().__init__(
            kernel_size, strides, padding, depth_multiplier, data_format, dilation_rate,
            activation, use_bias, depthwise_initializer, bias_initializer, depthwise_regularizer,
            bias_regularizer, activity_regularizer, depthwise_constraint, bias_constraint,
            **kwargs,
        )  # fmt: skip

    def build(self, input_shape: Any) -> None:
        """Makes kernel and bias."""
        channels = self._input_channels(input_shape)
        self.kernel = self._add_depthwise(channels, "kernel")
        self._add_bias(channels * self.depth_multiplier)

    def call(self, inputs: Any) -> Any:
        """Returns activation(depthwise convolution + bias)."""
        return self._finish(self._depthwise(inputs, self.kernel))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the output's shape."""
        channels = input_shape[self._channel_axis]
        return self._output_shape(input_shape, self.depth_multiplier * channels)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        config = super().get_config()
        config.pop("activity_regularizer", None)
        config |= {"depth_multiplier": self.depth_multiplier} | self._shared_config()
        config |= {"activation": activations.serialize(self.activation)}
        return config | described(
            self, "use_bias", "depthwise_initializer", "bias_initializer",
            "depthwise_regularizer", "bias_regularizer", "activity_regularizer",
            "depthwise_constraint", "bias_constraint",
        )  # fmt: skip


class DepthwiseConv1D(DepthwiseConv):
    """Depthwise convolution over steps."""

    _n = 1


@announcing(strides=(1, 1), dilation_rate=(1, 1))
class DepthwiseConv2D(DepthwiseConv):
    """Depthwise convolution over images."""


class SeparableConv(_Depthwise):
    """A depthwise convolution, then `filters` mixtures of its channels."""

    def __init__(self, filters: int, kernel_size: Any, strides: Any = 1, padding: str = "valid",
                 data_format: str | None = None, dilation_rate: Any = 1,
                 depth_multiplier: int = 1, activation: Any = None, use_bias: bool = True,
                 depthwise_initializer: Any = "glorot_uniform",
                 pointwise_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros",
                 depthwise_regularizer: Any = None, pointwise_regularizer: Any = None,
                 bias_regularizer: Any = None, activity_regularizer: Any = None,
                 depthwise_constraint: Any = None, pointwise_constraint: Any = None,
                 bias_constraint: Any = None, **kwargs: Any):  # fmt: skip
        positive(type(self).__name__, "filters", filters)
        super().__init__(
            kernel_size, strides, padding, depth_multiplier, data_format, dilation_rate,
            activation, use_bias, depthwise_initializer, bias_initializer, depthwise_regularizer,
            bias_regularizer, activity_regularizer, depthwise_constraint, bias_constraint,
            **kwargs,
        )  # fmt: skip
        self.filters = filters
        self.pointwise_initializer = initializers.get(pointwise_initializer)
        self.pointwise_regularizer = regularizers.get(pointwise_regularizer)
        self.pointwise_constraint = constraints.get(pointwise_constraint)

    def build(self, input_shape: Any) -> None:
        """Makes both kernels and the bias."""
        channels = self._input_channels(input_shape)
        self.depthwise_kernel = self._add_depthwise(channels, "depthwise_kernel")
        self.pointwise_kernel = self.add_weight(
            name="pointwise_kernel",
            shape=(*[1] * self._n, channels * self.depth_multiplier, self.filters),
            initializer=self.pointwise_initializer,
            regularizer=self.pointwise_regularizer,
            constraint=self.pointwise_constraint,
        )
        self._add_bias(self.filters)

    def call(self, inputs: Any) -> Any:
        """Returns activation(separable convolution + bias)."""
        x = self._depthwise(inputs, self.depthwise_kernel)
        return self._finish(convolution(x, self.pointwise_kernel, 1, "VALID", self._format, 1))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the output's shape."""
        return self._output_shape(input_shape, self.filters)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        config = super().get_config()
        config.pop("activity_regularizer", None)
        config |= described(self, "depth_multiplier", "filters") | self._shared_config()
        config |= {"activation": activations.serialize(self.activation)}
        return config | described(
            self, "use_bias", "depthwise_initializer", "pointwise_initializer",
            "bias_initializer", "depthwise_regularizer", "pointwise_regularizer",
            "bias_regularizer", "activity_regularizer", "depthwise_constraint",
            "pointwise_constraint", "bias_constraint",
        )  # fmt: skip


class SeparableConv1D(SeparableConv):
    """Separable convolution over steps."""

    _n = 1


@announcing(strides=(1, 1), dilation_rate=(1, 1))
class SeparableConv2D(SeparableConv):
    """Separable convolution over images."""


SeparableConvolution1D = SeparableConv1D
SeparableConvolution2D = SeparableConv2D
