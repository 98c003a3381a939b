"""How the values of variables are taken and put back, whatever storage a strategy gave them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Access:
    """How one kind of storage is saved.

    Args:
      take: returns the array to save; nobody may write to it afterwards. It may be collective:
        then all workers take the same variables in the same order.
      put: sets the value; the array is the storage's from then on.
      fits: whether a shape, other than the variable's, is one that `take` could have returned.
    """

    take: Callable[[Any], np.ndarray[Any, Any]]
    put: Callable[[Any, np.ndarray[Any, Any]], None]
    fits: Callable[[Any, tuple[int, ...]], bool]


# A compiled step writes in place only to what nobody holds: an array that was read stays as it is.
_PLAIN = Access(
    take=lambda storage: storage.read(),
    put=lambda storage, array: storage.restore(array),
    fits=lambda storage, shape: False,
)
_ACCESS: dict[type, Access] = {}


def register(storage: type, access: Access) -> None:
    """Says how variables with this class of storage are saved."""
    _ACCESS[storage] = access


def take(variable: Any) -> np.ndarray[Any, Any]:
    """Returns the value to save."""
    return _access(variable).take(variable.storage)


def put(variable: Any, array: np.ndarray[Any, Any]) -> None:
    """Sets the value that `take` returned."""
    _access(variable).put(variable.storage, array)


def mismatch(variable: Any, dtype: str, shape: tuple[int, ...]) -> str | None:
    """Returns what does not fit when a value of this dtype and shape is put; None if it fits."""
    own = getattr(variable, "own_dtype", variable.dtype).name
    if own != dtype:
        return f"dtype {own}; received {dtype}"
    if variable.shape.is_compatible_with(shape) or _access(variable).fits(variable.storage, shape):
        return None
    return f"shape {tuple(variable.shape)}; received {tuple(shape)}"


def _access(variable: Any) -> Access:
    return _ACCESS.get(type(variable.storage), _PLAIN)
