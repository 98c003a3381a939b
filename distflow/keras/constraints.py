"""Constraints: what weights are put through after each update."""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.core.convert import convert_to_tensor
from distflow.keras import by_name, config, serialization
from distflow.ops import math, reduce


class Constraint:
    """The contract: `constraint(w)` returns the weights that are allowed."""

    def __call__(self, w: Any) -> Any:
        """Returns the weights that are allowed."""
        raise errors.UnimplementedError(f"Constraint: {type(self).__name__} must define __call__.")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal constraint."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Returns a constraint made from `get_config()`."""
        return cls(**config)


class MaxNorm(Constraint):
    """Shortens weights along `axis` to a norm of at most max_value."""

    def __init__(self, max_value: float = 2, axis: Any = 0):
        self.max_value = max_value
        self.axis = axis

    def __call__(self, w: Any) -> Any:
        """Returns the weights that are allowed."""
        w = convert_to_tensor(w)
        norms = _norms(w, self.axis)
        wanted = math.clip_by_value(norms, 0.0, float(self.max_value))
        return w * (wanted / (config.epsilon() + norms))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal constraint."""
        return {"max_value": self.max_value, "axis": self.axis}


class NonNeg(Constraint):
    """Sets negative weights to 0."""

    def __call__(self, w: Any) -> Any:
        """Returns the weights that are allowed."""
        w = convert_to_tensor(w)
        return w * math.cast(math.greater_equal(w, 0), w.dtype)


class UnitNorm(Constraint):
    """Gives weights along `axis` the norm 1."""

    def __init__(self, axis: Any = 0):
        self.axis = axis

    def __call__(self, w: Any) -> Any:
        """Returns the weights that are allowed."""
        w = convert_to_tensor(w)
        return w / (config.epsilon() + _norms(w, self.axis))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal constraint."""
        return {"axis": self.axis}


class MinMaxNorm(Constraint):
    """Moves norms along `axis` towards [min_value, max_value] by the part `rate`."""

    def __init__(self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0,
                 axis: Any = 0):  # fmt: skip
        self.min_value = min_value
        self.max_value = max_value
        self.rate = rate
        self.axis = axis

    def __call__(self, w: Any) -> Any:
        """Returns the weights that are allowed."""
        w = convert_to_tensor(w)
        norms = _norms(w, self.axis)
        inside = math.clip_by_value(norms, float(self.min_value), float(self.max_value))
        wanted = self.rate * inside + (1 - self.rate) * norms
        return w * (wanted / (config.epsilon() + norms))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal constraint."""
        return {
            "min_value": self.min_value,
            "max_value": self.max_value,
            "rate": self.rate,
            "axis": self.axis,
        }


def _norms(w: Any, axis: Any) -> Any:
    return math.sqrt(reduce.reduce_sum(math.square(w), axis=axis, keepdims=True))


NAMES = by_name.table([MaxNorm, MinMaxNorm, NonNeg, UnitNorm])
deserialize = by_name.deserializer("constraint", NAMES)


def get(identifier: Any) -> Any:
    """Returns the constraint that a name, class, config or object stands for."""
    return by_name.resolve("constraint", identifier, NAMES)


def serialize(constraint: Any) -> Any:
    """Returns the config from which `deserialize` makes an equal constraint."""
    return serialization.serialize_keras_object(constraint)


max_norm = MaxNorm
min_max_norm = MinMaxNorm
non_neg = NonNeg
unit_norm = UnitNorm
