"""image_dataset_from_directory: pictures in one folder a class as batches."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes
from distflow.base.specs import TensorSpec
from distflow.keras.settings import standardize_data_format
from distflow.keras.utils import folder
from distflow.keras.utils.images import img_to_array, load_img, resized

_FORMATS = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
_CHANNELS = {"grayscale": 1, "rgb": 3, "rgba": 4}


def image_dataset_from_directory(
    directory: Any, labels: Any = "inferred", label_mode: Any = "int", class_names: Any = None,
    color_mode: str = "rgb", batch_size: int | None = 32, image_size: Any = (256, 256),
    shuffle: bool = True, seed: int | None = None, validation_split: float | None = None,
    subset: str | None = None, interpolation: str = "bilinear", follow_links: bool = False,
    crop_to_aspect_ratio: bool = False, pad_to_aspect_ratio: bool = False,
    data_format: str | None = None, format: str = "tf", verbose: bool = True,
) -> Any:  # fmt: skip
    """Returns a Dataset of (images [batch, height, width, channels], labels).

    Args:
      directory: with a folder for each class, or files alone with labels=None or a list.
      labels: "inferred" from the folders, None, or a list of ints in the order of sorted paths.
      label_mode: "int", "categorical" (one-hot), "binary" (float column) or None.
      color_mode: "rgb", "rgba" or "grayscale".
      image_size: (height, width) to which pictures are resized.
      shuffle, seed: whether files come in random order.
      validation_split, subset: "training", "validation" or "both" of two parts.
      crop_to_aspect_ratio, pad_to_aspect_ratio: cut or fill instead of distorting.

    The Dataset has `class_names` and `file_paths`. Files are read with pillow (extra `data`).

    Raises:
      ValueError: for a folder or settings that do not fit.
    """
    folder.check_settings("image_dataset_from_directory", labels, label_mode, class_names, subset,
                          validation_split, shuffle, seed)  # fmt: skip
    if color_mode not in _CHANNELS:
        raise ValueError(
            '`color_mode` must be one of {"rgb", "rgba", "grayscale"}. Received: color_mode='
            f"{color_mode}"
        )
    if format != "tf":
        raise ValueError(f'`format` must be "tf": a Dataset of distflow. Received: format={format}')
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        raise ValueError(
            "Only one of `pad_to_aspect_ratio` and `crop_to_aspect_ratio` can be set to `True`."
        )
    height, width = (int(n) for n in image_size)
    first = standardize_data_format(data_format) == "channels_first"
    channels = _CHANNELS[color_mode]
    shape = (channels, height, width) if first else (height, width, channels)

    def load(path: str) -> Any:
        image = img_to_array(load_img(path, color_mode), "channels_last")
        image = _fitted(image, height, width, crop_to_aspect_ratio, pad_to_aspect_ratio,
                        interpolation)  # fmt: skip
        return np.ascontiguousarray(image.transpose(2, 0, 1) if first else image)

    drawn = folder.draw_seed(seed)
    files = folder.find_files(
        directory, labels, _FORMATS, class_names, follow_links, shuffle, drawn
    )

    def dataset(part: str | None) -> Any:
        return folder.make_dataset(
            folder.subset_of(files, validation_split, part), label_mode, load,
            TensorSpec(shape, dtypes.float32), batch_size, shuffle, drawn,
        )  # fmt: skip

    return (dataset("training"), dataset("validation")) if subset == "both" else dataset(subset)


def _fitted(image: Any, height: int, width: int, crop: bool, pad: bool, how: str) -> Any:
    rows, columns = image.shape[:2]
    if crop:
        h, w = min(rows, int(columns * height / width)), min(columns, int(rows * width / height))
        top, left = (rows - h) // 2, (columns - w) // 2
        image = image[top : top + h, left : left + w]
    elif pad:
        h, w = max(rows, int(columns * height / width)), max(columns, int(rows * width / height))
        top, left = (h - rows) // 2, (w - columns) // 2
        image = np.pad(image, ((top, h - rows - top), (left, w - columns - left), (0, 0)))
    if image.shape[:2] == (height, width):
        return image
    return resized(image[None], height, width, how)[0]
