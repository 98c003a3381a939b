"""Trainer: fit of a Model, on whatever data and under whatever strategy."""

from __future__ import annotations

import contextlib
from typing import Any

from distflow.base import errors, flags, log
from distflow.keras import settings
from distflow.keras.callbacks import CallbackList, ProgbarLogger, TerminateOnNaN
from distflow.keras.training import adapters, loop
from distflow.keras.training.evaluation import Evaluation, at_most
from distflow.keras.training.progress import Progress
from distflow.telemetry import pulse


class Trainer(Evaluation):
    """What a Model needs to be trained. Weights are changed in place."""

    # Of the last run of fit.
    training_progress: Progress

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
        epochs = at_most(epochs, settings.max_epochs()) or 0
        steps_per_epoch = at_most(steps_per_epoch, settings.max_steps_per_epoch())
        strategy = self.distribute_strategy
        warn_if_alone(strategy)
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
        self.training_progress = progress = Progress(
            loop.Epoch(self, source, class_weight), initial_epoch, hooks.callbacks
        )
        self.stop_training = False
        batch_logs = self._batch_logs(hooks)
        hooks.call("on_train_begin", None)
        validation: Any = None
        logs: dict[str, Any] = {}
        # A callback may have gone to the middle of an epoch, with metrics that go on.
        for epoch in range(progress.epoch, epochs):
            if not progress.step:
                self.reset_metrics()
            hooks.call("on_epoch_begin", epoch, None)
            logs = self._train_epoch(epoch, steps_per_epoch, hooks, batch_logs)
            if validation_data is not None and _is_due(epoch, validation_freq):
                if validation is None:
                    validation = self._validation_source(
                        validation_data, validation_batch_size or batch_size
                    )
                results = self._evaluate(validation, validation_steps, hooks)
                logs.update({f"val_{name}": value for name, value in results.items()})
            progress.end_epoch()
            hooks.call("on_epoch_end", epoch, logs)
            if self.stop_training:
                break
        if epochs > initial_epoch:
            self._finalize()
        hooks.call("on_train_end", logs)
        return self.history

    def _finalize(self) -> None:
        """Puts moving averages of the optimizer, if it keeps them, into the weights."""
        model: Any = self
        if model.optimizer is not None and model.optimizer.built:
            with self.distribute_strategy.scope():
                model.optimizer.finalize_variable_values(model.trainable_variables)

    def _train_epoch(self, epoch: int, steps: Any, hooks: Any, batch_logs: bool) -> dict[str, Any]:
        results, logs, progress = None, {}, self.training_progress
        batches = progress.data.batches(epoch, steps, progress.step)
        for step, batch in enumerate(batches, progress.step):
            self._build_for(batch, training=True)
            hooks.call("on_train_batch_begin", step, None)
            results = self._runner("train_step")(batch)
            if batch_logs:
                logs = loop.read_logs(self, results)
            progress.step = step + 1
            if pulse.is_due():
                _note_loss(results[0])
            hooks.call("on_train_batch_end", step, logs)
            if self.stop_training:
                break
        if not progress.step:
            raise errors.invalid(
                "fit",
                "the data must give at least one batch an epoch",
                f"none in epoch {epoch + 1}",
                "A generator that has ended cannot start again: set steps_per_epoch, or use a "
                "Dataset with repeat().",
            )  # fmt: skip
        return loop.read_metrics(self) if results is None else loop.read_logs(self, results)

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


def warn_if_alone(strategy: Any) -> None:
    """Warns where a job of several workers trains a model that belongs to no strategy."""
    workers = flags.get("DISTFLOW_WORLD_SIZE") or 1
    if workers > 1 and not hasattr(strategy, "run_replicas"):
        log.get_logger().warning(
            "fit: the job has %d workers, but this model was made outside of strategy.scope(), so "
            "each worker trains its own.", workers,
        )  # fmt: skip


def _is_due(epoch: int, frequency: Any) -> bool:
    if isinstance(frequency, int):
        return (epoch + 1) % frequency == 0
    return epoch + 1 in frequency


def _note_loss(logs: Any) -> None:
    """Notes this worker's loss for the launcher's view; a step may log what is no number."""
    with contextlib.suppress(AttributeError, TypeError, ValueError, KeyError):
        pulse.note("loss", float(logs["loss"]))
