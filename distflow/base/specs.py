"""TypeSpec and TensorSpec: shape, dtype and name without a value."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, shapes


class TypeSpec:
    """The type of a value that functions and data sets accept (TF's `tf.TypeSpec`)."""

    def is_compatible_with(self, value: Any) -> bool:
        """Whether a value or spec fits this spec."""
        raise TypeError(f"{type(self).__name__} does not say what it is compatible with")


class TensorSpec(TypeSpec):
    """Shape (unknown dimensions None), dtype and optional name of a tensor."""

    __slots__ = ("dtype", "name", "shape")

    def __init__(self, shape: Any, dtype: Any = dtypes.float32, name: str | None = None):
        self.shape = shapes.TensorShape(shape)
        self.dtype = dtypes.as_dtype(dtype)
        self.name = name

    @classmethod
    def from_tensor(cls, tensor: Any, name: str | None = None) -> TensorSpec:
        """Returns the spec of a tensor."""
        return cls(tensor.shape, tensor.dtype, name)

    @classmethod
    def from_spec(cls, spec: Any, name: str | None = None) -> TensorSpec:
        """Returns a copy of a spec, with another name if one is given."""
        return cls(spec.shape, spec.dtype, name or spec.name)

    def is_compatible_with(self, value: Any) -> bool:
        """Whether a tensor, array or spec has this dtype and a compatible shape."""
        if not hasattr(value, "dtype"):
            value = np.asarray(value)
        try:
            same = dtypes.as_dtype(value.dtype) is self.dtype
        except TypeError:
            return False
        return same and self.shape.is_compatible_with(value.shape)

    def most_specific_common_supertype(self, others: Any) -> TensorSpec | None:
        """Returns the narrowest spec that covers this and all others, or None."""
        result = self
        for other in others:
            if other.dtype is not result.dtype or other.shape.rank != result.shape.rank:
                return None
            dims = [a if a == b else None for a, b in zip(result.shape, other.shape)]
            result = TensorSpec(dims, self.dtype, self.name)
        return result

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, TensorSpec)
            and self.shape == other.shape
            and self.dtype is other.dtype
            and self.name == other.name
        )

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype))

    def __repr__(self) -> str:
        return f"TensorSpec(shape={self.shape}, dtype={self.dtype!r}, name={self.name!r})"
