"""Activation functions by Keras's names."""

from __future__ import annotations

import inspect
import math as _math
from typing import Any

import numpy as np

from distflow.core.convert import convert_to_tensor
from distflow.keras import by_name, registry, serialization
from distflow.ops import activations as nn
from distflow.ops import array, math, reduce
from distflow.ops.prims import sorting
from distflow.ops.prims.elementwise import select

_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


def linear(x: Any) -> Any:
    """Returns x."""
    return x


def relu(x: Any, negative_slope: float = 0.0, max_value: Any = None,
         threshold: float = 0.0) -> Any:  # fmt: skip
    """Returns x from `threshold` to `max_value`, and negative_slope * (x - threshold) below."""
    x = convert_to_tensor(x)
    if negative_slope == 0.0 and threshold == 0.0:
        y = nn.relu(x)
    else:
        below = negative_slope * (x - threshold)
        y = select(x > threshold if threshold else x >= 0, x, below)
    return y if max_value is None else math.minimum(y, max_value)


def relu6(x: Any) -> Any:
    """Returns x limited to [0, 6]."""
    return nn.relu6(x)


def leaky_relu(x: Any, negative_slope: float = 0.2) -> Any:
    """Returns x, and negative_slope * x below 0."""
    x = convert_to_tensor(x)
    return select(x > 0, x, negative_slope * x)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """Returns x, and alpha * (exp(x) - 1) below 0."""
    x = convert_to_tensor(x)
    # exp of the negative part only: it must not overflow where it is not chosen.
    return select(x > 0, x, alpha * math.expm1(math.minimum(x, 0)))


def selu(x: Any) -> Any:
    """Returns the self-normalising elu. Source: Klambauer et al. 2017, arXiv:1706.02515."""
    return _SELU_SCALE * elu(x, _SELU_ALPHA)


def celu(x: Any, alpha: float = 1.0) -> Any:
    """Returns max(0, x) + min(0, alpha * (exp(x / alpha) - 1))."""
    x = convert_to_tensor(x)
    return math.maximum(x, 0) + alpha * math.expm1(math.minimum(x, 0) / alpha)


def sigmoid(x: Any) -> Any:
    """Returns 1 / (1 + exp(-x)); the result remembers x, from which losses compute better."""
    x = convert_to_tensor(x)
    y = math.sigmoid(x)
    y._keras_logits = x  # type: ignore[attr-defined]
    return y


def tanh(x: Any) -> Any:
    """Returns the hyperbolic tangent."""
    return math.tanh(x)


def softplus(x: Any) -> Any:
    """Returns log(1 + exp(x))."""
    return math.softplus(x)


def softsign(x: Any) -> Any:
    """Returns x / (1 + |x|)."""
    x = convert_to_tensor(x)
    return x / (1 + math.abs(x))


def silu(x: Any) -> Any:
    """Returns x * sigmoid(x)."""
    x = convert_to_tensor(x)
    return x * math.sigmoid(x)


swish = silu


def gelu(x: Any, approximate: bool = False) -> Any:
    """Returns x * P(z < x) for normal z. Source: Hendrycks & Gimpel 2016, arXiv:1606.08415."""
    x = convert_to_tensor(x)
    if approximate:
        inner = _math.sqrt(2 / _math.pi) * (x + 0.044715 * x * x * x)
        return 0.5 * x * (1 + math.tanh(inner))
    return 0.5 * x * (1 + math.erf(x / _math.sqrt(2)))


def exponential(x: Any) -> Any:
    """Returns exp(x)."""
    return math.exp(x)


def hard_sigmoid(x: Any) -> Any:
    """Returns relu6(x + 3) / 6."""
    return relu6(convert_to_tensor(x) + 3) / 6


def hard_silu(x: Any) -> Any:
    """Returns x * hard_sigmoid(x)."""
    x = convert_to_tensor(x)
    return x * hard_sigmoid(x)


hard_swish = hard_silu


def hard_tanh(x: Any) -> Any:
    """Returns x limited to [-1, 1]."""
    return math.clip_by_value(x, -1, 1)


def hard_shrink(x: Any, threshold: float = 0.5) -> Any:
    """Returns x where |x| > threshold, and 0 elsewhere."""
    x = convert_to_tensor(x)
    return select(math.abs(x) > threshold, x, x * 0)


def soft_shrink(x: Any, threshold: float = 0.5) -> Any:
    """Returns x moved towards 0 by the threshold."""
    x = convert_to_tensor(x)
    return math.maximum(x - threshold, 0) + math.minimum(x + threshold, 0)


def tanh_shrink(x: Any) -> Any:
    """Returns x - tanh(x)."""
    x = convert_to_tensor(x)
    return x - math.tanh(x)


def threshold(x: Any, threshold: float, default_value: float) -> Any:
    """Returns x where x > threshold, and the default value elsewhere."""
    x = convert_to_tensor(x)
    return select(x > threshold, x, x * 0 + default_value)


def log_sigmoid(x: Any) -> Any:
    """Returns log(sigmoid(x))."""
    return math.log_sigmoid(x)


def mish(x: Any) -> Any:
    """Returns x * tanh(softplus(x)). Source: Misra 2019, arXiv:1908.08681."""
    x = convert_to_tensor(x)
    return x * math.tanh(math.softplus(x))


def squareplus(x: Any, b: float = 4) -> Any:
    """Returns (x + sqrt(x^2 + b)) / 2."""
    x = convert_to_tensor(x)
    return (x + math.sqrt(x * x + b)) / 2


def sparse_plus(x: Any) -> Any:
    """Returns 0 up to -1, (x + 1)^2 / 4 up to 1, then x."""
    x = convert_to_tensor(x)
    return select(x <= -1, x * 0, select(x < 1, 0.25 * (x + 1) * (x + 1), x))


def sparse_sigmoid(x: Any) -> Any:
    """Returns (x + 1) / 2 limited to [0, 1]."""
    return math.clip_by_value(0.5 * (convert_to_tensor(x) + 1), 0, 1)


def glu(x: Any, axis: int = -1) -> Any:
    """Returns a * sigmoid(b) for the two halves a, b of x."""
    a, b = array.split(x, 2, axis=axis)
    return a * math.sigmoid(b)


def softmax(x: Any, axis: int = -1) -> Any:
    """Returns exp(x) / sum(exp(x)) along an axis; the result remembers x for the losses."""
    x = convert_to_tensor(x)
    y = nn.softmax(x, axis)
    y._keras_logits = x  # type: ignore[attr-defined]
    return y


def log_softmax(x: Any, axis: int = -1) -> Any:
    """Returns x - log(sum(exp(x))) along an axis."""
    return nn.log_softmax(x, axis)


def sparsemax(x: Any, axis: int = -1) -> Any:
    """Returns the nearest point to x whose parts are >= 0 and add up to 1.

    Source: Martins & Astudillo 2016, arXiv:1602.02068.
    """
    x = convert_to_tensor(x)
    last = x.ndim - 1
    perm = list(range(x.ndim))
    perm[axis], perm[last] = perm[last], perm[axis]
    z = array.transpose(x, perm)
    ordered, _ = sorting.sort(z, descending=True)
    sums = math.cumsum(ordered, axis=-1)
    k = np.arange(1, z.shape[-1] + 1, dtype=x.dtype.numpy)
    inside = 1 + k * ordered > sums
    count = reduce.reduce_sum(math.cast(inside, x.dtype), axis=-1, keepdims=True)
    total = reduce.reduce_sum(select(inside, ordered, ordered * 0), axis=-1, keepdims=True)
    return array.transpose(math.maximum(z - (total - 1) / count, 0), perm)


_FUNCTIONS = (
    celu, elu, exponential, gelu, glu, hard_shrink, hard_sigmoid, hard_silu, hard_tanh,
    leaky_relu, linear, log_sigmoid, log_softmax, mish, relu, relu6, selu, sigmoid, silu,
    soft_shrink, softmax, softplus, softsign, sparse_plus, sparse_sigmoid, sparsemax, squareplus,
    tanh, tanh_shrink, threshold,
)  # fmt: skip
NAMES = {f.__name__: f for f in _FUNCTIONS} | {"swish": silu, "hard_swish": hard_silu}


def get(identifier: Any) -> Any:
    """Returns the function that a name, config or function stands for; None is `linear`."""
    if identifier is None:
        return linear
    return by_name.resolve("activation", identifier, NAMES)


def serialize(activation: Any) -> Any:
    """Returns an activation's name, or the config of the user's own function or layer."""
    name = getattr(activation, "__name__", None)
    if inspect.isfunction(activation) and NAMES.get(str(name)) is activation:
        return name
    config = serialization.serialize_keras_object(activation)
    if inspect.isfunction(activation) and registry.is_registered(activation):
        return config["config"]
    return config


def deserialize(config: Any, custom_objects: Any = None) -> Any:
    """Returns the activation that `serialize` described."""
    if isinstance(config, str):
        return by_name.resolve("activation", config, NAMES | dict(custom_objects or {}))
    return serialization.deserialize_keras_object(config, custom_objects=custom_objects)
