"""Public names of `keras.config`: settings of the process."""

from __future__ import annotations

from distflow.keras.dtype_policy import global_policy as dtype_policy
from distflow.keras.dtype_policy import set_global_policy as set_dtype_policy
from distflow.keras.not_there import lookup
from distflow.keras.settings import (
    disable_interactive_logging,
    enable_interactive_logging,
    epsilon,
    floatx,
    image_data_format,
    is_interactive_logging_enabled,
    max_epochs,
    max_steps_per_epoch,
    set_epsilon,
    set_floatx,
    set_image_data_format,
    set_max_epochs,
    set_max_steps_per_epoch,
)
from distflow.keras.settings import standardize_data_format as standardize_data_format

__all__ = [
    "backend", "disable_interactive_logging", "dtype_policy", "enable_interactive_logging",
    "epsilon", "floatx", "image_data_format", "is_interactive_logging_enabled", "max_epochs",
    "max_steps_per_epoch", "set_dtype_policy", "set_epsilon", "set_floatx",
    "set_image_data_format", "set_max_epochs", "set_max_steps_per_epoch",
]  # fmt: skip


def backend() -> str:
    """Returns the name of what computes."""
    return "distflow"


__getattr__ = lookup("config")
