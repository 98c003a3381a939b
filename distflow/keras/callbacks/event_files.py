"""Event files for TensorBoard, written by tensorboardX (extra `tensorboard`)."""

from __future__ import annotations

import importlib
import itertools
import os
from typing import Any

import numpy as np

from distflow.base import errors

_numbers = itertools.count()


def _package(name: str, purpose: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise errors.missing_extra(name.partition(".")[0], extra, purpose) from error


class EventWriter:
    """The event file of one folder.

    The file is made on first use, so that a run without validation leaves no empty folder.
    """

    def __init__(self, folder: str):
        self._folder = folder
        self._opened: Any = None

    @staticmethod
    def check(images: bool = False) -> None:
        """Raises MissingExtraError if files (or images in them) cannot be written."""
        _package("tensorboardX", "TensorBoard", "tensorboard")
        if images:
            _package("PIL", "TensorBoard(write_images=True)", "data")

    @property
    def _writer(self) -> Any:
        if self._opened is None:
            package = _package("tensorboardX", "TensorBoard", "tensorboard")
            # Names hold the second only: a file of the same second would be written over.
            suffix = f".{os.getpid()}.{next(_numbers)}"
            self._opened = package.SummaryWriter(self._folder, filename_suffix=suffix)
        return self._opened

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Writes a number."""
        self._writer.add_scalar(tag, float(value), step)

    def histogram(self, tag: str, values: Any, step: int) -> None:
        """Writes the distribution of an array's elements."""
        self._writer.add_histogram(tag, np.asarray(values, np.float64).reshape(-1), step)

    def image(self, tag: str, image: Any, step: int) -> None:
        """Writes an array [height, width, channels] in [0, 1] as a picture."""
        self._writer.add_image(tag, image, step, dataformats="HWC")

    def embedding(self, tag: str, rows: Any, labels: list[str] | None, step: int) -> None:
        """Writes vectors [rows, features], with a label a row, for the projector."""
        self._writer.add_embedding(rows, metadata=labels, global_step=step, tag=tag)

    def keras_model(self, text: str) -> None:
        """Writes a model's JSON, which TensorBoard shows as a graph of layers."""
        proto = _package("tensorboardX.proto.summary_pb2", "TensorBoard", "tensorboard")
        tensors = _package("tensorboardX.proto.tensor_pb2", "TensorBoard", "tensorboard")
        plugin = proto.SummaryMetadata.PluginData(plugin_name="graph_keras_model", content=b"1")
        value = proto.Summary.Value(
            tag="keras",
            metadata=proto.SummaryMetadata(plugin_data=plugin),
            tensor=tensors.TensorProto(dtype="DT_STRING", string_val=[text.encode()]),
        )
        self._writer.file_writer.add_summary(proto.Summary(value=[value]), 0)

    def flush(self) -> None:
        """Puts what was written on disk."""
        if self._opened is not None:
            self._opened.flush()

    def close(self) -> None:
        """Ends the file; writing again starts another one."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None
