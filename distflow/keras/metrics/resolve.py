"""What a metric's name means for given shapes: "accuracy" is one of three."""

from __future__ import annotations

import inspect
from typing import Any

from distflow.keras import by_name
from distflow.keras.metrics.accuracy import (
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
)
from distflow.keras.metrics.base import MeanMetricWrapper, Metric
from distflow.keras.metrics.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
)

# Name -> metric for one output column, for integer labels, for one-hot labels.
_BY_SHAPE = {
    "accuracy": (BinaryAccuracy, SparseCategoricalAccuracy, CategoricalAccuracy),
    "crossentropy": (BinaryCrossentropy, SparseCategoricalCrossentropy, CategoricalCrossentropy),
}
_SHORT = {"acc": "accuracy", "accuracy": "accuracy", "ce": "crossentropy",
          "crossentropy": "crossentropy"}  # fmt: skip


def resolve_metric(name: Any, y_true_shape: Any, y_pred_shape: Any, loss: Any = None, *,
                   names: Any) -> Any:  # fmt: skip
    """Returns a Metric for what `compile` was given: a name, function, class, config or Metric.

    A metric made from a name carries that name ("mae", "acc"). Cross entropies by the short name
    take over `from_logits` of the loss.

    Args:
      y_true_shape, y_pred_shape: shapes of truth and prediction; unknown sizes are None.
      loss: the loss of this output, if there is one.
      names: the table of metrics.
    """
    if isinstance(name, Metric):
        return name
    short = _SHORT.get(name.lower()) if isinstance(name, str) else None
    if short is not None and y_true_shape is not None:
        cls = _BY_SHAPE[short][_kind(tuple(y_true_shape), tuple(y_pred_shape))]
        logits = getattr(loss, "from_logits", False)
        return cls(name=name, **({"from_logits": True} if logits and short != "accuracy" else {}))
    metric = by_name.resolve("metric", name, names)
    label = name if isinstance(name, str) else None
    if isinstance(metric, Metric):
        if label is not None:
            metric.name = label
        return metric
    function = metric if inspect.isfunction(metric) else None
    label = label or getattr(function, "__name__", None) or getattr(metric, "name", None)
    label = "lambda" if label == "<lambda>" else label
    return MeanMetricWrapper(metric, name=label or by_name.naming.snake_case(type(metric).__name__))


def _kind(y_true: Any, y_pred: Any) -> int:
    columns = y_pred[-1] if y_pred else 1
    if columns == 1:
        return 0
    sparse = len(y_true) < len(y_pred) or (len(y_true) == len(y_pred) and y_true[-1] == 1)
    return 1 if sparse else 2
