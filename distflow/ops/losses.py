"""Losses per example: cross entropies in stable forms, l2 and log-Poisson."""

from __future__ import annotations

import math as python_math
from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.core import convert
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import EagerTensor, Tensor
from distflow.ops import dims
from distflow.ops import math as m
from distflow.ops.activations import log_softmax
from distflow.ops.prims import creation, indexing
from distflow.ops.prims import elementwise as p
from distflow.ops.reduce import reduce_max, reduce_sum
from distflow.ops.shaping import expand_dims


def softmax_cross_entropy_with_logits(
    labels: Any, logits: Any, axis: int = -1, name: Any = None
) -> Tensor:
    """Returns -sum(labels * log_softmax(logits)) along an axis, one loss an example.

    Args:
      labels: probabilities of the classes, of the shape of logits (or broadcasting to it).
      logits: unscaled log probabilities; 16-bit floats are computed in float32.

    Gradients flow to both.
    """
    logits = convert_to_tensor(logits)
    labels = m.cast(convert_to_tensor(labels, dtype_hint=logits.dtype), logits.dtype)
    shapes.broadcast("softmax_cross_entropy_with_logits", labels.shape, logits.shape)
    dtype = logits.dtype
    if dtype.is_floating and dtype.size == 2:
        labels, logits = (m.cast(t, dtypes.float32) for t in (labels, logits))
    product = p.mul(labels, log_softmax(logits, axis))
    return m.cast(p.neg(reduce_sum(product, axis)), dtype)


def sparse_softmax_cross_entropy_with_logits(labels: Any, logits: Any, name: Any = None) -> Tensor:
    """Returns -log_softmax(logits)[label], one loss an example.

    Args:
      labels: int class ids, shape [...]; each in [0, classes).
      logits: unscaled log probabilities, shape [..., classes]; 16 bits are computed in float32.

    Raises:
      InvalidArgumentError: if the shapes do not fit; or, when it runs, for a label out of range.
    """
    where = "sparse_softmax_cross_entropy_with_logits"
    logits, labels = convert_to_tensor(logits), convert_to_tensor(labels)
    if not labels.dtype.is_integer:
        raise errors.DtypeMismatchError(
            f"{where}: expected labels of an int dtype; received {labels.dtype.name}.\n"
            "softmax_cross_entropy_with_logits takes probabilities."
        )
    if not logits.ndim or not labels.shape.is_compatible_with(logits.shape[:-1]):
        raise errors.invalid(
            where, "labels must have the shape of logits without the last dimension",
            f"labels {shapes.text(labels.shape)}, logits {shapes.text(logits.shape)}",
        )  # fmt: skip
    dtype = logits.dtype
    x = m.cast(logits, dtypes.float32) if dtype.size == 2 else logits
    classes = dims.size(x, x.ndim - 1)
    columns = (
        creation.iota(dtype=labels.dtype, length=classes) if isinstance(classes, int)
        else creation.iota(classes, dtype=labels.dtype, length=None)
    )  # fmt: skip
    # Reading 0, 1, ... at the labels gives the labels again, checked where they are used.
    labels = indexing.gather(columns, labels, axis=0, role=f"{where}: labels")
    shifted = p.sub(x, p.stop_gradient(reduce_max(x, -1, keepdims=True)))
    hit = p.eq(expand_dims(labels, -1), columns)
    chosen = reduce_sum(p.select(hit, shifted, EagerTensor(np.zeros((), x.dtype.numpy))), -1)
    return m.cast(p.sub(p.log(reduce_sum(p.exp(shifted), -1)), chosen), dtype)


def sigmoid_cross_entropy_with_logits(
    labels: Any = None, logits: Any = None, name: Any = None
) -> Tensor:
    """Returns -z log(sigmoid(x)) - (1 - z) log(1 - sigmoid(x)) for labels z and logits x."""
    z, x = _pair("sigmoid_cross_entropy_with_logits", labels, logits)
    positive = p.le(EagerTensor(np.zeros((), x.dtype.numpy)), x)
    zero = EagerTensor(np.zeros((), x.dtype.numpy))
    tail = p.log1p(p.exp(p.select(positive, p.neg(x), x)))
    return p.add(p.sub(p.select(positive, x, zero), p.mul(x, z)), tail)


def _pair(where: str, labels: Any, logits: Any) -> tuple[Any, Any]:
    z, x = convert.match(where, (labels, logits), None)
    if not z.shape.is_compatible_with(x.shape):
        raise errors.invalid(
            where, "logits and labels must have one shape",
            f"logits {shapes.text(x.shape)}, labels {shapes.text(z.shape)}",
        )  # fmt: skip
    return z, x


def weighted_cross_entropy_with_logits(
    labels: Any, logits: Any, pos_weight: Any, name: Any = None
) -> Tensor:
    """Returns the sigmoid cross entropy with the loss of positive labels times pos_weight."""
    z, x = _pair("weighted_cross_entropy_with_logits", labels, logits)
    weight = p.add(p.mul(p.sub(convert_to_tensor(pos_weight, x.dtype), 1), z), 1)
    # softplus(-x) = log(1 + exp(-x))
    return p.add(p.mul(p.sub(1, z), x), p.mul(weight, m.softplus(p.neg(x))))


def l2_loss(t: Any, name: Any = None) -> Tensor:
    """Returns sum(t * t) / 2."""
    t = convert_to_tensor(t)
    return p.mul(reduce_sum(p.mul(t, t)), 0.5)


def log_poisson_loss(
    targets: Any, log_input: Any, compute_full_loss: bool = False, name: Any = None
) -> Tensor:
    """Returns exp(c) - z * c for c = log_input and targets z; in full with Stirling's term."""
    z, c = _pair("log_poisson_loss", targets, log_input)
    loss = p.sub(p.exp(c), p.mul(c, z))
    if not compute_full_loss:
        return loss
    stirling = p.mul(z, p.log(z)) - z + 0.5 * p.log(p.mul(z, 2 * python_math.pi))
    outside = m.logical_and(p.le(0, z), p.le(z, 1))
    return p.add(loss, p.select(outside, EagerTensor(np.zeros((), z.dtype.numpy)), stirling))


__all__ = [
    "l2_loss", "log_poisson_loss",
    "sigmoid_cross_entropy_with_logits",
    "softmax_cross_entropy_with_logits", "sparse_softmax_cross_entropy_with_logits",
    "weighted_cross_entropy_with_logits",
]  # fmt: skip
