"""Transposed convolutions: the gradients of convolutions, used to make images larger."""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.keras import activations, constraints, initializers, regularizers
from distflow.keras.layers.arguments import announcing, described, positive, sizes
from distflow.keras.layers.conv import Convolutional
from distflow.ops import dims, math
from distflow.ops.conv import conv_transpose
from distflow.ops.prims.contraction import dilated


class ConvTranspose(Convolutional):
    """activation(transposed convolution(x, kernel) + bias).

    Args:
      filters: number of output channels.
      output_padding: how much longer the output is, where several lengths are possible.
    """

    def __init__(self, filters: int, kernel_size: Any, strides: Any = 1, padding: str = "valid",
                 output_padding: Any = None, data_format: str | None = None,
                 dilation_rate: Any = 1, activation: Any = None, use_bias: bool = True,
                 kernel_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros",
                 kernel_regularizer: Any = None, bias_regularizer: Any = None,
                 activity_regularizer: Any = None, kernel_constraint: Any = None,
                 bias_constraint: Any = None, **kwargs: Any):  # fmt: skip
        where = type(self).__name__
        positive(where, "filters", filters)
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
            bias_initializer, bias_regularizer, bias_constraint, activity_regularizer, **kwargs,
        )  # fmt: skip
        self.filters = filters
        self.output_padding = None
        if output_padding is not None:
            self.output_padding = sizes("output_padding", output_padding, self._n, allow_zero=True)
            if any(p >= s for p, s in zip(self.output_padding, self.strides)):
                raise errors.invalid(
                    where, "`output_padding` must be less than `strides`",
                    f"output_padding={output_padding}, strides={self.strides}",
                )  # fmt: skip
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)

    def build(self, input_shape: Any) -> None:
        """Makes kernel and bias."""
        channels = self._input_channels(input_shape)
        self.kernel = self.add_weight(
            name="kernel", shape=(*self.kernel_size, self.filters, channels),
            initializer=self.kernel_initializer, regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )  # fmt: skip
        self._add_bias(self.filters)

    def call(self, inputs: Any) -> Any:
        """Returns activation(transposed convolution + bias)."""
        target = list(self.compute_output_shape(inputs.shape))
        if target[0] is None:
            target[0] = dims.size(inputs, 0)
        outputs = conv_transpose(
            math.cast(inputs, self.compute_dtype), self.kernel, target, self.strides,
            self.padding.upper(), self._format, self.dilation_rate,
        )  # fmt: skip
        return self._finish(outputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the output's shape."""
        return self._output_shape(input_shape, self.filters)

    def _output_shape(self, input_shape: Any, filters: int) -> Any:
        first = self.data_format == "channels_first"
        spatial = input_shape[2:] if first else input_shape[1:-1]
        extra = self.output_padding or (None,) * self._n
        rows = zip(spatial, self.kernel_size, self.strides, self.dilation_rate, extra)
        out = [self._stretched(*row) for row in rows]
        return (input_shape[0], filters, *out) if first else (input_shape[0], *out, filters)

    def _stretched(self, size: Any, window: int, stride: int, dilation: int, extra: Any) -> Any:
        if size is None:
            return None
        extent = dilated(window, dilation)
        if extra is None:
            return size * stride + (max(extent - stride, 0) if self.padding == "valid" else 0)
        cut = 2 * (extent // 2) if self.padding == "same" else 0
        return (size - 1) * stride + extent - cut + extra

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        config = super().get_config()
        config.pop("activity_regularizer", None)
        config |= described(
            self, "filters", "kernel_size", "strides", "padding", "output_padding",
            "data_format", "dilation_rate",
        )  # fmt: skip
        config |= {"activation": activations.serialize(self.activation)}
        return config | described(
            self, "use_bias", "kernel_initializer", "bias_initializer", "kernel_regularizer",
            "bias_regularizer", "activity_regularizer", "kernel_constraint", "bias_constraint",
        )  # fmt: skip


class Conv1DTranspose(ConvTranspose):
    """Transposed convolution over steps."""

    _n = 1


@announcing(strides=(1, 1), dilation_rate=(1, 1))
class Conv2DTranspose(ConvTranspose):
    """Transposed convolution over images."""


class Conv3DTranspose(ConvTranspose):
    """Transposed convolution over volumes."""

    _n = 3

    def __init__(self, filters: int, kernel_size: Any, strides: Any = (1, 1, 1),
                 padding: str = "valid", data_format: str | None = None,
                 output_padding: Any = None, dilation_rate: Any = (1, 1, 1),
                 **kwargs: Any):  # fmt: skip
        super().__init__(filters, kernel_size, strides, padding, output_padding, data_format,
                         dilation_rate, **kwargs)  # fmt: skip


Convolution1DTranspose = Conv1DTranspose
Convolution2DTranspose = Conv2DTranspose
Convolution3DTranspose = Conv3DTranspose
