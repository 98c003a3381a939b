"""Looking into checkpoints: names, shapes and values without the objects that held them."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.checkpoint import folder, layout


class CheckpointReader:
    """Values of a checkpoint by key (TF's CheckpointReader)."""

    def __init__(self, prefix: str):
        self._reader = layout.Reader(prefix)
        self._entries = self._reader.manifest.entries

    def has_tensor(self, name: str) -> bool:
        """Whether there is a value with this key."""
        return name in self._entries

    def get_tensor(self, name: str) -> np.ndarray[Any, Any]:
        """Returns a value as a NumPy array; it is checked against its SHA-256."""
        return self._reader.read(name)

    def get_variable_to_shape_map(self) -> dict[str, list[int]]:
        """Returns the shapes by key."""
        return {key: list(entry.shape) for key, entry in self._entries.items()}

    def get_variable_to_dtype_map(self) -> dict[str, dtypes.DType]:
        """Returns the dtypes by key."""
        return {key: dtypes.as_dtype(entry.dtype) for key, entry in self._entries.items()}

    def debug_string(self) -> bytes:
        """Returns a line for each value: key, dtype, shape."""
        rows = (
            f"{key} (DT_{entry.dtype.upper()}) {list(entry.shape)}"
            for key, entry in sorted(self._entries.items())
        )
        return "\n".join(rows).encode()


def load_checkpoint(ckpt_dir_or_file: Any) -> CheckpointReader:
    """Returns a reader of a checkpoint, or of the newest one of a folder.

    Raises:
      NotFoundError: if there is none.
      DataLossError: if it is damaged.
    """
    return CheckpointReader(_prefix_of(ckpt_dir_or_file))


def list_variables(ckpt_dir_or_file: Any) -> list[tuple[str, list[int]]]:
    """Returns (key, shape) of all values of a checkpoint, sorted by key."""
    return sorted(load_checkpoint(ckpt_dir_or_file).get_variable_to_shape_map().items())


def load_variable(ckpt_dir_or_file: Any, name: str) -> np.ndarray[Any, Any]:
    """Returns one value of a checkpoint; a key may end in `:0`."""
    return load_checkpoint(ckpt_dir_or_file).get_tensor(name.removesuffix(":0"))


def _prefix_of(ckpt_dir_or_file: Any) -> str:
    path = os.fspath(ckpt_dir_or_file)
    if not os.path.isdir(path):
        return path.removesuffix(".index") if os.path.exists(path) else path
    found = folder.latest_checkpoint(path)
    if found is None:
        raise errors.NotFoundError(
            f"load_checkpoint: expected a checkpoint in {path}; received none."
        )
    return found
