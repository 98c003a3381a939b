"""How inputs of a family are prepared: `preprocess_input` of the families' modules."""

from __future__ import annotations

from typing import Any

from distflow.keras.applications import imagenet_utils


def caffe(x: Any, data_format: str | None = None) -> Any:
    """Returns images [0, 255] with blue first, less the mean of ImageNet."""
    return imagenet_utils.preprocess_input(x, data_format, mode="caffe")


def to_signed_unit(x: Any, data_format: str | None = None) -> Any:
    """Returns images [0, 255] scaled to [-1, 1]."""
    return imagenet_utils.preprocess_input(x, data_format, mode="tf")


def torch(x: Any, data_format: str | None = None) -> Any:
    """Returns images [0, 255] scaled to [0, 1], less the mean and by the deviation of ImageNet."""
    return imagenet_utils.preprocess_input(x, data_format, mode="torch")


def unchanged(x: Any, data_format: str | None = None) -> Any:
    """Returns images as they are: the model prepares them itself."""
    return x
