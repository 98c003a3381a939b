"""ImageDataGenerator: pictures changed by chance and scaled, as TF 2 had it.

In new programs the layers of pictures (`keras.layers.RandomRotation` and others) do this inside of
models.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from distflow.keras import settings
from distflow.keras.preprocessing import augmentation
from distflow.keras.preprocessing.image_batches import NumpyArrayIterator, warn_of_channels
from distflow.keras.preprocessing.image_files import DataFrameIterator, DirectoryIterator

_TINY = 1e-6


class ImageDataGenerator:
    """Batches of changed pictures.

    Args:
      featurewise_center, featurewise_std_normalization, zca_whitening: by what `fit` has found.
      samplewise_center, samplewise_std_normalization: each picture by itself.
      zca_epsilon: added to the standard deviations in whitening.
      rotation_range, shear_range: degrees.
      width_shift_range, height_shift_range: a part of the size below 1, else pixels; an int or a
        list are the pixels to choose from.
      brightness_range: (low, high) of a factor.
      zoom_range: (low, high) of a factor, or a number r for (1 - r, 1 + r).
      channel_shift_range: added to all values, within this range.
      fill_mode, cval, interpolation_order: see `apply_affine_transform`.
      horizontal_flip, vertical_flip: half of the pictures are mirrored.
      rescale: factor of all values.
      preprocessing_function: of one picture, before it is scaled.
      validation_split: part of the samples that `subset="validation"` gives.
    """

    def __init__(
        self, featurewise_center: bool = False, samplewise_center: bool = False,
        featurewise_std_normalization: bool = False, samplewise_std_normalization: bool = False,
        zca_whitening: bool = False, zca_epsilon: float = 1e-6, rotation_range: float = 0,
        width_shift_range: Any = 0.0, height_shift_range: Any = 0.0, brightness_range: Any = None,
        shear_range: float = 0.0, zoom_range: Any = 0.0, channel_shift_range: float = 0.0,
        fill_mode: str = "nearest", cval: float = 0.0, horizontal_flip: bool = False,
        vertical_flip: bool = False, rescale: float | None = None,
        preprocessing_function: Callable[[Any], Any] | None = None,
        data_format: str | None = None, validation_split: float = 0.0,
        interpolation_order: int = 1, dtype: Any = None,
    ):  # fmt: skip
        self.featurewise_center = featurewise_center
        self.samplewise_center = samplewise_center
        self.featurewise_std_normalization = featurewise_std_normalization
        self.samplewise_std_normalization = samplewise_std_normalization
        self.zca_whitening, self.zca_epsilon = zca_whitening, zca_epsilon
        self.rotation_range, self.shear_range = rotation_range, shear_range
        self.width_shift_range, self.height_shift_range = width_shift_range, height_shift_range
        self.channel_shift_range = channel_shift_range
        self.fill_mode, self.cval = fill_mode, cval
        self.horizontal_flip, self.vertical_flip = horizontal_flip, vertical_flip
        self.rescale, self.preprocessing_function = rescale, preprocessing_function
        self.interpolation_order = interpolation_order
        self.dtype = dtype or settings.floatx()
        self.data_format = data_format or settings.image_data_format()
        if self.data_format not in ("channels_last", "channels_first"):
            raise ValueError(
                '`data_format` should be `"channels_last"` (channel after row and column) or '
                f'`"channels_first"` (channel before row and column). Received: {data_format}'
            )
        first = self.data_format == "channels_first"
        self.channel_axis, self.row_axis, self.col_axis = (1, 2, 3) if first else (3, 1, 2)
        if validation_split and not 0 < validation_split < 1:
            raise ValueError(
                "`validation_split` must be strictly between 0 and 1.  Received: "
                f"{validation_split}"
            )
        self._validation_split = validation_split
        self.zoom_range = _zooms(zoom_range)
        if brightness_range is not None and (
            not isinstance(brightness_range, list | tuple) or len(brightness_range) != 2
        ):
            raise ValueError(
                "`brightness_range should be tuple or list of two floats. Received: "
                f"{brightness_range}"
            )
        self.brightness_range = brightness_range
        self.mean: Any = None
        self.std: Any = None
        self.zca_whitening_matrix: Any = None
        self._complete()

    def _complete(self) -> None:
        """Turns on what other settings need."""
        if self.zca_whitening and self.featurewise_std_normalization:
            self._override("zca_whitening", "featurewise_std_normalization", False)
        if self.zca_whitening and not self.featurewise_center:
            self._override("zca_whitening", "featurewise_center", True)
        if self.featurewise_std_normalization and not self.featurewise_center:
            self._override("featurewise_std_normalization", "featurewise_center", True)
        if self.samplewise_std_normalization and not self.samplewise_center:
            self._override("samplewise_std_normalization", "samplewise_center", True)

    def _override(self, reason: str, name: str, value: bool) -> None:
        setattr(self, name, value)
        warnings.warn(
            f"This ImageDataGenerator specifies `{reason}`, which overrides setting of `{name}`.",
            stacklevel=4,
        )

    # -- batches -----------------------------------------------------------------------------------

    def flow(
        self, x: Any, y: Any = None, batch_size: int = 32, shuffle: bool = True,
        sample_weight: Any = None, seed: int | None = None, save_to_dir: str | None = None,
        save_prefix: str = "", save_format: str = "png", ignore_class_split: bool = False,
        subset: str | None = None,
    ) -> NumpyArrayIterator:  # fmt: skip
        """Returns batches of pictures [n, ...] (with labels and weights) without an end."""
        return NumpyArrayIterator(
            x, y, self, batch_size, shuffle, sample_weight, seed, self.data_format, save_to_dir,
            save_prefix, save_format, subset, ignore_class_split, self.dtype,
        )  # fmt: skip

    def flow_from_directory(
        self, directory: str, target_size: Any = (256, 256), color_mode: str = "rgb",
        classes: Any = None, class_mode: str | None = "categorical", batch_size: int = 32,
        shuffle: bool = True, seed: int | None = None, save_to_dir: str | None = None,
        save_prefix: str = "", save_format: str = "png", follow_links: bool = False,
        subset: str | None = None, interpolation: str = "nearest",
        keep_aspect_ratio: bool = False,
    ) -> DirectoryIterator:  # fmt: skip
        """Returns batches of the pictures in a directory with one folder for each class."""
        return DirectoryIterator(
            directory, self, target_size, color_mode, classes, class_mode, batch_size, shuffle,
            seed, self.data_format, save_to_dir, save_prefix, save_format, follow_links, subset,
            interpolation, keep_aspect_ratio, self.dtype,
        )  # fmt: skip

    def flow_from_dataframe(
        self, dataframe: Any, directory: str | None = None, x_col: str = "filename",
        y_col: Any = "class", weight_col: str | None = None, target_size: Any = (256, 256),
        color_mode: str = "rgb", classes: Any = None, class_mode: str | None = "categorical",
        batch_size: int = 32, shuffle: bool = True, seed: int | None = None,
        save_to_dir: str | None = None, save_prefix: str = "", save_format: str = "png",
        subset: str | None = None, interpolation: str = "nearest",
        validate_filenames: bool = True,
    ) -> DataFrameIterator:  # fmt: skip
        """Returns batches of the pictures that a table (of pandas, or a dict of lists) names."""
        return DataFrameIterator(
            dataframe, directory, self, x_col, y_col, weight_col, target_size, color_mode, classes,
            class_mode, batch_size, shuffle, seed, self.data_format, save_to_dir, save_prefix,
            save_format, subset, interpolation, False, self.dtype, validate_filenames,
        )  # fmt: skip

    # -- one picture -------------------------------------------------------------------------------

    def get_random_transform(self, img_shape: Any, seed: int | None = None) -> dict[str, Any]:
        """Returns settings drawn by chance, for `apply_transform`."""
        if seed is not None:
            np.random.seed(seed)
        # In this order, so that a seed means what it means in TF 2.
        theta = _within(self.rotation_range)
        tx = _shift(self.height_shift_range, img_shape[self.row_axis - 1])
        ty = _shift(self.width_shift_range, img_shape[self.col_axis - 1])
        shear = _within(self.shear_range)
        low, high = self.zoom_range
        zx, zy = (1.0, 1.0) if low == high == 1 else np.random.uniform(low, high, 2)
        horizontal = bool(np.random.random() < 0.5) and self.horizontal_flip
        vertical = bool(np.random.random() < 0.5) and self.vertical_flip
        channels = _within(self.channel_shift_range) if self.channel_shift_range != 0 else None
        bright = self.brightness_range
        return {
            "theta": theta, "tx": tx, "ty": ty, "shear": shear, "zx": zx, "zy": zy,
            "flip_horizontal": horizontal, "flip_vertical": vertical,
            "channel_shift_intensity": channels,
            "brightness": None if bright is None else np.random.uniform(*bright),
        }  # fmt: skip

    def apply_transform(self, x: Any, transform_parameters: dict[str, Any]) -> Any:
        """Returns a picture of three axes changed as `get_random_transform` says."""
        given = transform_parameters
        row, column, channel = self.row_axis - 1, self.col_axis - 1, self.channel_axis - 1
        x = augmentation.apply_affine_transform(
            x, given.get("theta", 0), given.get("tx", 0), given.get("ty", 0),
            given.get("shear", 0), given.get("zx", 1), given.get("zy", 1), row, column, channel,
            self.fill_mode, self.cval, self.interpolation_order,
        )  # fmt: skip
        if given.get("channel_shift_intensity") is not None:
            x = augmentation.apply_channel_shift(x, given["channel_shift_intensity"], channel)
        if given.get("flip_horizontal", False):
            x = np.flip(x, column)
        if given.get("flip_vertical", False):
            x = np.flip(x, row)
        if given.get("brightness") is not None:
            x = augmentation.apply_brightness_shift(x, given["brightness"], False)
        return x

    def random_transform(self, x: Any, seed: int | None = None) -> Any:
        """Returns a picture changed by chance."""
        return self.apply_transform(x, self.get_random_transform(x.shape, seed))

    def standardize(self, x: Any) -> Any:
        """Returns pictures scaled by the settings; as in TF 2 the array itself may be changed."""
        if self.preprocessing_function:
            x = self.preprocessing_function(x)
        if self.rescale:
            x *= self.rescale
        if self.samplewise_center:
            x -= np.mean(x, keepdims=True)
        if self.samplewise_std_normalization:
            x /= np.std(x, keepdims=True) + _TINY
        if self.featurewise_center and self._is_fitted("featurewise_center", self.mean):
            x -= self.mean
        if self.featurewise_std_normalization and self._is_fitted(
            "featurewise_std_normalization", self.std
        ):
            x /= self.std + _TINY
        if self.zca_whitening and self._is_fitted("zca_whitening", self.zca_whitening_matrix):
            rows = x.reshape(-1, math.prod(x.shape[-3:]))
            x = np.reshape(rows @ self.zca_whitening_matrix, x.shape)
        return x

    def _is_fitted(self, name: str, value: Any) -> bool:
        if value is None:
            warnings.warn(
                f"This ImageDataGenerator specifies `{name}`, but it hasn't been fit on any "
                "training data. Fit it first by calling `.fit(numpy_data)`.",
                stacklevel=3,
            )
        return value is not None

    def fit(self, x: Any, augment: bool = False, rounds: int = 1,
            seed: int | None = None) -> None:  # fmt: skip
        """Finds means, deviations and the whitening matrix from pictures [n, ...].

        Args:
          augment: use pictures changed by chance, `rounds` of each.

        Raises:
          ValueError: unless there are four axes.
        """
        x = np.array(x, dtype=self.dtype)
        if x.ndim != 4:
            raise ValueError(
                f"Input to `.fit()` should have rank 4. Got array with shape: {x.shape}"
            )
        warn_of_channels(x.shape, self.data_format)
        if seed is not None:
            np.random.seed(seed)
        if self.rescale:
            x *= self.rescale
        if augment:
            x = np.stack([self.random_transform(one) for _ in range(rounds) for one in x])
        shape = [1, 1, 1]
        shape[self.channel_axis - 1] = x.shape[self.channel_axis]
        over = (0, self.row_axis, self.col_axis)
        if self.featurewise_center:
            self.mean = np.mean(x, axis=over).reshape(shape)
            x = x - self.mean
        if self.featurewise_std_normalization:
            self.std = np.std(x, axis=over).reshape(shape)
            x = x / (self.std + _TINY)
        if self.zca_whitening:
            u, s, _ = np.linalg.svd(x.reshape(len(x), -1).T, full_matrices=False)
            self.zca_whitening_matrix = (u * (np.sqrt(len(x)) / (s + self.zca_epsilon))) @ u.T


def _zooms(value: Any) -> list[float]:
    if isinstance(value, float | int):
        return [1 - value, 1 + value]
    if len(value) == 2 and all(isinstance(v, float | int) for v in value):
        return [value[0], value[1]]
    raise ValueError(
        f"`zoom_range` should be a float or a tuple or list of two floats. Received: {value}"
    )


def _within(reach: float) -> float:
    return np.random.uniform(-reach, reach) if reach else 0


def _shift(reach: Any, size: int) -> float:
    """Pixels: one of a list or of range(int) with either sign, or any number within a float."""
    pixels: Any
    if isinstance(reach, float | np.floating):
        pixels = np.random.uniform(-reach, reach) if reach else 0
    elif not reach:
        return 0
    else:
        pixels = np.random.choice(reach) * np.random.choice([-1, 1])
    return pixels * size if np.max(reach) < 1 else pixels
