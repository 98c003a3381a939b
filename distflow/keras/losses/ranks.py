"""What losses and metrics share: values as tensors, and one rank for both sides."""

from __future__ import annotations

from typing import Any

from distflow.base import dtypes, nest, shapes
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import Tensor
from distflow.ops import math, shaping


def to_tensors(values: Any, dtype: Any) -> Any:
    """Returns a tensor of the dtype, or the structure of tensors that `values` is."""
    kind = dtypes.as_dtype(dtype)
    if isinstance(values, dict):
        return {key: to_tensors(value, kind) for key, value in values.items()}
    if isinstance(values, list | tuple) and any(_has_rank(v) for v in nest.flatten(values)):
        return nest.map_structure(lambda value: to_tensors(value, kind), values)
    tensor = convert_to_tensor(values)
    return tensor if tensor.dtype is kind else math.cast(tensor, kind)


def _has_rank(value: Any) -> bool:
    return bool(getattr(value, "ndim", 0))


def same_rank(x: Any, y: Any, expand_vectors: bool = True) -> tuple[Any, Any]:
    """Returns x and y without (or with) a last dimension of size 1, so that ranks agree."""
    if x.ndim == y.ndim:
        return x, y
    if x.ndim == y.ndim + 1 and x.shape[-1] == 1:
        if y.ndim == 1 and expand_vectors:
            return x, shaping.expand_dims(y, -1)
        return shaping.squeeze(x, -1), y
    if y.ndim == x.ndim + 1 and y.shape[-1] == 1:
        y, x = same_rank(y, x, expand_vectors)
    return x, y


def floating(y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    """Returns both as tensors of one floating dtype (y_pred's) and rank.

    Raises:
      InvalidArgumentError: if their shapes do not broadcast.
    """
    y_pred = convert_to_tensor(y_pred)
    if not y_pred.dtype.is_floating:
        y_pred = math.cast(y_pred, dtypes.float32)
    y_true, y_pred = same_rank(math.cast(y_true, y_pred.dtype), y_pred)
    shapes.broadcast("y_true and y_pred", y_true.shape, y_pred.shape)
    return y_true, y_pred
