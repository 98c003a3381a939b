"""Public names of `keras.backend`: settings of the process, and a clean start."""

from __future__ import annotations

from distflow.keras import dtype_policy
from distflow.keras.engine import keras_tensor, naming
from distflow.keras.engine.keras_tensor import is_keras_tensor
from distflow.keras.ops.dtype_rules import result_type
from distflow.keras.settings import (
    epsilon,
    floatx,
    image_data_format,
    set_epsilon,
    set_floatx,
    set_image_data_format,
)

__all__ = [
    "backend",
    "clear_session",
    "epsilon",
    "floatx",
    "image_data_format",
    "is_keras_tensor",
    "result_type",
    "set_epsilon",
    "set_floatx",
    "set_image_data_format",
]


def backend() -> str:
    """Returns the name of what computes."""
    return "distflow"


def clear_session(free_memory: bool = True) -> None:
    """Starts automatic names anew, and forgets the global dtype policy."""
    naming.reset_names()
    keras_tensor.reset_names()
    dtype_policy.reset_global_policy()
