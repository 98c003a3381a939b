"""What CIFAR-10 and CIFAR-100 share: 32 x 32 colour images, in files of an archive.

Source: Krizhevsky 2009, Learning multiple layers of features from tiny images.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from distflow.keras import settings
from distflow.keras.datasets import arrays, files

SITE = "https://www.cs.toronto.edu/~kriz/"


def load(where: str, archive: str, sha256: str, folder: str, train: list[str], test: str,
         labels: str) -> Any:  # fmt: skip
    """Returns (x_train, y_train), (x_test, y_test): uint8 images and labels [n, 1].

    Args:
      where: who asks, for messages.
      archive: its name, in the cache and on the authors' site.
      folder: of the files, in the archive. Keras unpacks it to FOLDER-target/FOLDER in the cache.
      train, test: names of the files.
      labels: which labels of the files.
    """
    place = os.path.join(files.home(), "datasets", f"{folder}-target", folder)
    names = [*train, test]
    if not all(os.path.isfile(os.path.join(place, name)) for name in names):
        path = files.fetch(where, archive, SITE + archive, f"sha256:{sha256}")
        files.unpack(path, [f"{folder}/{name}" for name in names], place)
    batches = [arrays.read_batch(where, os.path.join(place, name), labels) for name in names]
    x_train = np.concatenate([x for x, _ in batches[:-1]])
    y_train = np.concatenate([y for _, y in batches[:-1]])
    x_test, y_test = batches[-1]
    return (_laid_out(x_train), y_train), (_laid_out(x_test), y_test)


def _laid_out(images: Any) -> Any:
    return images if settings.image_data_format() == "channels_first" else (
        images.transpose(0, 2, 3, 1)
    )  # fmt: skip
