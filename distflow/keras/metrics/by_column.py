"""Metrics whose state has an entry for each column of the predictions: F-scores and R squared.

The number of columns is known at the first batch.
"""

from __future__ import annotations

import warnings
from typing import Any

from distflow.base import errors, shapes
from distflow.core import context
from distflow.keras import config
from distflow.keras.losses.ranks import same_rank, to_tensors
from distflow.keras.metrics.base import Metric
from distflow.ops import dims, math, shaping
from distflow.ops.prims.elementwise import select
from distflow.ops.reduce import reduce_max, reduce_mean, reduce_sum


def _columns(where: str, y_true: Any, y_pred: Any) -> int:
    if y_true.ndim != 2 or y_pred.ndim != 2 or None in (y_true.shape[-1], y_pred.shape[-1]):
        raise errors.invalid(
            where, "2D inputs (batch_size, output_dim) with a known output_dim are needed",
            f"y_true {shapes.text(y_true.shape)}, y_pred {shapes.text(y_pred.shape)}",
        )  # fmt: skip
    return y_pred.shape[-1]


class FBetaScore(Metric):
    """(1 + beta^2) precision recall / (beta^2 precision + recall), a class each or averaged.

    Args:
      average: None (a value a class), "micro" (all decisions together), "macro" (the mean) or
        "weighted" (by the number of positives).
      beta: how many times as much recall counts as precision.
      threshold: what is above it is predicted; None: the largest score of a row is.
    """

    _direction = "up"

    def __init__(self, average: str | None = None, beta: float = 1.0,
                 threshold: float | None = None, name: str | None = "fbeta_score",
                 dtype: Any = None):  # fmt: skip
        where = type(self).__name__
        if average not in (None, "micro", "macro", "weighted"):
            raise errors.invalid(
                where, "average must be None, 'micro', 'macro' or 'weighted'", repr(average)
            )
        if not isinstance(beta, float) or beta <= 0:
            raise errors.invalid(where, "beta must be a float > 0", repr(beta))
        if threshold is not None and (not isinstance(threshold, float) or not 0 < threshold <= 1):
            raise errors.invalid(where, "threshold must be a float in (0, 1]", repr(threshold))
        super().__init__(dtype, name)
        self.average = average
        self.beta = beta
        self.threshold = threshold
        self._counted: list[Any] = []

    def _build(self, columns: int) -> None:
        shape = () if self.average == "micro" else (columns,)
        names = ("true_positives", "false_positives", "false_negatives", "intermediate_weights")
        with context.init_scope():
            self._counted = [self.add_variable(shape, "zeros", name=name) for name in names]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes a batch of truths (0 or 1) and scores in, both [batch, classes]."""
        y_true, y_pred = to_tensors(y_true, self._dtype), to_tensors(y_pred, self._dtype)
        columns = _columns(type(self).__name__, y_true, y_pred)
        if not self._counted:
            self._build(columns)
        if self.threshold is None:
            best = y_pred >= reduce_max(y_pred, axis=-1, keepdims=True)
            # A row of zeros predicts nothing.
            chosen = math.logical_and(best, math.abs(y_pred) > 1e-9)
        else:
            chosen = y_pred > self.threshold
        guess = math.cast(chosen, self._dtype)
        parts = [guess * y_true, guess * (1 - y_true), (1 - guess) * y_true, y_true]
        if sample_weight is not None:
            weight = shaping.expand_dims(to_tensors(sample_weight, self._dtype), 1)
            parts = [part * weight for part in parts]
        axis = None if self.average == "micro" else 0
        for variable, part in zip(self._counted, parts):
            variable.assign_add(reduce_sum(part, axis=axis))

    def result(self) -> Any:
        """Returns the score so far, a scalar or [classes].

        Raises:
          FailedPreconditionError: before the first batch, which says how many classes there are.
        """
        hits, alarms, misses, positives = self._state()
        tiny, square = config.epsilon(), self.beta**2
        precision, recall = hits / (hits + alarms + tiny), hits / (hits + misses + tiny)
        score = precision * recall / (square * precision + recall + tiny) * (1 + square)
        if self.average == "weighted":
            return reduce_sum(score * (positives / (reduce_sum(positives) + tiny)))
        return score if self.average is None else reduce_mean(score)

    def _state(self) -> list[Any]:
        _check_seen(self, self._counted)
        return [variable.value() for variable in self._counted]

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal metric."""
        return super().get_config() | {
            "average": self.average,
            "beta": self.beta,
            "threshold": self.threshold,
        }


class F1Score(FBetaScore):
    """The harmonic mean of precision and recall, a class each or averaged."""

    def __init__(self, average: str | None = None, threshold: float | None = None,
                 name: str | None = "f1_score", dtype: Any = None):  # fmt: skip
        super().__init__(average, 1.0, threshold, name, dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal metric."""
        return {key: value for key, value in super().get_config().items() if key != "beta"}


_AGGREGATIONS = (None, "uniform_average", "variance_weighted_average")


class R2Score(Metric):
    """1 - sum of squared errors / sum of squared distances from the mean.

    Args:
      class_aggregation: None (a value a column), "uniform_average" or
        "variance_weighted_average".
      num_regressors: if not 0, the score is adjusted for that many independent variables.
    """

    _direction = "up"

    def __init__(self, class_aggregation: str | None = "uniform_average",
                 num_regressors: int = 0, name: str | None = "r2_score",
                 dtype: Any = None):  # fmt: skip
        if class_aggregation not in _AGGREGATIONS:
            raise errors.invalid(
                "R2Score", f"class_aggregation must be one of {_AGGREGATIONS}",
                repr(class_aggregation),
            )  # fmt: skip
        if num_regressors < 0:
            raise errors.invalid("R2Score", "num_regressors must be >= 0", str(num_regressors))
        super().__init__(dtype, name)
        self.class_aggregation = class_aggregation
        self.num_regressors = num_regressors
        self.num_samples = self.add_variable((), "zeros", name="num_samples")
        self._sums: list[Any] = []

    def _build(self, columns: int) -> None:
        names = ("squared_sum", "sum", "residual", "count")
        with context.init_scope():
            self._sums = [self.add_variable((columns,), "zeros", name=name) for name in names]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes a batch of truths and predictions in, both [batch, columns]."""
        y_true, y_pred = same_rank(to_tensors(y_true, self._dtype), to_tensors(y_pred, self._dtype))
        columns = _columns("R2Score", y_true, y_pred)
        if not self._sums:
            self._build(columns)
        weight = to_tensors(1 if sample_weight is None else sample_weight, self._dtype)
        if weight.ndim == 1:
            weight = shaping.expand_dims(weight, 1)
        weight = weight + y_true * 0
        weighted, error = y_true * weight, math.square(y_true - y_pred) * weight
        for variable, part in zip(self._sums, (y_true * weighted, weighted, error, weight)):
            variable.assign_add(reduce_sum(part, axis=0))
        # The number of elements, not of rows: Keras's definition of the adjusted score.
        self.num_samples.assign_add(math.cast(dims.count(y_true), self._dtype))

    def result(self) -> Any:
        """Returns the score so far, a scalar or [columns]."""
        _check_seen(self, self._sums)
        squares, total, error, count = (variable.value() for variable in self._sums)
        spread = squares - total * (total / count)
        scores = 1 - error / spread
        scores = select(math.is_inf(scores), spread * 0, scores)
        if self.class_aggregation == "uniform_average":
            scores = reduce_mean(scores)
        elif self.class_aggregation == "variance_weighted_average":
            scores = reduce_sum(spread * scores) / reduce_sum(spread)
        return scores if not self.num_regressors else self._adjusted(scores)

    def _adjusted(self, score: Any) -> Any:
        samples = self.num_samples.value()
        left = samples - self.num_regressors - 1.0
        known = dims.known(left)
        if known is not None and known <= 0:
            warnings.warn(
                "Too few samples for the number of independent variables in the adjusted R2 "
                "score. Falling back to the standard R2 score.", stacklevel=3,
            )  # fmt: skip
        positive = left > 0
        divisor = select(positive, left, left * 0 + 1)
        adjusted = 1.0 - (1.0 - score) * (samples - 1.0) / divisor
        return select(positive, adjusted, score)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal metric."""
        return super().get_config() | {
            "class_aggregation": self.class_aggregation,
            "num_regressors": self.num_regressors,
        }


def _check_seen(metric: Metric, state: list[Any]) -> None:
    if not state:
        raise errors.FailedPreconditionError(
            f"{type(metric).__name__}.result: expected at least one batch before; received none.\n"
            "Call update_state(y_true, y_pred) first."
        )
