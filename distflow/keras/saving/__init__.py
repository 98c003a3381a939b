"""Saving and loading: `.keras` files, weights files, and the registry of custom objects."""

from __future__ import annotations

from distflow.keras.registry import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from distflow.keras.saving.archive import load_model, save_model
from distflow.keras.saving.editor import KerasFileEditor
from distflow.keras.saving.loading import load_weights
from distflow.keras.saving.weights_file import save_weights
from distflow.keras.serialization import deserialize_keras_object, serialize_keras_object

__all__ = [
    "CustomObjectScope",
    "KerasFileEditor",
    "custom_object_scope",
    "deserialize_keras_object",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "load_model",
    "load_weights",
    "register_keras_serializable",
    "save_model",
    "save_weights",
    "serialize_keras_object",
]
