"""What `compile` keeps: the losses and metrics of each output, resolved by name and shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distflow.base import errors, nest
from distflow.core.convert import convert_to_tensor
from distflow.keras import losses as losses_module
from distflow.keras import metrics as metrics_module
from distflow.ops import array, math


class CompileLoss:
    """The losses of a model's outputs, weighted and added.

    Args:
      loss: a loss (name, function, Loss), or a structure of them like the outputs.
      loss_weights: numbers in the same structure, or None.
      output_names: names of the outputs, or None.
    """

    def __init__(self, loss: Any, loss_weights: Any = None, output_names: Any = None):
        self._given, self._weights, self._output_names = loss, loss_weights, output_names
        for weight in nest.flatten(loss_weights):
            if weight is not None and not isinstance(weight, int | float | np.number):
                raise errors.invalid(
                    "compile", "loss_weights must be numbers", repr(weight),
                    "Metrics go by name: compile(optimizer, loss, metrics=[...]).",
                )  # fmt: skip
        self._losses: list[Any] | None = None
        self.metrics: list[Any] = []

    def build(self, y_true: Any, y_pred: Any) -> None:
        """Assigns losses to outputs (done once, when the structure of outputs is known)."""
        names = _names(y_pred, self._output_names)
        given = _arrange("loss", self._given, names, y_pred)
        weights = _arrange("loss_weights", self._weights, names, y_pred, broadcast=False)
        self._losses = [losses_module.get(item) if item is not None else None for item in given]
        self._losses = [_wrapped(loss) if loss is not None else None for loss in self._losses]
        self._flat_weights = weights
        if len(names) > 1:
            self.metrics = [
                metrics_module.Mean(name=f"{name}_loss") if loss is not None else None
                for name, loss in zip(names, self._losses)
            ]

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns the weighted sum of the losses of all outputs, a scalar tensor."""
        if y_true is None:
            raise errors.invalid(
                "fit", "targets y are needed, as compile was given a loss", "none",
                "Give fit(x, y), or a data set of (x, y).",
            )  # fmt: skip
        if self._losses is None:
            self.build(y_true, y_pred)
        assert self._losses is not None
        predictions = nest.flatten(y_pred)
        truths = _like("targets", y_true, y_pred, self._output_names)
        sample_weights = _weights_like(sample_weight, y_pred, self._output_names)
        total = None
        for i, (loss, truth, prediction) in enumerate(zip(self._losses, truths, predictions)):
            if loss is None or truth is None:
                continue
            value = loss(truth, prediction, sample_weight=sample_weights[i])
            if self.metrics and self.metrics[i] is not None:
                rows = array.shape(prediction)[0] if prediction.ndim else 1
                self.metrics[i].update_state(value, sample_weight=math.cast(rows, "float32"))
            if self._flat_weights[i] is not None:
                value = value * self._flat_weights[i]
            total = value if total is None else total + value
        if total is None:
            raise errors.invalid("compile", "a loss for at least one output", "none")
        return total

    @property
    def divides_by_rows(self) -> bool:
        """Whether the losses are means over rows (and not sums)."""
        return all(
            getattr(loss, "reduction", None) not in ("sum", "none", None)
            for loss in self._losses or [] if loss is not None
        )  # fmt: skip

    def get_config(self) -> dict[str, Any]:
        """Returns what was given."""
        return {"loss": self._given, "loss_weights": self._weights}


def _wrapped(loss: Any) -> Any:
    if isinstance(loss, losses_module.Loss):
        return loss
    return losses_module.LossFunctionWrapper(loss, name=getattr(loss, "__name__", "loss"))


class CompileMetrics:
    """The metrics of a model's outputs.

    Args:
      metrics: list of metrics (for one output), or a structure of lists like the outputs.
      weighted_metrics: the same, for metrics that take sample weights.
      output_names: names of the outputs, or None.
    """

    def __init__(self, metrics: Any, weighted_metrics: Any = None, output_names: Any = None):
        self._given, self._given_weighted = metrics, weighted_metrics
        self._output_names = output_names
        self._per_output: list[list[tuple[Any, bool]]] | None = None
        self._prefixes: list[str] = []

    @property
    def built(self) -> bool:
        """Whether metrics are assigned to outputs."""
        return self._per_output is not None

    @property
    def metrics(self) -> list[Any]:
        """All metric objects."""
        return [metric for row in self._per_output or [] for metric, _ in row]

    def build(self, y_true: Any, y_pred: Any, losses: Sequence[Any] | None = None) -> None:
        """Resolves names like "accuracy" by the shapes of targets and predictions."""
        names = _names(y_pred, self._output_names)
        predictions = nest.flatten(y_pred)
        truths = _like("targets", y_true, y_pred, self._output_names)
        rows: list[list[tuple[Any, bool]]] = [[] for _ in names]
        for given, weighted in ((self._given, False), (self._given_weighted, True)):
            for i, items in enumerate(_lists(given, names, y_pred)):
                for item in items:
                    loss = losses[i] if losses else None
                    metric = _resolve(item, truths[i], predictions[i], loss)
                    rows[i].append((metric, weighted))
        self._prefixes = [f"{name}_" if len(names) > 1 else "" for name in names]
        self._per_output = rows

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Updates all metrics with a batch."""
        if self._per_output is None:
            self.build(y_true, y_pred)
        assert self._per_output is not None
        truths = _like("targets", y_true, y_pred, self._output_names)
        weights = _weights_like(sample_weight, y_pred, self._output_names)
        for row, truth, prediction, weight in zip(
            self._per_output, truths, nest.flatten(y_pred), weights
        ):
            for metric, weighted in row:
                if truth is not None:
                    metric.update_state(
                        truth, prediction, **({"sample_weight": weight} if weighted else {})
                    )

    def named(self) -> list[tuple[str, Any]]:
        """Returns (name in the logs, metric) pairs."""
        found: dict[str, Any] = {}
        for prefix, row in zip(self._prefixes, self._per_output or []):
            for metric, weighted in row:
                name = prefix + metric.name
                if name in found and weighted:
                    name = f"{prefix}weighted_{metric.name}"
                base, number = name, 1
                while name in found:
                    name, number = f"{base}_{number}", number + 1
                found[name] = metric
        return list(found.items())


def _resolve(item: Any, truth: Any, prediction: Any, loss: Any) -> Any:
    shape = None if truth is None else truth.shape
    metric = metrics_module.resolve_metric(item, shape, prediction.shape, loss)
    if isinstance(metric, metrics_module.Metric):
        return metric
    name = getattr(metric, "__name__", type(metric).__name__)
    return metrics_module.MeanMetricWrapper(metric, name=name)


def _names(y_pred: Any, given: Any) -> list[str]:
    flat = nest.flatten(y_pred)
    if isinstance(y_pred, dict):
        return [str(path[0]) for path, _ in nest.flatten_with_paths(y_pred)]
    if given is not None and len(given) == len(flat):
        return list(given)
    return ["output"] if len(flat) == 1 else [f"output_{i + 1}" for i in range(len(flat))]


def _arrange(what: str, given: Any, names: list[str], y_pred: Any, broadcast: bool = True) -> Any:
    """Returns one entry an output from a single value, a list, or a dict by output name."""
    count = len(names)
    if isinstance(given, dict):
        unknown = set(given) - set(names)
        if unknown:
            raise errors.invalid("compile", f"keys of {what} must be among {names}",
                                 str(sorted(unknown)))  # fmt: skip
        return [given.get(name) for name in names]
    if isinstance(given, list | tuple):
        flat = nest.flatten(given)
        if len(flat) != count:
            raise errors.invalid("compile", f"{what} needs {count} entries", str(len(flat)))
        return flat
    return [given if broadcast or count == 1 else None] * count


def _lists(given: Any, names: list[str], y_pred: Any) -> list[list[Any]]:
    if given is None:
        return [[] for _ in names]
    if isinstance(given, dict):
        given = _arrange("metrics", given, names, y_pred)
    elif not isinstance(given, list | tuple):
        given = [[given]] * len(names)
    elif len(names) == 1 or not any(isinstance(g, list | tuple | dict) for g in given):
        if len(names) > 1 and len(given) == len(names):
            given = [[g] for g in given]
        elif len(names) == 1 and len(given) == 1 and isinstance(given[0], list | tuple):
            given = [given[0]]
        else:
            given = [given] * len(names)
    return [_as_list(item) for item in given]


def _as_list(item: Any) -> list[Any]:
    if item is None:
        return []
    return list(item) if isinstance(item, list | tuple) else [item]


def _like(what: str, value: Any, y_pred: Any, names: Any) -> list[Any]:
    """Returns the leaves of targets in the order of the predictions' leaves."""
    count = len(nest.flatten(y_pred))
    if isinstance(value, dict) and not isinstance(y_pred, dict):
        return [value.get(name) for name in _names(y_pred, names)]
    if isinstance(value, dict) and isinstance(y_pred, dict):
        return [value.get(name) for name in _names(y_pred, None)]
    flat = nest.flatten(value)
    if count == 1 and len(flat) > 1 and isinstance(value, list | tuple):
        value = convert_to_tensor(value)
        flat = [value]
    if len(flat) != count:
        raise errors.invalid("fit", f"one of the {what} for each of {count} outputs",
                             str(len(flat)))  # fmt: skip
    return flat


def _weights_like(weights: Any, y_pred: Any, names: Any) -> list[Any]:
    count = len(nest.flatten(y_pred))
    if weights is None:
        return [None] * count
    if isinstance(weights, dict):
        return [weights.get(name) for name in _names(y_pred, names)]
    flat = nest.flatten(weights)
    return flat if len(flat) == count else [flat[0]] * count
