"""Losses by margin (hinge family), by divergence and by overlap."""

from __future__ import annotations

from typing import Any

from distflow.core.convert import convert_to_tensor
from distflow.keras import config
from distflow.keras.losses.base import LossFunctionWrapper
from distflow.keras.losses.ranks import floating
from distflow.ops import math
from distflow.ops.prims.elementwise import select
from distflow.ops.reduce import reduce_all, reduce_max, reduce_mean, reduce_sum

_SUM_OVER_BATCH = "sum_over_batch_size"


def _signs(y_true: Any) -> Any:
    """Returns labels -1 and 1; labels that are all 0 or 1 are turned into them."""
    binary = math.logical_or(math.equal(y_true, 0), math.equal(y_true, 1))
    return select(reduce_all(binary), 2.0 * y_true - 1.0, y_true)


def hinge(y_true: Any, y_pred: Any) -> Any:
    """Returns mean(max(1 - y_true * y_pred, 0)) for labels -1 and 1 (or 0 and 1)."""
    y_true, y_pred = floating(y_true, y_pred)
    return reduce_mean(math.maximum(1.0 - _signs(y_true) * y_pred, 0.0), axis=-1)


def squared_hinge(y_true: Any, y_pred: Any) -> Any:
    """Returns mean(max(1 - y_true * y_pred, 0)^2) for labels -1 and 1 (or 0 and 1)."""
    y_true, y_pred = floating(y_true, y_pred)
    margin = math.maximum(1.0 - _signs(y_true) * y_pred, 0.0)
    return reduce_mean(math.square(margin), axis=-1)


def categorical_hinge(y_true: Any, y_pred: Any) -> Any:
    """Returns max(largest wrong score - right score + 1, 0)."""
    y_pred = convert_to_tensor(y_pred)
    y_true = math.cast(y_true, y_pred.dtype)
    right = reduce_sum(y_true * y_pred, axis=-1)
    wrong = reduce_max((1.0 - y_true) * y_pred, axis=-1)
    return math.maximum(wrong - right + 1.0, 0.0)


def kl_divergence(y_true: Any, y_pred: Any) -> Any:
    """Returns sum(y_true * log(y_true / y_pred)) over the last axis."""
    y_pred = convert_to_tensor(y_pred)
    y_true = math.clip_by_value(math.cast(y_true, y_pred.dtype), config.epsilon(), 1.0)
    y_pred = math.clip_by_value(y_pred, config.epsilon(), 1.0)
    return reduce_sum(y_true * math.log(y_true / y_pred), axis=-1)


def dice(y_true: Any, y_pred: Any, axis: Any = None) -> Any:
    """Returns 1 - 2 |A and B| / (|A| + |B|), over axes (default all)."""
    y_true, y_pred = floating(y_true, y_pred)
    both = reduce_sum(y_true * y_pred, axis=axis)
    sizes = reduce_sum(y_true, axis=axis) + reduce_sum(y_pred, axis=axis)
    return 1.0 - math.div_no_nan(2.0 * both, sizes + config.epsilon())


def tversky(y_true: Any, y_pred: Any, alpha: float = 0.5, beta: float = 0.5,
            axis: Any = None) -> Any:  # fmt: skip
    """Returns 1 - hits / (hits + alpha * misses + beta * false alarms).

    Which of the two alpha weights is Keras's choice; the paper has them the other way round.

    Source: Salehi et al. 2017, arXiv:1706.05721.
    """
    y_true, y_pred = floating(y_true, y_pred)
    hits = reduce_sum(y_true * y_pred, axis=axis)
    alarms = reduce_sum((1.0 - y_true) * y_pred, axis=axis)
    misses = reduce_sum(y_true * (1.0 - y_pred), axis=axis)
    total = hits + misses * alpha + alarms * beta + config.epsilon()
    return 1.0 - math.div_no_nan(hits, total)


class Hinge(LossFunctionWrapper):
    """mean(max(1 - y_true * y_pred, 0))."""

    def __init__(self, reduction: str | None = _SUM_OVER_BATCH, name: str | None = "hinge",
                 dtype: Any = None):  # fmt: skip
        super().__init__(hinge, reduction, name, dtype)


class SquaredHinge(LossFunctionWrapper):
    """mean(max(1 - y_true * y_pred, 0)^2)."""

    def __init__(self, reduction: str | None = _SUM_OVER_BATCH,
                 name: str | None = "squared_hinge", dtype: Any = None):  # fmt: skip
        super().__init__(squared_hinge, reduction, name, dtype)


class CategoricalHinge(LossFunctionWrapper):
    """max(largest wrong score - right score + 1, 0)."""

    def __init__(self, reduction: str | None = _SUM_OVER_BATCH,
                 name: str | None = "categorical_hinge", dtype: Any = None):  # fmt: skip
        super().__init__(categorical_hinge, reduction, name, dtype)


class KLDivergence(LossFunctionWrapper):
    """sum(y_true * log(y_true / y_pred))."""

    def __init__(self, reduction: str | None = _SUM_OVER_BATCH,
                 name: str | None = "kl_divergence", dtype: Any = None):  # fmt: skip
        super().__init__(kl_divergence, reduction, name, dtype)


class Dice(LossFunctionWrapper):
    """1 - twice the overlap by the sum of both sizes."""

    def __init__(self, reduction: str | None = _SUM_OVER_BATCH, name: str | None = "dice",
                 axis: Any = None, dtype: Any = None):  # fmt: skip
        super().__init__(dice, reduction, name, dtype, axis=axis)


class Tversky(LossFunctionWrapper):
    """1 - hits by hits and weighted errors."""

    def __init__(self, alpha: float = 0.5, beta: float = 0.5,
                 reduction: str | None = _SUM_OVER_BATCH, name: str | None = "tversky",
                 axis: Any = None, dtype: Any = None):  # fmt: skip
        super().__init__(tversky, reduction, name, dtype, alpha=alpha, beta=beta, axis=axis)
