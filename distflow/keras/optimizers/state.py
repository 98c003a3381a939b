"""An optimizer's state as numbers: written, read and checked."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from distflow.base import errors
from distflow.core.tensor import EagerTensor


def save(optimizer: Any, store: Any) -> None:
    """Writes the state under the keys "0", "1", ... (Keras 3's layout)."""
    for i, variable in enumerate(optimizer.variables):
        store[str(i)] = np.asarray(variable.numpy())


def load(optimizer: Any, store: Any) -> None:
    """Reads what `save` wrote; warns and skips if the counts differ."""
    variables = optimizer.variables
    if len(store.keys()) != len(variables):
        warnings.warn(
            f"Skipping variable loading for optimizer '{optimizer.name}', because it has "
            f"{len(variables)} variables whereas the saved optimizer has "
            f"{len(store.keys())} variables. ",
            stacklevel=3,
        )
        return
    for i, variable in enumerate(variables):
        value = np.asarray(store[str(i)])
        variable.assign(EagerTensor(value.astype(variable.dtype.numpy)))


def check(optimizer: Any, weights: list[Any]) -> None:
    """Raises ValueError for values that are not those of a built optimizer's variables."""
    if not optimizer.built:
        raise ValueError(
            "You are calling `set_weights()` on an optimizer that has not yet been built. "
            "Please call `optimizer.build(trainable_variables)` to create the optimizer "
            "weights before calling `set_weights()`."
        )
    expected = [tuple(v.shape) for v in optimizer.variables]
    found = [np.shape(w) for w in weights]
    if found != expected:
        raise errors.invalid(
            "Optimizer.set_weights", f"values of the shapes {expected}", str(found)
        )
