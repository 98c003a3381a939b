"""Activation functions: relu and its relatives, gelu, softmax, log_softmax in stable forms."""

from __future__ import annotations

import math as python_math
from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import EagerTensor, Tensor
from distflow.ops import math as m
from distflow.ops.math import log_sigmoid, sigmoid, softplus, tanh
from distflow.ops.prims import elementwise as p
from distflow.ops.reduce import reduce_max, reduce_sum
from distflow.ops.shaping import concat

__all__ = [
    "crelu", "elu", "gelu", "hard_sigmoid", "hard_tanh", "leaky_relu", "log_sigmoid",
    "log_softmax", "relu", "relu6", "selu", "sigmoid", "silu", "softmax", "softplus", "softsign",
    "swish", "tanh",
]  # fmt: skip

_SELU_SCALE = 1.0507009873554804934193349852946
_SELU_ALPHA = 1.6732632423543772848170429916717


def _scalar(x: Any, value: float) -> EagerTensor:
    return EagerTensor(np.asarray(value, x.dtype.numpy))


def relu(features: Any, name: Any = None) -> Tensor:
    """Returns max(x, 0); the gradient at 0 is 0."""
    x = convert_to_tensor(features)
    # A tie gives its gradient to the first operand: the constant.
    return p.max_(_scalar(x, 0), x)


def relu6(features: Any, name: Any = None) -> Tensor:
    """Returns min(max(x, 0), 6)."""
    x = relu(features)
    return p.min_(_scalar(x, 6), x)


def leaky_relu(features: Any, alpha: Any = 0.2, name: Any = None) -> Tensor:
    """Returns x where x > 0, else alpha * x."""
    x = convert_to_tensor(features)
    if x.dtype.is_integer:
        x = m.cast(x, dtypes.float32)
    return p.select(p.lt(_scalar(x, 0), x), x, p.mul(x, alpha))


def elu(features: Any, name: Any = None) -> Tensor:
    """Returns x where x >= 0, else exp(x) - 1."""
    x = convert_to_tensor(features)
    return p.select(_negative(x), p.expm1(_below(x)), x)


def _negative(x: Any) -> Any:
    return p.lt(x, _scalar(x, 0))


def _below(x: Any) -> Any:
    """x where it is negative, else 0: what exp can take without overflow."""
    return p.select(_negative(x), x, _scalar(x, 0))


def selu(features: Any, name: Any = None) -> Tensor:
    """Returns scale * elu(x, alpha), self-normalising.

    Source: Klambauer et al. 2017, arXiv:1706.02515, eq. 2 and 14.
    """
    x = convert_to_tensor(features)
    curve = p.mul(p.expm1(_below(x)), _SELU_SCALE * _SELU_ALPHA)
    return p.select(_negative(x), curve, p.mul(x, _SELU_SCALE))


def gelu(features: Any, approximate: bool = False, name: Any = None) -> Tensor:
    """Returns x * P(X <= x) for a standard normal X, exactly or by the tanh approximation.

    Source: Hendrycks & Gimpel 2016, arXiv:1606.08415.
    """
    x = convert_to_tensor(features)
    if not x.dtype.is_floating:
        raise errors.DtypeMismatchError(
            f"gelu: expected a floating dtype; received {x.dtype.name}."
        )
    if approximate:
        inner = python_math.sqrt(2 / python_math.pi) * (x + 0.044715 * (x * x * x))
        return 0.5 * x * (1.0 + p.tanh(inner))
    return 0.5 * x * (1.0 + p.erf(p.mul(x, python_math.sqrt(0.5))))


def silu(features: Any, beta: Any = 1.0) -> Tensor:
    """Returns x * sigmoid(beta * x)."""
    x = convert_to_tensor(features)
    scaled = x if isinstance(beta, float) and beta == 1.0 else p.mul(x, beta)
    return p.mul(x, p.sigmoid(scaled))


swish = silu


def softsign(features: Any, name: Any = None) -> Tensor:
    """Returns x / (1 + |x|)."""
    x = convert_to_tensor(features)
    return p.div(x, p.add(p.abs_(x), 1))


def crelu(features: Any, axis: int = -1, name: Any = None) -> Tensor:
    """Returns relu(x) and relu(-x) side by side along an axis."""
    x = convert_to_tensor(features)
    return concat([relu(x), relu(p.neg(x))], axis)


def hard_sigmoid(features: Any, name: Any = None) -> Tensor:
    """Returns relu6(x + 3) / 6."""
    return p.div(relu6(p.add(convert_to_tensor(features), 3)), 6)


def hard_tanh(features: Any, name: Any = None) -> Tensor:
    """Returns x limited to [-1, 1]."""
    return m.clip_by_value(features, -1, 1)


def softmax(logits: Any, axis: Any = None, name: Any = None) -> Tensor:
    """Returns exp(x) / sum(exp(x)) along an axis (default: the last); 16 bits use float32."""
    x, at, dtype = _prepare("softmax", logits, axis)
    e = p.exp(p.sub(x, p.stop_gradient(reduce_max(x, at, keepdims=True))))
    return m.cast(p.div(e, reduce_sum(e, at, keepdims=True)), dtype)


def log_softmax(logits: Any, axis: Any = None, name: Any = None) -> Tensor:
    """Returns x - log(sum(exp(x))) along an axis (default: the last); 16 bits use float32."""
    x, at, dtype = _prepare("log_softmax", logits, axis)
    shifted = p.sub(x, p.stop_gradient(reduce_max(x, at, keepdims=True)))
    total = reduce_sum(p.exp(shifted), at, keepdims=True)
    return m.cast(p.sub(shifted, p.log(total)), dtype)


def _prepare(where: str, logits: Any, axis: Any) -> tuple[Any, int, dtypes.DType]:
    x = convert_to_tensor(logits)
    if not x.dtype.is_floating or not x.ndim:
        raise errors.invalid(
            where, "logits must be floating and have at least one dimension",
            f"{x.dtype.name} of shape {shapes.text(x.shape)}",
        )  # fmt: skip
    at = shapes.axis(where, -1 if axis is None else int(axis), x.ndim)
    return (m.cast(x, dtypes.float32) if x.dtype.size == 2 else x), at, x.dtype
