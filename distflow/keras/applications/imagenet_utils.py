"""What all image models share: inputs as they were trained on, and classes by name."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np

from distflow.base import errors
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import Tensor
from distflow.keras import config, settings
from distflow.keras.datasets import files
from distflow.keras.engine.keras_tensor import KerasTensor
from distflow.ops import math, shaping

CLASSES = 1000
_INDEX_URL = "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json"
_INDEX_CHECKSUM = "md5:c2c37ea517e94d9795004a39431a14cb"
# Mode -> means and standard deviations of red, green, blue ("caffe": blue, green, red).
_MEANS = {"torch": (0.485, 0.456, 0.406), "caffe": (103.939, 116.779, 123.68)}
_DEVIATIONS = {"torch": (0.229, 0.224, 0.225), "caffe": (1.0, 1.0, 1.0)}


def preprocess_input(x: Any, data_format: str | None = None, mode: str = "caffe") -> Any:
    """Returns images with numbers as the models of a kind were trained on.

    Args:
      x: array or tensor of colours red, green, blue in [0, 255]; one image or a batch. Arrays of
        floats are changed in place where Keras does so ("tf" and "torch").
      data_format: "channels_last" or "channels_first"; default: the process's.
      mode: "caffe" (blue first, less the mean), "tf" (to [-1, 1]) or "torch" (to [0, 1], less the
        mean, by the deviation).
    """
    if mode not in ("caffe", "tf", "torch"):
        raise errors.invalid("preprocess_input", "mode must be 'caffe', 'tf' or 'torch'",
                             repr(mode))  # fmt: skip
    first = settings.standardize_data_format(data_format) == "channels_first"
    if isinstance(x, np.ndarray):
        return _of_array(x, first, mode)
    x = x if isinstance(x, KerasTensor | Tensor) else convert_to_tensor(x)
    if mode == "tf":
        return x / 127.5 - 1.0
    axis = x.ndim - 3 if first else x.ndim - 1
    if mode == "torch":
        x = x / 255.0
    else:
        x = shaping.reverse(x, [axis])
    shape = [3 if i == axis else 1 for i in range(x.ndim)]
    mean = np.reshape(np.asarray(_MEANS[mode], np.float32), shape)
    deviation = np.reshape(np.asarray(_DEVIATIONS[mode], np.float32), shape)
    moved = x - math.cast(mean, x.dtype)
    return moved if mode == "caffe" else moved / math.cast(deviation, x.dtype)


def _of_array(x: Any, first: bool, mode: str) -> Any:
    if not np.issubdtype(x.dtype, np.floating):
        x = x.astype(config.floatx())
    if mode == "tf":
        x /= 127.5
        x -= 1.0
        return x
    axis = x.ndim - 3 if first else x.ndim - 1
    if mode == "torch":
        x /= 255.0
    else:
        x = np.flip(x, axis)
    shape = [3 if i == axis else 1 for i in range(x.ndim)]
    x -= np.reshape(_MEANS[mode], shape).astype(x.dtype)
    if mode == "torch":
        x /= np.reshape(_DEVIATIONS[mode], shape).astype(x.dtype)
    return x


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """Returns the best classes of each row: (WordNet's number, name, score), best first.

    Args:
      preds: scores [batch, 1000].
      top: how many classes.

    Raises:
      NotFoundError: if the list of classes is not in ~/.keras/models and cannot be downloaded.
    """
    scores = np.asarray(preds)
    if scores.ndim != 2 or scores.shape[1] != CLASSES:
        raise errors.invalid(
            "decode_predictions", f"a batch of predictions (samples, {CLASSES})",
            f"shape {scores.shape}",
        )  # fmt: skip
    path = files.fetch("decode_predictions", "imagenet_class_index.json", _INDEX_URL,
                       _INDEX_CHECKSUM, folder="models")  # fmt: skip
    names = _class_names(path)
    best = np.argsort(scores, axis=1)[:, ::-1][:, :top]
    return [[(*names[i], row[i]) for i in chosen] for row, chosen in zip(scores, best)]


@functools.lru_cache(maxsize=1)
def _class_names(path: str) -> list[tuple[str, str]]:
    with open(path, encoding="utf-8") as file:
        found = json.load(file)
    return [tuple(found[str(i)]) for i in range(CLASSES)]
