"""Calls with state as an argument: variables hold other values for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from distflow.base import errors


@contextlib.contextmanager
def holding(where: str, variables: Sequence[Any], values: Any) -> Iterator[None]:
    """Gives variables other values for the block; afterwards they are as before.

    Raises:
      InvalidArgumentError: if there is not one value for each variable.
    """
    values = list(values)
    if len(values) != len(variables):
        raise errors.invalid(where, f"one value for each of {len(variables)} variables",
                             f"{len(values)} values")  # fmt: skip
    before = [v.value() for v in variables]
    for variable, value in zip(variables, values):
        variable.assign(value)
    try:
        yield
    finally:
        for variable, value in zip(variables, before):
            variable.assign(value)


def values_of(variables: Sequence[Any]) -> list[Any]:
    """Returns what variables hold, as tensors."""
    return [v.value() for v in variables]


def applied(optimizer: Any, own: Any, grads: Any, trainable: Any) -> tuple[list[Any], list[Any]]:
    """Returns values of an optimizer's trainable and own variables after a step from others."""
    variables = optimizer._trainable_variables
    touched = [*variables, *optimizer.variables]
    with holding("stateless_apply", touched, [*trainable, *own]):
        optimizer.apply(grads)
        values = values_of(touched)
    return values[: len(variables)], values[len(variables) :]
