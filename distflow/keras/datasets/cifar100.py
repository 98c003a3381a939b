"""CIFAR-100: 60000 colour images of 100 classes in 20 groups."""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.keras.datasets import cifar

_SHA256 = "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"


def load_data(label_mode: str = "fine") -> Any:
    """Returns (x_train, y_train), (x_test, y_test): uint8 [n, 32, 32, 3] and [n, 1].

    The archive cifar-100-python.tar.gz is looked for in ~/.keras/datasets (or below $KERAS_HOME)
    and downloaded if it is not there.

    Args:
      label_mode: "fine" (100 classes) or "coarse" (20).

    Raises:
      NotFoundError: if it is missing and there is no network; says which file belongs where.
      DataLossError: if it is damaged.
    """
    if label_mode not in ("fine", "coarse"):
        raise errors.invalid(
            "cifar100.load_data", "label_mode must be 'fine' or 'coarse'", repr(label_mode)
        )
    return cifar.load(
        "cifar100.load_data", "cifar-100-python.tar.gz", _SHA256, "cifar-100-python", ["train"],
        "test", f"{label_mode}_labels",
    )  # fmt: skip
