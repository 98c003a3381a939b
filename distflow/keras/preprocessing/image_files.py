"""Batches of changed pictures as TF 2's ImageDataGenerator gave them: from files."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np

from distflow.base import log
from distflow.keras import settings
from distflow.keras.preprocessing.image_batches import Iterator, Saved, part
from distflow.keras.utils.images import img_to_array, load_img

_CHANNELS = {"rgb": 3, "rgba": 4, "grayscale": 1}


class FilesIterator(Iterator):
    """Batches of pictures that are read when they are needed.

    Attributes:
      filepaths: of all pictures.
      classes: the class number (or numbers) of each, where there are classes.
      class_indices: class -> number.
      sample_weight: of each, or None.
    """

    _modes: tuple[Any, ...] = ()

    def __init__(
        self, generator: Any, target_size: Any, color_mode: str, class_mode: Any, save_to_dir: Any,
        save_prefix: str, save_format: str, interpolation: str, keep_aspect_ratio: bool,
        data_format: Any, dtype: Any,
    ):  # fmt: skip
        if color_mode not in _CHANNELS:
            raise ValueError(
                f'Invalid color mode: {color_mode}; expected "rgb", "rgba", or "grayscale".'
            )
        if class_mode not in self._modes:
            raise ValueError(
                f"Invalid class_mode: {class_mode}; expected one of: {set(self._modes)}"
            )
        self.image_data_generator, self.class_mode = generator, class_mode
        self.data_format = data_format or settings.image_data_format()
        self.dtype = dtype or settings.floatx()
        self.color_mode, self.target_size = color_mode, tuple(target_size)
        self.interpolation, self.keep_aspect_ratio = interpolation, keep_aspect_ratio
        channels = _CHANNELS[color_mode]
        last = self.data_format == "channels_last"
        self.image_shape = (*self.target_size, channels) if last else (channels, *self.target_size)
        self._saved = Saved(save_to_dir, save_prefix, save_format, self.data_format, 10_000_000)
        self.sample_weight: Any = None
        self.filepaths: list[str] = []
        self.filenames: list[str] = []
        self.classes: Any = None
        self.class_indices: dict[Any, int] = {}

    @property
    def labels(self) -> Any:
        """The class numbers of all pictures."""
        return self.classes

    def _get_batches_of_transformed_samples(self, index_array: Any) -> Any:
        pictures = np.zeros((len(index_array), *self.image_shape), self.dtype)
        for row, i in enumerate(index_array):
            pictures[row] = self._picture(self.filepaths[i])
        self._saved.write(pictures, index_array)
        labels = self._targets_of(pictures, index_array)
        if labels is None:
            return pictures
        if self.sample_weight is None:
            return pictures, labels
        return pictures, labels, self.sample_weight[index_array]

    def _picture(self, path: str) -> Any:
        image = load_img(path, self.color_mode, self.target_size, self.interpolation,
                         self.keep_aspect_ratio)  # fmt: skip
        x = img_to_array(image, self.data_format)
        generator = self.image_data_generator
        if generator is None:
            return x
        x = generator.apply_transform(x, generator.get_random_transform(x.shape))
        return generator.standardize(x)

    def _targets_of(self, pictures: Any, index_array: Any) -> Any:
        if self.class_mode is None:
            return None
        if self.class_mode == "input":
            return pictures.copy()
        if self.class_mode in ("binary", "sparse"):
            return np.array([self.classes[i] for i in index_array], self.dtype)
        rows = np.zeros((len(pictures), len(self.class_indices)), self.dtype)
        for row, i in zip(rows, index_array):
            row[self.classes[i]] = 1
        return rows


class DirectoryIterator(FilesIterator):
    """Batches of the pictures in a directory with one folder for each class."""

    _modes = ("binary", "categorical", "input", "sparse", None)

    def __init__(
        self, directory: str, image_data_generator: Any, target_size: Any = (256, 256),
        color_mode: str = "rgb", classes: Any = None, class_mode: str | None = "categorical",
        batch_size: int = 32, shuffle: bool = True, seed: int | None = None,
        data_format: str | None = None, save_to_dir: str | None = None, save_prefix: str = "",
        save_format: str = "png", follow_links: bool = False, subset: str | None = None,
        interpolation: str = "nearest", keep_aspect_ratio: bool = False, dtype: Any = None,
    ):  # fmt: skip
        FilesIterator.__init__(
            self, image_data_generator, target_size, color_mode, class_mode, save_to_dir,
            save_prefix, save_format, interpolation, keep_aspect_ratio, data_format, dtype,
        )  # fmt: skip
        self.directory = directory
        names = list(classes) if classes else sorted(
            e.name for e in os.scandir(directory) if e.is_dir()
        )  # fmt: skip
        self.num_classes = len(names)
        self.class_indices = {name: i for i, name in enumerate(names)}
        numbers: list[int] = []
        for name, i in self.class_indices.items():
            found = self._files(os.path.join(directory, name), follow_links)
            if subset is not None:
                share = image_data_generator._validation_split
                found = found[part(subset, int(share * len(found)))]
            self.filenames += [os.path.join(name, file) for file in found]
            numbers += [i] * len(found)
        self.classes = np.array(numbers, np.int32)
        self.samples = len(self.filenames)
        log.get_logger().info(
            "Found %d images belonging to %d classes.", self.samples, self.num_classes
        )
        self.filepaths = [os.path.join(directory, name) for name in self.filenames]
        Iterator.__init__(self, self.samples, batch_size, shuffle, seed)

    def _files(self, folder: str, follow_links: bool) -> list[str]:
        """The pictures below a folder, in the order of their names, folder after folder."""
        found = []
        for root, _, files in sorted(os.walk(folder, followlinks=follow_links)):
            kept = [f for f in sorted(files) if f.lower().endswith(self.white_list_formats)]
            found += [os.path.relpath(os.path.join(root, f), folder) for f in kept]
        return found


class DataFrameIterator(FilesIterator):
    """Batches of the pictures that a table names: a DataFrame of pandas, or a dict of lists."""

    _modes = ("binary", "categorical", "input", "multi_output", "raw", "sparse", None)

    def __init__(
        self, dataframe: Any, directory: str | None = None, image_data_generator: Any = None,
        x_col: str = "filename", y_col: Any = "class", weight_col: str | None = None,
        target_size: Any = (256, 256), color_mode: str = "rgb", classes: Any = None,
        class_mode: str | None = "categorical", batch_size: int = 32, shuffle: bool = True,
        seed: int | None = None, data_format: str | None = "channels_last",
        save_to_dir: str | None = None, save_prefix: str = "", save_format: str = "png",
        subset: str | None = None, interpolation: str = "nearest",
        keep_aspect_ratio: bool = False, dtype: Any = "float32",
        validate_filenames: bool = True,
    ):  # fmt: skip
        FilesIterator.__init__(
            self, image_data_generator, target_size, color_mode, class_mode, save_to_dir,
            save_prefix, save_format, interpolation, keep_aspect_ratio, data_format, dtype,
        )  # fmt: skip
        self.directory = directory or ""
        names = list(dataframe[x_col])
        if not all(isinstance(name, str) for name in names):
            raise TypeError(f"All values in column x_col={x_col} must be strings.")
        paths = [os.path.join(self.directory, name) for name in names]
        rows = list(range(len(names)))
        if validate_filenames:
            rows = [i for i in rows if self._is_picture(paths[i])]
            if len(rows) < len(names):
                warnings.warn(
                    f"Found {len(names) - len(rows)} invalid image filename(s) in "
                    f'x_col="{x_col}". These filename(s) will be ignored.',
                    stacklevel=3,
                )
        labels: dict[int, Any] = {}
        if class_mode in ("binary", "sparse", "categorical"):
            labels = self._labels(list(dataframe[y_col]), rows, y_col, classes)
            rows = [i for i in rows if i in labels]
        elif classes:
            warnings.warn(
                f'`classes` will be ignored given the class_mode="{class_mode}"', stacklevel=3
            )
        if subset is not None:
            rows = rows[part(subset, int(image_data_generator._validation_split * len(rows)))]
        self.classes = [labels[i] for i in rows] if labels else None
        self.filenames = [names[i] for i in rows]
        self.filepaths = [paths[i] for i in rows]
        self.samples = len(rows)
        self._set_columns(dataframe, rows, y_col, weight_col)
        log.get_logger().info("Found %d image filenames.", self.samples)
        Iterator.__init__(self, self.samples, batch_size, shuffle, seed)

    def _set_columns(self, table: Any, rows: list[int], y_col: Any, weight_col: Any) -> None:
        def column(name: Any) -> Any:
            return np.array([list(table[name])[i] for i in rows])

        self._raw: Any = None
        if self.class_mode == "multi_output":
            if not isinstance(y_col, list):
                raise TypeError(
                    'If class_mode="multi_output", y_col must be a list. Received '
                    f"{type(y_col).__name__}."
                )
            self._raw = [column(name) for name in y_col]
        elif self.class_mode == "raw":
            several = isinstance(y_col, list)
            self._raw = np.stack([column(n) for n in y_col], 1) if several else column(y_col)
        if weight_col:
            self.sample_weight = column(weight_col)
            if not np.issubdtype(self.sample_weight.dtype, np.number):
                raise TypeError(f"Column weight_col={weight_col} must be numeric.")

    def _is_picture(self, path: str) -> bool:
        return path.lower().endswith(self.white_list_formats) and os.path.isfile(path)

    def _labels(self, column: list[Any], rows: list[int], y_col: Any, classes: Any) -> Any:
        """Returns row -> class number (or numbers), for rows that have a class."""
        wanted = (str, list, tuple) if self.class_mode == "categorical" else (str,)
        if not all(isinstance(label, wanted) for label in column):
            kind = "type string, list or tuple" if len(wanted) > 1 else "strings"
            raise TypeError(
                f'If class_mode="{self.class_mode}", y_col="{y_col}" column values must be {kind}.'
            )
        given = [label if isinstance(label, list | tuple) else [label] for label in column]
        known = list(dict.fromkeys(classes)) if classes else sorted({
            name for i in rows for name in given[i]
        })  # fmt: skip
        if self.class_mode == "binary" and len(known) != 2:
            raise ValueError(
                f'If class_mode="binary" there must be 2 classes. Found {len(known)} classes.'
            )
        self.class_indices = {name: i for i, name in enumerate(known)}
        found = {}
        for i in rows:
            numbers = [self.class_indices[n] for n in given[i] if n in self.class_indices]
            if numbers:
                found[i] = numbers if isinstance(column[i], list | tuple) else numbers[0]
        return found

    @property
    def labels(self) -> Any:
        """The class numbers of all pictures, or the columns of "raw" and "multi_output"."""
        return self.classes if self._raw is None else self._raw

    def _targets_of(self, pictures: Any, index_array: Any) -> Any:
        if self._raw is None:
            return super()._targets_of(pictures, index_array)
        if self.class_mode == "raw":
            return self._raw[index_array]
        return [values[index_array] for values in self._raw]
