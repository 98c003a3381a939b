"""text_dataset_from_directory: text files in one folder a class as batches."""

from __future__ import annotations

from typing import Any

from distflow.keras.utils import folder


def text_dataset_from_directory(
    directory: Any, labels: Any = "inferred", label_mode: Any = "int", class_names: Any = None,
    batch_size: int | None = 32, max_length: int | None = None, shuffle: bool = True,
    seed: int | None = None, validation_split: float | None = None, subset: str | None = None,
    follow_links: bool = False, format: str = "tf", verbose: bool = True,
) -> Any:  # fmt: skip
    """Returns a Dataset of (texts [batch], labels) from `.txt` files.

    Args:
      directory, labels, label_mode, class_names, shuffle, seed, validation_split, subset: as of
        `image_dataset_from_directory`.
      max_length: texts are cut to this number of characters.

    Raises:
      ValueError: for a folder or settings that do not fit.
    """
    folder.check_settings("text_dataset_from_directory", labels, label_mode, class_names, subset,
                          validation_split, shuffle, seed)  # fmt: skip
    if format != "tf":
        raise ValueError(f'`format` must be "tf": a Dataset of distflow. Received: format={format}')

    def load(path: str) -> Any:
        with open(path, "rb") as file:
            text = file.read()
        return text if max_length is None else text[:max_length]

    drawn = folder.draw_seed(seed)
    files = folder.find_files(directory, labels, (".txt",), class_names, follow_links, shuffle,
                              drawn)  # fmt: skip

    def dataset(part: str | None) -> Any:
        return folder.make_dataset(
            folder.subset_of(files, validation_split, part), label_mode, load, folder.TEXT,
            batch_size, shuffle, drawn,
        )  # fmt: skip

    return (dataset("training"), dataset("validation")) if subset == "both" else dataset(subset)
