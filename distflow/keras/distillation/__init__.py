"""Public names of `keras.distillation`: a small model learns what a large one says.

Source: Hinton, Vinyals & Dean 2015, arXiv:1503.02531; Romero et al. 2015, arXiv:1412.6550.
"""

from __future__ import annotations

from distflow.keras.distillation.distiller import Distiller
from distflow.keras.distillation.targets import (
    DistillationLoss,
    FeatureDistillation,
    LogitsDistillation,
)

__all__ = ["DistillationLoss", "Distiller", "FeatureDistillation", "LogitsDistillation"]
