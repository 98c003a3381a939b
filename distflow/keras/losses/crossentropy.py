"""Cross entropies from probabilities or logits, and their focal forms.

Probabilities are kept away from 0 and 1 by `config.epsilon()`. Where a softmax or sigmoid
activation made them, the logits it started from are used instead, as Keras does on TensorFlow.
"""

from __future__ import annotations

import warnings
from typing import Any

from distflow.base import dtypes, errors, shapes
from distflow.core.convert import convert_to_tensor
from distflow.keras import config
from distflow.keras.losses.base import LossFunctionWrapper
from distflow.keras.losses.ranks import floating, same_rank
from distflow.ops import dims, math, shaping
from distflow.ops import losses as nn
from distflow.ops.creation import one_hot
from distflow.ops.prims.elementwise import select
from distflow.ops.reduce import reduce_mean, reduce_sum

_SUM_OVER_BATCH = "sum_over_batch_size"


def _logits(where: str, activation: str, output: Any, from_logits: bool) -> tuple[Any, bool]:
    """Returns the logits behind an activation's output, or the output itself."""
    remembered = getattr(output, "_keras_logits", None)
    if remembered is None:
        return output, from_logits
    if from_logits:
        warnings.warn(
            f'"`{where}` received `from_logits=True`, but the `output` argument was produced by '
            f"a {activation} activation and thus does not represent logits. Was this intended?",
            stacklevel=3,
        )
    return remembered, True


def _inside(x: Any) -> Any:
    return math.clip_by_value(x, config.epsilon(), 1.0 - config.epsilon())


def categorical_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False,
                             label_smoothing: float = 0.0, axis: int = -1) -> Any:  # fmt: skip
    """Returns -sum(y_true * log(y_pred)) along the axis of the classes.

    Raises:
      InvalidArgumentError: if shapes differ or the axis is out of range.
    """
    where = "categorical_crossentropy"
    y_pred = convert_to_tensor(y_pred)
    y_true = math.cast(y_true, y_pred.dtype)
    _check_pair(where, y_true, y_pred)
    if y_pred.shape[-1] == 1:
        warnings.warn(
            "In loss categorical_crossentropy, expected y_pred.shape to be (batch_size, "
            f"num_classes) with num_classes > 1. Received: y_pred.shape={y_pred.shape}. "
            "Consider using 'binary_crossentropy' if you only have 2 classes.",
            SyntaxWarning, stacklevel=2,
        )  # fmt: skip
    if label_smoothing:
        classes = shaping.size(y_true) if y_true.shape[-1] is None else y_true.shape[-1]
        y_true = y_true * (1.0 - label_smoothing) + label_smoothing / classes
    output, from_logits = _logits(where, "Softmax", y_pred, from_logits)
    shapes.axis(where, axis, output.ndim)
    if from_logits:
        return nn.softmax_cross_entropy_with_logits(y_true, output, axis=axis)
    output = output / reduce_sum(output, axis=axis, keepdims=True)
    return -reduce_sum(y_true * math.log(_inside(output)), axis=axis)


def _check_pair(where: str, y_true: Any, y_pred: Any) -> None:
    if not y_pred.ndim or not y_true.shape.is_compatible_with(y_pred.shape):
        raise errors.invalid(
            where, "target and output must have the same shape, of at least one dimension",
            f"target {shapes.text(y_true.shape)}, output {shapes.text(y_pred.shape)}",
            "Integer labels need sparse_categorical_crossentropy.",
        )  # fmt: skip


def sparse_categorical_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False,
                                    ignore_class: int | None = None,
                                    axis: int = -1) -> Any:  # fmt: skip
    """Returns -log(y_pred[label]) for integer labels.

    Args:
      y_true: class numbers in [0, classes), of y_pred's shape without the axis of classes.
      ignore_class: labels of this number cost nothing and do not count in means.

    Raises:
      InvalidArgumentError: if shapes do not fit; when it runs, for a label out of range.
    """
    where = "sparse_categorical_crossentropy"
    y_pred, y_true = convert_to_tensor(y_pred), convert_to_tensor(y_true)
    output, from_logits = _logits(where, "Softmax", y_pred, from_logits)
    at = shapes.axis(where, axis, output.ndim)
    if at != output.ndim - 1:
        output = shaping.transpose(output, [*(i for i in range(output.ndim) if i != at), at])
    if y_true.ndim == output.ndim and y_true.shape[-1] == 1:
        y_true = shaping.squeeze(y_true, -1)
    if y_true.ndim != output.ndim - 1 or not y_true.shape.is_compatible_with(output.shape[:-1]):
        raise errors.invalid(
            where, "labels must have the output's shape without the axis of the classes",
            f"target {shapes.text(y_true.shape)}, output {shapes.text(y_pred.shape)}",
            "One-hot labels need categorical_crossentropy.",
        )  # fmt: skip
    labels = y_true if y_true.dtype.is_integer else math.cast(y_true, dtypes.int64)
    valid = None
    if ignore_class is not None:
        valid = math.not_equal(labels, ignore_class)
        labels = select(valid, labels, labels * 0)
    if not from_logits:
        output = math.log(_inside(output))
    loss = nn.sparse_softmax_cross_entropy_with_logits(labels, output)
    if valid is not None:
        loss = select(valid, loss, loss * 0)
        loss._keras_mask = valid  # type: ignore[attr-defined]
    return loss


def binary_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False,
                        label_smoothing: float = 0.0, axis: int = -1) -> Any:  # fmt: skip
    """Returns -mean(y log(p) + (1 - y) log(1 - p)) over the axis."""
    y_pred = convert_to_tensor(y_pred)
    y_true, y_pred = _ranked(math.cast(y_true, y_pred.dtype), y_pred)
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    return reduce_mean(_binary(y_true, y_pred, from_logits), axis=axis)


def _ranked(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    if y_true.ndim == y_pred.ndim:
        return y_true, y_pred
    return same_rank(y_true, y_pred)


def _binary(y_true: Any, y_pred: Any, from_logits: bool) -> Any:
    _check_pair("binary_crossentropy", y_true, y_pred)
    output, from_logits = _logits("binary_crossentropy", "Sigmoid", y_pred, from_logits)
    if from_logits:
        return nn.sigmoid_cross_entropy_with_logits(labels=y_true, logits=output)
    output = _inside(output)
    return -(y_true * math.log(output) + (1.0 - y_true) * math.log(1.0 - output))


def binary_focal_crossentropy(y_true: Any, y_pred: Any, apply_class_balancing: bool = False,
                              alpha: float = 0.25, gamma: float = 2.0,
                              from_logits: bool = False, label_smoothing: float = 0.0,
                              axis: int = -1) -> Any:  # fmt: skip
    """Returns binary cross entropies times (1 - p of the true class)^gamma.

    Source: Lin et al. 2017, arXiv:1708.02002.
    """
    y_true, y_pred = floating(y_true, y_pred)
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    p = math.sigmoid(y_pred) if from_logits else y_pred
    loss = _binary(y_true, p, False)
    hit = y_true * p + (1.0 - y_true) * (1.0 - p)
    loss = math.pow(1.0 - hit, gamma) * loss
    if apply_class_balancing:
        loss = (y_true * alpha + (1.0 - y_true) * (1.0 - alpha)) * loss
    return reduce_mean(loss, axis=axis)


def categorical_focal_crossentropy(y_true: Any, y_pred: Any, alpha: Any = 0.25,
                                   gamma: float = 2.0, from_logits: bool = False,
                                   label_smoothing: float = 0.0,
                                   axis: int = -1) -> Any:  # fmt: skip
    """Returns categorical cross entropies times alpha (1 - p)^gamma, class by class.

    Source: Lin et al. 2017, arXiv:1708.02002.
    """
    y_true, y_pred = floating(y_true, y_pred)
    _check_pair("categorical_focal_crossentropy", y_true, y_pred)
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + label_smoothing / y_true.shape[-1]
    if from_logits:
        e = math.exp(y_pred - math.stop_gradient(reduce_mean(y_pred, axis=axis, keepdims=True)))
        y_pred = e / reduce_sum(e, axis=axis, keepdims=True)
    p = _inside(y_pred / reduce_sum(y_pred, axis=axis, keepdims=True))
    factor = math.pow(1.0 - p, gamma) * alpha
    return reduce_sum(factor * (-y_true * math.log(p)), axis=axis)


def categorical_generalized_cross_entropy(y_true: Any, y_pred: Any, q: float) -> Any:
    """Returns (1 - p^q) / q for the probability p of the label: robust to wrong labels.

    Args:
      y_true: class numbers, of y_pred's shape without its last axis.
      y_pred: probabilities [..., classes].
      q: in (0, 1); towards 0 it is the cross entropy, towards 1 the absolute error.

    Source: Zhang & Sabuncu 2018, arXiv:1805.07836, eq. 6.
    """
    y_pred = convert_to_tensor(y_pred)
    classes = dims.size(y_pred, y_pred.ndim - 1)
    labels = one_hot(math.cast(y_true, dtypes.int32), classes, dtype=y_pred.dtype)
    return (1.0 - math.pow(reduce_sum(y_pred * labels, axis=-1), q)) / q


class SparseCategoricalCrossentropy(LossFunctionWrapper):
    """-log(probability of the label), for integer labels."""

    _unwritten = {"axis": -1}

    def __init__(self, from_logits: bool = False, ignore_class: int | None = None,
                 reduction: str | None = _SUM_OVER_BATCH, axis: int = -1,
                 name: str | None = "sparse_categorical_crossentropy",
                 dtype: Any = None):  # fmt: skip
        super().__init__(
            sparse_categorical_crossentropy, reduction, name, dtype,
            from_logits=from_logits, ignore_class=ignore_class, axis=axis,
        )  # fmt: skip
        self.from_logits = from_logits
        self.ignore_class = ignore_class


class CategoricalCrossentropy(LossFunctionWrapper):
    """-sum(y_true * log(y_pred)), for one-hot labels or probabilities."""

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1,
                 reduction: str | None = _SUM_OVER_BATCH,
                 name: str | None = "categorical_crossentropy", dtype: Any = None):  # fmt: skip
        super().__init__(
            categorical_crossentropy, reduction, name, dtype, from_logits=from_logits,
            label_smoothing=_part("CategoricalCrossentropy", label_smoothing), axis=axis,
        )  # fmt: skip
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing
        self.axis = axis


class BinaryCrossentropy(LossFunctionWrapper):
    """-(y log(p) + (1 - y) log(1 - p)), the mean over the axis."""

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1,
                 reduction: str | None = _SUM_OVER_BATCH,
                 name: str | None = "binary_crossentropy", dtype: Any = None):  # fmt: skip
        super().__init__(
            binary_crossentropy, reduction, name, dtype, from_logits=from_logits,
            label_smoothing=_part("BinaryCrossentropy", label_smoothing), axis=axis,
        )  # fmt: skip
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing
        self.axis = axis


class BinaryFocalCrossentropy(LossFunctionWrapper):
    """Binary cross entropies that count less the better the prediction is."""

    def __init__(self, apply_class_balancing: bool = False, alpha: float = 0.25,
                 gamma: float = 2.0, from_logits: bool = False, label_smoothing: float = 0.0,
                 axis: int = -1, reduction: str | None = _SUM_OVER_BATCH,
                 name: str | None = "binary_focal_crossentropy", dtype: Any = None):  # fmt: skip
        super().__init__(
            binary_focal_crossentropy, reduction, name, dtype, from_logits=from_logits,
            label_smoothing=label_smoothing, axis=axis,
            apply_class_balancing=apply_class_balancing, alpha=alpha, gamma=gamma,
        )  # fmt: skip


class CategoricalFocalCrossentropy(LossFunctionWrapper):
    """Categorical cross entropies that count less the better the prediction is."""

    def __init__(self, alpha: Any = 0.25, gamma: float = 2.0, from_logits: bool = False,
                 label_smoothing: float = 0.0, axis: int = -1,
                 reduction: str | None = _SUM_OVER_BATCH,
                 name: str | None = "categorical_focal_crossentropy",
                 dtype: Any = None):  # fmt: skip
        super().__init__(
            categorical_focal_crossentropy, reduction, name, dtype, from_logits=from_logits,
            label_smoothing=label_smoothing, axis=axis, alpha=alpha, gamma=gamma,
        )  # fmt: skip


class CategoricalGeneralizedCrossEntropy(LossFunctionWrapper):
    """(1 - p^q) / q for integer labels, of which some may be wrong."""

    def __init__(self, q: float = 0.5, reduction: str | None = _SUM_OVER_BATCH,
                 name: str | None = "categorical_generalized_cross_entropy",
                 dtype: Any = None):  # fmt: skip
        if not 0 < q < 1:
            raise errors.invalid(type(self).__name__, "q must be in the interval (0, 1)", str(q))
        super().__init__(categorical_generalized_cross_entropy, reduction, name, dtype, q=q)
        self.q = q


def _part(where: str, label_smoothing: float) -> float:
    if not 0 <= label_smoothing <= 1:
        raise errors.invalid(where, "label_smoothing must be in [0, 1]", str(label_smoothing))
    return label_smoothing
