"""Files in a folder with one folder a class, their labels, and parts of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from distflow.base import dtypes, errors, log
from distflow.base.specs import TensorSpec
from distflow.data import Dataset
from distflow.ops.python_calls import numpy_function


@dataclass(frozen=True)
class Files:
    """Paths, the label of each (None without labels), and the names of the classes."""

    paths: list[str]
    labels: Any
    class_names: list[str]


def check_settings(
    where: str, labels: Any, label_mode: Any, class_names: Any, subset: Any,
    validation_split: Any, shuffle: bool, seed: Any,
) -> None:  # fmt: skip
    """Raises ValueError for settings that do not fit each other, as Keras does."""
    if labels not in ("inferred", None) and not isinstance(labels, list | tuple):
        raise ValueError(
            "`labels` argument should be a list/tuple of integer labels, of the same size as the "
            "number of files in the target directory. If you wish to infer the labels from the "
            'subdirectory names in the target directory, pass `labels="inferred"`. If you wish to '
            "get a dataset that only contains samples (no labels), pass `labels=None`. Received: "
            f"labels={labels}"
        )
    if class_names and labels != "inferred":
        raise ValueError(
            'You can only pass `class_names` if `labels="inferred"`. Received: '
            f"labels={labels}, and class_names={class_names}"
        )
    if label_mode not in ("int", "categorical", "binary", None):
        raise ValueError(
            '`label_mode` argument must be one of "int", "categorical", "binary", or None. '
            f"Received: label_mode={label_mode}"
        )
    if validation_split and not 0 < validation_split < 1:
        raise ValueError(
            f"`validation_split` must be between 0 and 1, received: {validation_split}"
        )
    if bool(validation_split) != bool(subset):
        raise ValueError(
            "If `subset` is set, `validation_split` must be set, and inversely. Received: "
            f"subset={subset}, validation_split={validation_split}"
        )
    if subset not in (None, "training", "validation", "both"):
        raise ValueError(
            '`subset` must be either "training", "validation" or "both", received: ' + str(subset)
        )
    if validation_split and shuffle and seed is None:
        raise ValueError(
            "If using `validation_split` and shuffling the data, you must provide a `seed` "
            "argument, to make sure that there is no overlap between the training and validation "
            "subset."
        )
    if not isinstance(shuffle, bool):
        raise errors.invalid(where, "shuffle must be a bool", repr(shuffle))


def find_files(
    directory: Any, labels: Any, formats: tuple[str, ...], class_names: Any, follow_links: bool,
    shuffle: bool, seed: int,
) -> Files:  # fmt: skip
    """Returns the files of a folder, sorted (or shuffled by the seed) within their classes.

    Raises:
      ValueError: if the folder, a class or files are not there.
    """
    root = os.fspath(directory)
    if not os.path.isdir(root):
        raise ValueError(f"The directory {root} is not there.")
    if labels == "inferred":
        found = sorted(
            name for name in os.listdir(root)
            if os.path.isdir(os.path.join(root, name)) and not name.startswith(".")
        )  # fmt: skip
        names = list(class_names) if class_names else found
        if set(names) != set(found):
            raise ValueError(
                "The `class_names` passed did not match the names of the subdirectories of the "
                f"target directory. Expected: {found}, but received: {names}"
            )
        folders = [(os.path.join(root, name), i) for i, name in enumerate(names)]
    else:
        names, folders = [], [(root, 0)]
    pairs = [
        (path, label) for folder, label in folders for path in _walk(folder, formats, follow_links)
    ]
    if not pairs:
        raise ValueError(f"No files found in directory {root}. Allowed formats: {formats}")
    paths = [path for path, _ in pairs]
    own = np.asarray([label for _, label in pairs], np.int32)
    if isinstance(labels, list | tuple):
        if len(labels) != len(paths):
            raise ValueError(
                "Expected the lengths of `labels` to match the number of files in the target "
                f"directory. len(labels) is {len(labels)} while we found {len(paths)} files in "
                f"directory {root}."
            )
        own = np.asarray(labels)
        names = [str(label) for label in sorted(set(labels))]
    log.get_logger().info("Found %d files belonging to %d classes.", len(paths), len(names))
    if shuffle:
        order = np.random.RandomState(seed).permutation(len(paths))
        paths, own = [paths[i] for i in order], own[order]
    return Files(paths, None if labels is None else own, names)


def _walk(folder: str, formats: tuple[str, ...], follow_links: bool) -> list[str]:
    found = []
    for root, _, names in os.walk(folder, followlinks=follow_links):
        found += [os.path.join(root, name) for name in names if name.lower().endswith(formats)]
    return sorted(found)


def subset_of(files: Files, fraction: Any, subset: Any) -> Files:
    """Returns the first files ("training") or the last part of them ("validation")."""
    if not fraction:
        return files
    at = len(files.paths) - int(fraction * len(files.paths))
    part = slice(None, at) if subset == "training" else slice(at, None)
    labels = None if files.labels is None else files.labels[part]
    if not files.paths[part]:
        raise ValueError(f"No files left for subset={subset!r} at validation_split={fraction}.")
    return Files(files.paths[part], labels, files.class_names)


def make_dataset(
    files: Files, label_mode: Any, load: Any, spec: TensorSpec, batch_size: int | None,
    shuffle: bool, seed: int,
) -> Any:  # fmt: skip
    """Returns a Dataset of what `load(path)` gives, with labels; `class_names`, `file_paths`."""

    def read(path: Any) -> Any:
        return numpy_function(lambda p: load(bytes(np.asarray(p).item()).decode()), [path], spec)

    dataset: Any = Dataset.from_tensor_slices(np.asarray(files.paths, object)).map(read)
    labels = _encoded(files, label_mode)
    if labels is not None:
        dataset = Dataset.zip((dataset, Dataset.from_tensor_slices(labels)))
    if shuffle:
        dataset = dataset.shuffle(8 * (batch_size or 128), seed=seed)
    if batch_size is not None:
        dataset = dataset.batch(batch_size)
    dataset = dataset.prefetch(1)
    dataset.class_names, dataset.file_paths = files.class_names, files.paths
    return dataset


def _encoded(files: Files, mode: Any) -> Any:
    if mode is None or files.labels is None:
        return None
    if mode == "binary":
        if len(files.class_names) != 2:
            raise ValueError(
                'When passing `label_mode="binary"`, there must be exactly 2 class_names. '
                f"Received: class_names={files.class_names}"
            )
        return np.asarray(files.labels, np.float32)[:, None]
    if mode == "categorical":
        return np.eye(len(files.class_names), dtype=np.float32)[np.asarray(files.labels, int)]
    return np.asarray(files.labels, np.int32)


def draw_seed(seed: int | None) -> int:
    """Returns the seed, or a new one from NumPy's generator."""
    return int(np.random.randint(1_000_000)) if seed is None else seed


TEXT = TensorSpec((), dtypes.string)
