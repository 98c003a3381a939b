"""split_dataset: the rows of arrays, of a data set or of a list in two parts."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from distflow.base import errors, nest
from distflow.data import Dataset
from distflow.keras.training.py_dataset import PyDataset


def split_dataset(
    dataset: Any, left_size: Any = None, right_size: Any = None, shuffle: bool = False,
    seed: int | None = None, preferred_backend: str | None = None,
) -> tuple[Any, Any]:  # fmt: skip
    """Returns two data sets with the elements of one.

    Args:
      dataset: a Dataset, PyDataset, arrays (one, or a tuple or list of equal lengths).
      left_size, right_size: ints are numbers of elements, floats in (0, 1) parts of them; one of
        them may be left out.
      shuffle: whether elements are put in random order first; `seed` makes it repeatable.

    Raises:
      TypeError, ValueError: for other data, sizes that do not fit, or none.
    """
    if preferred_backend not in (None, "tensorflow"):
        raise ValueError(
            "`preferred_backend` must be None or 'tensorflow' (the data sets of distflow). "
            f"Received: preferred_backend={preferred_backend}"
        )
    rows = _rows(dataset)
    left, right = _sizes(len(rows), left_size, right_size)
    if shuffle:
        random.Random(1337 if seed is None else seed).shuffle(rows)
    return _dataset(rows[:left]), _dataset(rows[len(rows) - right :] if left_size is None else
                                           rows[left : left + right])  # fmt: skip


def _rows(dataset: Any) -> list[Any]:
    if isinstance(dataset, Dataset):
        return list(dataset)
    if isinstance(dataset, PyDataset):
        if dataset.num_batches is None:
            raise ValueError("split_dataset: the PyDataset must have an end.")
        return [dataset[i] for i in range(dataset.num_batches)]
    if isinstance(dataset, np.ndarray) or hasattr(dataset, "shape"):
        return list(np.asarray(dataset))
    if isinstance(dataset, tuple | list | dict):
        arrays = nest.map_structure(np.asarray, dataset)
        sizes = {len(a) for a in nest.flatten(arrays)}
        if len(sizes) != 1:
            raise ValueError(
                "Received a list of NumPy arrays with different lengths. Mismatch found: "
                f"{sorted(sizes)}"
            )
        return [nest.map_structure(lambda a, i=i: a[i], arrays) for i in range(sizes.pop())]
    raise TypeError(
        "The `dataset` argument must be either a Dataset, a PyDataset, or a list or tuple of "
        f"arrays. Received: dataset={dataset} of type {type(dataset)}"
    )


def _sizes(total: int, left: Any, right: Any) -> tuple[int, int]:
    if left is None and right is None:
        raise ValueError(
            "At least one of the `left_size` or `right_size` must be specified. Received: "
            "left_size=None and right_size=None"
        )
    for name, size in (("left_size", left), ("right_size", right)):
        if size is None:
            continue
        if isinstance(size, bool) or not isinstance(size, int | float):
            raise TypeError(
                f"Invalid `{name}` argument: expected an integer or float. Received: {name}={size} "
                f"of type {type(size)}"
            )
        bound = 1 if isinstance(size, float) else total
        if not 0 < size < bound:
            wanted = "a float in (0, 1)" if bound == 1 else f"an int in (0, {total})"
            raise ValueError(f"`{name}` must be {wanted}. Received: {name}={size}")
    if isinstance(left, float) and isinstance(right, float) and left + right > 1:
        raise ValueError(
            f"The sum of `left_size` and `right_size` is greater than 1: {left + right}."
        )
    a = None if left is None else int(total * left) if isinstance(left, float) else left
    b = None if right is None else int(total * right) if isinstance(right, float) else right
    a = total - b if a is None and b is not None else a
    b = total - a if b is None and a is not None else b
    assert a is not None
    assert b is not None
    if a + b > total:
        raise ValueError(f"The sum of `left_size` and `right_size` should be <= {total}: {a + b}.")
    if not a or not b:
        raise ValueError(
            f"With `dataset` of length={total}, `left_size`={left} and `right_size`={right}, one "
            "of the parts would be empty."
        )
    return a, b


def _dataset(rows: list[Any]) -> Any:
    if not rows:
        raise errors.invalid("split_dataset", "a part with elements", "an empty one")
    stacked = nest.map_structure(lambda *parts: np.stack([np.asarray(p) for p in parts]), *rows)
    return Dataset.from_tensor_slices(stacked)
