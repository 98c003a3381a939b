"""TensorBoard: curves, histograms, pictures and the graph of layers in event files."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from distflow.base import errors, log
from distflow.keras.callbacks.base import Callback
from distflow.keras.callbacks.checkpoint import is_chief
from distflow.keras.callbacks.event_files import EventWriter
from distflow.profiler import experimental as profiler


class TensorBoard(Callback):
    """Writes what TensorBoard shows: `tensorboard --logdir=logs`.

    Under `log_dir`, "train" and "validation" have a file each. Names are Keras's: epoch_loss,
    batch_loss, evaluation_loss_vs_iterations. Under a strategy the chief writes.

    Args:
      log_dir: folder of the files.
      histogram_freq: epochs between histograms of the weights; 0: none.
      write_graph: whether the model's layers are written (models of layers only).
      write_images: whether weights are written as pictures, with the histograms.
      write_steps_per_second: whether steps are counted by the clock.
      update_freq: "epoch", "batch", or a number of batches between batch_* values.
      profile_batch: a batch, or the first and last of some, whose trace is written; 0: none.
      embeddings_freq: epochs between copies of embeddings for the projector; 0: none.
      embeddings_metadata: file of labels, a line a row; or a dict from layer names to files.

    Raises:
      InvalidArgumentError: for frequencies and batches that are none.
    """

    def __init__(
        self, log_dir: Any = "logs", histogram_freq: int = 0, write_graph: bool = True,
        write_images: bool = False, write_steps_per_second: bool = False,
        update_freq: Any = "epoch", profile_batch: Any = 0, embeddings_freq: int = 0,
        embeddings_metadata: Any = None,
    ):  # fmt: skip
        super().__init__()
        self.log_dir = os.fspath(log_dir)
        self.histogram_freq, self.embeddings_freq = histogram_freq, embeddings_freq
        self.write_graph, self.write_images = write_graph, write_images
        self.write_steps_per_second = write_steps_per_second
        self.update_freq = 1 if update_freq == "batch" else update_freq
        if self.update_freq != "epoch" and not _is_count(self.update_freq):
            raise errors.invalid(
                "TensorBoard", "update_freq must be 'epoch', 'batch' or a number of batches",
                repr(update_freq),
            )  # fmt: skip
        self._first_traced, self._last_traced = _range_of(profile_batch)
        self.embeddings_metadata = embeddings_metadata
        self.needs_batches = self.update_freq != "epoch"
        self._train = EventWriter(os.path.join(self.log_dir, "train"))
        self._validation = EventWriter(os.path.join(self.log_dir, "validation"))
        self._batches = 0
        self._epoch_started = self._batch_started = 0.0
        self._done_before = 0
        self._writes = self._traces = False

    def set_model(self, model: Any) -> None:
        """Notes the model and writes its graph."""
        super().set_model(model)
        self._writes = is_chief(model)
        if not self._writes:
            return
        self._labels = self._read_labels() if self.embeddings_freq else {}
        if self.write_graph:
            self._write_graph()

    def _write_graph(self) -> None:
        if type(self.model).__name__ not in ("Functional", "Sequential"):
            return
        try:
            text = self.model.to_json()
        except (TypeError, ValueError, NotImplementedError) as error:
            # What cannot be saved can still be trained.
            log.get_logger().warning("TensorBoard: the model's graph is left out: %s", error)
            return
        self._train.keras_model(text)

    # -- training ----------------------------------------------------------------------------

    def on_train_begin(self, logs: Any = None) -> None:
        """Starts to count batches."""
        self._batches = 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Starts the trace and the clock."""
        self._batches += 1
        self._batch_started = time.monotonic()
        if self._writes and self._batches == self._first_traced:
            profiler.start(os.path.join(self.log_dir, "train"))
            self._traces = True

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Writes batch_* and ends the trace."""
        if self._traces and self._batches >= self._last_traced:
            self._end_trace()
        if not self._writes or self.update_freq == "epoch" or self._batches % self.update_freq:
            return
        if self.write_steps_per_second:
            elapsed = max(time.monotonic() - self._batch_started, 1e-9)
            self._train.scalar("batch_steps_per_second", 1.0 / elapsed, self._batches)
        self._scalars(self._train, "batch_{}", logs, self._batches)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Starts the clock."""
        self._epoch_started = time.monotonic()
        self._done_before = self._iterations()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes epoch_*, and histograms and embeddings where they are due."""
        if not self._writes:
            return
        logs = logs or {}
        train = {k: v for k, v in logs.items() if not k.startswith("val_")} | self._rates()
        if self.write_steps_per_second:
            elapsed = max(time.monotonic() - self._epoch_started, 1e-9)
            train["steps_per_second"] = (self._iterations() - self._done_before) / elapsed
        validation = {k[4:]: v for k, v in logs.items() if k.startswith("val_")}
        self._scalars(self._train, "epoch_{}", train, epoch)
        self._scalars(self._validation, "epoch_{}", validation, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._write_weights(epoch)
        if self.embeddings_freq and epoch % self.embeddings_freq == 0:
            self._write_embeddings(epoch)
        self._train.flush()
        self._validation.flush()

    def on_test_end(self, logs: Any = None) -> None:
        """Writes evaluation_*_vs_iterations."""
        if self._writes and getattr(self.model, "optimizer", None) is not None:
            pattern = "evaluation_{}_vs_iterations"
            self._scalars(self._validation, pattern, logs, self._iterations())
            self._validation.flush()

    def on_train_end(self, logs: Any = None) -> None:
        """Ends the files."""
        if self._traces:
            self._end_trace()
        self._train.close()
        self._validation.close()

    def _end_trace(self) -> None:
        profiler.stop()
        self._traces = False

    # -- what is written ---------------------------------------------------------------------

    def _scalars(self, writer: EventWriter, pattern: str, values: Any, step: int) -> None:
        for name, value in (values or {}).items():
            if np.ndim(value) == 0:
                writer.scalar(pattern.format(name), value, step)

    def _iterations(self) -> int:
        optimizer = getattr(self.model, "optimizer", None)
        return 0 if optimizer is None else int(np.asarray(optimizer.iterations))

    def _rates(self) -> dict[str, float]:
        optimizer = self.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        several = getattr(optimizer, "optimizers", None)
        if several is None:
            return {"learning_rate": float(np.asarray(optimizer.learning_rate))}
        return {
            f"learning_rate_{o.name}": float(np.asarray(o.learning_rate)) for o in several
        }  # fmt: skip

    def _write_weights(self, epoch: int) -> None:
        for layer in self.model.layers:
            for weight in layer.weights:
                name = weight.path.replace(":", "_")
                values = np.asarray(weight)
                self._train.histogram(f"{name}/histogram", values, epoch)
                if self.write_images:
                    for i, picture in enumerate(_pictures(values)):
                        self._train.image(f"{name}/image/{i}", picture, epoch)

    def _embedding_layers(self) -> list[Any]:
        return [layer for layer in self.model.layers if hasattr(layer, "embeddings")]

    def _write_embeddings(self, epoch: int) -> None:
        for layer in self._embedding_layers():
            self._train.embedding(
                layer.name, np.asarray(layer.embeddings), self._labels.get(layer.name), epoch
            )

    def _read_labels(self) -> dict[str, list[str]]:
        given = self.embeddings_metadata or {}
        names = [layer.name for layer in self._embedding_layers()]
        files = dict.fromkeys(names, given) if isinstance(given, str) else dict(given)
        unknown = sorted(set(files) - set(names))
        if unknown:
            raise errors.invalid(
                "TensorBoard", f"embeddings_metadata of the Embedding layers {names}", str(unknown)
            )
        labels = {}
        for name, path in files.items():
            with open(path, encoding="utf-8") as file:
                labels[name] = file.read().splitlines()
        return labels


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _range_of(profile_batch: Any) -> tuple[int, int]:
    """Returns the first and the last batch of the trace; 0 and 0: none."""
    given = profile_batch
    if isinstance(given, str):
        given = [int(part) for part in given.split(",")]
    if isinstance(given, int):
        given = [given, given]
    if len(given) == 1:
        given = [*given, *given]
    if len(given) != 2 or given[0] < 0 or given[1] < given[0]:
        raise errors.invalid(
            "TensorBoard", "profile_batch must be a batch number >= 0 or a pair of them",
            repr(profile_batch),
        )  # fmt: skip
    return given[0], given[1]


def _pictures(values: Any) -> list[Any]:
    """Returns a weight as pictures [height, width, channels] in [0, 1], as Keras lays them out."""
    values = np.squeeze(values)
    if values.ndim == 1:
        values = values[None, :, None, None]
    elif values.ndim == 2:
        values = (values.T if values.shape[0] > values.shape[1] else values)[None, ..., None]
    elif values.ndim == 3:
        values = np.transpose(values, [2, 0, 1])[..., None]
    if values.ndim != 4 or values.shape[-1] not in (1, 3, 4):
        return []
    low, high = float(values.min()), float(values.max())
    return list((values - low) / max(high - low, 1e-12))
