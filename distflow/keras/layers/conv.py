"""Convolutions over one to three dimensions on one base; depthwise and separable ones too."""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.core.convert import convert_to_tensor
from distflow.keras import activations, constraints, initializers, regularizers
from distflow.keras import config as settings
from distflow.keras.engine.input_spec import InputSpec
from distflow.keras.engine.layer import Layer
from distflow.keras.layers.arguments import announcing, described, padding, positive, sizes
from distflow.ops import array, math
from distflow.ops.conv import convolution
from distflow.ops.prims.contraction import dilated

_LAST = {1: "NWC", 2: "NHWC", 3: "NDHWC"}
_FIRST = {1: "NCW", 2: "NCHW", 3: "NCDHW"}


class Convolutional(Layer):
    """What all convolutions share: window, strides, padding, dilation, activation and bias."""

    _n = 2
    _paddings: tuple[str, ...] = ("valid", "same")

    def __init__(self, kernel_size: Any, strides: Any, padding_: Any, data_format: str | None,
                 dilation_rate: Any, activation: Any, use_bias: bool, bias_initializer: Any,
                 bias_regularizer: Any, bias_constraint: Any, activity_regularizer: Any,
                 **kwargs: Any):  # fmt: skip
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.kernel_size = sizes("kernel_size", kernel_size, self._n)
        self.strides = sizes("strides", strides, self._n)
        self.dilation_rate = sizes("dilation_rate", dilation_rate, self._n)
        self.padding = padding(padding_, self._paddings)
        self.data_format = settings.standardize_data_format(data_format)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.bias_initializer = initializers.get(bias_initializer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.bias_constraint = constraints.get(bias_constraint)
        self.input_spec: Any = InputSpec(min_ndim=self._n + 2)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise errors.invalid(
                type(self).__name__,
                "`strides > 1` not supported in conjunction with `dilation_rate > 1`",
                f"strides={self.strides} and dilation_rate={self.dilation_rate}",
            )  # fmt: skip
        if self.padding == "causal" and self.data_format == "channels_first":
            raise errors.invalid(
                type(self).__name__, "causal padding needs data_format='channels_last'",
                self.data_format,
            )  # fmt: skip

    @property
    def _format(self) -> str:
        return (_FIRST if self.data_format == "channels_first" else _LAST)[self._n]

    def _input_channels(self, input_shape: Any) -> int:
        axis = 1 if self.data_format == "channels_first" else len(input_shape) - 1
        channels = input_shape[axis]
        if channels is None:
            raise errors.invalid(
                type(self).__name__, "The channel dimension of the inputs should be defined",
                f"input_shape={tuple(input_shape)}",
            )  # fmt: skip
        self.input_spec = InputSpec(min_ndim=self._n + 2, axes={self._channel_axis: channels})
        return int(channels)

    @property
    def _channel_axis(self) -> int:
        return 1 if self.data_format == "channels_first" else -1

    def _add_bias(self, filters: int) -> None:
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(filters,), initializer=self.bias_initializer,
                regularizer=self.bias_regularizer, constraint=self.bias_constraint,
            )  # fmt: skip

    def _finish(self, outputs: Any) -> Any:
        if self.bias is not None:
            bias = convert_to_tensor(self.bias)
            if self.data_format == "channels_first":
                bias = array.reshape(bias, (1, -1, *[1] * self._n))
            outputs = outputs + bias
        return self.activation(outputs)

    def _convolve(self, inputs: Any, kernel: Any) -> Any:
        inputs = math.cast(inputs, self.compute_dtype)
        pad: Any = self.padding.upper()
        if pad == "CAUSAL":
            inputs = array.pad(inputs, [[0, 0], [self._reach, 0], [0, 0]])
            pad = "VALID"
        return convolution(inputs, kernel, self.strides, pad, self._format, self.dilation_rate)

    @property
    def _reach(self) -> int:
        return self.dilation_rate[0] * (self.kernel_size[0] - 1)

    def _output_shape(self, input_shape: Any, filters: int) -> Any:
        first = self.data_format == "channels_first"
        lead = len(input_shape) - self._n - 1
        spatial = input_shape[lead + 1 :] if first else input_shape[lead:-1]
        out = [self._length(*row) for row in
               zip(spatial, self.kernel_size, self.strides, self.dilation_rate)]  # fmt: skip
        if any(size is not None and size < 1 for size in out):
            raise errors.invalid(
                type(self).__name__, "Computed output size would be zero or negative",
                f"inputs shape={tuple(input_shape)}, kernel_size={self.kernel_size}, "
                f"dilation_rate={self.dilation_rate}, strides={self.strides}, "
                f"padding={self.padding}",
            )  # fmt: skip
        batch = tuple(input_shape[:lead])
        return (*batch, filters, *out) if first else (*batch, *out, filters)

    def _length(self, size: Any, window: int, stride: int, dilation: int) -> Any:
        if size is None:
            return None
        if self.padding == "valid":
            size = size - dilated(window, dilation) + 1
        return -(-size // stride)

    def _shared_config(self) -> dict[str, Any]:
        return described(self, "kernel_size", "strides", "padding", "data_format", "dilation_rate")


class Conv(Convolutional):
    """activation(convolution(x, kernel) + bias).

    Args:
      filters: number of output channels.
      kernel_size, strides, dilation_rate: an int, or one for each spatial dimension.
      padding: "valid", "same", or (in one dimension) "causal".
      groups: input and output channels are split into so many groups.
    """

    def __init__(self, filters: int, kernel_size: Any, strides: Any = 1, padding: str = "valid",
                 data_format: str | None = None, dilation_rate: Any = 1, groups: int = 1,
                 activation: Any = None, use_bias: bool = True,
                 kernel_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros",
                 kernel_regularizer: Any = None, bias_regularizer: Any = None,
                 activity_regularizer: Any = None, kernel_constraint: Any = None,
                 bias_constraint: Any = None, **kwargs: Any):  # fmt: skip
        where = type(self).__name__
        positive(where, "filters", filters)
        positive(where, "groups", groups)
        if filters % groups:
            raise errors.invalid(
                where, "The number of filters must be evenly divisible by the number of groups",
                f"groups={groups}, filters={filters}",
            )  # fmt: skip
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
            bias_initializer, bias_regularizer, bias_constraint, activity_regularizer, **kwargs,
        )  # fmt: skip
        self.filters = filters
        self.groups = groups
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)

    def build(self, input_shape: Any) -> None:
        """Makes kernel and bias."""
        channels = self._input_channels(input_shape)
        if channels % self.groups:
            raise errors.invalid(
                type(self).__name__,
                "The number of input channels must be evenly divisible by the number of groups",
                f"groups={self.groups}, input shape {tuple(input_shape)}",
            )  # fmt: skip
        self.compute_output_shape(input_shape)  # says early if the window does not fit
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*self.kernel_size, channels // self.groups, self.filters),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self._add_bias(self.filters)

    def call(self, inputs: Any) -> Any:
        """Returns activation(convolution(inputs, kernel) + bias)."""
        return self._finish(self._convolve(inputs, self.kernel))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the output's shape."""
        return self._output_shape(input_shape, self.filters)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        config = super().get_config()
        config.pop("activity_regularizer", None)
        config |= {"filters": self.filters} | self._shared_config() | {"groups": self.groups}
        config |= {"activation": activations.serialize(self.activation)}
        return config | described(
            self, "use_bias", "kernel_initializer", "bias_initializer", "kernel_regularizer",
            "bias_regularizer", "activity_regularizer", "kernel_constraint", "bias_constraint",
        )  # fmt: skip


class Conv1D(Conv):
    """Convolution over steps: [batch, steps, channels]."""

    _n = 1
    _paddings = ("valid", "same", "causal")


@announcing(strides=(1, 1), dilation_rate=(1, 1))
class Conv2D(Conv):
    """Convolution over images: [batch, height, width, channels]."""


@announcing(strides=(1, 1, 1), dilation_rate=(1, 1, 1))
class Conv3D(Conv):
    """Convolution over volumes: [batch, depth, height, width, channels]."""

    _n = 3


Convolution1D = Conv1D
Convolution2D = Conv2D
Convolution3D = Conv3D
