"""MNIST: 28 x 28 grey images of handwritten digits.

Source: LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to document
recognition.
"""

from __future__ import annotations

from typing import Any

from distflow.keras.datasets import arrays, files

_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"


def load_data(path: str = "mnist.npz") -> Any:
    """Returns (x_train, y_train), (x_test, y_test): uint8 images [n, 28, 28] and labels [n].

    Args:
      path: an .npz file; a bare name is looked for in ~/.keras/datasets (or $KERAS_HOME/datasets)
        and downloaded if it is not there.

    Raises:
      NotFoundError: if there is no such file and no network; says which file belongs where.
      DataLossError: if it does not hold the four arrays.
    """
    where = "mnist.load_data"
    file = files.fetch(where, path, files.STORAGE + "mnist.npz", f"sha256:{_SHA256}")
    names = ("x_train", "y_train", "x_test", "y_test")
    x_train, y_train, x_test, y_test = arrays.read_npz(where, file, names)
    return (x_train, y_train), (x_test, y_test)
