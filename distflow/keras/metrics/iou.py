"""Intersection over union of classes, from a confusion matrix of all examples.

IoU of a class is hits / (hits + false alarms + misses). Pairs with a class outside
[0, num_classes) do not count.
"""

from __future__ import annotations

import warnings
from typing import Any

from distflow.base import dtypes, errors
from distflow.core.convert import convert_to_tensor
from distflow.keras import config
from distflow.keras.metrics.base import Metric
from distflow.ops import dims, linalg, math, segment, shaping
from distflow.ops.indexing import gather
from distflow.ops.prims.elementwise import select
from distflow.ops.reduce import argmax, reduce_sum


class IoU(Metric):
    """The mean intersection over union of some classes.

    Args:
      num_classes: number of classes.
      target_class_ids: the classes whose mean is taken.
      dtype: of the counts, an integer one by default.
      ignore_class: examples of this true class do not count.
      sparse_y_true, sparse_y_pred: class numbers, or else one-hot vectors or scores.
      axis: of the classes, where they are not sparse.
    """

    _direction = "up"

    def __init__(self, num_classes: int, target_class_ids: Any, name: str | None = None,
                 dtype: Any = None, ignore_class: int | None = None, sparse_y_true: bool = True,
                 sparse_y_pred: bool = True, axis: int = -1):  # fmt: skip
        super().__init__(dtype or "int64", name)
        if max(target_class_ids) >= num_classes:
            raise errors.invalid(
                type(self).__name__, f"target_class_ids must be in [0, {num_classes})",
                str(list(target_class_ids)),
            )  # fmt: skip
        self.num_classes = num_classes
        self.target_class_ids = list(target_class_ids)
        self.ignore_class = ignore_class
        self.sparse_y_true = sparse_y_true
        self.sparse_y_pred = sparse_y_pred
        self.axis = axis
        self.total_cm = self.add_variable(
            (num_classes, num_classes), "zeros", name="total_confusion_matrix"
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes a batch of truths and predictions in, and weights of the shape of the truths."""
        truth = self._classes(y_true, self.sparse_y_true)
        guess = self._classes(y_pred, self.sparse_y_pred)
        counts = math.logical_and(self._valid(truth), self._valid(guess))
        if self.ignore_class is not None:
            counts = math.logical_and(counts, math.not_equal(truth, self.ignore_class))
        weight = math.cast(counts, self._dtype)
        if sample_weight is not None:
            given = convert_to_tensor(sample_weight)
            if given.dtype.is_floating and dtypes.as_dtype(self._dtype).is_integer:
                warnings.warn(
                    "You are passing weight as `float`, but dtype is `int`. This may result in "
                    "an incorrect weight due to type casting. Consider using integer weights.",
                    stacklevel=2,
                )  # fmt: skip
            given = math.cast(given, self._dtype)
            weight = weight * (shaping.reshape(given, [-1]) if given.ndim > 1 else given)
        # A pair of classes is one number: a row of the matrix and a column.
        pair = truth * self.num_classes + guess
        cells = segment.unsorted_segment_sum(
            weight, select(counts, pair, pair * 0), self.num_classes**2
        )
        self.total_cm.assign_add(shaping.reshape(cells, [self.num_classes] * 2))

    def _classes(self, values: Any, sparse: bool) -> Any:
        values = convert_to_tensor(values)
        if not sparse:
            values = argmax(values, axis=self.axis)
        # Counts may be of any dtype; class numbers are cut to it first, as Keras does.
        values = math.cast(math.cast(values, self._dtype), dtypes.int64)
        return dims.reshape(values, [-1])

    def _valid(self, classes: Any) -> Any:
        return math.logical_and(classes >= 0, classes < self.num_classes)

    def result(self) -> Any:
        """Returns the mean over the target classes that have occurred."""
        matrix = self.total_cm.value()
        hits = linalg.diag_part(matrix)
        union = reduce_sum(matrix, axis=0) + reduce_sum(matrix, axis=1) - hits
        hits, union = (
            math.cast(gather(x, self.target_class_ids), dtypes.float32) for x in (hits, union)
        )
        occurs = math.cast(union > 1e-9, dtypes.float32)
        ratio = occurs * hits / (union + config.epsilon())
        return reduce_sum(ratio) / (reduce_sum(occurs) + config.epsilon())

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal metric."""
        return super().get_config() | self._settings()

    # Arguments that a subclass does not take.
    _fixed: tuple[str, ...] = ()

    def _settings(self) -> dict[str, Any]:
        names = ("num_classes", "target_class_ids", "ignore_class", "sparse_y_true",
                 "sparse_y_pred", "axis")  # fmt: skip
        return {name: getattr(self, name) for name in names if name not in self._fixed}


class BinaryIoU(IoU):
    """The mean intersection over union of the classes below and from a threshold on."""

    _fixed = ("num_classes", "ignore_class", "sparse_y_true", "sparse_y_pred", "axis")

    def __init__(self, target_class_ids: Any = (0, 1), threshold: float = 0.5,
                 name: str | None = None, dtype: Any = None):  # fmt: skip
        super().__init__(2, target_class_ids, name, dtype)
        self.threshold = threshold

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes a batch of truths (0 or 1) and scores in."""
        above = math.cast(y_pred, dtypes.float32) >= self.threshold
        super().update_state(y_true, math.cast(above, dtypes.int64), sample_weight)

    def _settings(self) -> dict[str, Any]:
        return super()._settings() | {"threshold": self.threshold}


class MeanIoU(IoU):
    """The mean intersection over union of all classes."""

    _fixed: tuple[str, ...] = ("target_class_ids",)

    def __init__(self, num_classes: int, name: str | None = None, dtype: Any = None,
                 ignore_class: int | None = None, sparse_y_true: bool = True,
                 sparse_y_pred: bool = True, axis: int = -1):  # fmt: skip
        super().__init__(num_classes, range(num_classes), name, dtype, ignore_class,
                         sparse_y_true, sparse_y_pred, axis)  # fmt: skip


class OneHotIoU(IoU):
    """IoU for one-hot truths and scores."""

    _fixed = ("sparse_y_true",)

    def __init__(self, num_classes: int, target_class_ids: Any, name: str | None = None,
                 dtype: Any = None, ignore_class: int | None = None,
                 sparse_y_pred: bool = False, axis: int = -1):  # fmt: skip
        super().__init__(num_classes, target_class_ids, name, dtype, ignore_class, False,
                         sparse_y_pred, axis)  # fmt: skip


class OneHotMeanIoU(MeanIoU):
    """MeanIoU for one-hot truths and scores."""

    _fixed = ("target_class_ids", "sparse_y_true")

    def __init__(self, num_classes: int, name: str | None = None, dtype: Any = None,
                 ignore_class: int | None = None, sparse_y_pred: bool = False,
                 axis: int = -1):  # fmt: skip
        super().__init__(num_classes, name, dtype, ignore_class, False, sparse_y_pred, axis)
