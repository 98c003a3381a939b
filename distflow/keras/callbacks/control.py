"""Callbacks that stop training or change the learning rate, and those made from functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from distflow.keras.callbacks import monitor as watch
from distflow.keras.callbacks.base import Callback


class EarlyStopping(Callback):
    """Stops when a quantity has not improved for `patience` epochs.

    Args:
      monitor: name in the logs, e.g. "val_loss".
      min_delta: smaller changes do not count as improvements.
      patience: epochs without improvement before training stops.
      verbose: 1 prints why training stopped.
      mode: "min", "max", or "auto" (by the name).
      baseline: value that must be improved on.
      restore_best_weights: whether the weights of the best epoch come back at the end.
      start_from_epoch: epochs that are not watched.
    """

    kept_attributes = ("wait", "stopped_epoch", "best_epoch", "best", "best_weights")
    needs_batches = False

    def __init__(
        self, monitor: str = "val_loss", min_delta: float = 0, patience: int = 0,
        verbose: int = 0, mode: str = "auto", baseline: float | None = None,
        restore_best_weights: bool = False, start_from_epoch: int = 0,
    ):  # fmt: skip
        super().__init__()
        self.monitor = monitor
        self.min_delta = abs(min_delta)
        self.patience = patience
        self.verbose = verbose
        self.mode = mode
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best: Any = None
        self.best_weights: Any = None
        watch.direction("EarlyStopping", monitor, mode, None)

    def on_train_begin(self, logs: Any = None) -> None:
        """Starts to watch."""
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best = self.best_weights = None
        self._direction: watch.Better | None = None

    def _better(self, new: float, old: float | None) -> bool:
        # Metrics may be made at the first batch: what is better is asked for when it matters.
        if self._direction is None:
            self._direction = watch.direction("EarlyStopping", self.monitor, self.mode, self.model)
        return old is None or self._direction(new, old, self.min_delta)

    def get_monitor_value(self, logs: Any) -> float | None:
        """Returns the quantity that is watched; warns and returns None if it is not there."""
        return watch.value("EarlyStopping", self.monitor, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Compares the epoch with the best one."""
        current = self.get_monitor_value(logs)
        if current is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
        self.wait += 1
        if self._better(current, self.best):
            self.best, self.best_epoch = current, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self._better(current, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        """Reports, and brings the best weights back."""
        if self.stopped_epoch > 0 and self.verbose:
            watch.say(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose:
                watch.say(f"Restoring model weights of the best epoch: {self.best_epoch + 1}.")
            self.model.set_weights(self.best_weights)


class TerminateOnNaN(Callback):
    """Stops training as soon as a loss is NaN or infinite.

    Args:
      raise_error: whether with a RuntimeError, or else as after the last epoch.
    """

    def __init__(self, raise_error: bool = False):
        super().__init__()
        self.raise_error = raise_error

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        """Looks at the loss of a step."""
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            if self.raise_error:
                raise RuntimeError(
                    f"NaN or Inf loss encountered at batch {batch}. Loss value: {loss}"
                )
            watch.say(f"Batch {batch}: Invalid loss, terminating training")
            self.model.stop_training = True


class LearningRateScheduler(Callback):
    """Sets the learning rate at the start of each epoch.

    Args:
      schedule: function of (epoch, current rate) or (epoch) that returns a float.
      verbose: 1 prints each change.
    """

    needs_batches = False

    def __init__(self, schedule: Callable[..., float], verbose: int = 0):
        super().__init__()
        self.schedule = schedule
        self.verbose = verbose

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Sets the rate."""
        optimizer = self.model.optimizer
        try:
            rate = self.schedule(epoch, float(np.asarray(optimizer.learning_rate)))
        except TypeError:
            rate = self.schedule(epoch)
        if not isinstance(rate, float | int | np.floating):
            raise ValueError(
                f"LearningRateScheduler: the schedule must return a float; received {rate!r}."
            )
        optimizer.learning_rate = float(rate)
        if self.verbose > 0:
            watch.say(
                f"\nEpoch {epoch + 1}: LearningRateScheduler setting learning rate to {rate}."
            )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Adds the rate to the logs."""
        if logs is not None:
            logs["learning_rate"] = float(np.asarray(self.model.optimizer.learning_rate))


class ReduceLROnPlateau(Callback):
    """Multiplies the learning rate by `factor` when a quantity has stopped improving.

    Args:
      monitor, mode, min_delta, patience, verbose: as for EarlyStopping.
      factor: new rate = rate * factor; below 1.
      cooldown: epochs to wait after a reduction.
      min_lr: lower bound of the rate.
    """

    kept_attributes = ("wait", "cooldown_counter", "best")
    needs_batches = False

    def __init__(
        self, monitor: str = "val_loss", factor: float = 0.1, patience: int = 10,
        verbose: int = 0, mode: str = "auto", min_delta: float = 1e-4, cooldown: int = 0,
        min_lr: float = 0.0,
    ):  # fmt: skip
        super().__init__()
        if factor >= 1.0:
            raise ValueError(f"ReduceLROnPlateau: factor must be < 1; received {factor}.")
        self.monitor, self.mode, self.verbose = monitor, mode, verbose
        self.factor, self.patience, self.cooldown = factor, patience, cooldown
        self.min_delta, self.min_lr = min_delta, min_lr

    def on_train_begin(self, logs: Any = None) -> None:
        """Starts to watch."""
        self.wait = self.cooldown_counter = 0
        self.best: Any = None
        self._direction: watch.Better | None = None

    def _better(self, new: float, old: float | None) -> bool:
        # Metrics may be made at the first batch: what is better is asked for when it matters.
        if self._direction is None:
            self._direction = watch.direction(
                "ReduceLROnPlateau", self.monitor, self.mode, self.model
            )
        return old is None or self._direction(new, old, self.min_delta)

    def in_cooldown(self) -> bool:
        """Whether a reduction was so recent that none follows."""
        return self.cooldown_counter > 0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Reduces the rate if it is time."""
        optimizer = self.model.optimizer
        rate = float(np.asarray(optimizer.learning_rate))
        if logs is not None:
            logs["learning_rate"] = rate
        current = watch.value("ReduceLROnPlateau", self.monitor, logs)
        if current is None:
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self._better(current, self.best):
            self.best, self.wait = current, 0
        elif not self.in_cooldown():
            self.wait += 1
            # The rate is a float32: compared with the bound as one.
            if self.wait >= self.patience and rate > float(np.float32(self.min_lr)):
                reduced = max(rate * self.factor, self.min_lr)
                optimizer.learning_rate = reduced
                if self.verbose > 0:
                    watch.say(
                        f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to "
                        f"{reduced}."
                    )
                self.cooldown_counter, self.wait = self.cooldown, 0


class LambdaCallback(Callback):
    """A callback made of functions: LambdaCallback(on_epoch_end=lambda epoch, logs: ...)."""

    def __init__(
        self, on_epoch_begin: Any = None, on_epoch_end: Any = None, on_train_begin: Any = None,
        on_train_end: Any = None, on_train_batch_begin: Any = None,
        on_train_batch_end: Any = None, **more: Any,
    ):  # fmt: skip
        super().__init__()
        given = {
            "on_epoch_begin": on_epoch_begin, "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin, "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin, "on_train_batch_end": on_train_batch_end,
            **more,
        }  # fmt: skip
        for name, function in given.items():
            if function is not None:
                setattr(self, name, function)
