"""What the two sets of house prices share: rows in an order drawn by a seed, then cut."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import errors
from distflow.keras.datasets import arrays, files


def check_split(where: str, test_split: float) -> None:
    """Raises InvalidArgumentError for a part that is none."""
    if not 0 <= test_split < 1:
        raise errors.invalid(where, "test_split must be in [0, 1)", str(test_split))


def load(where: str, path: str, name: str, sha256: str) -> tuple[Any, Any]:
    """Returns the rows x and the prices y of a file."""
    file = files.fetch(where, path, files.STORAGE + name, f"sha256:{sha256}")
    x, y = arrays.read_npz(where, file, ("x", "y"))
    return x, y


def split(x: Any, y: Any, test_split: float, seed: int) -> Any:
    """Returns (x_train, y_train), (x_test, y_test), with the same rows in each as Keras."""
    order = np.arange(len(x))
    np.random.RandomState(seed).shuffle(order)
    x, y, count = x[order], y[order], int(len(x) * (1 - test_split))
    return (x[:count], y[:count]), (x[count:], y[count:])
