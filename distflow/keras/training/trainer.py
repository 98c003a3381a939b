"""Trainer: compile, fit, evaluate and predict of a Model."""

from __future__ import annotations

import inspect
from typing import Any

from distflow.base import errors, nest
from distflow.base.specs import TensorSpec
from distflow.core.tensor import Tensor
from distflow.distribute.context import get_strategy, has_strategy
from distflow.distribute.values import is_mirrored
from distflow.function.autograph import converted
from distflow.graph.build import output_specs
from distflow.keras import metrics as metrics_module
from distflow.keras import optimizers
from distflow.keras.callbacks import CallbackList, ProgbarLogger, TerminateOnNaN
from distflow.keras.training import adapters, loop
from distflow.keras.training.compile import CompileLoss, CompileMetrics
from distflow.keras.training.steps import Steps
from distflow.ops import array


class Trainer(Steps):
    """What a Model needs to be trained. Weights are changed in place."""

    optimizer: Any
    compile_loss: CompileLoss | None = None
    compile_metrics: CompileMetrics | None = None
    check_numerics = True
    stop_training = False

    def __init__(self) -> None:
        self._set_up_training()

    def _set_up_training(self) -> None:
        self.compiled = False
        self.optimizer = None
        self.stop_training = False
        self.history: Any = None
        self._strategy = get_strategy()
        self._run_eagerly = False
        self._compile_config: dict[str, Any] = {}
        self._runners: dict[str, loop.StepRunner] = {}

    # -- compile -------------------------------------------------------------------------

    def compile(
        self, optimizer: Any = "rmsprop", loss: Any = None, loss_weights: Any = None,
        metrics: Any = None, weighted_metrics: Any = None, run_eagerly: bool = False,
        steps_per_execution: int = 1, jit_compile: Any = "auto", auto_scale_loss: bool = True,
    ) -> None:  # fmt: skip
        """Sets the optimizer, losses and metrics for training.

        Args:
          optimizer: name, config or Optimizer.
          loss: name, function or Loss, or a structure of them like the outputs.
          loss_weights: weights of several losses.
          metrics: names, functions or Metrics; weighted_metrics also take sample weights.
          run_eagerly: whether steps run as plain Python, for debugging.
          steps_per_execution: accepted; each step is one execution.
          jit_compile: accepted; all functions are compiled.
          auto_scale_loss: whether a float16 policy scales the loss.
        """
        if has_strategy():
            self._require_mirrored_weights()
            self._strategy = get_strategy()
        if not isinstance(steps_per_execution, int) or steps_per_execution < 1:
            raise errors.invalid("compile", "steps_per_execution must be an int >= 1",
                                 repr(steps_per_execution))  # fmt: skip
        self._compile_config = {
            "optimizer": optimizer, "loss": loss, "loss_weights": loss_weights,
            "metrics": metrics, "weighted_metrics": weighted_metrics, "run_eagerly": run_eagerly,
            "steps_per_execution": steps_per_execution, "jit_compile": jit_compile,
        }  # fmt: skip
        with self.distribute_strategy.scope():
            self.optimizer = optimizers.get(optimizer)
            names = getattr(self, "output_names", None)
            self.compile_loss = None if loss is None else CompileLoss(loss, loss_weights, names)
            self.compile_metrics = (
                CompileMetrics(metrics, weighted_metrics, names)
                if metrics is not None or weighted_metrics is not None
                else None
            )
            self.loss_tracker = metrics_module.Mean(name="loss")
        self._run_eagerly = bool(run_eagerly)
        self._runners = {}
        self.stop_training = False
        self.compiled = True

    @property
    def distribute_strategy(self) -> Any:
        """The strategy in whose scope the model was made or compiled."""
        return self._strategy

    @property
    def run_eagerly(self) -> bool:
        """Whether steps run as plain Python."""
        return self._run_eagerly

    @run_eagerly.setter
    def run_eagerly(self, value: bool) -> None:
        self._run_eagerly = bool(value)
        self._runners = {}

    @property
    def loss(self) -> Any:
        """The loss as given to compile."""
        return self._compile_config.get("loss")

    @property
    def call_has_training_argument(self) -> bool:
        """Whether `call` takes `training`."""
        parameters = inspect.signature(type(self).call).parameters  # type: ignore[attr-defined]
        return "training" in parameters or any(
            p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()
        )

    @property
    def compiled_metrics_list(self) -> list[Any]:
        """The loss tracker and the compiled metrics."""
        found: list[Any] = [self.loss_tracker] if self.compiled else []
        if self.compile_loss is not None:
            found += [m for m in self.compile_loss.metrics if m is not None]
        if self.compile_metrics is not None:
            found += self.compile_metrics.metrics
        return found

    def get_metrics_result(self) -> dict[str, Any]:
        """Returns the results of all metrics so far, by name."""
        results: dict[str, Any] = {}
        if self.compiled:
            results["loss"] = self.loss_tracker.result()
        named = [] if self.compile_metrics is None else self.compile_metrics.named()
        compiled = {id(m) for m in self.compiled_metrics_list}
        more = [(m.name, m) for m in self.compiled_metrics_list[1:]]
        more = [(n, m) for n, m in more if not any(m is other for _, other in named)]
        own = [(m.name, m) for m in self.metrics if id(m) not in compiled]
        for name, metric in [*more, *named, *own]:
            result = metric.result()
            results.update(result if isinstance(result, dict) else {name: result})
        return results

    def reset_metrics(self) -> None:
        """Resets the state of all metrics."""
        for metric in self.metrics:
            metric.reset_state()

    @property
    def metrics(self) -> list[Any]:
        """All metrics: the loss's running mean, the compiled ones, and those of layers."""
        own = super().metrics if hasattr(super(), "metrics") else []  # type: ignore[misc]
        found = self.compiled_metrics_list
        return found + [m for m in own if not any(m is other for other in found)]

    @property
    def metrics_names(self) -> list[str]:
        """Names of the metrics."""
        return [metric.name for metric in self.metrics]

    def get_compile_config(self) -> dict[str, Any] | None:
        """Returns what `compile` was given, serialised; None before compile."""
        model: Any = self
        return model._serialized_compile_config() if self.compiled else None

    def _require_compiled(self, where: str) -> None:
        if not self.compiled:
            raise errors.FailedPreconditionError(
                f"{where}: you must call `compile()` before using the model."
            )

    def _require_mirrored_weights(self) -> None:
        model: Any = self
        outside = [v.path for v in model.variables if not is_mirrored(v)]
        if outside:
            raise errors.invalid(
                "compile",
                "the model must be made inside the strategy's scope, as it is compiled there",
                f"weights made outside of it: {', '.join(outside[:3])}",
                "Make the model and compile it inside one `with strategy.scope():`.",
            )

    def _require_scope(self, where: str) -> None:
        if has_strategy() and get_strategy() is not self._strategy:
            raise errors.invalid(
                where,
                "the model must be made and compiled inside the scope that is in force",
                "a model of another strategy, or of none",
            )

    # -- building ------------------------------------------------------------------------

    def _build_for(self, batch: loop.Batch, training: bool) -> None:
        """Makes weights, slots and metrics before the first step, outside of any trace."""
        model: Any = self
        x, y, sample_weight = batch.parts[0]
        metrics_ready = self.compile_metrics is None or self.compile_metrics.built or y is None
        optimizer_ready = not training or self.optimizer.built
        if model.built and metrics_ready and optimizer_ready:
            return
        with self.distribute_strategy.scope():
            x_spec = nest.map_structure(_any_rows, x)
            try:
                y_pred = output_specs(converted(model), x_spec)
            except NotImplementedError:
                # A model without `call` (a GAN, say) that says itself what a step is.
                if type(self).train_step is Steps.train_step:
                    raise
                return
            if not metrics_ready:
                assert self.compile_metrics is not None
                losses = None
                if self.compile_loss is not None:
                    self.compile_loss.build(y, y_pred)
                    losses = self.compile_loss._losses
                self.compile_metrics.build(y, y_pred, losses)
                self._build_metrics(y, y_pred, sample_weight)
            if training and not self.optimizer.built:
                self.optimizer.build(model.trainable_variables)

    def _build_metrics(self, y: Any, y_pred: Any, sample_weight: Any) -> None:
        """Updates once on specs, so that metrics that make variables late have made them."""
        assert self.compile_metrics is not None
        metrics = self.compile_metrics

        def update(y: Any, y_pred: Any) -> Any:
            metrics.update_state(y, y_pred)
            return array.zeros(())

        if any(not getattr(m, "built", True) for m in metrics.metrics):
            output_specs(update, nest.map_structure(_any_rows, y), y_pred)

    def _runner(self, step: str) -> loop.StepRunner:
        if step not in self._runners:
            self._runners[step] = loop.StepRunner(self, step)
        return self._runners[step]

    def make_train_function(self, force: bool = False) -> Any:
        """Returns the compiled training step; `force` makes it anew."""
        if force:
            self._runners.pop("train_step", None)
        return self._runner("train_step")

    # -- fit -----------------------------------------------------------------------------

    def fit(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, epochs: int = 1,
        verbose: Any = "auto", callbacks: Any = None, validation_split: float = 0.0,
        validation_data: Any = None, shuffle: bool = True, class_weight: Any = None,
        sample_weight: Any = None, initial_epoch: int = 0, steps_per_epoch: int | None = None,
        validation_steps: int | None = None, validation_batch_size: int | None = None,
        validation_freq: Any = 1,
    ) -> Any:  # fmt: skip
        """Trains for a number of epochs; returns a History.

        Under a strategy `batch_size` is the global batch, cut into the logical replicas.

        Raises:
          FailedPreconditionError: before compile.
          InvalidArgumentError: for data of unequal lengths, labels out of range, a NaN loss.
        """
        self._require_compiled("fit")
        adapters.check_class_weight(class_weight)
        self._require_scope("fit")
        if not isinstance(epochs, int) or epochs < 0:
            raise errors.invalid("fit", "epochs must be an int >= 0", repr(epochs))
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = adapters.split(
                x, y, sample_weight, validation_split
            )
        strategy = self.distribute_strategy
        seed = strategy.agree(adapters.fresh_seed(), "seed of fit")
        source = adapters.make_source(
            x, y, sample_weight, batch_size=batch_size, shuffle=shuffle, seed=seed
        )
        source = self._distributed(source)
        verbose = self._verbosity(verbose)
        steps = steps_per_epoch or source.num_batches
        hooks = CallbackList(
            callbacks, add_history=True, add_progbar=verbose != 0, progress=ProgbarLogger,
            model=self, verbose=verbose, epochs=epochs, steps=steps, phase="fit",
        )  # fmt: skip
        self.check_numerics = not any(isinstance(c, TerminateOnNaN) for c in hooks.callbacks)
        epoch_data = loop.Epoch(self, source, class_weight)
        self.stop_training = False
        hooks.call("on_train_begin", None)
        validation: Any = None
        logs: dict[str, Any] = {}
        for epoch in range(initial_epoch, epochs):
            self.reset_metrics()
            hooks.call("on_epoch_begin", epoch, None)
            logs = self._train_epoch(epoch_data, epoch, steps_per_epoch, hooks)
            if validation_data is not None and _is_due(epoch, validation_freq):
                if validation is None:
                    validation = self._validation_source(
                        validation_data, validation_batch_size or batch_size
                    )
                results = self._evaluate(validation, validation_steps, hooks)
                logs.update({f"val_{name}": value for name, value in results.items()})
            hooks.call("on_epoch_end", epoch, logs)
            if self.stop_training:
                break
        hooks.call("on_train_end", logs)
        return self.history

    def _train_epoch(self, data: loop.Epoch, epoch: int, steps: Any, hooks: Any) -> dict[str, Any]:
        results, logs, count = None, {}, 0
        for step, batch in enumerate(data.batches(epoch, steps)):
            self._build_for(batch, training=True)
            hooks.call("on_train_batch_begin", step, None)
            results = self._runner("train_step")(batch)
            if self._batch_logs(hooks):
                logs = loop.read_logs(self, results)
            hooks.call("on_train_batch_end", step, logs)
            count = step + 1
            if self.stop_training:
                break
        if not count:
            raise errors.invalid(
                "fit",
                "the data must give at least one batch an epoch",
                f"none in epoch {epoch + 1}",
                "A generator that has ended cannot start again: set steps_per_epoch, or use a "
                "Dataset with repeat().",
            )  # fmt: skip
        assert results is not None
        return loop.read_logs(self, results)

    def _batch_logs(self, hooks: Any) -> bool:
        """Whether logs of each batch are wanted: workers must agree, as reading is collective."""
        if getattr(self.distribute_strategy, "num_workers", 1) > 1:
            return True
        return any(_wants_batches(c) for c in hooks.callbacks)

    def _distributed(self, source: adapters.Source) -> adapters.Source:
        strategy = self.distribute_strategy
        if strategy.num_replicas_in_sync > 1 and isinstance(source, adapters.DatasetSource):
            source.agree_on_seeds(strategy)
        return source

    def _verbosity(self, verbose: Any) -> int:
        if verbose == "auto":
            verbose = 1
        if verbose not in (0, 1, 2, True, False):
            raise errors.invalid("fit", "verbose must be 'auto', 0, 1 or 2", repr(verbose))
        return int(verbose) if self.distribute_strategy.is_chief else 0

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
        logs = self._evaluate(loop.Epoch(self, self._distributed(source)), steps, hooks)
        return logs if return_dict else self._in_order(logs)

    def _evaluate(self, data: loop.Epoch, steps: int | None, hooks: Any) -> dict[str, Any]:
        self.reset_metrics()
        hooks.call("on_test_begin", None)
        results, logs = None, {}
        for step, batch in enumerate(data.batches(0, steps)):
            self._build_for(batch, training=False)
            hooks.call("on_test_batch_begin", step, None)
            results = self._runner("test_step")(batch)
            if self._batch_logs(hooks):
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
        hooks.call("on_predict_begin", None)
        outputs = []
        for step, batch in enumerate(loop.Epoch(self, source).batches(0, steps)):
            self._build_for_predict(batch)
            hooks.call("on_predict_batch_begin", step, None)
            outputs.append(self._gathered(self._runner("predict_step")(batch)))
            hooks.call("on_predict_batch_end", step, {"outputs": outputs[-1]})
        hooks.call("on_predict_end", None)
        return loop.concatenate(outputs)

    def _build_for_predict(self, batch: loop.Batch) -> None:
        model: Any = self
        if not model.built:
            with self.distribute_strategy.scope():
                spec = nest.map_structure(_any_rows, batch.parts[0][0])
                output_specs(converted(model), spec)

    def _gathered(self, results: list[Any]) -> Any:
        strategy = self.distribute_strategy
        if strategy.num_replicas_in_sync == 1:
            return results[0]
        flat = [nest.flatten(result) for result in results]
        joined = [strategy.gather_rows([t.array for t in column], 0) for column in zip(*flat)]
        return nest.pack_sequence_as(results[0], joined)

    # -- single batches ------------------------------------------------------------------

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:  # fmt: skip
        """Trains on one batch; returns the loss and metrics so far."""
        self._require_compiled("train_on_batch")
        batch = self._one_batch(x, y, sample_weight, class_weight)
        self._build_for(batch, training=True)
        logs = loop.read_logs(self, self._runner("train_step")(batch))
        return logs if return_dict else self._in_order(logs)

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


def _rows_of(x: Any) -> int:
    first = nest.flatten(x)[0] if not isinstance(x, list) or hasattr(x[0], "shape") else x
    return max(len(first), 1)


def _any_rows(leaf: Any) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    return TensorSpec((None, *leaf.shape[1:]) if leaf.ndim else (), leaf.dtype)


def _is_due(epoch: int, frequency: Any) -> bool:
    if isinstance(frequency, int):
        return (epoch + 1) % frequency == 0
    return epoch + 1 in frequency


def _wants_batches(callback: Any) -> bool:
    return CallbackList([callback]).needs_batches
