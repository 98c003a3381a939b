"""MNIST: 28 x 28 grey images of handwritten digits, from a file that is there already.

Source: LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to document
recognition.
"""

from __future__ import annotations

import os
import zipfile
from typing import Any

import numpy as np

from distflow.base import errors

_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def load_data(path: str = "mnist.npz") -> Any:
    """Returns (x_train, y_train), (x_test, y_test): uint8 images [n, 28, 28] and labels [n].

    Args:
      path: an .npz file; a bare name is looked for in ~/.keras/datasets (or $KERAS_HOME/datasets).

    Raises:
      NotFoundError: if the file is not there; the message says where it belongs.
      DataLossError: if it does not hold the four arrays.
    """
    file = _find(path)
    try:
        with np.load(file, allow_pickle=False) as arrays:
            x_train, y_train, x_test, y_test = (arrays[name] for name in _ARRAYS)
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise errors.DataLossError(
            f"mnist.load_data: expected {file} to be an .npz file with {', '.join(_ARRAYS)}; "
            f"received {type(error).__name__}: {error}"
        ) from error
    return (x_train, y_train), (x_test, y_test)


def _find(path: str) -> str:
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    cached = os.path.join(home, "datasets", path)
    for candidate in (path, cached):
        if os.path.isfile(candidate):
            return candidate
    raise errors.NotFoundError(
        f"mnist.load_data: expected the file {cached}, which is not there; distflow downloads "
        f"nothing by itself.\nGet {_URL} and put it there, or give the path of an .npz file: "
        'load_data(path="/data/mnist.npz").'
    )
