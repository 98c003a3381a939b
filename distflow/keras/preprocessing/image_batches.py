"""Batches of changed pictures as TF 2's ImageDataGenerator gave them: from arrays.

Orders and changes are drawn from NumPy's global generator, seeded with seed + number of the batch
where a seed is given, so that they are those of TF 2.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator as Batches
from typing import Any

import numpy as np

from distflow.keras import settings
from distflow.keras.training.py_dataset import PyDataset
from distflow.keras.utils.images import array_to_img


class Iterator(PyDataset):
    """Batches without an end of `n` samples, in order or shuffled anew in each pass.

    Subclasses define `_get_batches_of_transformed_samples(index_array)`.

    Args:
      seed: makes order and changes repeatable.
    """

    white_list_formats = ("png", "jpg", "jpeg", "bmp", "ppm", "tif", "tiff")

    def __init__(self, n: int, batch_size: int, shuffle: bool, seed: int | None, **kwargs: Any):
        super().__init__(**kwargs)
        self.n, self.batch_size, self.shuffle, self.seed = n, batch_size, shuffle, seed
        self.batch_index = 0
        self.total_batches_seen = 0
        self.index_array: Any = None

    def _set_index_array(self) -> None:
        self.index_array = np.random.permutation(self.n) if self.shuffle else np.arange(self.n)

    def _seeded(self) -> None:
        if self.seed is not None:
            np.random.seed(self.seed + self.total_batches_seen)
        self.total_batches_seen += 1

    def __len__(self) -> int:
        return -(-self.n // self.batch_size)

    def __getitem__(self, index: int) -> Any:
        """Returns batch `index` of the pass."""
        if index >= len(self):
            raise ValueError(
                f"Asked to retrieve element {index}, but the Sequence has length {len(self)}"
            )
        self._seeded()
        if self.index_array is None:
            self._set_index_array()
        first = self.batch_size * index
        return self._get_batches_of_transformed_samples(
            self.index_array[first : first + self.batch_size]
        )

    def __iter__(self) -> Batches[Any]:
        return self

    def __next__(self) -> Any:
        self._seeded()
        if self.batch_index == 0:
            self._set_index_array()
        first = self.batch_index * self.batch_size
        self.batch_index = self.batch_index + 1 if first + self.batch_size < self.n else 0
        return self._get_batches_of_transformed_samples(
            self.index_array[first : first + self.batch_size]
        )

    def on_epoch_end(self) -> None:
        """Draws another order."""
        self._set_index_array()

    def reset(self) -> None:
        """Lets `next` begin a pass."""
        self.batch_index = 0

    def _get_batches_of_transformed_samples(self, index_array: Any) -> Any:
        raise NotImplementedError(
            f"{type(self).__name__} must define _get_batches_of_transformed_samples(index_array)."
        )


class Saved:
    """Where changed pictures are written for a look at them, or None."""

    def __init__(self, folder: str | None, prefix: str, suffix: str, data_format: str, names: int):
        self._folder, self._prefix, self._suffix = folder, prefix, suffix
        self._data_format, self._names = data_format, names

    def write(self, pictures: Any, numbers: Any) -> None:
        """Writes pictures as prefix_number_chance.suffix."""
        if not self._folder:
            return
        for picture, number in zip(pictures, numbers):
            name = f"{self._prefix}_{number}_{np.random.randint(self._names)}.{self._suffix}"
            image = array_to_img(picture, self._data_format, scale=True)
            image.save(os.path.join(self._folder, name))


class NumpyArrayIterator(Iterator):
    """Batches of changed pictures from an array, see `ImageDataGenerator.flow`."""

    def __init__(
        self, x: Any, y: Any, image_data_generator: Any, batch_size: int = 32,
        shuffle: bool = False, sample_weight: Any = None, seed: int | None = None,
        data_format: str | None = None, save_to_dir: str | None = None, save_prefix: str = "",
        save_format: str = "png", subset: str | None = None, ignore_class_split: bool = False,
        dtype: Any = None,
    ):  # fmt: skip
        self.data_format = data_format or settings.image_data_format()
        self.dtype = dtype or settings.floatx()
        others: list[Any] = []
        if isinstance(x, list | tuple):
            others = [np.asarray(o) for o in (x[1] if isinstance(x[1], list) else [x[1]])]
            x = x[0]
        for other in others:
            if len(x) != len(other):
                raise ValueError(
                    "All of the arrays in `x` should have the same length. Found a pair with: "
                    f"len(x[0]) = {len(x)}, len(x[?]) = {len(other)}"
                )
        for name, given in (("labels", y), ("sample_weight", sample_weight)):
            if given is not None and len(x) != len(given):
                raise ValueError(
                    f"`x` (images tensor) and `{name}` should have the same length. Found: "
                    f"x.shape = {np.shape(x)}, {name}.shape = {np.shape(given)}"
                )
        if subset is not None:
            at = int(len(x) * image_data_generator._validation_split)
            rows = part(subset, at)
            both = None if y is None else (np.unique(y[:at]), np.unique(y[at:]))
            if both is not None and not ignore_class_split and not np.array_equal(*both):
                raise ValueError(
                    "Training and validation subsets have different number of classes after the "
                    "split. If your numpy arrays are sorted by the label, you might want to "
                    "shuffle them."
                )
            x, others = x[rows], [o[rows] for o in others]
            y = None if y is None else y[rows]
            sample_weight = None if sample_weight is None else sample_weight[rows]
        self.x, self.x_misc = np.asarray(x, self.dtype), others
        if self.x.ndim != 4:
            raise ValueError(
                "Input data in `NumpyArrayIterator` should have rank 4. You passed an array with "
                f"shape {self.x.shape}"
            )
        warn_of_channels(self.x.shape, self.data_format)
        self.y = None if y is None else np.asarray(y)
        self.sample_weight = None if sample_weight is None else np.asarray(sample_weight)
        self.image_data_generator = image_data_generator
        self._saved = Saved(save_to_dir, save_prefix, save_format, self.data_format, 10_000)
        super().__init__(len(self.x), batch_size, shuffle, seed)

    def _get_batches_of_transformed_samples(self, index_array: Any) -> Any:
        generator = self.image_data_generator
        pictures = np.zeros((len(index_array), *self.x.shape[1:]), self.dtype)
        for row, i in enumerate(index_array):
            settings_ = generator.get_random_transform(self.x[i].shape)
            changed = generator.apply_transform(self.x[i].astype(self.dtype), settings_)
            pictures[row] = generator.standardize(changed)
        self._saved.write(pictures, index_array)
        x: Any = [pictures, *(o[index_array] for o in self.x_misc)] if self.x_misc else pictures
        if self.y is None:
            return x
        more = () if self.sample_weight is None else (self.sample_weight[index_array],)
        return (x, self.y[index_array], *more)


def part(subset: str, at: int) -> slice:
    """Returns the rows of a subset: validation comes first, as in TF 2.

    Raises:
      ValueError: for another name.
    """
    if subset not in ("training", "validation"):
        raise ValueError(f'Invalid subset name: {subset}; expected "training" or "validation".')
    return slice(None, at) if subset == "validation" else slice(at, None)


def warn_of_channels(shape: Any, data_format: str) -> None:
    """Warns if pictures [batch, ...] have neither 1, 3 nor 4 channels."""
    axis = 3 if data_format == "channels_last" else 1
    if shape[axis] not in (1, 3, 4):
        warnings.warn(
            f'Expected pictures in the data format "{data_format}" with 1, 3 or 4 channels on '
            f"axis {axis}; received shape {tuple(shape)} ({shape[axis]} channels).",
            stacklevel=3,
        )
