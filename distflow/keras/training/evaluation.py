"""Evaluation: evaluate and predict of a Model, on data sets and on single batches."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import errors, nest
from distflow.distribute import ReduceOp
from distflow.keras import settings
from distflow.keras.callbacks import CallbackList, ProgbarLogger
from distflow.keras.training import adapters, loop
from distflow.keras.training.compiled import Compiled


class Evaluation(Compiled):
    """What a compiled Model does without changing its weights."""

    # -- evaluate ------------------------------------------------------------------------

    def evaluate(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, verbose: Any = "auto",
        sample_weight: Any = None, steps: int | None = None, callbacks: Any = None,
        return_dict: bool = False, **kwargs: Any,
    ) -> Any:  # fmt: skip
        """Returns the loss, or [loss, metrics...], over a data set; a dict with `return_dict`."""
        if kwargs:
            raise TypeError(f"evaluate got unexpected arguments {sorted(kwargs)}")
        self._require_compiled("evaluate")
        self._require_scope("evaluate")
        source = adapters.make_source(x, y, sample_weight, batch_size=batch_size, where="evaluate")
        verbose = self._verbosity(verbose)
        hooks = CallbackList(
            callbacks, add_progbar=verbose != 0, progress=ProgbarLogger, model=self,
            verbose=verbose, epochs=1, steps=steps or source.num_batches, phase="evaluate",
        )  # fmt: skip
        steps = at_most(steps, settings.max_steps_per_epoch())
        logs = self._evaluate(loop.Epoch(self, self._distributed(source)), steps, hooks)
        return logs if return_dict else self._in_order(logs)

    def _evaluate(self, data: loop.Epoch, steps: int | None, hooks: Any) -> dict[str, Any]:
        self.reset_metrics()
        hooks.call("on_test_begin", None)
        results, logs = None, {}
        batch_logs = self._batch_logs(hooks)
        for step, batch in enumerate(data.batches(0, steps)):
            self._build_for(batch, training=False)
            hooks.call("on_test_batch_begin", step, None)
            results = self._runner("test_step")(batch)
            if batch_logs:
                logs = loop.read_logs(self, results)
            hooks.call("on_test_batch_end", step, logs)
        if results is None:
            raise errors.invalid("evaluate", "the data must give at least one batch", "none")
        logs = loop.read_logs(self, results)
        hooks.call("on_test_end", logs)
        return logs

    def _validation_source(self, data: Any, batch_size: int | None) -> loop.Epoch:
        if (
            isinstance(data, tuple | list)
            and len(data) in (2, 3)
            and adapters.is_array_like(data[0])
        ):
            x, y, weights = (*data, None)[:3]
            source = adapters.make_source(x, y, weights, batch_size=batch_size, where="validation")
        else:
            source = adapters.make_source(data, where="validation")
        return loop.Epoch(self, self._distributed(source))

    def _in_order(self, logs: dict[str, Any]) -> Any:
        names = list(self.get_metrics_result_names())
        ordered = [logs[name] for name in names if name in logs]
        ordered += [value for name, value in logs.items() if name not in names]
        return ordered[0] if len(ordered) == 1 else ordered

    def get_metrics_result_names(self) -> list[str]:
        """Returns the names in the logs, the loss first."""
        named = [] if self.compile_metrics is None else self.compile_metrics.named()
        parts = [] if self.compile_loss is None else [m for m in self.compile_loss.metrics if m]
        return ["loss", *(m.name for m in parts), *(name for name, _ in named)]

    # -- predict -------------------------------------------------------------------------

    def predict(
        self, x: Any, batch_size: int | None = None, verbose: Any = "auto",
        steps: int | None = None, callbacks: Any = None,
    ) -> Any:  # fmt: skip
        """Returns the model's outputs for all rows, as NumPy arrays."""
        self._require_scope("predict")
        source = adapters.make_source(x, batch_size=batch_size, where="predict")
        verbose = self._verbosity(verbose)
        hooks = CallbackList(
            callbacks, add_progbar=verbose != 0, progress=ProgbarLogger, model=self,
            verbose=verbose, epochs=1, steps=steps or source.num_batches, phase="predict",
        )  # fmt: skip
        data = loop.Epoch(self, self._distributed(source))
        hooks.call("on_predict_begin", None)
        outputs = []
        steps = at_most(steps, settings.max_steps_per_epoch())
        for step, batch in enumerate(data.batches(0, steps)):
            self._build_for_predict(batch)
            hooks.call("on_predict_batch_begin", step, None)
            outputs.append(self._gathered(self._runner("predict_step")(batch)))
            hooks.call("on_predict_batch_end", step, {"outputs": outputs[-1]})
        hooks.call("on_predict_end", None)
        return loop.concatenate(outputs)

    def _gathered(self, results: list[Any]) -> Any:
        strategy = self.distribute_strategy
        if strategy.num_replicas_in_sync == 1:
            return results[0]
        flat = [nest.flatten(result) for result in results]
        joined = [strategy.gather_rows([t.array for t in column], 0) for column in zip(*flat)]
        return nest.pack_sequence_as(results[0], joined)

    # -- single batches ------------------------------------------------------------------

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Evaluates one batch; returns the loss and metrics so far."""
        self._require_compiled("test_on_batch")
        batch = self._one_batch(x, y, sample_weight)
        self._build_for(batch, training=False)
        logs = loop.read_logs(self, self._runner("test_step")(batch))
        return logs if return_dict else self._in_order(logs)

    def predict_on_batch(self, x: Any) -> Any:
        """Returns the outputs for one batch as NumPy arrays."""
        batch = self._one_batch(x)
        self._build_for_predict(batch)
        return loop.concatenate([self._gathered(self._runner("predict_step")(batch))])

    def _one_batch(self, x: Any, y: Any = None, sample_weight: Any = None,
                   class_weight: Any = None) -> loop.Batch:  # fmt: skip
        rows = _rows_of(x)
        source = adapters.ArraySource(x, y, sample_weight, rows, False, 0)
        return next(iter(loop.Epoch(self, source, class_weight).batches(0, None)))

    # -- for fit as well -----------------------------------------------------------------

    def _batch_logs(self, hooks: Any) -> bool:
        """Whether a callback of any worker sees logs of batches: all read them, or none does."""
        strategy = self.distribute_strategy
        wanted = any(_wants_batches(c) for c in hooks.callbacks)
        if strategy.num_workers == 1:
            return wanted
        rows = [[np.asarray(wanted)]] * len(strategy.local_replicas)
        return bool(strategy.reduce_rows(rows, ReduceOp.MAX, "callbacks that see batches")[0])

    def _distributed(self, source: adapters.Source) -> adapters.Source:
        """The source, with one order of shuffles on all workers."""
        strategy = self.distribute_strategy
        if strategy.num_replicas_in_sync > 1 and isinstance(source, adapters.DatasetSource):
            return source.shared(strategy)
        return source

    def _verbosity(self, verbose: Any) -> int:
        if verbose == "auto":
            verbose = 1 if settings.is_interactive_logging_enabled() else 2
        if verbose not in (0, 1, 2, True, False):
            raise errors.invalid("fit", "verbose must be 'auto', 0, 1 or 2", repr(verbose))
        return int(verbose) if self.distribute_strategy.is_chief else 0


def at_most(count: int | None, limit: int | None) -> int | None:
    """Returns a number of epochs or steps within a limit of `keras.config`."""
    return limit if count is None else count if limit is None else min(count, limit)


def _rows_of(x: Any) -> int:
    first = nest.flatten(x)[0] if not isinstance(x, list) or hasattr(x[0], "shape") else x
    return max(len(first), 1)


def _wants_batches(callback: Any) -> bool:
    return CallbackList([callback]).needs_batches
