"""Losses as metrics: the mean of a loss function over all examples."""

from __future__ import annotations

from typing import Any

from distflow.keras import losses
from distflow.keras.losses.ranks import floating
from distflow.keras.losses.regression import unit
from distflow.keras.metrics.base import Mean, MeanMetricWrapper
from distflow.ops import math
from distflow.ops.reduce import reduce_sum


class MeanSquaredError(MeanMetricWrapper):
    """mean((y_true - y_pred)^2)."""

    _direction = "down"

    def __init__(self, name: str | None = "mean_squared_error", dtype: Any = None):
        super().__init__(losses.mean_squared_error, name, dtype)


class RootMeanSquaredError(Mean):
    """sqrt(mean((y_true - y_pred)^2)), the root taken of the whole mean."""

    _direction = "down"

    def __init__(self, name: str | None = "root_mean_squared_error", dtype: Any = None):
        super().__init__(name, dtype)

    def update_state(  # type: ignore[override]
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        """Takes a batch of truths and predictions in."""
        y_true, y_pred = floating(y_true, math.cast(y_pred, self._dtype))
        super().update_state(math.square(y_pred - y_true), sample_weight)

    def result(self) -> Any:
        """Returns the root of the mean so far."""
        return math.sqrt(super().result())


class MeanAbsoluteError(MeanMetricWrapper):
    """mean(|y_true - y_pred|)."""

    _direction = "down"

    def __init__(self, name: str | None = "mean_absolute_error", dtype: Any = None):
        super().__init__(losses.mean_absolute_error, name, dtype)


class MeanAbsolutePercentageError(MeanMetricWrapper):
    """100 * mean(|(y_true - y_pred) / y_true|)."""

    _direction = "down"

    def __init__(self, name: str | None = "mean_absolute_percentage_error", dtype: Any = None):
        super().__init__(losses.mean_absolute_percentage_error, name, dtype)


class MeanSquaredLogarithmicError(MeanMetricWrapper):
    """mean((log(y_true + 1) - log(y_pred + 1))^2)."""

    _direction = "down"

    def __init__(self, name: str | None = "mean_squared_logarithmic_error", dtype: Any = None):
        super().__init__(losses.mean_squared_logarithmic_error, name, dtype)


class LogCoshError(MeanMetricWrapper):
    """mean(log(cosh(y_pred - y_true)))."""

    _direction = "down"

    def __init__(self, name: str | None = "logcosh", dtype: Any = None):
        super().__init__(losses.log_cosh, name, dtype)


class Poisson(MeanMetricWrapper):
    """mean(y_pred - y_true * log(y_pred))."""

    _direction = "down"

    def __init__(self, name: str | None = "poisson", dtype: Any = None):
        super().__init__(losses.poisson, name, dtype)


class KLDivergence(MeanMetricWrapper):
    """sum(y_true * log(y_true / y_pred))."""

    _direction = "down"

    def __init__(self, name: str | None = "kl_divergence", dtype: Any = None):
        super().__init__(losses.kl_divergence, name, dtype)


class Hinge(MeanMetricWrapper):
    """mean(max(1 - y_true * y_pred, 0))."""

    _direction = "down"

    def __init__(self, name: str | None = "hinge", dtype: Any = None):
        super().__init__(losses.hinge, name, dtype)


class SquaredHinge(MeanMetricWrapper):
    """mean(max(1 - y_true * y_pred, 0)^2)."""

    _direction = "down"

    def __init__(self, name: str | None = "squared_hinge", dtype: Any = None):
        super().__init__(losses.squared_hinge, name, dtype)


class CategoricalHinge(MeanMetricWrapper):
    """max(largest wrong score - right score + 1, 0)."""

    _direction = "down"

    def __init__(self, name: str | None = "categorical_hinge", dtype: Any = None):
        super().__init__(losses.categorical_hinge, name, dtype)


def _cosine(y_true: Any, y_pred: Any, axis: int = -1) -> Any:
    y_true, y_pred = floating(y_true, y_pred)
    return reduce_sum(unit(y_true, axis) * unit(y_pred, axis), axis=axis)


class CosineSimilarity(MeanMetricWrapper):
    """The cosine of the angle between both (the loss is its negative)."""

    _direction = "up"

    _unwritten = {"axis": -1}

    def __init__(self, name: str | None = "cosine_similarity", dtype: Any = None,
                 axis: int = -1):  # fmt: skip
        super().__init__(_cosine, name, dtype, axis=axis)


class BinaryCrossentropy(MeanMetricWrapper):
    """-(y log(p) + (1 - y) log(1 - p))."""

    _direction = "down"

    def __init__(self, name: str | None = "binary_crossentropy", dtype: Any = None,
                 from_logits: bool = False, label_smoothing: float = 0):  # fmt: skip
        super().__init__(losses.binary_crossentropy, name, dtype, from_logits=from_logits,
                         label_smoothing=label_smoothing)  # fmt: skip


class CategoricalCrossentropy(MeanMetricWrapper):
    """-sum(y_true * log(y_pred))."""

    _direction = "down"

    def __init__(self, name: str | None = "categorical_crossentropy", dtype: Any = None,
                 from_logits: bool = False, label_smoothing: float = 0,
                 axis: int = -1):  # fmt: skip
        super().__init__(losses.categorical_crossentropy, name, dtype, from_logits=from_logits,
                         label_smoothing=label_smoothing, axis=axis)  # fmt: skip


class SparseCategoricalCrossentropy(MeanMetricWrapper):
    """-log(probability of the label)."""

    _direction = "down"

    def __init__(self, name: str | None = "sparse_categorical_crossentropy", dtype: Any = None,
                 from_logits: bool = False, ignore_class: int | None = None,
                 axis: int = -1):  # fmt: skip
        super().__init__(losses.sparse_categorical_crossentropy, name, dtype,
                         from_logits=from_logits, ignore_class=ignore_class, axis=axis)  # fmt: skip
