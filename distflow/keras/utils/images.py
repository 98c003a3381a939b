"""Pictures in files and as arrays, through pillow (extra `data`)."""

from __future__ import annotations

import importlib
import io
import os
from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.core.convert import convert_to_tensor
from distflow.keras import settings

_MODES = {"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}
_METHODS = ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos")


def _pillow() -> Any:
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as error:
        raise errors.missing_extra("pillow", "data", "Reading and writing pictures") from error


def load_img(path: Any, color_mode: str = "rgb", target_size: Any = None,
             interpolation: str = "nearest", keep_aspect_ratio: bool = False) -> Any:  # fmt: skip
    """Returns a picture as a pillow image.

    Args:
      path: of a file, or a file of bytes.
      color_mode: "rgb", "rgba" or "grayscale".
      target_size: (height, width) to resize to.
      interpolation: pillow's name of a filter.
      keep_aspect_ratio: cut the middle instead of distorting.

    Raises:
      ValueError, TypeError: for other settings.
      DataLossError: if it is no picture.
    """
    image = _pillow()
    if color_mode not in _MODES:
        raise ValueError('color_mode must be "grayscale", "rgb", or "rgba"')
    if not isinstance(path, str | os.PathLike | io.IOBase):
        raise TypeError(f"path should be path-like or io.BytesIO, not {type(path)}")
    try:
        with image.open(path) as opened:
            wide = color_mode == "grayscale" and opened.mode in ("I;16", "I", "L")
            picture = opened.copy() if wide else opened.convert(_MODES[color_mode])
    except (OSError, SyntaxError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise errors.DataLossError(f"{path}: expected a picture; received {error}") from error
    if target_size is None:
        return picture
    if interpolation not in _METHODS:
        raise ValueError(
            f"Invalid interpolation method {interpolation} specified. Supported methods are "
            f"{', '.join(_METHODS)}"
        )
    height, width = target_size
    method = getattr(image.Resampling, interpolation.upper())
    box = None
    if keep_aspect_ratio:
        w, h = picture.size
        cut_w, cut_h = min(w, int(h * width / height)), min(h, int(w * height / width))
        left, top = (w - cut_w) // 2, (h - cut_h) // 2
        box = (left, top, left + cut_w, top + cut_h)
    return picture.resize((width, height), method, box=box)


def img_to_array(img: Any, data_format: str | None = None, dtype: Any = None) -> Any:
    """Returns a pillow image (or array) as an array [height, width, channels] of floats."""
    layout = settings.standardize_data_format(data_format)
    kind = dtypes.as_dtype(dtype or settings.floatx()).numpy
    array = np.asarray(img, kind)
    if array.ndim == 2:
        return array[None] if layout == "channels_first" else array[..., None]
    if array.ndim != 3:
        raise ValueError(f"Unsupported image shape: {array.shape}")
    return array.transpose(2, 0, 1) if layout == "channels_first" else array


def array_to_img(x: Any, data_format: str | None = None, scale: bool = True,
                 dtype: Any = None) -> Any:  # fmt: skip
    """Returns an array [height, width, channels] as a pillow image.

    Args:
      scale: whether the smallest value becomes 0 and the largest 255.
    """
    image = _pillow()
    layout = settings.standardize_data_format(data_format)
    array = np.asarray(x, dtypes.as_dtype(dtype or settings.floatx()).numpy)
    if array.ndim != 3:
        raise ValueError(
            "Expected image array to have rank 3 (single image). Got array with shape: "
            f"{array.shape}"
        )
    if layout == "channels_first":
        array = array.transpose(1, 2, 0)
    if scale:
        array = array - array.min()
        largest = array.max()
        array = array / largest * 255 if largest else array
    channels = array.shape[2]
    if channels not in (1, 3, 4):
        raise ValueError(f"Unsupported channel number: {channels}")
    if channels == 1 and array.max() > 255:
        return image.fromarray(array[:, :, 0].astype("int32"))
    array = array.astype("uint8")
    return image.fromarray(array[:, :, 0] if channels == 1 else array)


def save_img(path: Any, x: Any, data_format: str | None = None, file_format: str | None = None,
             scale: bool = True, **kwargs: Any) -> None:  # fmt: skip
    """Writes an array as a picture; the format is that of the file's name unless given."""
    image = array_to_img(x, data_format, scale)
    ending = str(file_format or os.path.splitext(os.fspath(path))[1].lstrip(".")).lower()
    if image.mode == "RGBA" and ending in ("jpg", "jpeg"):
        image = image.convert("RGB")
    image.save(path, format="JPEG" if ending == "jpg" else file_format, **kwargs)


def smart_resize(x: Any, size: Any, interpolation: str = "bilinear",
                 data_format: str = "channels_last") -> Any:  # fmt: skip
    """Returns images cut to the aspect ratio of (height, width) in their middle, and resized."""
    if len(size) != 2:
        raise ValueError(f"Expected `size` to be a tuple of 2 integers, but got: {size}.")
    array = np.asarray(x)
    if array.ndim not in (3, 4):
        raise ValueError(
            "Expected an image array with shape `(height, width, channels)`, or `(batch_size, "
            f"height, width, channels)`, but got input with incorrect rank, of shape {array.shape}."
        )
    batch = array if array.ndim == 4 else array[None]
    batch = batch.transpose(0, 2, 3, 1) if data_format == "channels_first" else batch
    (height, width), (rows, columns) = size, batch.shape[1:3]
    h, w = min(rows, int(columns * height / width)), min(columns, int(rows * width / height))
    top, left = (rows - h) // 2, (columns - w) // 2
    cut = batch[:, top : top + h, left : left + w].astype(settings.floatx())
    found = resized(cut, height, width, interpolation)
    found = found.transpose(0, 3, 1, 2) if data_format == "channels_first" else found
    return found if array.ndim == 4 else found[0]


def resized(images: Any, height: int, width: int, interpolation: str) -> Any:
    """Returns arrays [batch, rows, columns, channels] of another size, as the layer `Resizing`."""
    # Importing the layers would slow the import of this room for who only needs small functions.
    resampling = importlib.import_module("distflow.keras.layers.preprocessing.resampling")
    return resampling.resize(convert_to_tensor(images), height, width, interpolation).numpy()
