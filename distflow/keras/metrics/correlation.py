"""How truth and prediction vary together: Pearson's and the concordance correlation."""

from __future__ import annotations

from typing import Any

from distflow.keras import config
from distflow.keras.losses.ranks import floating
from distflow.keras.metrics.base import MeanMetricWrapper
from distflow.ops import math
from distflow.ops.reduce import reduce_mean


def _centred(x: Any, axis: int) -> tuple[Any, Any, Any]:
    """Returns the mean, x less its mean, and its variance along an axis."""
    mean = reduce_mean(x, axis=axis, keepdims=True)
    return mean, x - mean, reduce_mean(math.square(x - mean), axis=axis, keepdims=True)


def pearson_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Any:
    """Returns the covariance by both standard deviations, in [-1, 1]; NaN for constant rows."""
    y_true, y_pred = floating(y_true, y_pred)
    _, a, a_variance = _centred(y_true, axis)
    _, b, b_variance = _centred(y_pred, axis)
    return reduce_mean((a / math.sqrt(a_variance)) * (b / math.sqrt(b_variance)), axis=axis)


def concordance_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Any:
    """Returns how near pairs are to the line of equality, in [-1, 1].

    Source: Lin 1989, A concordance correlation coefficient to evaluate reproducibility.
    """
    y_true, y_pred = floating(y_true, y_pred)
    a_mean, a, a_variance = _centred(y_true, axis)
    b_mean, b, b_variance = _centred(y_pred, axis)
    norm = a_variance + b_variance + math.square(a_mean - b_mean) + config.epsilon()
    return reduce_mean(2.0 * a * b / norm, axis=axis)


class PearsonCorrelation(MeanMetricWrapper):
    """The mean of Pearson's correlations of rows."""

    _direction = "up"

    def __init__(self, name: str | None = "pearson_correlation", dtype: Any = None,
                 axis: int = -1):  # fmt: skip
        super().__init__(pearson_correlation, name, dtype, axis=axis)
        self.axis = axis


class ConcordanceCorrelation(MeanMetricWrapper):
    """The mean of concordance correlations of rows."""

    _direction = "up"

    def __init__(self, name: str | None = "concordance_correlation", dtype: Any = None,
                 axis: int = -1):  # fmt: skip
        super().__init__(concordance_correlation, name, dtype, axis=axis)
        self.axis = axis
