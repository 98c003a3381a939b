"""Regularizers: what weights add to the loss by their size."""

from __future__ import annotations

import math as _math
from typing import Any

import numpy as np

from distflow.base import errors, shapes
from distflow.core.convert import convert_to_tensor
from distflow.keras import by_name, serialization
from distflow.ops import math, reduce
from distflow.ops.matmul import matmul


class Regularizer:
    """The contract: `regularizer(x)` returns a scalar that is added to the loss."""

    def __call__(self, x: Any) -> Any:
        """Returns the loss of the weights x."""
        return convert_to_tensor(0.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal regularizer."""
        raise errors.UnimplementedError(
            f"Regularizer: {type(self).__name__} must define get_config() to be saved."
        )

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Returns a regularizer made from `get_config()`."""
        return cls(**config)


class L1L2(Regularizer):
    """l1 * sum |x| + l2 * sum x^2."""

    def __init__(self, l1: float | None = 0.0, l2: float | None = 0.0):
        self.l1 = _factor("L1L2: l1", 0.0 if l1 is None else l1)
        self.l2 = _factor("L1L2: l2", 0.0 if l2 is None else l2)

    def __call__(self, x: Any) -> Any:
        """Returns the loss of the weights x."""
        x = convert_to_tensor(x)
        total: Any = convert_to_tensor(np.zeros((), x.dtype.numpy))
        if self.l1:
            total = total + self.l1 * reduce.reduce_sum(math.abs(x))
        if self.l2:
            total = total + self.l2 * reduce.reduce_sum(math.square(x))
        return total

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal regularizer."""
        return {"l1": self.l1, "l2": self.l2}


class L1(Regularizer):
    """l1 * sum |x|."""

    def __init__(self, l1: float | None = 0.01):
        self.l1 = _factor("L1: l1", 0.01 if l1 is None else l1)

    def __call__(self, x: Any) -> Any:
        """Returns the loss of the weights x."""
        return self.l1 * reduce.reduce_sum(math.abs(convert_to_tensor(x)))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal regularizer."""
        return {"l1": self.l1}


class L2(Regularizer):
    """l2 * sum x^2."""

    def __init__(self, l2: float | None = 0.01):
        self.l2 = _factor("L2: l2", 0.01 if l2 is None else l2)

    def __call__(self, x: Any) -> Any:
        """Returns the loss of the weights x."""
        return self.l2 * reduce.reduce_sum(math.square(convert_to_tensor(x)))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal regularizer."""
        return {"l2": self.l2}


class OrthogonalRegularizer(Regularizer):
    """factor * mean |cos| of the angles between all pairs of rows (or columns) of a matrix."""

    def __init__(self, factor: float = 0.01, mode: str = "rows"):
        if mode not in ("rows", "columns"):
            raise errors.invalid(
                "OrthogonalRegularizer", "`mode` must be 'rows' or 'columns'", repr(mode)
            )
        self.factor = _factor("OrthogonalRegularizer: factor", factor)
        self.mode = mode

    def __call__(self, x: Any) -> Any:
        """Returns the loss of the weights x."""
        x = convert_to_tensor(x)
        if x.ndim != 2:
            raise errors.invalid(
                "OrthogonalRegularizer", "inputs must be matrices", shapes.text(x.shape)
            )
        rows = self.mode == "rows"
        length = math.sqrt(reduce.reduce_sum(x * x, axis=int(rows), keepdims=True))
        unit = x / math.maximum(length, 1e-12)
        cosines = matmul(unit, unit, transpose_b=rows, transpose_a=not rows)
        count = x.shape[0 if rows else 1]
        others = cosines * (1 - np.eye(count, dtype=x.dtype.numpy))
        pairs = count * (count - 1) / 2
        return self.factor * 0.5 * reduce.reduce_sum(math.abs(others)) / pairs

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal regularizer."""
        return {"factor": self.factor, "mode": self.mode}


def _factor(name: str, value: Any) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float | np.number)
        or not (_math.isfinite(value) and value >= 0)
    ):
        raise errors.invalid(name, "expected a non-negative float", repr(value))
    return float(value)


NAMES = by_name.table([L1, L1L2, L2, OrthogonalRegularizer], l1_l2=L1L2, l1l2=L1L2)
deserialize = by_name.deserializer("regularizer", NAMES)


def get(identifier: Any) -> Any:
    """Returns the regularizer that a name, class, config or object stands for."""
    return by_name.resolve("regularizer", identifier, NAMES)


def serialize(regularizer: Any) -> Any:
    """Returns the config from which `deserialize` makes an equal regularizer."""
    return serialization.serialize_keras_object(regularizer)


l1 = L1
l2 = L2
l1_l2 = L1L2
orthogonal_regularizer = OrthogonalRegularizer
