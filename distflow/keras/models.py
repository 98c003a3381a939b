"""Public names of `keras.models`."""

from __future__ import annotations

from distflow.keras.engine.clone import clone_model
from distflow.keras.engine.functional import Functional as Functional
from distflow.keras.engine.model import Model, model_from_json
from distflow.keras.engine.sequential import Sequential
from distflow.keras.saving.archive import load_model, save_model
from distflow.keras.serialization import deserialize_keras_object as model_from_config

__all__ = [
    "Model",
    "Sequential",
    "clone_model",
    "load_model",
    "model_from_config",
    "model_from_json",
    "save_model",
]
