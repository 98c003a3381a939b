"""Metrics from counts of hits and misses at thresholds: precision, recall, AUC.

A prediction is positive where it is above the threshold.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import errors, shapes
from distflow.keras import config
from distflow.keras.losses.ranks import same_rank, to_tensors
from distflow.keras.metrics.base import Metric
from distflow.ops import math, shaping, sorting
from distflow.ops.creation import one_hot, ones_like
from distflow.ops.prims.elementwise import select
from distflow.ops.reduce import reduce_sum

COUNTS = ("true_positives", "false_positives", "true_negatives", "false_negatives")
_LOWEST = -1e10


def counts(names: Any, y_true: Any, y_pred: Any, thresholds: Any, *, sample_weight: Any = None,
           top_k: int | None = None, class_id: int | None = None,
           columns: bool = False) -> dict[str, Any]:  # fmt: skip
    """Returns the weighted counts of the given names, one a threshold.

    Args:
      y_true, y_pred: tensors of one floating dtype; truths are 0 or not 0.
      top_k: only the k largest predictions of a row can be positive.
      class_id: only this entry of the last dimension counts.
      columns: count each entry of the last dimension by itself: [thresholds, columns].
    """
    y_true, y_pred = same_rank(y_true, y_pred)
    shapes.merge("confusion counts: y_true", y_pred.shape, y_true.shape)
    if top_k is not None:
        y_pred = _only_top(y_pred, top_k)
    weight = None
    if sample_weight is not None:
        weight = to_tensors(sample_weight, y_pred.dtype)
        weight, _ = same_rank(weight, y_pred)
        while weight.ndim < y_pred.ndim:
            weight = shaping.expand_dims(weight, -1)
        weight = weight * ones_like(y_pred)
    if class_id is not None:
        y_true, y_pred = y_true[..., class_id], y_pred[..., class_id]
        weight = None if weight is None else weight[..., class_id]
    flat = [1, -1, y_pred.shape[-1]] if columns else [1, -1]
    y_true, y_pred = shaping.reshape(y_true, flat), shaping.reshape(y_pred, flat)
    limits = np.asarray(thresholds, y_pred.dtype.numpy).reshape(-1, *[1] * (len(flat) - 1))
    dtype = y_pred.dtype
    predicted = math.cast(y_pred > limits, dtype)
    actual = math.cast(math.not_equal(y_true, 0), dtype)
    factor = 1.0 if weight is None else shaping.reshape(weight, flat)
    sides = {
        "true_positives": lambda: actual * predicted,
        "false_positives": lambda: (1.0 - actual) * predicted,
        "true_negatives": lambda: (1.0 - actual) * (1.0 - predicted),
        "false_negatives": lambda: actual * (1.0 - predicted),
    }
    return {name: reduce_sum(sides[name]() * factor, axis=1) for name in names}


def _only_top(y_pred: Any, k: int) -> Any:
    """Returns y_pred with all but the k largest of a row so low that they are never positive."""
    _, best = sorting.top_k(y_pred, k)
    chosen = reduce_sum(one_hot(best, y_pred.shape[-1], dtype=y_pred.dtype), axis=-2)
    return select(chosen > 0, y_pred, y_pred * 0 + _LOWEST)


def _thresholds(where: str, thresholds: Any, default: float) -> list[float]:
    if thresholds is None:
        return [default]
    values = list(thresholds) if isinstance(thresholds, list | tuple) else [thresholds]
    bad = [t for t in values if t is None or not 0 <= t <= 1]
    if bad:
        raise errors.invalid(where, "thresholds must be in [0, 1]", str(bad))
    return values


class _Counting(Metric):
    """What these share: variables of counts, and adding a batch to them."""

    _names: tuple[str, ...] = ()

    def __init__(self, thresholds: Any, name: str | None, dtype: Any, *,
                 top_k: int | None = None, class_id: int | None = None):  # fmt: skip
        super().__init__(dtype, name)
        self.init_thresholds = thresholds
        self.top_k = top_k
        self.class_id = class_id
        default = 0.5 if top_k is None else _LOWEST
        self.thresholds = _thresholds(type(self).__name__, thresholds, default)
        self._counted = {
            n: self.add_variable((len(self.thresholds),), "zeros", name=self._variable_name(n))
            for n in self._names
        }

    def _variable_name(self, count: str) -> str:
        return count

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes a batch of truths and predictions in."""
        y_true, y_pred = to_tensors(y_true, self._dtype), to_tensors(y_pred, self._dtype)
        found = counts(self._names, y_true, y_pred, self.thresholds, sample_weight=sample_weight,
                       top_k=self.top_k, class_id=self.class_id)  # fmt: skip
        for name, value in found.items():
            self._counted[name].assign_add(value)

    def _scalar_if_one(self, value: Any) -> Any:
        return value[0] if len(self.thresholds) == 1 else value


class _OneCount(_Counting):
    """A single count."""

    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: Any = None):
        super().__init__(thresholds, name, dtype)

    def _variable_name(self, count: str) -> str:
        return "accumulator"

    def result(self) -> Any:
        """Returns the count so far."""
        return self._scalar_if_one(self._counted[self._names[0]].value())

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal metric."""
        return super().get_config() | {"thresholds": self.init_thresholds}


class TruePositives(_OneCount):
    """How many positives were predicted."""

    _names = ("true_positives",)


class FalsePositives(_OneCount):
    """How many negatives were predicted to be positive."""

    _names = ("false_positives",)


class TrueNegatives(_OneCount):
    """How many negatives were predicted."""

    _names = ("true_negatives",)


class FalseNegatives(_OneCount):
    """How many positives were predicted to be negative."""

    _names = ("false_negatives",)


class _Ratio(_Counting):
    """True positives by themselves and one other count."""

    _direction = "up"

    def __init__(self, thresholds: Any = None, top_k: int | None = None,
                 class_id: int | None = None, name: str | None = None,
                 dtype: Any = None):  # fmt: skip
        super().__init__(thresholds, name, dtype, top_k=top_k, class_id=class_id)

    def result(self) -> Any:
        """Returns the ratio so far, 0 where nothing was counted."""
        first, second = (self._counted[n].value() for n in self._names)
        return self._scalar_if_one(math.div_no_nan(first, first + second))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal metric."""
        return super().get_config() | {
            "thresholds": self.init_thresholds,
            "top_k": self.top_k,
            "class_id": self.class_id,
        }


class Precision(_Ratio):
    """How many of the predicted positives are positive."""

    _names = ("true_positives", "false_positives")


class Recall(_Ratio):
    """How many of the positives were predicted."""

    _names = ("true_positives", "false_negatives")


class AUC(Metric):
    """The area under the ROC or precision-recall curve, from counts at fixed thresholds.

    Args:
      num_thresholds: at equal distances in [0, 1], unless `thresholds` are given.
      curve: "ROC" or "PR".
      summation_method: "interpolation" (trapezoids; for PR that of Davis & Goadrich 2006),
        "minoring" or "majoring".
      multi_label: compute each column's area, then their mean by `label_weights`.
      num_labels: number of columns, needed if the state is read before the first batch.
      from_logits: predictions go through a sigmoid first.
    """

    _direction = "up"

    def __init__(self, num_thresholds: int = 200, curve: str = "ROC",
                 summation_method: str = "interpolation", name: str | None = None,
                 dtype: Any = None, thresholds: Any = None, multi_label: bool = False,
                 num_labels: int | None = None, label_weights: Any = None,
                 from_logits: bool = False):  # fmt: skip
        if curve.upper() not in ("ROC", "PR"):
            raise errors.invalid("AUC", "curve must be 'ROC' or 'PR'", repr(curve))
        if summation_method.lower() not in ("interpolation", "minoring", "majoring"):
            raise errors.invalid(
                "AUC", "summation_method must be 'interpolation', 'minoring' or 'majoring'",
                repr(summation_method),
            )  # fmt: skip
        if thresholds is None and num_thresholds <= 1:
            raise errors.invalid("AUC", "num_thresholds must be > 1", str(num_thresholds))
        super().__init__(dtype, name)
        self._init_from_thresholds = thresholds is not None
        if thresholds is not None:
            inner = sorted(_thresholds("AUC", list(thresholds), 0.5))
        else:
            inner = [(i + 1) / (num_thresholds - 1) for i in range(num_thresholds - 2)]
        # The ends lie just outside, so that predictions of exactly 0 and 1 are inside.
        self._limits = [0.0 - config.epsilon(), *inner, 1.0 + config.epsilon()]
        self.num_thresholds = len(self._limits)
        self.curve = curve.upper()
        self.summation_method = summation_method.lower()
        self.multi_label = multi_label
        self.num_labels = num_labels
        self.label_weights = label_weights
        self._from_logits = from_logits
        self._counted: dict[str, Any] = {}
        if not multi_label or num_labels:
            self._build(num_labels)

    @property
    def thresholds(self) -> list[float]:
        """The thresholds, with the two ends."""
        return list(self._limits)

    def _build(self, labels: int | None) -> None:
        shape = (self.num_thresholds, labels) if self.multi_label else (self.num_thresholds,)
        for name in COUNTS:
            self._counted[name] = self.add_variable(shape, "zeros", name=name)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes a batch of truths and predictions in."""
        y_true, y_pred = to_tensors(y_true, self._dtype), to_tensors(y_pred, self._dtype)
        if self._from_logits:
            y_pred = math.sigmoid(y_pred)
        if not self._counted:
            self._build(y_pred.shape[-1])
        found = counts(COUNTS, y_true, y_pred, self._limits, sample_weight=sample_weight,
                       columns=self.multi_label)  # fmt: skip
        for name, value in found.items():
            self._counted[name].assign_add(value)

    def result(self) -> Any:
        """Returns the area so far."""
        tp, fp, tn, fn = (self._counted[name].value() for name in COUNTS)
        if self.curve == "PR" and self.summation_method == "interpolation":
            return self._mean(_interpolated_pr(tp, fp, fn))
        recall = math.div_no_nan(tp, tp + fn)
        if self.curve == "ROC":
            x, y = math.div_no_nan(fp, fp + tn), recall
        else:
            x, y = recall, math.div_no_nan(tp, tp + fp)
        heights = {
            "interpolation": lambda: (y[:-1] + y[1:]) / 2.0,
            "minoring": lambda: math.minimum(y[:-1], y[1:]),
            "majoring": lambda: math.maximum(y[:-1], y[1:]),
        }[self.summation_method]()
        return self._mean((x[:-1] - x[1:]) * heights)

    def _mean(self, areas: Any) -> Any:
        if not self.multi_label:
            return reduce_sum(areas)
        by_label = reduce_sum(areas, axis=0)
        weights = np.ones(by_label.shape[0]) if self.label_weights is None else self.label_weights
        weights = np.asarray(weights, by_label.dtype.numpy)
        return math.div_no_nan(reduce_sum(by_label * weights), reduce_sum(weights))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal metric."""
        weights = self.label_weights
        result = super().get_config() | {
            "num_thresholds": self.num_thresholds,
            "curve": self.curve,
            "summation_method": self.summation_method,
            "multi_label": self.multi_label,
            "num_labels": self.num_labels,
            "label_weights": None if weights is None else np.asarray(weights).tolist(),
            "from_logits": self._from_logits,
        }
        if self._init_from_thresholds:
            result["thresholds"] = self._limits[1:-1]
        return result


def _interpolated_pr(tp: Any, fp: Any, fn: Any) -> Any:
    """Returns areas between thresholds, tp and fp between them on a line.

    Source: Davis & Goadrich 2006, The relationship between precision-recall and ROC curves.
    """
    dtp = tp[:-1] - tp[1:]
    p = tp + fp
    dp = p[:-1] - p[1:]
    slope = math.div_no_nan(dtp, math.maximum(dp, 0.0))
    intercept = tp[1:] - slope * p[1:]
    both = math.logical_and(p[:-1] > 0, p[1:] > 0)
    ratio = select(both, math.div_no_nan(p[:-1], math.maximum(p[1:], 0.0)), p[1:] * 0 + 1.0)
    area = slope * (dtp + intercept * math.log(ratio))
    return math.div_no_nan(area, math.maximum(tp[1:] + fn[1:], 0.0))
