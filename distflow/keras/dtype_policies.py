"""Public names of `keras.dtype_policies`: which dtypes layers compute and keep their weights in."""

from __future__ import annotations

from typing import Any

from distflow.keras import serialization
from distflow.keras.dtype_policy import DTypePolicy, QuantizedDTypePolicy, get
from distflow.keras.dtype_policy_map import DTypePolicyMap
from distflow.keras.not_there import lookup

FloatDTypePolicy = DTypePolicy

__all__ = [
    "DTypePolicy", "DTypePolicyMap", "FloatDTypePolicy", "QuantizedDTypePolicy", "deserialize",
    "get", "serialize",
]  # fmt: skip


def serialize(dtype_policy: Any) -> Any:
    """Returns the description of a policy."""
    return serialization.serialize_keras_object(dtype_policy)


def deserialize(config: Any, custom_objects: Any = None) -> Any:
    """Returns the policy of a description."""
    return serialization.deserialize_keras_object(config, custom_objects)


__getattr__ = lookup("dtype_policies")
