"""Public names of `keras.config`: settings of the process."""

from __future__ import annotations

from distflow.keras.dtype_policy import global_policy as dtype_policy
from distflow.keras.dtype_policy import set_global_policy as set_dtype_policy
from distflow.keras.settings import (
    epsilon,
    floatx,
    image_data_format,
    set_epsilon,
    set_floatx,
    set_image_data_format,
)
from distflow.keras.settings import standardize_data_format as standardize_data_format

__all__ = [
    "dtype_policy",
    "epsilon",
    "floatx",
    "image_data_format",
    "set_dtype_policy",
    "set_epsilon",
    "set_floatx",
    "set_image_data_format",
]
