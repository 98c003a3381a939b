"""Convolutions, pooling and blocks of space in `keras.ops`."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.keras import settings
from distflow.keras.engine.keras_ops import operation
from distflow.keras.ops.dtype_rules import floats, tensor
from distflow.ops import conv as convolutions
from distflow.ops import dims, shaping
from distflow.ops import pool as pools
from distflow.ops.prims.contraction import dilated

_LAST = {1: "NWC", 2: "NHWC", 3: "NDHWC"}
_FIRST = {1: "NCW", 2: "NCHW", 3: "NCDHW"}


def _format(data_format: Any, n: int) -> tuple[str, bool]:
    first = settings.standardize_data_format(data_format) == "channels_first"
    return (_FIRST if first else _LAST)[n], first


def _each(value: Any, n: int) -> list[int]:
    return [value] * n if isinstance(value, int) else list(value)


@operation("nn.Conv", "strides", "padding", "data_format", "dilation_rate")
def conv(inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid",
         data_format: Any = None, dilation_rate: Any = 1) -> Any:  # fmt: skip
    """Returns the convolution of [batch, *space, in] with [*window, in / groups, out]."""
    x, w = floats(inputs, kernel)
    layout, _ = _format(data_format, x.ndim - 2)
    return convolutions.convolution(
        x, w, _each(strides, x.ndim - 2), padding.upper(), layout, _each(dilation_rate, x.ndim - 2)
    )


@operation("nn.ConvTranspose", "strides", "padding", "output_padding", "data_format",
           "dilation_rate")  # fmt: skip
def conv_transpose(inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid",
                   output_padding: Any = None, data_format: Any = None,
                   dilation_rate: Any = 1) -> Any:  # fmt: skip
    """Returns the transposed convolution of [batch, *space, in] with [*window, out, in]."""
    x, w = floats(inputs, kernel)
    n = x.ndim - 2
    layout, first = _format(data_format, n)
    steps, rates = _each(strides, n), _each(dilation_rate, n)
    extra = [None] * n if output_padding is None else _each(output_padding, n)
    space = x.shape[2:] if first else x.shape[1:-1]
    sizes = []
    for size, window, stride, rate, more in zip(space, w.shape, steps, rates, extra):
        extent = dilated(window, rate)
        if more is None:
            sizes.append(size * stride + (max(extent - stride, 0) if padding == "valid" else 0))
        else:
            cut = 2 * (extent // 2) if padding == "same" else 0
            sizes.append((size - 1) * stride + extent - cut + more)
    batch = dims.size(x, 0)
    shape = [batch, w.shape[-2], *sizes] if first else [batch, *sizes, w.shape[-2]]
    return convolutions.conv_transpose(x, w, shape, steps, padding.upper(), layout, rates)


@operation("nn.DepthwiseConv", "strides", "padding", "data_format", "dilation_rate")
def depthwise_conv(inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid",
                   data_format: Any = None, dilation_rate: Any = 1) -> Any:  # fmt: skip
    """Returns each channel convolved with its own filters [*window, in, multiplier]."""
    x, w = floats(inputs, kernel)
    return _depthwise(x, w, strides, padding, data_format, dilation_rate)


def _depthwise(x: Any, w: Any, strides: Any, padding: str, data_format: Any, rate: Any) -> Any:
    n = x.ndim - 2
    layout, _ = _format(data_format, n)
    # As many groups as channels: the filters of one channel stand side by side.
    w = shaping.reshape(w, [*w.shape[:n], 1, w.shape[-2] * w.shape[-1]])
    return convolutions.convolution(x, w, _each(strides, n), padding.upper(), layout,
                                    _each(rate, n))  # fmt: skip


@operation("nn.SeparableConv", "strides", "padding", "data_format", "dilation_rate")
def separable_conv(
    inputs: Any, depthwise_kernel: Any, pointwise_kernel: Any, strides: Any = 1,
    padding: str = "valid", data_format: Any = None, dilation_rate: Any = 1,
) -> Any:  # fmt: skip
    """Returns a depthwise convolution followed by one over the channels alone."""
    x, depthwise, pointwise = floats(inputs, depthwise_kernel, pointwise_kernel)
    y = _depthwise(x, depthwise, strides, padding, data_format, dilation_rate)
    layout, _ = _format(data_format, x.ndim - 2)
    return convolutions.convolution(y, pointwise, 1, "VALID", layout, 1)


def _pool(function: Any, inputs: Any, size: Any, strides: Any, padding: str, layout: Any) -> Any:
    x = tensor(inputs)
    n = x.ndim - 2
    window = _each(size, n)
    steps = window if strides is None else _each(strides, n)
    return function(x, window, steps, padding.upper(), _format(layout, n)[0])


@operation("nn.MaxPool", "pool_size", "strides", "padding", "data_format")
def max_pool(inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid",
             data_format: Any = None) -> Any:  # fmt: skip
    """Returns the largest element of each window."""
    return _pool(pools.max_pool, inputs, pool_size, strides, padding, data_format)


@operation("nn.AveragePool", "pool_size", "strides", "padding", "data_format")
def average_pool(inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid",
                 data_format: Any = None) -> Any:  # fmt: skip
    """Returns the mean of each window."""
    return _pool(pools.avg_pool, inputs, pool_size, strides, padding, data_format)


# -- blocks --------------------------------------------------------------------------------------


@operation("nn.DepthToSpace", "block_size", "data_format")
def depth_to_space(x: Any, block_size: int, data_format: str = "channels_last") -> Any:
    """Returns [b, h s, w s, c] from [b, h, w, c s s]: channels become blocks of space."""
    x, first = tensor(x), data_format == "channels_first"
    x = shaping.transpose(x, [0, 2, 3, 1]) if first else x
    b, h, w = (-1 if x.shape[0] is None else x.shape[0]), x.shape[1], x.shape[2]
    s, c = block_size, x.shape[3] // block_size**2
    y = shaping.reshape(x, [b, h, w, s, s, c])
    y = shaping.reshape(shaping.transpose(y, [0, 1, 3, 2, 4, 5]), [b, h * s, w * s, c])
    return shaping.transpose(y, [0, 3, 1, 2]) if first else y


@operation("nn.SpaceToDepth", "block_size", "data_format")
def space_to_depth(x: Any, block_size: int, data_format: str = "channels_last") -> Any:
    """Returns [b, h / s, w / s, c s s] from [b, h, w, c]: blocks of space become channels."""
    x, first = tensor(x), data_format == "channels_first"
    x = shaping.transpose(x, [0, 2, 3, 1]) if first else x
    b, h, w, c = [-1 if d is None else d for d in x.shape]
    s = block_size
    y = shaping.reshape(x, [b, h // s, s, w // s, s, c])
    y = shaping.reshape(shaping.transpose(y, [0, 1, 3, 2, 4, 5]), [b, h // s, w // s, s * s * c])
    return shaping.transpose(y, [0, 3, 1, 2]) if first else y


def _two(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


@operation("nn.Unfold", "kernel_size", "dilation", "padding", "stride")
def unfold(x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """Returns the windows of images [b, c, h, w] as columns [b, c k k, windows]."""
    x = tensor(x)
    (kh, kw), (dh, dw) = _two(kernel_size), _two(dilation)
    (ph, pw), (sh, sw) = _two(padding), _two(stride)
    x = shaping.pad(x, [[0, 0], [0, 0], [ph, ph], [pw, pw]])
    rows = (x.shape[2] - dilated(kh, dh)) // sh + 1
    columns = (x.shape[3] - dilated(kw, dw)) // sw + 1
    down = [slice(i * dh, i * dh + sh * (rows - 1) + 1, sh) for i in range(kh)]
    right = [slice(j * dw, j * dw + sw * (columns - 1) + 1, sw) for j in range(kw)]
    parts = [x[:, :, rows_, columns_] for rows_ in down for columns_ in right]
    b = -1 if x.shape[0] is None else x.shape[0]
    return shaping.reshape(shaping.stack(parts, 2), [b, x.shape[1] * kh * kw, rows * columns])


@operation("nn.Fold", "output_size", "kernel_size", "dilation", "padding", "stride")
def fold(x: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
         stride: Any = 1) -> Any:  # fmt: skip
    """Returns images [b, c, h, w] as the sums of overlapping windows: what `unfold` undoes."""
    x = tensor(x)
    (oh, ow), (kh, kw), (dh, dw) = _two(output_size), _two(kernel_size), _two(dilation)
    (ph, pw), (sh, sw) = _two(padding), _two(stride)
    rows = (oh + 2 * ph - dilated(kh, dh)) // sh + 1
    columns = (ow + 2 * pw - dilated(kw, dw)) // sw + 1
    c = x.shape[1] // (kh * kw)
    # One product with the 0/1 matrix of where each element of a window goes.
    places = np.zeros((kh * kw * rows * columns, (oh + 2 * ph) * (ow + 2 * pw)), x.dtype.numpy)
    index = 0
    for i in range(kh):
        for j in range(kw):
            for row in range(rows):
                for column in range(columns):
                    at = (i * dh + row * sh) * (ow + 2 * pw) + j * dw + column * sw
                    places[index, at] = 1
                    index += 1
    flat = shaping.reshape(x, [-1, kh * kw * rows * columns])
    image = shaping.reshape(flat @ tensor(places), [-1, c, oh + 2 * ph, ow + 2 * pw])
    return image[:, :, ph : ph + oh, pw : pw + ow]
