"""Public names of `keras.config`: settings of the process."""

from __future__ import annotations

from distflow.base import log
from distflow.keras.dtype_policy import global_policy as dtype_policy
from distflow.keras.dtype_policy import set_global_policy as set_dtype_policy
from distflow.keras.not_there import lookup
from distflow.keras.settings import (
    disable_flash_attention,
    disable_interactive_logging,
    enable_flash_attention,
    enable_interactive_logging,
    epsilon,
    floatx,
    image_data_format,
    is_flash_attention_enabled,
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
    "backend", "disable_flash_attention", "disable_interactive_logging",
    "disable_traceback_filtering", "dtype_policy", "enable_flash_attention",
    "enable_interactive_logging", "enable_traceback_filtering", "epsilon", "floatx",
    "image_data_format", "is_flash_attention_enabled", "is_interactive_logging_enabled",
    "is_nnx_enabled", "is_traceback_filtering_enabled", "max_epochs", "max_steps_per_epoch",
    "set_dtype_policy", "set_epsilon", "set_floatx",
    "set_image_data_format", "set_max_epochs", "set_max_steps_per_epoch",
]  # fmt: skip


def backend() -> str:
    """Returns the name of what computes."""
    return "distflow"


def is_nnx_enabled() -> bool:
    """Returns False: NNX is a mode of JAX's backend."""
    return False


def is_traceback_filtering_enabled() -> bool:
    """Returns False: tracebacks are shown whole."""
    return False


def disable_traceback_filtering() -> None:
    """Changes nothing: tracebacks are shown whole."""


def enable_traceback_filtering() -> None:
    """Logs that tracebacks are shown whole all the same."""
    log.get_logger().warning("enable_traceback_filtering: tracebacks are always shown whole.")


__getattr__ = lookup("config")
