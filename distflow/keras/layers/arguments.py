"""What layers accept for sizes: one int or a tuple of n, checked with Keras's conditions."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from distflow.base import errors
from distflow.keras import constraints, initializers, regularizers


def sizes(name: str, value: Any, n: int, *, allow_zero: bool = False) -> tuple[int, ...]:
    """Returns n ints from an int or a tuple of n.

    Raises:
      InvalidArgumentError: for other values, or unless all are > 0 (>= 0 with allow_zero).
    """
    kind = f"a tuple of {n} integers" if n > 1 else "an int or a tuple of 1 integer"
    values = (value,) * n if _is_int(value) else tuple(value) if _is_sequence(value) else ()
    if len(values) != n or not all(map(_is_int, values)):
        raise errors.invalid("layer", f"The `{name}` argument must be {kind}", f"{name}={value}")
    if any(v < 0 or (v == 0 and not allow_zero) for v in values):
        bound = ">= 0" if allow_zero else "> 0"
        raise errors.invalid("layer", f"The `{name}` argument must be {bound}", f"{name}={value}")
    return tuple(int(v) for v in values)


def pairs(name: str, value: Any, n: int) -> tuple[tuple[int, int], ...]:
    """Returns n pairs (before, after) from an int, n ints, or n pairs."""
    if _is_int(value):
        value = ((value, value),) * n
    if n == 1 and _is_sequence(value) and all(map(_is_int, value)):
        value = (value,)
    if not _is_sequence(value) or len(value) != n:
        wanted = f"have {n} elements" if n > 1 else "be a pair"
        raise errors.invalid("layer", f"`{name}` should {wanted}", f"{name}={value}")
    return tuple(sizes(name, entry, 2, allow_zero=True) for entry in value)  # type: ignore[misc]


def padding(value: Any, allowed: tuple[str, ...] = ("valid", "same")) -> str:
    """Returns a padding in lower case.

    Raises:
      InvalidArgumentError: if it is not among those allowed.
    """
    if not isinstance(value, str) or value.lower() not in allowed:
        raise errors.invalid(
            "layer", f"The `padding` argument must be one of {list(allowed)}", repr(value)
        )
    return value.lower()


def positive(where: str, name: str, value: Any) -> int:
    """Returns an int > 0; raises InvalidArgumentError for anything else."""
    if not _is_int(value) or value <= 0:
        raise errors.invalid(
            where, f"Received an invalid value for `{name}`, expected a positive integer",
            f"{name}={value}",
        )  # fmt: skip
    return int(value)


def _is_int(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple)


_SERIALIZERS: dict[str, Any] = {
    "initializer": initializers.serialize,
    "regularizer": regularizers.serialize,
    "constraint": constraints.serialize,
}


def described(layer: Any, *names: str) -> dict[str, Any]:
    """Returns attributes of a layer by name, as they stand in its config."""
    result = {}
    for name in names:
        value = getattr(layer, name)
        serialize = _SERIALIZERS.get(name.rsplit("_", 1)[-1])
        result[name] = serialize(value) if serialize and value is not None else value
    return result


def announcing(**defaults: Any) -> Callable[[type], type]:
    """Class decorator: `__init__` is the base's, with other defaults in its signature.

    For defaults that mean the same, such as 1 and (1, 1).
    """

    def announced(cls: Any) -> Any:
        inherited = cls.__init__

        @functools.wraps(inherited)
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            inherited(self, *args, **kwargs)

        signature = inspect.signature(inherited)
        parameters = [p.replace(default=defaults.get(name, p.default))
                      for name, p in signature.parameters.items()]  # fmt: skip
        __init__.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        cls.__init__ = __init__
        return cls

    return announced
