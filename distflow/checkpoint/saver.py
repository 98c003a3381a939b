"""Checkpoint: saves and restores the variables of objects that it is given by name."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distflow.base import flags
from distflow.checkpoint import containers, folder, layout, storages, trackable
from distflow.checkpoint.background import Background
from distflow.checkpoint.options import CheckpointOptions, checked
from distflow.checkpoint.restore import LoadStatus, NothingRestored, Restoration
from distflow.core.late import WAITING, LateRestored
from distflow.core.variable import OwnStorage, Variable
from distflow.random.global_state import get_seed
from distflow.telemetry import metrics, timeline

# Attributes of a Checkpoint itself.
_OWN = frozenset({"_root", "_save_counter", "_counts", "_background", "_copies", WAITING})
# What callers add to a manifest's facts: "replicas", for instance (see `tell`).
_FACTS: dict[str, Callable[[], Any]] = {"seed": get_seed}


def tell(name: str, fact: Callable[[], Any]) -> None:
    """Has every checkpoint keep a fact, a value that JSON can hold."""
    _FACTS[name] = fact


class Checkpoint(LateRestored):
    """The variables of objects, by attribute names (TF's `tf.train.Checkpoint`).

    `Checkpoint(model=model, optimizer=optimizer, step=step)`, or `Checkpoint(model)`: all that
    these objects hold in attributes, lists and dicts is saved once, whatever the number of workers.
    Restoring needs equal attribute names, not equal variable names; values for variables that are
    made later are put when they are made.

    Args:
      root: an object whose children are saved as if they were this one's.
      **kwargs: objects by name.

    Raises:
      ValueError: for an object that can hold no variables.
    """

    def __init__(self, root: Any = None, **kwargs: Any):
        self._root = root
        self._counts = False  # `write` and `read` know no counter
        # Where others may join, all workers must make the same variables in the same order, also
        # if only the chief saves.
        self._save_counter = _counter() if flags.get("DISTFLOW_ELASTIC") else None
        self._background = Background()
        self._copies: dict[str, np.ndarray[Any, Any]] = {}
        if root is not None and not trackable.is_trackable(root):
            raise ValueError(_untrackable("root", root))
        for name, value in sorted(kwargs.items()):
            if not trackable.is_trackable(value):
                raise ValueError(_untrackable(name, value))
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _OWN:
            value = containers.watched(value, self)
        super().__setattr__(name, value)

    @property
    def save_counter(self) -> Variable:
        """How often `save` was called, also in the runs before; a part of the checkpoint."""
        self._counts = True
        if self._save_counter is None:
            self._save_counter = _counter()
        return self._save_counter

    def write(self, file_prefix: Any, options: Any = None) -> str:
        """Writes a checkpoint at this path; it is not counted, nor found by latest_checkpoint.

        Returns:
          The path, for `read` or `restore`.
        """
        return self.write_as(os.fspath(file_prefix), checked(options))

    def save(self, file_prefix: Any, options: Any = None) -> str:
        """Writes a checkpoint at `<file_prefix>-<number>`, one higher at each call.

        Raises:
          ResourceExhaustedError, PermissionDeniedError, NotFoundError: if it cannot be written;
            older checkpoints stay. With `enable_async`, at the next call or `sync`.
        """
        prefix = os.fspath(file_prefix)
        self.save_counter.assign_add(1)
        path = f"{prefix}-{int(self.save_counter)}"
        return self.write_as(path, checked(options), lambda: folder.remember(path))

    def read(self, save_path: Any, options: Any = None) -> LoadStatus:
        """Restores what `write` wrote; see `restore`."""
        checked(options)
        self.sync()
        return self.read_from(layout.Reader(os.fspath(save_path)))

    def read_from(self, reader: layout.Reader | layout.Received) -> LoadStatus:
        """Restores from a reader that is open already; it is closed when all values are used."""
        return LoadStatus(Restoration(reader, self), self)

    def restore(self, save_path: Any, options: Any = None) -> LoadStatus:
        """Puts the values of a checkpoint into the variables; None does nothing.

        Returns:
          A status: `assert_consumed()`, `assert_existing_objects_matched()`, `expect_partial()`.

        Raises:
          NotFoundError: if there is no checkpoint.
          DataLossError: if it is damaged; variables are as before.
          InvalidArgumentError: (a ValueError) if a shape or dtype differs; likewise.
        """
        if save_path is None:
            checked(options)
            return NothingRestored()
        _ = self.save_counter
        return self.read(save_path, options)

    def sync(self) -> None:
        """Waits for a checkpoint that is being written.

        Raises:
          What its writing has raised.
        """
        self._background.wait()

    @property
    def _checkpoint_holder(self) -> Any:
        """The object whose attributes bring children that are not there yet."""
        return self if self._root is None else self._root

    def _checkpoint_children(self) -> dict[str, Any]:
        named = {name: value for name, value in vars(self).items() if name not in _OWN}
        if self._counts:
            named["save_counter"] = self._save_counter
        if self._root is not None:
            named = {**trackable.children(self._root), **named}
        return named

    def write_as(
        self, prefix: str, options: CheckpointOptions, then: Callable[[], None] | None = None,
        facts: dict[str, Any] | None = None, writes: bool = True,
        arrays: dict[str, Any] | None = None,
    ) -> str:  # fmt: skip
        """Writes a checkpoint with facts beside the values, for those who keep several.

        Args:
          prefix: the path.
          options: how.
          then: called when it is written, in the thread that writes.
          facts: what JSON can hold, for the manifest.
          writes: False only takes the values, where that needs all workers and another one writes.
          arrays: more values, by keys of their own.
        """
        self.sync()
        nodes = trackable.walk(self)
        values = {key: storages.take(v) for key, v in trackable.variables(nodes).items()}
        values.update(arrays or {})
        if not writes:
            return prefix
        if options.is_async:
            values = self._copied(values)
        objects = trackable.to_json(nodes)
        told = {**{name: fact() for name, fact in _FACTS.items()}, **(facts or {})}

        def work() -> None:
            start = timeline.now()
            with timeline.span("checkpoint", "checkpoint", path=prefix):
                layout.write(prefix, values, objects, told)
            metrics.checkpoint_seconds.observe((timeline.now() - start) / 1e9)
            if then is not None:
                then()
            _call_back(options.experimental_write_callbacks or (), prefix)

        if options.is_async:
            self._background.start(work)
        else:
            work()
        return prefix

    def _copied(self, values: dict[str, Any]) -> dict[str, Any]:
        """Returns copies, in the memory of the save before.

        Without them the next step would copy what is held here, into memory that is new each time.
        """
        copies = {}
        for key, value in values.items():
            array, copy = np.asarray(value), self._copies.get(key)
            if copy is None or copy.shape != array.shape or copy.dtype != array.dtype:
                copy = np.empty_like(array, order="C")
            np.copyto(copy, array)
            copies[key] = copy
        self._copies = copies
        return copies


def _call_back(functions: Sequence[Callable[..., Any]], path: str) -> None:
    for function in functions:
        if inspect.signature(function).parameters:
            function(path)
        else:
            function()


def _counter() -> Variable:
    return Variable(np.int64(0), trainable=False, name="save_counter", storage=OwnStorage)


def _untrackable(name: str, value: Any) -> str:
    return (
        f"`Checkpoint` was expecting {name} to be a trackable object (a variable, module, layer, "
        f"model, optimizer, or a list or dict of such), got {value!r:.80}."
    )
