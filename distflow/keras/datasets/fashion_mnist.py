"""Fashion-MNIST: 28 x 28 grey images of ten kinds of clothing.

Source: Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747.
"""

from __future__ import annotations

import gzip
import os
import zlib
from typing import Any

import numpy as np

from distflow.base import errors
from distflow.keras.datasets import files

_FOLDER = os.path.join("datasets", "fashion-mnist")
# The first number of a file says what it holds.
_LABELS, _IMAGES = 2049, 2051


def load_data() -> Any:
    """Returns (x_train, y_train), (x_test, y_test): uint8 images [n, 28, 28] and labels [n].

    The four files are in ~/.keras/datasets/fashion-mnist (or below $KERAS_HOME), and downloaded if
    they are not there.

    Raises:
      NotFoundError: if a file is missing and there is no network; says which belongs where.
      DataLossError: if a file is damaged.
    """
    parts = []
    for part in ("train", "t10k"):
        images, labels = (
            _read(f"{part}-images-idx3-ubyte.gz"),
            _read(f"{part}-labels-idx1-ubyte.gz"),
        )
        parts.append((images, labels))
    return parts[0], parts[1]


def _read(name: str) -> Any:
    where = "fashion_mnist.load_data"
    path = files.fetch(where, name, files.STORAGE + name, folder=_FOLDER)
    try:
        with gzip.open(path, "rb") as file:
            data = file.read()
        kind, count = np.frombuffer(data, ">i4", 2)
        if kind == _IMAGES:
            return np.frombuffer(data, np.uint8, offset=16).reshape(count, 28, 28)
        if kind == _LABELS:
            return np.frombuffer(data, np.uint8, offset=8).reshape(count)
        raise ValueError(f"the number {kind} at its beginning")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise errors.DataLossError(
            f"{where}: expected {path} to be a complete file of images or labels; received "
            f"{type(error).__name__}: {error}\nRemove it, and it is downloaded again."
        ) from error
