"""Public names of `keras.mixed_precision`."""

from __future__ import annotations

from distflow.keras.dtype_policy import DTypePolicy
from distflow.keras.dtype_policy import DTypePolicy as Policy
from distflow.keras.dtype_policy import global_policy as dtype_policy
from distflow.keras.dtype_policy import global_policy as global_policy
from distflow.keras.dtype_policy import set_global_policy as set_dtype_policy
from distflow.keras.dtype_policy import set_global_policy as set_global_policy
from distflow.keras.optimizers import LossScaleOptimizer

__all__ = [
    "DTypePolicy",
    "LossScaleOptimizer",
    "Policy",
    "dtype_policy",
    "global_policy",
    "set_dtype_policy",
    "set_global_policy",
]
