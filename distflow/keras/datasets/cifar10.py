"""CIFAR-10: 60000 colour images of ten classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.keras.datasets import cifar

_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"


def load_data() -> Any:
    """Returns (x_train, y_train), (x_test, y_test): uint8 [n, 32, 32, 3] and [n, 1].

    The archive cifar-10-python.tar.gz is looked for in ~/.keras/datasets (or below $KERAS_HOME)
    and downloaded if it is not there.

    Raises:
      NotFoundError: if it is missing and there is no network; says which file belongs where.
      DataLossError: if it is damaged.
    """
    train = [f"data_batch_{i}" for i in range(1, 6)]
    (x_train, y_train), (x_test, y_test) = cifar.load(
        "cifar10.load_data", "cifar-10-python.tar.gz", _SHA256, "cifar-10-batches-py", train,
        "test_batch", "labels",
    )  # fmt: skip
    return (x_train, y_train.astype(np.uint8)), (x_test, y_test.astype(np.uint8))
