"""Public names of `keras.wrappers`: models as estimators of scikit-learn (extra `digits`)."""

from __future__ import annotations

import importlib
from typing import Any

from distflow.base import errors

__all__ = ["SKLearnClassifier", "SKLearnRegressor", "SKLearnTransformer"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        importlib.import_module("sklearn")
    except ImportError as error:
        raise errors.missing_extra("scikit-learn", "digits", f"keras.wrappers.{name}") from error
    return getattr(importlib.import_module(f"{__name__}.estimators"), name)
