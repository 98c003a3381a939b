"""What the TensorBoard callback writes: event files in the forms of TF 2, and projector files."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from google.protobuf import text_format

from distflow.protos import summary_pb2 as pb
from distflow.summary import media, values
from distflow.summary.event_file import EventFile, metadata

_SCALAR, _TENSOR, _BLOBS = 1, 2, 3
_BUCKETS = 30


class EventWriter:
    """The event file of one folder.

    The file is made on first use, so that a run without validation leaves no empty folder.
    """

    def __init__(self, folder: str):
        self._file = EventFile(folder, suffix=".v2")
        self._projected: dict[str, pb.ProjectorConfig.Embedding] = {}

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Writes a number."""
        self._file.add(tag, np.float32(value), step, metadata("scalars", _SCALAR))

    def histogram(self, tag: str, data: Any, step: int) -> None:
        """Writes the distribution of an array's elements."""
        found = values.histogram_buckets(data, _BUCKETS)
        self._file.add(tag, found, step, metadata("histograms", _TENSOR))

    def image(self, tag: str, image: Any, step: int) -> None:
        """Writes an array [height, width, channels] in [0, 1] as a picture."""
        height, width = np.shape(image)[:2]
        texts = [str(width).encode(), str(height).encode(), media.png(image)]
        self._file.add(tag, np.array(texts, object), step, metadata("images", _BLOBS))

    def embedding(self, tag: str, rows: Any, labels: list[str] | None, step: int) -> None:
        """Writes vectors [rows, features], with a label a row, for the projector.

        It shows the newest of each tag.
        """
        folder = os.path.join(f"{int(step):05d}", tag)
        path = os.path.join(self._file.folder, folder)
        os.makedirs(path, exist_ok=True)
        np.savetxt(os.path.join(path, "tensors.tsv"), rows, fmt="%.7g", delimiter="\t")
        shown = pb.ProjectorConfig.Embedding(
            tensor_name=tag, tensor_path=os.path.join(folder, "tensors.tsv")
        )
        if labels is not None:
            with open(os.path.join(path, "metadata.tsv"), "w", encoding="utf-8") as file:
                file.write("".join(f"{label}\n" for label in labels))
            shown.metadata_path = os.path.join(folder, "metadata.tsv")
        self._projected[tag] = shown
        config = pb.ProjectorConfig(embeddings=self._projected.values())
        name = os.path.join(self._file.folder, "projector_config.pbtxt")
        with open(name, "w", encoding="utf-8") as file:
            file.write(text_format.MessageToString(config))

    def keras_model(self, text: str) -> None:
        """Writes a model's JSON, which TensorBoard shows as a graph of layers."""
        about = metadata("graph_keras_model", 0, b"1")
        self._file.add("keras", np.array(text.encode(), object), 0, about)

    def flush(self) -> None:
        """Puts what was written on disk."""
        self._file.flush()

    def close(self) -> None:
        """Ends the file; writing again starts another one."""
        self._file.close()
