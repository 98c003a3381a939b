"""Public names of `keras.utils`: small functions on arrays, seeds, and the registry."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import errors
from distflow.core.tensor import Tensor
from distflow.keras.backend import clear_session
from distflow.keras.not_there import lookup
from distflow.keras.random import set_random_seed
from distflow.keras.registry import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from distflow.keras.serialization import deserialize_keras_object, serialize_keras_object

__all__ = [
    "CustomObjectScope",
    "clear_session",
    "custom_object_scope",
    "deserialize_keras_object",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "normalize",
    "register_keras_serializable",
    "serialize_keras_object",
    "set_random_seed",
    "to_categorical",
]


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


__getattr__ = lookup("utils")
