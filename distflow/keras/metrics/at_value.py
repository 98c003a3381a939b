"""The best of one ratio where another one is at least a given value.

Both ratios come from counts at thresholds at equal distances in [0, 1].
"""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.keras import config
from distflow.keras.losses.ranks import to_tensors
from distflow.keras.metrics.base import Metric
from distflow.keras.metrics.confusion import COUNTS, counts
from distflow.ops import math
from distflow.ops.prims.elementwise import select
from distflow.ops.reduce import reduce_max

# Ratio -> the counts a and b of which it is a / (a + b).
_RATIOS = {
    "sensitivity": ("true_positives", "false_negatives"),
    "specificity": ("true_negatives", "false_positives"),
    "precision": ("true_positives", "false_positives"),
    "recall": ("true_positives", "false_negatives"),
}


class _AtValue(Metric):
    """What the four share: counts, and the search among the thresholds."""

    _direction = "up"

    _given = _wanted = ""

    def __init__(self, value: float, num_thresholds: int, class_id: int | None, name: str | None,
                 dtype: Any):  # fmt: skip
        where = type(self).__name__
        if not 0 <= value <= 1:
            raise errors.invalid(where, f"{self._given} must be in [0, 1]", str(value))
        if num_thresholds <= 0:
            raise errors.invalid(where, "num_thresholds must be > 0", str(num_thresholds))
        super().__init__(dtype, name)
        self.value = value
        self.num_thresholds = num_thresholds
        self.class_id = class_id
        last = num_thresholds - 1
        self.thresholds = [i / last for i in range(num_thresholds)] if last else [0.5]
        # A prediction of exactly 0 is above the lowest threshold, as in Keras.
        self._limits = [-config.epsilon(), *self.thresholds[1:]] if last else [0.5]
        self._counted = {
            name: self.add_variable((num_thresholds,), "zeros", name=name) for name in COUNTS
        }

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes a batch of truths and predictions in."""
        y_true, y_pred = to_tensors(y_true, self._dtype), to_tensors(y_pred, self._dtype)
        found = counts(COUNTS, y_true, y_pred, self._limits, sample_weight=sample_weight,
                       class_id=self.class_id)  # fmt: skip
        for name, value in found.items():
            self._counted[name].assign_add(value)

    def result(self) -> Any:
        """Returns the largest ratio that is allowed, 0 if none is."""
        given, wanted = self._ratio(self._given), self._ratio(self._wanted)
        return reduce_max(select(given >= self.value, wanted, wanted * 0.0))

    def _ratio(self, name: str) -> Any:
        first, second = (self._counted[count].value() for count in _RATIOS[name])
        return math.div_no_nan(first, first + second)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal metric."""
        return super().get_config() | {
            "class_id": self.class_id,
            "num_thresholds": self.num_thresholds,
            self._given: self.value,
        }


class SensitivityAtSpecificity(_AtValue):
    """The best sensitivity where the specificity is at least a value."""

    _given, _wanted = "specificity", "sensitivity"

    def __init__(self, specificity: float, num_thresholds: int = 200,
                 class_id: int | None = None, name: str | None = None,
                 dtype: Any = None):  # fmt: skip
        super().__init__(specificity, num_thresholds, class_id, name, dtype)
        self.specificity = specificity


class SpecificityAtSensitivity(_AtValue):
    """The best specificity where the sensitivity is at least a value."""

    _given, _wanted = "sensitivity", "specificity"

    def __init__(self, sensitivity: float, num_thresholds: int = 200,
                 class_id: int | None = None, name: str | None = None,
                 dtype: Any = None):  # fmt: skip
        super().__init__(sensitivity, num_thresholds, class_id, name, dtype)
        self.sensitivity = sensitivity


class PrecisionAtRecall(_AtValue):
    """The best precision where the recall is at least a value."""

    _given, _wanted = "recall", "precision"

    def __init__(self, recall: float, num_thresholds: int = 200, class_id: int | None = None,
                 name: str | None = None, dtype: Any = None):  # fmt: skip
        super().__init__(recall, num_thresholds, class_id, name, dtype)
        self.recall = recall


class RecallAtPrecision(_AtValue):
    """The best recall where the precision is at least a value."""

    _given, _wanted = "precision", "recall"

    def __init__(self, precision: float, num_thresholds: int = 200,
                 class_id: int | None = None, name: str | None = None,
                 dtype: Any = None):  # fmt: skip
        super().__init__(precision, num_thresholds, class_id, name, dtype)
        self.precision = precision
