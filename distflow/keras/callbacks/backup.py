"""BackupAndRestore: a run of fit that was interrupted goes on where it was, with the same bits."""

from __future__ import annotations

import os
import re
from typing import Any

from distflow.base import log
from distflow.checkpoint import Checkpoint, CheckpointOptions, folder, layout
from distflow.checkpoint.trackable import VALUE
from distflow.distribute import checkpointing, leaving
from distflow.keras import random
from distflow.keras.callbacks.base import Callback

_NAME = "backup"
_SEED = f"training/seeds/state{VALUE}"


class BackupAndRestore(Callback):
    """Keeps a backup of training, from which the same `fit` goes on after an interruption.

    It holds weights, optimizer state, metrics, the states of seed generators, what callbacks keep
    (`kept_attributes`), and the position: epoch, step, and where the pass over the data stands. So
    the run that is started again ends with the bits of one that was not interrupted, in the middle
    of an epoch, and on another number of workers, as long as the logical replicas are as many.
    Batches before the position are read again and dropped, so the data must come in the same order:
    arrays, data sets, and generators that start anew do.

    All workers of a job give it to `fit`; the chief alone reads and writes, in a thread. Where the
    launcher starts jobs again (DISTFLOW_LEAVE), SIGTERM ends the process after the step under way,
    with a backup of that step and exit code 143.

    Args:
      backup_dir: folder of its own for this run.
      save_freq: "epoch", or a number of batches; 0 or False only restores.
      double_checkpoint: whether the backup before the newest stays too, for when that is damaged.
      delete_checkpoint: whether the backup goes when training has ended.

    Raises:
      ValueError: for an empty folder's name, or another save_freq.
    """

    needs_batches = False
    # The others have done by then what an epoch's results ask for.
    comes_last = True

    def __init__(
        self, backup_dir: Any, save_freq: Any = "epoch", double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ):  # fmt: skip
        super().__init__()
        if not backup_dir:
            raise ValueError("Empty `backup_dir` argument passed")
        if save_freq != "epoch" and not (isinstance(save_freq, int) and save_freq >= 0):
            raise ValueError(
                "Invalid value for argument `save_freq`. Received: save_freq="
                f"{save_freq!r}. Expected either 'epoch' or an integer value."
            )
        self.backup_dir = os.fspath(backup_dir)
        self.save_freq = save_freq
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint
        self._batches = 0
        self._number = -1
        self._checkpoint: Any = None
        self._leaving: leaving.Leaving | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Goes on from the newest backup that is whole, if there is one."""
        self._batches = 0
        self._leaving = leaving.listen()
        strategy = self.model.distribute_strategy
        self._checkpoint = Checkpoint(training=_Training(self.model))
        self._number = -1
        paths = _backups(self.backup_dir) if strategy.is_chief else []
        reader = checkpointing.newest_reader(strategy, paths)
        if reader is None:
            return
        self._number = _number_of(reader.manifest.prefix)
        facts = reader.manifest.facts
        if facts["replicas"] != strategy.num_replicas_in_sync:
            log.get_logger().warning(
                "BackupAndRestore: the backup is of %d logical replicas, this run has %d: it goes "
                "on, but not with the same bits.",
                facts["replicas"], strategy.num_replicas_in_sync,
            )  # fmt: skip
        last = self.model.training_progress.resume(facts["position"])
        if last is not None:
            self.model._build_for(last, training=True)
        if _SEED in reader.manifest.entries:
            random.global_seed_generator()
        _restore_callbacks(self.model.training_progress.callbacks, reader)
        if reader.has_values:
            self._checkpoint.read_from(reader).expect_partial()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Backs up after every `save_freq` batches."""
        self._batches += 1
        is_due = self.save_freq != "epoch" and self.save_freq
        self._save_or_leave(bool(is_due) and self._batches % self.save_freq == 0)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Backs up after an epoch."""
        self._save_or_leave(self.save_freq == "epoch")

    def on_train_end(self, logs: Any = None) -> None:
        """Waits for the last backup; removes all, as the run is over."""
        if self._leaving is not None:
            self._leaving.close()
        with checkpointing.told_to_others(self.model.distribute_strategy):
            self._checkpoint.sync()
        if self.delete_checkpoint and self.model.distribute_strategy.is_chief:
            for path in _backups(self.backup_dir):
                layout.remove(path)

    def _save_or_leave(self, is_due: bool) -> None:
        """Backs up if that is due, or if the job is asked to end: then it ends the process."""
        strategy = self.model.distribute_strategy
        leaves = self._leaving is not None and self._leaving.agreed(strategy)
        if is_due or leaves:
            self._save()
        if not leaves:
            return
        step = int(self.model.optimizer._iterations.numpy())

        def finish() -> None:
            self._checkpoint.sync()
            log.get_logger().warning(
                "asked to end: all is kept after step %d in %s", step, self.backup_dir
            )

        # The others must not end before: a launcher would take the job for over.
        checkpointing.on_chief(strategy, "backup before the end", finish)
        raise SystemExit(leaving.LEFT_EXIT_CODE)

    def _save(self) -> None:
        strategy = self.model.distribute_strategy
        self._number += 1
        if checkpointing.catches_up(strategy):
            return
        path = os.path.join(self.backup_dir, f"{_NAME}-{self._number}")
        facts = {
            "position": self.model.training_progress.state(),
            "replicas": strategy.num_replicas_in_sync,
            "step": int(self.model.optimizer._iterations.numpy()),
        }
        facts["callbacks"], arrays = _save_callbacks(self.model.training_progress.callbacks)
        options = CheckpointOptions(enable_async=True)
        with checkpointing.told_to_others(strategy):
            self._checkpoint.write_as(
                path, options, lambda: self._rotate(path), facts, strategy.is_chief, arrays
            )

    def _rotate(self, path: str) -> None:
        """Removes old backups: the new one is whole."""
        keep = 2 if self.double_checkpoint else 1
        # All there are: another worker may have been the chief before.
        paths = [p for p in _backups(self.backup_dir) if p != path] + [path]
        for old in paths[:-keep]:
            layout.remove(old)


class _Training:
    """All that a run of fit changes, as a checkpoint sees it: what is there when it looks."""

    def __init__(self, model: Any):
        self._model = model

    def _checkpoint_children(self) -> dict[str, Any]:
        model = self._model
        named = {"model": model, "optimizer": model.optimizer}
        named |= {f"metric-{i}": metric for i, metric in enumerate(model.metrics)}
        if random._global_generator:
            # Random numbers of those without a generator of their own.
            named["seeds"] = random.global_seed_generator()
        return named


def _save_callbacks(callbacks: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Returns what callbacks keep: [class, attributes] of each, and arrays by key."""
    rows: list[Any] = []
    arrays: dict[str, Any] = {}
    for callback in callbacks:
        kept: dict[str, Any] = {}
        for name in getattr(callback, "kept_attributes", ()):
            value = getattr(callback, name)
            if isinstance(value, list):
                keys = [f"callbacks/{len(rows)}/{name}/{i}" for i in range(len(value))]
                arrays.update(zip(keys, value))
                value = {"arrays": keys}
            kept[name] = value
        rows.append([type(callback).__name__, kept])
    return rows, arrays


def _restore_callbacks(callbacks: list[Any], reader: Any) -> None:
    """Gives callbacks what those of the same class, in order, have kept."""
    saved = list(reader.manifest.facts["callbacks"])
    for callback in callbacks:
        cls = type(callback).__name__
        kept = next((kept for name, kept in saved if name == cls), None)
        if kept is None:
            continue
        saved.remove([cls, kept])
        for name, value in kept.items():
            if isinstance(value, dict):
                value = [reader.read(key) for key in value["arrays"]] if reader.has_values else None
            setattr(callback, name, value)


def _backups(directory: str) -> list[str]:
    """Returns the backups of a folder, oldest first."""
    pattern = re.compile(rf"{_NAME}-\d+")
    found = folder.prefixes(directory, f"{_NAME}-*")
    named = [path for path in found if pattern.fullmatch(os.path.basename(path))]
    return sorted(named, key=_number_of)


def _number_of(path: str) -> int:
    return int(path.rsplit("-", 1)[-1])
