"""ConvLSTM: an LSTM whose products are convolutions.

Source: Shi et al. 2015, arXiv:1506.04214, without peepholes.
"""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.keras import config as settings_
from distflow.keras.engine.input_spec import InputSpec
from distflow.keras.layers.arguments import described, padding, sizes
from distflow.keras.layers.rnn.cell import settings_of
from distflow.keras.layers.rnn.cell_rnn import CellRNN, of_cell
from distflow.keras.layers.rnn.lstm import LSTMCell
from distflow.ops import array, dims, math
from distflow.ops.conv import convolution
from distflow.ops.prims.contraction import dilated

_FORMATS = {
    "channels_last": {1: "NWC", 2: "NHWC", 3: "NDHWC"},
    "channels_first": {1: "NCW", 2: "NCHW", 3: "NCDHW"},
}
_GEOMETRY = ("kernel_size", "strides", "padding", "data_format", "dilation_rate")


class ConvLSTMCell(LSTMCell):
    """A step of ConvLSTM over images of `rank` spatial dimensions.

    The inputs are convolved with `strides`, `padding` and `dilation_rate`; the state h, which has
    the size of the result, always with stride 1 and padding "same".
    """

    def __init__(self, filters: int, rank: int, kernel_size: Any, strides: Any, padding_: str,
                 data_format: str | None, dilation_rate: Any, **kwargs: Any):  # fmt: skip
        kwargs["implementation"] = 1  # there is a dropout mask for each gate
        super().__init__(filters, **kwargs)
        self.filters = filters
        self.rank = rank
        self.kernel_size = sizes("kernel_size", kernel_size, rank)
        self.strides = sizes("strides", strides, rank)
        self.padding = padding(padding_)
        self.data_format = settings_.standardize_data_format(data_format)
        self.dilation_rate = sizes("dilation_rate", dilation_rate, rank)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise errors.invalid(
                "ConvLSTM", "`strides > 1` not supported in conjunction with `dilation_rate > 1`",
                f"strides={self.strides} and dilation_rate={self.dilation_rate}",
            )  # fmt: skip
        self._step_rank = rank + 2
        self._gate_axis = -1 if self.data_format == "channels_last" else 1

    def build(self, input_shape: Any) -> None:
        """Makes the weights."""
        last = self.data_format == "channels_last"
        self._spatial = tuple(input_shape[1:-1] if last else input_shape[2:])
        channels = input_shape[-1 if last else 1]
        if None in (*self._spatial, channels):
            raise errors.invalid(
                "ConvLSTM", "ConvLSTM layers only support static input shapes for the spatial "
                "dimension, and known channels", f"input_shape={tuple(input_shape)}",
            )  # fmt: skip
        width = 4 * self.filters
        self.kernel = self._weight("kernel", (*self.kernel_size, int(channels), width))
        self.recurrent_kernel = self._weight(
            "recurrent_kernel", (*self.kernel_size, self.filters, width)
        )
        self.bias = self._weight("bias", (width,)) if self.use_bias else None

    def output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of h for inputs [batch, ...]."""
        last = self.data_format == "channels_last"
        found = []
        for size, window, stride, dilation in zip(
            input_shape[1:-1] if last else input_shape[2:], self.kernel_size, self.strides,
            self.dilation_rate,
        ):  # fmt: skip
            if size is not None and self.padding == "valid":
                size = size - dilated(window, dilation) + 1
            found.append(None if size is None else -(-size // stride))
        if last:
            return (input_shape[0], *found, self.filters)
        return (input_shape[0], self.filters, *found)

    def get_initial_state(self, batch_size: Any = None) -> list[Any]:
        """Returns h and c of zeros."""
        last = self.data_format == "channels_last"
        inputs = (None, *self._spatial, None) if last else (None, None, *self._spatial)
        shape = [batch_size, *self.output_shape(inputs)[1:]]
        return [array.zeros(shape, self.compute_dtype) for _ in range(2)]

    def project(self, inputs: Any, training: Any = False) -> Any:
        """Returns the inputs' part of all gates, for any sizes before those of a step."""
        x = math.cast(inputs, self.compute_dtype)
        masks = self._input_masks(x, training)
        lead = [dims.size(x, i) for i in range(x.ndim - self.rank - 1)]
        parts = [x] if masks is None else [x * mask for mask in masks]
        kernels = array.split(self.kernel, len(parts), axis=-1)
        flat = [self._input_conv(_flat(part, len(lead)), k) for part, k in zip(parts, kernels)]
        z = array.concat(flat, self._gate_axis) if len(flat) > 1 else flat[0]
        if self.bias is not None:
            ones = [1] * self.rank
            z = z + (self.bias if self._gate_axis == -1 else array.reshape(self.bias, [-1, *ones]))
        return array.reshape(z, [*lead, *(dims.size(z, i) for i in range(1, z.ndim))])

    def _input_conv(self, x: Any, kernel: Any) -> Any:
        form = _FORMATS[self.data_format][self.rank]
        return convolution(x, kernel, self.strides, self.padding.upper(), form, self.dilation_rate)

    def _recurrent(self, h: Any, training: Any) -> Any:
        hs, kernels = [h], [self.recurrent_kernel]
        if self._drops(training, "recurrent_dropout"):
            hs = [h * mask for mask in self.get_recurrent_dropout_mask(h)]
            kernels = array.split(self.recurrent_kernel, 4, axis=-1)
        form = _FORMATS[self.data_format][self.rank]
        parts = [convolution(x, k, 1, "SAME", form) for x, k in zip(hs, kernels)]
        return array.concat(parts, self._gate_axis) if len(parts) > 1 else parts[0]

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal cell."""
        config = {k: v for k, v in super().get_config().items() if k != "units"}
        return config | described(self, "filters", "rank", *_GEOMETRY)


def _flat(x: Any, count: int) -> Any:
    """Returns x with its first `count` dimensions as one."""
    if count == 1:
        return x
    return array.reshape(x, [-1, *(dims.size(x, i) for i in range(count, x.ndim))])


class ConvLSTM(CellRNN):
    """ConvLSTM over sequences [batch, time, *spatial, channels] of one to three dimensions."""

    _cell = ConvLSTMCell
    _cell_name = "conv_lstm_cell"
    _n = 1

    def __init__(self, filters: int, kernel_size: Any, strides: Any = 1, padding: str = "valid",
                 data_format: str | None = None, dilation_rate: Any = 1, activation: Any = "tanh",
                 recurrent_activation: Any = "sigmoid", use_bias: bool = True,
                 kernel_initializer: Any = "glorot_uniform",
                 recurrent_initializer: Any = "orthogonal", bias_initializer: Any = "zeros",
                 unit_forget_bias: bool = True, kernel_regularizer: Any = None,
                 recurrent_regularizer: Any = None, bias_regularizer: Any = None,
                 activity_regularizer: Any = None, kernel_constraint: Any = None,
                 recurrent_constraint: Any = None, bias_constraint: Any = None,
                 dropout: float = 0.0, recurrent_dropout: float = 0.0, seed: Any = None,
                 return_sequences: bool = False, return_state: bool = False,
                 go_backwards: bool = False, stateful: bool = False, **kwargs: Any):  # fmt: skip
        given = settings_of(locals(), "filters", "padding")
        super().__init__(filters, {**given, "rank": self._n, "padding_": padding}, **kwargs)
        self.input_spec = InputSpec(ndim=self._n + 3)

    filters = of_cell("filters")
    kernel_size = of_cell("kernel_size")
    strides = of_cell("strides")
    padding = of_cell("padding")
    data_format = of_cell("data_format")
    dilation_rate = of_cell("dilation_rate")
    recurrent_activation = of_cell("recurrent_activation")
    unit_forget_bias = of_cell("unit_forget_bias")

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        """Returns the shape of the output, and of the states with `return_state`."""
        batch, length = sequences_shape[:2]
        state = self.cell.output_shape((batch, *sequences_shape[2:]))
        output = (batch, length, *state[1:]) if self.return_sequences else state
        return (output, state, state) if self.return_state else output

    def _size_config(self) -> dict[str, Any]:
        return described(self, "filters", *_GEOMETRY, "unit_forget_bias") | {"seed": self.cell.seed}


class ConvLSTM1D(ConvLSTM):
    """ConvLSTM over [batch, time, steps, channels]."""


class ConvLSTM2D(ConvLSTM):
    """ConvLSTM over [batch, time, height, width, channels]."""

    _n = 2


class ConvLSTM3D(ConvLSTM):
    """ConvLSTM over [batch, time, depth, height, width, channels]."""

    _n = 3
