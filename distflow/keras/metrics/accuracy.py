"""Accuracies: how often predictions equal the truth."""

from __future__ import annotations

from typing import Any

from distflow.base import dtypes, errors, shapes
from distflow.core.convert import convert_to_tensor
from distflow.keras import config
from distflow.keras.losses.ranks import same_rank
from distflow.keras.metrics.base import MeanMetricWrapper
from distflow.ops import dims, math, shaping, sorting
from distflow.ops.reduce import argmax, reduce_any


def accuracy(y_true: Any, y_pred: Any) -> Any:
    """Returns 1.0 where elements are equal, else 0.0."""
    y_pred = convert_to_tensor(y_pred)
    y_true, y_pred = same_rank(math.cast(y_true, y_pred.dtype), y_pred)
    return math.cast(math.equal(y_true, y_pred), config.floatx())


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Any:
    """Returns 1.0 where elements are on the right side of the threshold, else 0.0."""
    y_pred = convert_to_tensor(y_pred)
    y_true, y_pred = same_rank(math.cast(y_true, y_pred.dtype), y_pred)
    chosen = math.cast(math.greater(y_pred, threshold), y_true.dtype)
    return math.cast(math.equal(y_true, chosen), config.floatx())


def categorical_accuracy(y_true: Any, y_pred: Any) -> Any:
    """Returns 1.0 where the largest prediction is at the largest truth, else 0.0."""
    y_true = argmax(y_true, axis=-1)
    return _hits(y_true, convert_to_tensor(y_pred))


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Any:
    """Returns 1.0 where the largest prediction is at the label, else 0.0."""
    y_true, y_pred = convert_to_tensor(y_true), convert_to_tensor(y_pred)
    if y_true.ndim == y_pred.ndim and y_true.ndim and y_true.shape[-1] == 1:
        y_true = shaping.squeeze(y_true, -1)
    return _hits(y_true, y_pred)


def _hits(labels: Any, y_pred: Any) -> Any:
    best = argmax(y_pred, axis=-1)
    if not labels.shape.is_compatible_with(best.shape):
        raise errors.invalid(
            "accuracy", "labels must have the shape of predictions without the classes",
            f"labels {shapes.text(labels.shape)}, predictions {shapes.text(y_pred.shape)}",
        )  # fmt: skip
    return math.cast(math.equal(math.cast(labels, best.dtype), best), config.floatx())


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Any:
    """Returns 1.0 where the largest truth is among the k best predictions, else 0.0."""
    return sparse_top_k_categorical_accuracy(argmax(y_true, axis=-1), y_pred, k)


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5,
                                      from_sorted_ids: bool = False) -> Any:  # fmt: skip
    """Returns 1.0 where the label is among the k best predictions, else 0.0.

    Args:
      from_sorted_ids: y_pred holds class numbers, best first, instead of scores.
    """
    y_pred = convert_to_tensor(y_pred)
    labels = convert_to_tensor(y_true)
    if labels.ndim == y_pred.ndim and labels.shape[-1] == 1:
        labels = shaping.squeeze(labels, -1)
    rows = dims.of(labels)
    flat_pred = shaping.reshape(y_pred, [-1, dims.size(y_pred, y_pred.ndim - 1)])
    flat = shaping.reshape(labels, [-1])
    if from_sorted_ids:
        ids = flat_pred[:, :k]
        found = reduce_any(
            math.equal(shaping.expand_dims(math.cast(flat, ids.dtype), 1), ids), axis=1
        )
    else:
        found = sorting.in_top_k(math.cast(flat, dtypes.int32), flat_pred, k)
    return dims.reshape(math.cast(found, config.floatx()), rows)


class Accuracy(MeanMetricWrapper):
    """How often predictions equal the truth."""

    _direction = "up"

    def __init__(self, name: str | None = "accuracy", dtype: Any = None):
        super().__init__(accuracy, name, dtype)


class BinaryAccuracy(MeanMetricWrapper):
    """How often predictions are on the right side of the threshold (0 for logits)."""

    _direction = "up"

    def __init__(self, name: str | None = "binary_accuracy", dtype: Any = None,
                 threshold: float = 0.5):  # fmt: skip
        super().__init__(binary_accuracy, name, dtype, threshold=threshold)
        self.threshold = threshold


class CategoricalAccuracy(MeanMetricWrapper):
    """How often the largest prediction is at the largest truth."""

    _direction = "up"

    def __init__(self, name: str | None = "categorical_accuracy", dtype: Any = None):
        super().__init__(categorical_accuracy, name, dtype)


class SparseCategoricalAccuracy(MeanMetricWrapper):
    """How often the largest prediction is at the label."""

    _direction = "up"

    def __init__(self, name: str | None = "sparse_categorical_accuracy", dtype: Any = None):
        super().__init__(sparse_categorical_accuracy, name, dtype)


class TopKCategoricalAccuracy(MeanMetricWrapper):
    """How often the largest truth is among the k best predictions."""

    _direction = "up"

    def __init__(self, k: int = 5, name: str | None = "top_k_categorical_accuracy",
                 dtype: Any = None):  # fmt: skip
        super().__init__(top_k_categorical_accuracy, name, dtype, k=k)
        self.k = k


class SparseTopKCategoricalAccuracy(MeanMetricWrapper):
    """How often the label is among the k best predictions."""

    _direction = "up"

    _unwritten = {"from_sorted_ids": False}

    def __init__(self, k: int = 5, name: str | None = "sparse_top_k_categorical_accuracy",
                 dtype: Any = None, from_sorted_ids: bool = False):  # fmt: skip
        super().__init__(sparse_top_k_categorical_accuracy, name, dtype, k=k,
                         from_sorted_ids=from_sorted_ids)  # fmt: skip
        self.k = k
        self.from_sorted_ids = from_sorted_ids
