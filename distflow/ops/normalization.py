"""Normalisations over batches, layers, vectors and neighbouring channels."""

from __future__ import annotations

from typing import Any

from distflow.base import dtypes
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import Tensor
from distflow.ops import math as m
from distflow.ops.prims import elementwise as p
from distflow.ops.prims import window
from distflow.ops.reduce import moments, norm, reduce_sum


def batch_normalization(
    x: Any, mean: Any, variance: Any, offset: Any, scale: Any, variance_epsilon: Any,
    name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns scale * (x - mean) / sqrt(variance + epsilon) + offset.

    Args:
      x: [..., channels]; the statistics broadcast against it.
      offset, scale: tensors, or None for 0 and 1.

    Source: Ioffe & Szegedy 2015, arXiv:1502.03167, algorithm 1.
    """
    x = convert_to_tensor(x)
    inverse = p.rsqrt(p.add(convert_to_tensor(variance), variance_epsilon))
    if scale is not None:
        inverse = p.mul(inverse, scale)
    shift = p.neg(p.mul(mean, inverse))
    if offset is not None:
        shift = p.add(offset, shift)
    return p.add(p.mul(x, m.cast(inverse, x.dtype)), m.cast(shift, x.dtype))


def layer_normalization(
    x: Any, scale: Any = None, offset: Any = None, *, axes: Any = -1, epsilon: float = 1e-3
) -> Tensor:
    """Returns x with zero mean and unit variance over axes, times scale plus offset.

    Statistics are float32 when x is 16-bit; scale and offset broadcast against x.

    Source: Ba, Kiros & Hinton 2016, arXiv:1607.06450, eq. 4.
    """
    x = convert_to_tensor(x)
    wide = m.cast(x, dtypes.float32) if x.dtype.size == 2 else x
    mean, variance = moments(wide, axes, keepdims=True)
    y = p.mul(p.sub(wide, mean), p.rsqrt(p.add(variance, epsilon)))
    if scale is not None:
        y = p.mul(y, m.cast(scale, y.dtype))
    if offset is not None:
        y = p.add(y, m.cast(offset, y.dtype))
    return m.cast(y, x.dtype)


def l2_normalize(
    x: Any, axis: Any = None, epsilon: float = 1e-12, name: Any = None, dim: Any = None
) -> Tensor:
    """Returns x / sqrt(max(sum(x * x), epsilon)) over axes (default: all)."""
    x = convert_to_tensor(x)
    total = reduce_sum(p.mul(x, x), dim if axis is None else axis, keepdims=True)
    return p.mul(x, p.rsqrt(p.max_(total, epsilon)))


def normalize(
    tensor: Any, ord: Any = "euclidean", axis: Any = None, name: Any = None
) -> tuple[Tensor, Tensor]:
    """Returns (x / norm, norm) along an axis; the norm keeps its dimensions."""
    x = convert_to_tensor(tensor)
    length = norm(x, ord, axis, keepdims=True)
    return p.div(x, m.cast(length, x.dtype)), length


def local_response_normalization(
    input: Any, depth_radius: int = 5, bias: float = 1, alpha: float = 1, beta: float = 0.5,
    name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns x / (bias + alpha * sum of squares over neighbouring channels) ** beta.

    Source: Krizhevsky, Sutskever & Hinton 2012, section 3.3.
    """
    x = convert_to_tensor(input)
    rank, radius = x.ndim, int(depth_radius)
    total = window.reduce_window_sum(
        p.mul(x, x),
        window=(1,) * (rank - 1) + (2 * radius + 1,),
        strides=(1,) * rank,
        padding=((0, 0),) * (rank - 1) + ((radius, radius),),
        dilation=(1,) * rank,
    )
    return p.div(x, p.pow_(p.add(p.mul(total, float(alpha)), float(bias)), float(beta)))


lrn = local_response_normalization
