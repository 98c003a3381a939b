"""Small functions on arrays: one-hot rows, norms, and the parts of a batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import errors
from distflow.core.tensor import Tensor


def to_categorical(x: Any, num_classes: int | None = None) -> Any:
    """Returns integer classes as rows with a one each, float64 as in Keras.

    Args:
      x: ints, shape [...] or [..., 1].
      num_classes: number of columns, default the largest class plus one.

    Raises:
      InvalidArgumentError: for classes outside [0, num_classes).
    """
    classes = np.asarray(x)
    if classes.ndim > 1 and classes.shape[-1] == 1:
        classes = classes.reshape(classes.shape[:-1])
    flat = classes.reshape(-1).astype(np.int64)
    count = int(num_classes or (flat.max() + 1 if flat.size else 0))
    if flat.size and (flat.min() < 0 or flat.max() >= count):
        raise errors.invalid(
            "to_categorical", f"classes must be in [0, {count})", f"{flat.min()} to {flat.max()}"
        )
    rows = np.zeros((flat.size, count))
    rows[np.arange(flat.size), flat] = 1
    rows = rows.reshape((*classes.shape, count))
    if isinstance(x, Tensor):
        return rows.astype(np.float32)
    return rows


def normalize(x: Any, axis: int = -1, order: int = 2) -> Any:
    """Returns an array divided by its norm of an order along an axis; zeros stay zeros."""
    array = np.asarray(x)
    norms = np.atleast_1d(np.linalg.norm(array, order, axis))
    norms[norms == 0] = 1
    return array / np.expand_dims(norms, axis)


def pack_x_y_sample_weight(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """Returns a batch as `train_step` takes it: x or (x,), (x, y), or (x, y, sample_weight)."""
    if y is None:
        return (x,) if isinstance(x, tuple | list) else x
    return (x, y) if sample_weight is None else (x, y, sample_weight)


def unpack_x_y_sample_weight(data: Any) -> tuple[Any, Any, Any]:
    """Returns (x, y, sample_weight) of a batch; what is not there is None.

    Raises:
      ValueError: for tuples of other lengths.
    """
    if isinstance(data, list):
        data = tuple(data)
    if not isinstance(data, tuple):
        return data, None, None
    if not 1 <= len(data) <= 3:
        raise ValueError(
            "Data is expected to be in format `x`, `(x,)`, `(x, y)`, or `(x, y, sample_weight)`, "
            f"found: {data}"
        )
    return (*data, None, None)[:3]  # type: ignore[return-value]
