"""ModelCheckpoint and CSVLogger: what is written during training, by the chief alone."""

from __future__ import annotations

import csv
import importlib.util
import os
from typing import Any

from distflow.base import errors
from distflow.distribute.checkpointing import told_to_others
from distflow.distribute.context import get_strategy
from distflow.keras.callbacks import monitor as watch
from distflow.keras.callbacks.base import Callback


def is_chief(model: Any) -> bool:
    """Whether this worker writes files: all do without a strategy, rank 0 with one."""
    strategy = getattr(model, "distribute_strategy", None) or get_strategy()
    return strategy.is_chief


class ModelCheckpoint(Callback):
    """Saves the model, or its weights, after epochs or batches.

    Args:
      filepath: with fields like "{epoch:02d}-{val_loss:.2f}.keras"; ".weights.h5" at the end with
        `save_weights_only`, ".keras" without.
      monitor, mode: which quantity says what is best.
      verbose: 1 prints each save.
      save_best_only: whether only improvements are saved.
      save_freq: "epoch", or a number of batches.
      initial_value_threshold: value that must be improved on first.

    Files are written beside their place and renamed, so an interrupted save leaves the old one.
    Under a strategy all workers may have it: the chief writes, the others wait for it at their next
    step, DISTFLOW_TIMEOUT seconds at most, and hear of an error.
    """

    kept_attributes = ("best", "_batches")

    def __init__(
        self, filepath: Any, monitor: str = "val_loss", verbose: int = 0,
        save_best_only: bool = False, save_weights_only: bool = False, mode: str = "auto",
        save_freq: Any = "epoch", initial_value_threshold: float | None = None,
    ):  # fmt: skip
        super().__init__()
        self.filepath = os.fspath(filepath)
        self.monitor, self.verbose = monitor, verbose
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        self.save_freq = save_freq
        self.best = initial_value_threshold
        self._better = watch.direction("ModelCheckpoint", monitor, mode, None)
        self._batches = 0
        self._epoch = 0
        ending = ".weights.h5" if save_weights_only else ".keras"
        if not self.filepath.endswith((ending, ".h5") if not save_weights_only else ending):
            raise ValueError(
                f"ModelCheckpoint: the filepath must end in {ending!r} when save_weights_only="
                f"{save_weights_only}; received {self.filepath!r}."
            )
        if save_freq != "epoch" and not (isinstance(save_freq, int) and save_freq > 0):
            raise errors.invalid(
                "ModelCheckpoint", "save_freq must be 'epoch' or a number of batches",
                repr(save_freq),
            )  # fmt: skip
        self.needs_batches = save_freq != "epoch"

    def on_train_begin(self, logs: Any = None) -> None:
        """Checks that files can be written, before any work is done."""
        if importlib.util.find_spec("h5py") is None:
            raise errors.missing_extra("h5py", "keras-io", "ModelCheckpoint")

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes the epoch for the file's name."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Saves after every `save_freq` batches."""
        self._batches += 1
        if self.save_freq != "epoch" and self._batches % self.save_freq == 0:
            self._save(self._epoch, batch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Saves after an epoch."""
        if self.save_freq == "epoch":
            self._save(epoch, None, logs)

    def _save(self, epoch: int, batch: int | None, logs: Any) -> None:
        path = self._path(epoch, batch, logs)
        if self.save_best_only:
            current = watch.value("ModelCheckpoint", self.monitor, logs)
            if current is None:
                return
            if self.best is not None and not self._better(current, self.best, 0.0):
                if self.verbose > 0:
                    watch.say(
                        f"\nEpoch {epoch + 1}: {self.monitor} did not improve from {self.best:.5f}"
                    )
                return
            if self.verbose > 0:
                before = "-" if self.best is None else f"{self.best:.5f}"
                watch.say(
                    f"\nEpoch {epoch + 1}: {self.monitor} improved from {before} to {current:.5f}, "
                    f"saving model to {path}"
                )
            self.best = current
        elif self.verbose > 0:
            watch.say(f"\nEpoch {epoch + 1}: saving model to {path}")
        if not is_chief(self.model):
            return
        with told_to_others(self.model.distribute_strategy):
            folder = os.path.dirname(path)
            if folder:
                os.makedirs(folder, exist_ok=True)
            if self.save_weights_only:
                self.model.save_weights(path, overwrite=True)
            else:
                self.model.save(path, overwrite=True)

    def _path(self, epoch: int, batch: int | None, logs: Any) -> str:
        fields = dict(logs or {}, epoch=epoch + 1)
        if batch is not None:
            fields["batch"] = batch + 1
        try:
            return self.filepath.format(**fields)
        except KeyError as error:
            raise KeyError(
                f"ModelCheckpoint: the filepath {self.filepath!r} names {error}, but the logs have "
                f"{sorted(fields)}."
            ) from error


class CSVLogger(Callback):
    """Writes the logs of each epoch as a line of a CSV file.

    Args:
      filename: path of the file.
      separator: between columns.
      append: whether an existing file is kept and continued.
    """

    needs_batches = False

    def __init__(self, filename: Any, separator: str = ",", append: bool = False):
        super().__init__()
        self.filename, self.separator, self.append = os.fspath(filename), separator, append
        self._file: Any = None
        self._writer: Any = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Opens the file."""
        if is_chief(self.model):
            kept = self.append and os.path.exists(self.filename)
            self._file = open(self.filename, "a" if self.append else "w", newline="")
            self._header = not (kept and os.path.getsize(self.filename))
            self._writer = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes a line."""
        if self._file is None:
            return
        if self._writer is None:
            self._writer = csv.DictWriter(
                self._file, ["epoch", *sorted(logs or {})], delimiter=self.separator,
                extrasaction="ignore",
            )  # fmt: skip
            if self._header:
                self._writer.writeheader()
        self._writer.writerow(dict(logs or {}, epoch=epoch))
        self._file.flush()

    def on_train_end(self, logs: Any = None) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
