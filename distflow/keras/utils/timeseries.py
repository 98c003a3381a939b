"""timeseries_dataset_from_array: windows of a series as batches."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.data import Dataset


def timeseries_dataset_from_array(
    data: Any, targets: Any, sequence_length: int, sequence_stride: int = 1,
    sampling_rate: int = 1, batch_size: int | None = 128, shuffle: bool = False,
    seed: int | None = None, start_index: int | None = None, end_index: int | None = None,
) -> Any:  # fmt: skip
    """Returns a Dataset of windows of consecutive time steps (and a target for each).

    Args:
      data: [time, ...].
      targets: the target of the window that starts at step i is targets[i]; or None.
      sequence_length: steps of a window.
      sequence_stride: distance of the starts of windows.
      sampling_rate: distance of the steps in a window.
      batch_size: None for single windows.
      shuffle, seed: whether windows come in random order.
      start_index, end_index: steps outside are not used.

    Raises:
      ValueError: for settings that do not fit.
    """
    count = len(data)
    _check(count, sequence_length, sequence_stride, sampling_rate, start_index, end_index)
    first = start_index or 0
    last = count if end_index is None else end_index if end_index >= 0 else count + end_index
    data = np.asarray(data)[first:last]
    reach = (sequence_length - 1) * sampling_rate
    usable = len(data) - reach
    if targets is not None:
        targets = np.asarray(targets)[first:last]
        usable = min(usable, len(targets))
    starts = np.arange(0, max(usable, 0), sequence_stride)
    if shuffle:
        # One order for all passes comes from the seed; the data set shuffles again each time.
        seed = int(np.random.randint(1_000_000)) if seed is None else seed
        np.random.RandomState(seed).shuffle(starts)
    dataset = Dataset.from_tensor_slices(starts.astype(np.int64))
    steps = np.arange(sequence_length) * sampling_rate
    windows = Dataset.from_tensor_slices(data[starts[:, None] + steps])
    dataset = windows if targets is None else Dataset.zip(
        (windows, Dataset.from_tensor_slices(targets[starts]))
    )  # fmt: skip
    if batch_size is None:
        return dataset.shuffle(1024, seed=seed) if shuffle else dataset
    if shuffle:
        dataset = dataset.shuffle(batch_size * 8, seed=seed)
    return dataset.batch(batch_size)


def _check(count: int, length: int, stride: int, rate: int, start: Any, end: Any) -> None:
    for name, value in (("sequence_length", length), ("sequence_stride", stride),
                        ("sampling_rate", rate)):  # fmt: skip
        if not 0 < value < count + (name == "sequence_length"):
            raise ValueError(
                f"`{name}` must be higher than 0 and lower than the length of the data. Received: "
                f"{name}={value}, for data of length {count}"
            )
    if start is not None and not 0 <= start < count:
        raise ValueError(f"`start_index` must be in [0, {count}). Received: start_index={start}")
    if end is not None and (end > count or (start and 0 < end <= start)):
        raise ValueError(
            f"`end_index` must be lower than the length of the data and higher than `start_index`. "
            f"Received: start_index={start}, end_index={end}, for data of length {count}"
        )
