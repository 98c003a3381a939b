"""Callback: the hooks that fit, evaluate and predict call, and the list that calls them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

HOOKS = tuple(
    f"on_{what}"
    for what in (
        "train_begin", "train_end", "epoch_begin", "epoch_end",
        "train_batch_begin", "train_batch_end",
        "test_begin", "test_end", "test_batch_begin", "test_batch_end",
        "predict_begin", "predict_end", "predict_batch_begin", "predict_batch_end",
    )
)  # fmt: skip


class Callback:
    """Base class: override the hooks that you need.

    `logs` maps names to Python floats. Under a strategy, callbacks run on every worker with equal
    logs; those that write files do so on the chief only.

    Attributes:
      model: the model that is trained.
      params: dict with "epochs", "steps" and "verbose".
    """

    # Whether the callback sees each batch: if none does, batch logs are not computed.
    needs_batches = True
    # Attributes that BackupAndRestore keeps, so that a resumed run decides as the one before it
    # would have: numbers, text, None, or a list of arrays.
    kept_attributes: tuple[str, ...] = ()
    # Whether it is called after the others, whatever its place in the list.
    comes_last = False

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}
        self._model: Any = None

    @property
    def model(self) -> Any:
        """The model that is trained, evaluated or used."""
        return self._model

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Notes the parameters of the run."""
        self.params = dict(params)

    def set_model(self, model: Any) -> None:
        """Notes the model of the run."""
        self._model = model

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Called before an epoch (counted from 0)."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Called after an epoch and its validation; logs hold both."""

    def on_train_begin(self, logs: Any = None) -> None:
        """Called once before training."""

    def on_train_end(self, logs: Any = None) -> None:
        """Called once after training."""

    def on_test_begin(self, logs: Any = None) -> None:
        """Called before evaluation or validation."""

    def on_test_end(self, logs: Any = None) -> None:
        """Called after evaluation or validation."""

    def on_predict_begin(self, logs: Any = None) -> None:
        """Called before prediction."""

    def on_predict_end(self, logs: Any = None) -> None:
        """Called after prediction."""

    def on_batch_begin(self, batch: int, logs: Any = None) -> None:
        """The same as on_train_batch_begin, under its older name."""

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        """The same as on_train_batch_end, under its older name."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Called before a training step."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Called after a training step, with the running loss and metrics of the epoch."""
        self.on_batch_end(batch, logs)

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Called before an evaluation step."""

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Called after an evaluation step."""

    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Called before a prediction step."""

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        """Called after a prediction step."""


class History(Callback):
    """Collects the logs of all epochs in `history`: a list a name. `fit` returns it."""

    needs_batches = False

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: Any = None) -> None:
        """Starts the list of epochs again."""
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Adds the epoch's logs."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class CallbackList:
    """Calls several callbacks in order (Keras's `keras.callbacks.CallbackList`).

    Args:
      callbacks: callbacks, or none.
      add_history, add_progbar: whether a History and a ProgbarLogger join if there is none.
      model: handed to all callbacks.
      **params: handed to all callbacks.
    """

    def __init__(
        self,
        callbacks: Any = None,
        add_history: bool = False,
        add_progbar: bool = False,
        model: Any = None,
        progress: Any = None,
        **params: Any,
    ):
        self.callbacks: list[Callback] = _as_list(callbacks)
        for callback in self.callbacks:
            if inspect.isclass(callback) or not hasattr(callback, "on_epoch_end"):
                raise TypeError(
                    "callbacks must be instances of keras.callbacks.Callback; "
                    f"received {callback!r}"
                )
        if add_progbar and progress is not None:
            if not any(isinstance(c, progress) for c in self.callbacks):
                self.callbacks.append(progress())
        self.history = next((c for c in self.callbacks if isinstance(c, History)), None)
        if self.history is None and add_history:
            self.history = History()
            self.callbacks.append(self.history)
        self.callbacks.sort(key=lambda callback: getattr(callback, "comes_last", False))
        if params:
            self.set_params(params)
        if model is not None:
            self.set_model(model)
        self.needs_batches = any(_sees_batches(c) for c in self.callbacks)

    def append(self, callback: Callback) -> None:
        """Adds a callback at the end."""
        self.callbacks.append(callback)
        self.needs_batches = self.needs_batches or _sees_batches(callback)

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Hands parameters to all."""
        for callback in self.callbacks:
            callback.set_params(params)

    def set_model(self, model: Any) -> None:
        """Hands the model to all."""
        if self.history is not None:
            model.history = self.history
        for callback in self.callbacks:
            callback.set_model(model)

    def call(self, hook: str, *args: Any) -> None:
        """Calls one hook of all callbacks."""
        for callback in self.callbacks:
            getattr(callback, hook)(*args)

    def __getattr__(self, name: str) -> Any:
        if name in HOOKS:
            return lambda *args: self.call(name, *(args if len(args) else ()))
        raise AttributeError(name)


def _as_list(callbacks: Any) -> list[Any]:
    if callbacks is None:
        return []
    if isinstance(callbacks, Callback) or not isinstance(callbacks, Iterable):
        return [callbacks]
    return list(callbacks)


def _sees_batches(callback: Any) -> bool:
    if not getattr(callback, "needs_batches", True):
        return False
    names = [h for h in HOOKS if "batch" in h] + ["on_batch_begin", "on_batch_end"]
    return any(getattr(type(callback), n, None) is not getattr(Callback, n) for n in names) or any(
        n in vars(callback) for n in names
    )
