"""The loops behind fit, evaluate and predict: epochs, batches, replicas, logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from distflow.base import errors, flags, nest
from distflow.core import context
from distflow.core.tensor import EagerTensor, Tensor
from distflow.distribute import input as inputs
from distflow.distribute import values
from distflow.distribute.reduce import ReduceOp
from distflow.function import function, functions_run_eagerly
from distflow.function.autograph import convert_user_code
from distflow.graph.ir import hides_variables
from distflow.keras.training.adapters import Source, weights_by_class
from distflow.telemetry import steps


class Batch:
    """One global batch: a part for each local replica, and how much of it that is.

    Attributes:
      parts: (x, y, sample_weight) of each local replica.
      shares: rows of each part divided by all rows of the batch, float32.
      absent: whether a part has no rows.
    """

    def __init__(self, parts: list[Any], shares: list[np.ndarray[Any, Any]], absent: list[bool]):
        self.parts, self.shares, self.absent = parts, shares, absent


@dataclass
class _Found:
    """What is known of a compiled step.

    Attributes:
      traces: so many of them were looked at.
      runs_python: one of them has Python code, which may write variables; or there is none yet.
      variables: what a step may write, once somebody asks.
    """

    traces: int
    runs_python: bool
    variables: list[Any] | None = None


class StepRunner:
    """Runs one of a model's steps on batches, compiled unless the model runs eagerly.

    Args:
      model: has the step as a method.
      step_name: "train_step", "test_step" or "predict_step".
    """

    def __init__(self, model: Any, step_name: str):
        self._model = model
        self._step_name = step_name
        eager = model.run_eagerly or functions_run_eagerly()
        self._compiled = None if eager else function(self._body, autograph=True)
        self._step: Callable[..., Any] = self._compiled or self._body
        self._last = _Found(-1, True)

    def _body(self, data: Any, share: Any) -> Any:
        replica = context.state.replica
        if replica is not None and replica.num_replicas_in_sync > 1:
            replica.loss_share = share
        return convert_user_code(getattr(self._model, self._step_name))(data)

    def __call__(self, batch: Batch) -> list[Any]:
        """Returns what the step gave on each local replica."""
        strategy = self._model.distribute_strategy
        if self._is_atomic(strategy):
            return self._run(strategy, batch)
        saved = [(v.storage, v.storage.save()) for v in self._state()]
        try:
            return self._run(strategy, batch)
        except BaseException:
            # A failed step leaves weights, slots and metrics as they were.
            for storage, value in saved:
                storage.restore(value)
            raise

    def _is_atomic(self, strategy: Any) -> bool:
        """Whether a step that fails leaves no trace of its own accord.

        What is saved here is held, and a value that somebody holds cannot be written in place.
        """
        return (
            self._compiled is not None
            and not functions_run_eagerly()
            and flags.executor() == "cpu"
            and strategy.has_lone_replica
            and not self._found().runs_python
        )

    def _state(self) -> list[Any]:
        """Returns the variables that a step may write."""
        if self._compiled is None or functions_run_eagerly():
            return self._variables()
        found = self._found()
        if found.variables is None:
            found.variables = self._variables()
        return found.variables

    def _found(self) -> _Found:
        """Returns what is known of the compiled step; only a new trace can change it."""
        assert self._compiled is not None
        count = self._compiled.experimental_get_tracing_count()
        if self._last.traces != count:
            nodes = (node for graph in self._compiled.graphs for node in graph.nodes)
            self._last = _Found(count, not count or any(map(hides_variables, nodes)))
        return self._last

    def _variables(self) -> list[Any]:
        model = self._model
        slots = getattr(model.optimizer, "variables", []) if model.optimizer is not None else []
        metrics = [v for metric in model.metrics for v in metric.variables]
        return [*model.variables, *slots, *metrics]

    def _run(self, strategy: Any, batch: Batch) -> list[Any]:
        calls = [
            _bind(self._step, tuple(part), EagerTensor(share))
            for part, share in zip(batch.parts, batch.shares)
        ]
        if not hasattr(strategy, "run_replicas"):
            with steps.Step(self._step_name):
                return [calls[0]()]
        with strategy.scope(), steps.Step(self._step_name):
            return strategy.run_replicas(calls, batch.absent, allow_mean_loss=True)


def _bind(step: Callable[..., Any], data: Any, share: Any) -> Callable[[], Any]:
    return lambda: step(_trim(data), share)


def _trim(data: tuple[Any, Any, Any]) -> Any:
    """(x, y, weights) without trailing Nones: what a user's train_step expects."""
    x, y, sample_weight = data
    if sample_weight is not None:
        return x, y, sample_weight
    return (x, y) if y is not None else (x,)


class Epoch:
    """The batches of one pass (or of `steps` steps), cut for the replicas of this worker."""

    def __init__(self, model: Any, source: Source, class_weight: Any = None):
        self._strategy = model.distribute_strategy
        self._source = source
        self._class_weight = class_weight
        # The pass under way: its iterator and number, how the source stood before it, and how many
        # batches it has given.
        self._pass: Iterator[Any] | None = None
        self._number = self._taken = 0
        self._before: dict[str, Any] = {}
        self._is_resumed = False

    def batches(self, number: int, steps: int | None, start: int = 0) -> Iterator[Batch]:
        """Yields batches; with `steps`, a source goes on where the last epoch left it.

        Args:
          number: of the epoch.
          steps: batches of an epoch; None for a whole pass.
          start: so many of these steps were done before `resume`.
        """
        if steps is None:
            if not self._is_resumed:
                self._begin(number)
            self._is_resumed = False
            while (data := self._take()) is not None:
                yield self._cut(data)
            return
        for _ in range(start, steps):
            data = self._next(number)
            if data is None:
                return
            yield self._cut(data)

    def state(self) -> dict[str, Any]:
        """Returns the position in the data, in a form that JSON can hold."""
        if self._pass is None:
            return {"source": self._source.state(), "number": None, "taken": 0}
        return {"source": self._before, "number": self._number, "taken": self._taken}

    def resume(self, state: dict[str, Any]) -> Batch | None:
        """Goes to a position of an equal source; returns the last batch before it, if any."""
        self._source.set_state(state["source"])
        if state["number"] is None:
            return None
        taken = int(state["taken"])
        self._begin(int(state["number"]), max(taken - 1, 0))
        self._is_resumed = True
        last = self._take() if taken else None
        return None if last is None else self._cut(last)

    def _begin(self, number: int, start: int = 0) -> None:
        self._number, self._taken = number, start
        self._before = self._source.state()
        self._pass = iter(self._source.epoch(number, start))

    def _take(self) -> Any:
        assert self._pass is not None
        data = next(self._pass, None)
        if data is None:
            self._pass = None
        else:
            self._taken += 1
        return data

    def _next(self, number: int) -> Any:
        if self._pass is None:
            self._begin(number)
        data = self._take()
        if data is None:
            # A new pass, if the source can start again.
            self._begin(number)
            data = self._take()
        return data

    def _cut(self, data: Any) -> Batch:
        if self._source.is_distributed:
            local = range(len(self._strategy.local_replicas))
            parts = [self._weighted(values.select(data, i)) for i in local]
            return self._shares(parts, None)
        data = self._weighted(data)
        total = self._strategy.num_replicas_in_sync
        if total == 1:
            return Batch([data], [np.asarray(1.0, np.float32)], [False])
        present = _present(data)
        parts = [
            _restore(inputs.cut(present, total, replica), data)
            for replica in self._strategy.local_replicas
        ]
        return self._shares(parts, inputs.count_rows(present))

    def _weighted(self, data: Any) -> Any:
        """(x, y, sample_weight) with the weights of classes, if there are any."""
        x, y, sample_weight = data
        if self._class_weight is None:
            return data
        if y is None or sample_weight is not None:
            raise errors.invalid(
                "fit", "class_weight needs targets and no sample_weight",
                "no targets" if y is None else "both",
            )  # fmt: skip
        return x, y, weights_by_class(y, self._class_weight)

    def _shares(self, parts: list[Any], rows: int | None) -> Batch:
        counts = [inputs.count_rows(_present(part)) for part in parts]
        if rows is None:
            totals = [[np.asarray(count, np.int64)] for count in counts]
            rows = int(self._strategy.reduce_rows(totals, ReduceOp.SUM, "rows of a batch")[0])
        shares = [np.asarray(count / rows if rows else 0, np.float32) for count in counts]
        return Batch(parts, shares, [count == 0 for count in counts])


def _present(data: Any) -> Any:
    return tuple(part for part in data if part is not None)


def _restore(parts: Any, like: Any) -> Any:
    iterator = iter(parts)
    return tuple(None if part is None else next(iterator) for part in like)


def read_logs(model: Any, results: list[Any]) -> dict[str, float]:
    """Returns Python floats from the logs of a step, over all replicas."""
    strategy = model.distribute_strategy
    if strategy.num_replicas_in_sync == 1:
        return {name: _number(value) for name, value in sorted(results[0].items())}
    logs = read_metrics(model)
    for name in sorted(set(results[0]) - set(logs)):
        rows = [[_array(result[name])] for result in results]
        logs[name] = float(strategy.reduce_rows(rows, ReduceOp.MEAN, f"log {name!r}")[0])
    return {name: logs[name] for name in sorted(logs)}


def read_metrics(model: Any) -> dict[str, float]:
    """Returns the results of all metrics over all replicas; every worker must call it."""
    strategy = model.distribute_strategy
    variables = [v for metric in model.metrics for v in metric.variables]
    with (
        strategy.reading_together(variables)
        if hasattr(strategy, "reading_together")
        else (strategy.scope())
    ):
        results = model.get_metrics_result()
    return {name: _number(value) for name, value in sorted(results.items())}


def _array(value: Any) -> Any:
    return value.array if isinstance(value, EagerTensor) else np.asarray(value)


def _number(value: Any) -> Any:
    if isinstance(value, Tensor):
        value = value.numpy()
    value = np.asarray(value)
    return float(value) if value.ndim == 0 else value


def concatenate(outputs: list[Any]) -> Any:
    """Returns the rows of all batches' outputs as NumPy arrays."""
    if not outputs:
        raise errors.invalid("predict", "at least one batch of data", "none")
    columns = zip(*(nest.flatten(output) for output in outputs))
    joined = [np.concatenate([np.asarray(part) for part in column], 0) for column in columns]
    return nest.pack_sequence_as(outputs[0], joined)
