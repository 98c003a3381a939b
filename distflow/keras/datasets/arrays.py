"""Arrays of published files. Some were pickled: only NumPy's arrays are taken out of those."""

from __future__ import annotations

import io
import pickle
import zipfile
from typing import Any

import numpy as np

from distflow.base import errors

# What a pickled array is made of. Anything else in a file could run code.
_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("_codecs", "encode"),
}
_DAMAGED = (
    KeyError, ValueError, EOFError, OSError, TypeError, IndexError, AttributeError,
    zipfile.BadZipFile, pickle.UnpicklingError,
)  # fmt: skip


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Returns one of the functions that arrays are made with."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_npz(where: str, path: str, names: tuple[str, ...]) -> list[Any]:
    """Returns some arrays of an .npz file.

    Raises:
      DataLossError: if it does not hold them, or holds anything but arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return [_read_npy(archive.read(f"{name}.npy")) for name in names]
    except _DAMAGED as error:
        raise errors.DataLossError(
            f"{where}: expected {path} to be an .npz file with {', '.join(names)}; received "
            f"{type(error).__name__}: {error}"
        ) from error


def _read_npy(data: bytes) -> Any:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is not None:
        shape, _, dtype = read(file)
        if dtype.hasobject:
            found = np.asarray(_ArraysOnly(file, encoding="latin1").load(), dtype=object)
            return found.reshape(shape)
    return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)


def read_batch(where: str, path: str, labels: str) -> tuple[Any, Any]:
    """Returns images uint8 [n, 3, 32, 32] and labels [n, 1] of a file of CIFAR.

    Raises:
      DataLossError: if the file is no such batch.
    """
    try:
        with open(path, "rb") as file:
            batch = _ArraysOnly(file, encoding="bytes").load()
        images = np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32)
        return images, np.asarray(batch[labels.encode()], np.int64).reshape(len(images), 1)
    except _DAMAGED as error:
        raise errors.DataLossError(
            f"{where}: expected {path} to be a batch of images with {labels!r}; received "
            f"{type(error).__name__}: {error}"
        ) from error
