"""Resizing, CenterCrop and RandomCrop: images of one size."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import errors
from distflow.keras import random
from distflow.keras.layers.arguments import positive
from distflow.keras.layers.preprocessing.affine import FILL_MODES
from distflow.keras.layers.preprocessing.image_layer import ImageLayer, images_of
from distflow.keras.layers.preprocessing.resampling import check_interpolation, resize
from distflow.ops import math, shaping
from distflow.ops.indexing import gather


class _Sized(ImageLayer):
    """A layer whose outputs have a fixed height and width."""

    def __init__(self, height: int, width: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.height = positive(type(self).__name__, "height", height)
        self.width = positive(type(self).__name__, "width", width)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the input's shape with the new height and width."""
        shape, at = list(input_shape), -2 if self.data_format == "channels_first" else -3
        shape[at : at + 2 or None] = [self.height, self.width]
        return tuple(shape)


class Resizing(_Sized):
    """Images in a new size; their dtype stays.

    Args:
      interpolation: "bilinear", "nearest", "bicubic", "lanczos3" or "lanczos5".
      crop_to_aspect_ratio: cut to the new aspect ratio first, rather than distort.
      pad_to_aspect_ratio: fill up to the new aspect ratio first, with `fill_value`.
      antialias: widen the kernel when images shrink.
    """

    _always = True

    def __init__(self, height: int, width: int, interpolation: str = "bilinear",
                 crop_to_aspect_ratio: bool = False, pad_to_aspect_ratio: bool = False,
                 fill_mode: str = "constant", fill_value: float = 0.0, antialias: bool = False,
                 data_format: str | None = None, **kwargs: Any):  # fmt: skip
        super().__init__(height, width, data_format=data_format, **kwargs)
        self.interpolation = check_interpolation("Resizing", interpolation)
        if crop_to_aspect_ratio and pad_to_aspect_ratio:
            raise errors.invalid(
                "Resizing", "only one of `crop_to_aspect_ratio` and `pad_to_aspect_ratio`", "both"
            )
        if fill_mode != "constant":
            raise errors.invalid(
                "Resizing", "`fill_mode` must be 'constant'", f"fill_mode={fill_mode!r}",
                f"The other ones of {FILL_MODES} are those of random layers.",
            )  # fmt: skip
        self.crop_to_aspect_ratio = crop_to_aspect_ratio
        self.pad_to_aspect_ratio = pad_to_aspect_ratio
        self.fill_mode = fill_mode
        self.fill_value = fill_value
        self.antialias = antialias

    def transform_images(self, images: Any, transformation: Any = None,
                         training: Any = True) -> Any:  # fmt: skip
        """Returns the images resized."""
        return self._resized(images, self.interpolation)

    def transform_segmentation_masks(self, segmentation_masks: Any, transformation: Any = None,
                                     training: Any = True) -> Any:  # fmt: skip
        """Returns the masks resized, their values kept."""
        return self._resized(segmentation_masks, "nearest")

    def _resized(self, images: Any, interpolation: str) -> Any:
        x = self._last(images)
        if self.crop_to_aspect_ratio:
            x = crop_to_ratio(x, self.height, self.width)
        elif self.pad_to_aspect_ratio:
            x = _pad_to_ratio(x, self.height, self.width, self.fill_value)
        return self._back(resize(x, self.height, self.width, interpolation, self.antialias))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {
            "height": self.height, "width": self.width, "interpolation": self.interpolation,
            "crop_to_aspect_ratio": self.crop_to_aspect_ratio,
            "pad_to_aspect_ratio": self.pad_to_aspect_ratio, "fill_mode": self.fill_mode,
            "fill_value": self.fill_value, "antialias": self.antialias,
        }  # fmt: skip


def _known(where: str, x: Any) -> tuple[int, int]:
    if None in x.shape[1:3]:
        raise errors.invalid(
            where, "images of known height and width", f"shape {tuple(x.shape)}",
            "Give the size: tf.ensure_shape, or set_shape on the tensors of a pipeline.",
        )  # fmt: skip
    return int(x.shape[1]), int(x.shape[2])


def crop_to_ratio(x: Any, height: int, width: int) -> Any:
    """Returns the largest middle part of images with an aspect ratio."""
    rows, columns = _known("crop_to_aspect_ratio", x)
    tall = min(rows, max(int(columns * height / width), 1))
    broad = min(columns, max(int(rows * width / height), 1))
    top, left = int((rows - tall) / 2), int((columns - broad) / 2)
    return x[:, top : top + tall, left : left + broad, :]


def _pad_to_ratio(x: Any, height: int, width: int, fill: float) -> Any:
    rows, columns = _known("pad_to_aspect_ratio", x)
    tall = max(rows, int(columns * height / width))
    broad = max(columns, int(rows * width / height))
    # The same on both sides, as in Keras: a last odd row is left out.
    top, left = int((tall - rows) / 2), int((broad - columns) / 2)
    pads = [[0, 0], [top, top], [left, left], [0, 0]]
    return shaping.pad(x, pads, constant_values=np.asarray(fill, x.dtype.numpy))


class CenterCrop(_Sized):
    """The middle of images; those that are too small are resized and cut."""

    _always = True

    def __init__(self, height: int, width: int, data_format: str | None = None, **kwargs: Any):
        super().__init__(height, width, data_format=data_format, **kwargs)

    def transform_images(self, images: Any, transformation: Any = None,
                         training: Any = True) -> Any:  # fmt: skip
        """Returns the middle of the images."""
        return self._cropped(self._cast(images), "bilinear")

    def transform_segmentation_masks(self, segmentation_masks: Any, transformation: Any = None,
                                     training: Any = True) -> Any:  # fmt: skip
        """Returns the middle of the masks."""
        return self._cropped(segmentation_masks, "nearest")

    def _cropped(self, images: Any, interpolation: str) -> Any:
        x = self._last(images)
        rows, columns = _known("CenterCrop", x)
        if rows < self.height or columns < self.width:
            x = crop_to_ratio(x, self.height, self.width)
            return self._back(resize(x, self.height, self.width, interpolation))
        top, left = int((rows - self.height) / 2), int((columns - self.width) / 2)
        return self._back(x[:, top : top + self.height, left : left + self.width, :])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"height": self.height, "width": self.width}


class RandomCrop(_Sized):
    """A random part of the images in training, one place for a batch; else the middle, resized.

    Images that are too small are resized and cut in training as well.
    """

    def __init__(self, height: int, width: int, seed: Any = None, data_format: str | None = None,
                 name: str | None = None, **kwargs: Any):  # fmt: skip
        # A config holds the seed that was drawn, as in Keras.
        seed = random.make_default_seed() if seed is None else seed
        super().__init__(height, width, data_format=data_format, seed=seed, name=name, **kwargs)

    def _one(self, images: Any, training: Any) -> Any:
        x = self._batched(images)
        found = self.get_random_transformation(x, training)
        return self._like(self.transform_images(x, found, training), images)

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Returns (top, left) of the part, or None for the middle."""
        x = self._last(self._batched(images_of(data)))
        rows, columns = _known("RandomCrop", x)
        if not training or rows < self.height or columns < self.width:
            return None
        drawn = self._draw(2, 0.0, 1.0, seed)
        ends = np.asarray([rows - self.height + 1, columns - self.width + 1], "float32")
        places = math.cast(math.floor(drawn * ends), "int32")
        return (places[0], places[1])

    def transform_images(self, images: Any, transformation: Any, training: Any = True) -> Any:
        """Returns the part of the images."""
        return self._cropped(self._cast(images), transformation, "bilinear")

    def transform_segmentation_masks(self, segmentation_masks: Any, transformation: Any,
                                     training: Any = True) -> Any:  # fmt: skip
        """Returns the part of the masks."""
        return self._cropped(segmentation_masks, transformation, "nearest")

    def _cropped(self, images: Any, place: Any, interpolation: str) -> Any:
        x = self._last(images)
        if place is None:
            x = crop_to_ratio(x, self.height, self.width)
            return self._back(resize(x, self.height, self.width, interpolation))
        top, left = place
        rows = math.range(self.height) + math.cast(top, "int32")
        columns = math.range(self.width) + math.cast(left, "int32")
        x = gather(gather(x, rows, axis=1), columns, axis=2)
        return self._back(x)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {
            "height": self.height, "width": self.width, "seed": self.seed,
        }  # fmt: skip
