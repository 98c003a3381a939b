"""Adaptive pooling: as many windows as are asked for, of nearly equal size.

Window i of n over a size s reaches from floor(i s / n) to ceil((i + 1) s / n), as in PyTorch.
Windows are boxes, so one dimension is reduced after another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from distflow.base import errors, shapes
from distflow.core.convert import convert_to_tensor
from distflow.keras import settings
from distflow.keras.engine.keras_ops import operation
from distflow.keras.ops.dtype_rules import tensor
from distflow.ops import indexing, shaping
from distflow.ops.matmul import tensordot
from distflow.ops.reduce import reduce_max

__all__ = ["adaptive_average_pool", "adaptive_max_pool"]


@operation("nn.AdaptiveAveragePool", "output_size", "data_format")
def adaptive_average_pool(inputs: Any, output_size: Any, data_format: Any = None) -> Any:
    """Returns the means of `output_size` windows (an int, or one for each dimension of space)."""
    return _over_space(_average, tensor(inputs), output_size, data_format)


@operation("nn.AdaptiveMaxPool", "output_size", "data_format")
def adaptive_max_pool(inputs: Any, output_size: Any, data_format: Any = None) -> Any:
    """Returns the maxima of `output_size` windows (an int, or one for each dimension of space)."""
    return _over_space(_largest, tensor(inputs), output_size, data_format)


def _over_space(reduce: Callable[..., Any], x: Any, output_size: Any, data_format: Any) -> Any:
    counts = [output_size] * (x.ndim - 2) if isinstance(output_size, int) else list(output_size)
    if len(counts) != x.ndim - 2 or any(count < 1 for count in counts):
        raise errors.invalid(
            "adaptive pooling", f"an int > 0, or {x.ndim - 2} of them, for `output_size`",
            f"{output_size} for an input of shape {shapes.text(x.shape)}",
        )  # fmt: skip
    first = settings.standardize_data_format(data_format) == "channels_first"
    for axis, count in enumerate(counts, 2 if first else 1):
        size = x.shape[axis]
        if size is None:
            raise errors.invalid(
                "adaptive pooling", "all spatial dimensions must be known",
                f"input shape {tuple(x.shape)}",
            )  # fmt: skip
        x = reduce(x, axis, _bounds(int(size), count))
    return x


def _bounds(size: int, count: int) -> list[tuple[int, int]]:
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def _average(x: Any, axis: int, bounds: list[tuple[int, int]]) -> Any:
    weights = np.zeros((int(x.shape[axis]), len(bounds)), x.dtype.numpy)
    for i, (start, stop) in enumerate(bounds):
        weights[start:stop, i] = 1 / (stop - start)
    y = tensordot(x, convert_to_tensor(weights), [[axis], [0]])
    order = list(range(x.ndim - 1))
    order.insert(axis, x.ndim - 1)
    return shaping.transpose(y, order)


def _largest(x: Any, axis: int, bounds: list[tuple[int, int]]) -> Any:
    longest = max(stop - start for start, stop in bounds)
    # Shorter windows hold their last element several times.
    rows = [[min(start + k, stop - 1) for k in range(longest)] for start, stop in bounds]
    return reduce_max(indexing.gather(x, np.asarray(rows, np.int32), axis=axis), axis=axis + 1)
