"""Pooling over one to three dimensions; SAME averages divide by the number of real elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import errors, shapes
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import EagerTensor, Tensor
from distflow.ops import dims
from distflow.ops.conv import channels_first, padding_pairs, spatial, to_first, to_last
from distflow.ops.prims import elementwise as p
from distflow.ops.prims import window


def _setup(
    where: str, x: Any, n: int, ksize: Any, strides: Any, padding: Any, data_format: Any
) -> tuple[Any, bool, dict[str, Any]]:
    x = convert_to_tensor(x)
    if x.ndim != n + 2:
        raise errors.invalid(where, f"the input must have rank {n + 2}", shapes.text(x.shape))
    first = channels_first(where, data_format, n)
    pads = padding_pairs(where, padding, n, first)
    attributes = {
        "window": (1, *spatial(where, "ksize", ksize, n, first), 1),
        "strides": (1, *spatial(where, "strides", strides, n, first), 1),
        "padding": pads if isinstance(pads, str) else ((0, 0), *pads, (0, 0)),
    }
    return to_last(x, first), first, attributes


def _max(where: str, x: Any, n: int, *settings: Any) -> Any:
    x, first, attributes = _setup(where, x, n, *settings)
    return to_first(window.reduce_window_max(x, **attributes), first)


def _average(where: str, x: Any, n: int, *settings: Any) -> Any:
    x, first, attributes = _setup(where, x, n, *settings)
    ones = (1,) * x.ndim
    total = window.reduce_window_sum(x, dilation=ones, **attributes)
    if attributes["padding"] == "VALID":
        number: Any = EagerTensor(np.asarray(np.prod(attributes["window"]), x.dtype.numpy))
    else:
        one = EagerTensor(np.ones(ones, x.dtype.numpy))
        covered = dims.broadcast(one, [1, *dims.of(x)[1:-1], 1])
        number = window.reduce_window_sum(covered, dilation=ones, **attributes)
    return to_first(p.div(total, number), first)


def _rank(where: str, input: Any) -> int:
    n = convert_to_tensor(input).ndim - 2
    if n not in (1, 2, 3):
        raise errors.invalid(where, "the input must have rank 3, 4 or 5", str(n + 2))
    return n


def max_pool(
    input: Any, ksize: Any, strides: Any, padding: Any, data_format: Any = None, name: Any = None
) -> Tensor:
    """Returns the maximum of each window, over as many dimensions as the input has."""
    n = _rank("max_pool", input)
    return _max("max_pool", input, n, ksize, strides, padding, data_format)


def max_pool1d(
    input: Any, ksize: Any, strides: Any, padding: Any, data_format: Any = "NWC",
    name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the maximum of each window of [batch, width, channels]."""
    return _max("max_pool1d", input, 1, ksize, strides, padding, data_format)


def max_pool2d(
    input: Any, ksize: Any, strides: Any, padding: Any, data_format: Any = "NHWC",
    name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the maximum of each window of [batch, height, width, channels].

    Among equal maxima of a window the first gets the gradient.
    """
    return _max("max_pool2d", input, 2, ksize, strides, padding, data_format)


def max_pool3d(
    input: Any, ksize: Any, strides: Any, padding: Any, data_format: Any = "NDHWC",
    name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the maximum of each window of [batch, depth, height, width, channels]."""
    return _max("max_pool3d", input, 3, ksize, strides, padding, data_format)


def avg_pool(
    input: Any, ksize: Any, strides: Any, padding: Any, data_format: Any = None, name: Any = None
) -> Tensor:
    """Returns the mean of each window, over as many dimensions as the input has."""
    n = _rank("avg_pool", input)
    return _average("avg_pool", input, n, ksize, strides, padding, data_format)


def avg_pool1d(
    input: Any, ksize: Any, strides: Any, padding: Any, data_format: Any = "NWC",
    name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the mean of each window of [batch, width, channels]."""
    return _average("avg_pool1d", input, 1, ksize, strides, padding, data_format)


def avg_pool2d(
    input: Any, ksize: Any, strides: Any, padding: Any, data_format: Any = "NHWC",
    name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the mean of each window of [batch, height, width, channels]; padding not counted."""
    return _average("avg_pool2d", input, 2, ksize, strides, padding, data_format)


def avg_pool3d(
    input: Any, ksize: Any, strides: Any, padding: Any, data_format: Any = "NDHWC",
    name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the mean of each window of [batch, depth, height, width, channels]."""
    return _average("avg_pool3d", input, 3, ksize, strides, padding, data_format)


def pool(
    input: Any, window_shape: Any, pooling_type: str, strides: Any = None, padding: Any = "VALID",
    data_format: Any = None, dilations: Any = None, name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns max ("MAX") or average ("AVG") pooling with stride 1 unless given."""
    rate = dilations if isinstance(dilations, list | tuple) else [dilations or 1]
    if any(int(r) != 1 for r in rate):
        raise errors.UnimplementedError("pool: dilated windows are not there yet.")
    if pooling_type not in ("MAX", "AVG"):
        raise errors.invalid("pool", "pooling_type must be MAX or AVG", repr(pooling_type))
    run = max_pool if pooling_type == "MAX" else avg_pool
    return run(input, window_shape, 1 if strides is None else strides, padding, data_format)
