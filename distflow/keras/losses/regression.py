"""Losses for numbers: squared, absolute and relative errors, Huber, log-cosh, Poisson, cosine."""

from __future__ import annotations

import math as _math
from typing import Any

from distflow.keras import config
from distflow.keras.losses.base import LossFunctionWrapper
from distflow.keras.losses.ranks import floating
from distflow.ops import math
from distflow.ops.prims.elementwise import select
from distflow.ops.reduce import reduce_mean, reduce_sum

_SUM_OVER_BATCH = "sum_over_batch_size"


def mean_squared_error(y_true: Any, y_pred: Any) -> Any:
    """Returns mean((y_true - y_pred)^2) over the last axis."""
    y_true, y_pred = floating(y_true, y_pred)
    return reduce_mean(math.square(y_true - y_pred), axis=-1)


def mean_absolute_error(y_true: Any, y_pred: Any) -> Any:
    """Returns mean(|y_true - y_pred|) over the last axis."""
    y_true, y_pred = floating(y_true, y_pred)
    return reduce_mean(math.abs(y_true - y_pred), axis=-1)


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Any:
    """Returns 100 * mean(|(y_true - y_pred) / y_true|) over the last axis."""
    y_true, y_pred = floating(y_true, y_pred)
    part = (y_true - y_pred) / math.maximum(math.abs(y_true), config.epsilon())
    return 100.0 * reduce_mean(math.abs(part), axis=-1)


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Any:
    """Returns mean((log(y_true + 1) - log(y_pred + 1))^2) over the last axis."""
    y_true, y_pred = floating(y_true, y_pred)
    first = math.log(math.maximum(y_pred, config.epsilon()) + 1.0)
    second = math.log(math.maximum(y_true, config.epsilon()) + 1.0)
    return reduce_mean(math.square(first - second), axis=-1)


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Any:
    """Returns the mean of e^2 / 2 for |e| <= delta, else delta |e| - delta^2 / 2."""
    y_true, y_pred = floating(y_true, y_pred)
    error = y_pred - y_true
    size = math.abs(error)
    near, far = 0.5 * math.square(error), delta * size - 0.5 * delta * delta
    return reduce_mean(select(size <= delta, near, far), axis=-1)


def log_cosh(y_true: Any, y_pred: Any) -> Any:
    """Returns mean(log(cosh(y_pred - y_true))) over the last axis."""
    y_true, y_pred = floating(y_true, y_pred)
    x = y_pred - y_true
    # log(e^x + e^-x) from the larger of the two: nothing overflows.
    size = math.abs(x)
    return reduce_mean(size + math.log1p(math.exp(-2.0 * size)) - _math.log(2.0), axis=-1)


def poisson(y_true: Any, y_pred: Any) -> Any:
    """Returns mean(y_pred - y_true * log(y_pred)) over the last axis."""
    y_true, y_pred = floating(y_true, y_pred)
    return reduce_mean(y_pred - y_true * math.log(y_pred + config.epsilon()), axis=-1)


def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> Any:
    """Returns the negative cosine of the angle between both: -1 where directions agree."""
    y_true, y_pred = floating(y_true, y_pred)
    return -reduce_sum(unit(y_true, axis) * unit(y_pred, axis), axis=axis)


def unit(x: Any, axis: int) -> Any:
    """Returns x with the norm 1 along an axis."""
    total = reduce_sum(math.square(x), axis=axis, keepdims=True)
    return x * math.rsqrt(math.maximum(total, config.epsilon()))


class MeanSquaredError(LossFunctionWrapper):
    """mean((y_true - y_pred)^2)."""

    def __init__(self, reduction: str | None = _SUM_OVER_BATCH,
                 name: str | None = "mean_squared_error", dtype: Any = None):  # fmt: skip
        super().__init__(mean_squared_error, reduction, name, dtype)


class MeanAbsoluteError(LossFunctionWrapper):
    """mean(|y_true - y_pred|)."""

    def __init__(self, reduction: str | None = _SUM_OVER_BATCH,
                 name: str | None = "mean_absolute_error", dtype: Any = None):  # fmt: skip
        super().__init__(mean_absolute_error, reduction, name, dtype)


class MeanAbsolutePercentageError(LossFunctionWrapper):
    """100 * mean(|(y_true - y_pred) / y_true|)."""

    def __init__(self, reduction: str | None = _SUM_OVER_BATCH,
                 name: str | None = "mean_absolute_percentage_error",
                 dtype: Any = None):  # fmt: skip
        super().__init__(mean_absolute_percentage_error, reduction, name, dtype)


class MeanSquaredLogarithmicError(LossFunctionWrapper):
    """mean((log(y_true + 1) - log(y_pred + 1))^2)."""

    def __init__(self, reduction: str | None = _SUM_OVER_BATCH,
                 name: str | None = "mean_squared_logarithmic_error",
                 dtype: Any = None):  # fmt: skip
        super().__init__(mean_squared_logarithmic_error, reduction, name, dtype)


class Huber(LossFunctionWrapper):
    """Squared for errors up to delta, linear beyond."""

    _unwritten = {"delta": 1.0}

    def __init__(self, delta: float = 1.0, reduction: str | None = _SUM_OVER_BATCH,
                 name: str | None = "huber_loss", dtype: Any = None):  # fmt: skip
        super().__init__(huber, reduction, name, dtype, delta=delta)


class LogCosh(LossFunctionWrapper):
    """mean(log(cosh(y_pred - y_true)))."""

    def __init__(self, reduction: str | None = _SUM_OVER_BATCH, name: str | None = "log_cosh",
                 dtype: Any = None):  # fmt: skip
        super().__init__(log_cosh, reduction, name, dtype)


class Poisson(LossFunctionWrapper):
    """mean(y_pred - y_true * log(y_pred))."""

    def __init__(self, reduction: str | None = _SUM_OVER_BATCH, name: str | None = "poisson",
                 dtype: Any = None):  # fmt: skip
        super().__init__(poisson, reduction, name, dtype)


class CosineSimilarity(LossFunctionWrapper):
    """The negative cosine of the angle between both."""

    _unwritten = {"axis": -1}

    def __init__(self, axis: int = -1, reduction: str | None = _SUM_OVER_BATCH,
                 name: str | None = "cosine_similarity", dtype: Any = None):  # fmt: skip
        super().__init__(cosine_similarity, reduction, name, dtype, axis=axis)
