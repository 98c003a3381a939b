"""Weights from whatever kind of file they are in."""

from __future__ import annotations

import os
from typing import Any

from distflow.keras.saving import legacy_h5, weights_file


def load_weights(model: Any, filepath: Any, skip_mismatch: bool = False, **kwargs: Any) -> None:
    """Reads weights into a model from a `.weights.h5`, `.keras` or legacy `.h5` file.

    Args:
      skip_mismatch: warn about layers that do not fit, instead of raising an error.
      by_name: of a legacy file: layers go by their names instead of their order.

    Raises:
      ValueError: for other files or arguments, an unbuilt model, and weights that do not fit.
    """
    path = os.fspath(filepath)
    if legacy_h5.is_legacy(path):
        by_name = kwargs.pop("by_name", False)
        _refuse(kwargs)
        weights_file.require_built(model, "loading weights into")
        legacy_h5.load_weights(model, path, by_name, skip_mismatch)
        return
    _refuse(kwargs)
    weights_file.load_weights(model, path, skip_mismatch)


def _refuse(kwargs: dict[str, Any]) -> None:
    if kwargs:
        raise ValueError(f"Invalid keyword arguments: {kwargs}")
