"""Public names of `keras.utils`."""

from __future__ import annotations

from distflow.keras.backend import clear_session
from distflow.keras.engine.keras_tensor import is_keras_tensor
from distflow.keras.not_there import lookup
from distflow.keras.random import set_random_seed
from distflow.keras.registry import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from distflow.keras.serialization import deserialize_keras_object, serialize_keras_object
from distflow.keras.settings import (
    disable_interactive_logging,
    enable_interactive_logging,
    is_interactive_logging_enabled,
    standardize_dtype,
)
from distflow.keras.training.py_dataset import PyDataset
from distflow.keras.utils.arrays import (
    normalize,
    pack_x_y_sample_weight,
    to_categorical,
    unpack_x_y_sample_weight,
)
from distflow.keras.utils.audio import audio_dataset_from_directory
from distflow.keras.utils.config import Config
from distflow.keras.utils.download import get_file
from distflow.keras.utils.graphviz import model_to_dot, plot_model
from distflow.keras.utils.image_folder import image_dataset_from_directory
from distflow.keras.utils.images import array_to_img, img_to_array, load_img, save_img
from distflow.keras.utils.progbar import Progbar
from distflow.keras.utils.sequences import pad_sequences
from distflow.keras.utils.sources import get_source_inputs
from distflow.keras.utils.split import split_dataset
from distflow.keras.utils.text_folder import text_dataset_from_directory
from distflow.keras.utils.timeseries import timeseries_dataset_from_array

Sequence = PyDataset

__all__ = [
    "Config", "CustomObjectScope", "Progbar", "PyDataset", "Sequence", "array_to_img",
    "audio_dataset_from_directory", "clear_session", "custom_object_scope",
    "deserialize_keras_object", "disable_interactive_logging", "enable_interactive_logging",
    "get_custom_objects", "get_file", "get_registered_name", "get_registered_object",
    "get_source_inputs", "image_dataset_from_directory", "img_to_array",
    "is_interactive_logging_enabled", "is_keras_tensor", "load_img", "model_to_dot", "normalize",
    "pack_x_y_sample_weight", "pad_sequences", "plot_model", "register_keras_serializable",
    "save_img", "serialize_keras_object", "set_random_seed", "split_dataset", "standardize_dtype",
    "text_dataset_from_directory", "timeseries_dataset_from_array", "to_categorical",
    "unpack_x_y_sample_weight",
]  # fmt: skip

__getattr__ = lookup("utils")
