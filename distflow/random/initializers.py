"""`tf.random_normal_initializer` and its relatives: functions from a shape to first values."""

from __future__ import annotations

from typing import Any

from distflow.base import dtypes
from distflow.core.convert import constant
from distflow.core.tensor import Tensor
from distflow.ops import creation
from distflow.random import global_state


class zeros_initializer:
    """Makes zeros."""

    def __call__(self, shape: Any, dtype: Any = dtypes.float32, **kwargs: Any) -> Tensor:
        """Returns a tensor of the shape."""
        return creation.zeros(shape, dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {}


class ones_initializer:
    """Makes ones."""

    def __call__(self, shape: Any, dtype: Any = dtypes.float32, **kwargs: Any) -> Tensor:
        """Returns a tensor of the shape."""
        return creation.ones(shape, dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {}


class constant_initializer:
    """Makes a tensor that holds `value`: one number, or as many as the shape has elements."""

    def __init__(self, value: Any = 0, support_partition: bool = False):
        self.value = value

    def __call__(self, shape: Any, dtype: Any = None, **kwargs: Any) -> Tensor:
        """Returns a tensor of the shape."""
        return constant(self.value, dtype, shape)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {"value": self.value}


class random_uniform_initializer:
    """Draws uniform numbers in [minval, maxval)."""

    def __init__(self, minval: Any = -0.05, maxval: Any = 0.05, seed: int | None = None):
        self.minval, self.maxval, self.seed = minval, maxval, seed

    def __call__(self, shape: Any, dtype: Any = dtypes.float32, **kwargs: Any) -> Tensor:
        """Returns a tensor of the shape."""
        return global_state.uniform(shape, self.minval, self.maxval, dtype, self.seed)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {"minval": self.minval, "maxval": self.maxval, "seed": self.seed}


class random_normal_initializer:
    """Draws normal numbers."""

    def __init__(self, mean: Any = 0.0, stddev: Any = 0.05, seed: int | None = None):
        self.mean, self.stddev, self.seed = mean, stddev, seed

    def __call__(self, shape: Any, dtype: Any = dtypes.float32, **kwargs: Any) -> Tensor:
        """Returns a tensor of the shape."""
        return global_state.normal(shape, self.mean, self.stddev, dtype, self.seed)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {"mean": self.mean, "stddev": self.stddev, "seed": self.seed}
