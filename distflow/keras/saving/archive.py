"""`.keras` files: a zip of metadata.json, config.json and model.weights.h5, as Keras 3 has it."""

from __future__ import annotations

import datetime
import io
import json
import os
import zipfile
from typing import Any

from distflow.base import errors
from distflow.keras import serialization
from distflow.keras.saving import legacy_h5
from distflow.keras.saving.assets import read_assets, write_assets
from distflow.keras.saving.files import check_overwrite, written_beside
from distflow.keras.saving.weights_file import h5py_module, opened, read_state, write_state

# The version of Keras whose format this is.
_KERAS_VERSION = "3.12.0"


def save_model(
    model: Any, filepath: Any, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any
) -> None:
    """Saves a model's architecture, weights and optimizer as a `.keras` file.

    Raises:
      ValueError: for another extension.
      AlreadyExistsError: if the file is there and `overwrite` is False.
      TypeError: if something in the model cannot be serialised.
    """
    path = os.fspath(filepath)
    if not path.endswith(".keras") or zipped is False:
        raise ValueError(
            "Invalid filepath extension for saving. Please add a `.keras` extension for the native "
            f"Keras format. Received: filepath={path}."
        )
    check_overwrite(path, overwrite)
    config = json.dumps(serialization.serialize_keras_object(model))
    weights = io.BytesIO()
    with h5py_module().File(weights, "w") as file:
        write_state(model, file)
    metadata = {
        "keras_version": _KERAS_VERSION,
        "written_by": "distflow",
        "date_saved": datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S"),
    }
    with written_beside(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr("metadata.json", json.dumps(metadata))
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", weights.getvalue())
        write_assets(model, archive)


def load_model(
    filepath: Any,
    custom_objects: dict[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Any:
    """Returns the model of a `.keras` file, with its weights and its optimizer's state.

    Args:
      filepath: a file that distflow or Keras 3 has written.
      custom_objects: name -> class or function, for those that are not registered.
      compile: whether the model is compiled as it was when it was saved.
      safe_mode: accepted for Keras's sake; no code is ever loaded.

    Raises:
      ValueError: if the file is not there, or is of another kind.
      DataLossError: if it is damaged.
      TypeError: if it names a class that is not known.
    """
    path = os.fspath(filepath)
    if legacy_h5.is_legacy(path):
        return legacy_h5.load_model(path, custom_objects, compile)
    if not path.endswith(".keras"):
        raise ValueError(
            f"File format not supported: filepath={path}. distflow reads `.keras` files and legacy "
            "`.h5` files; load a `.weights.h5` file by `model.load_weights`."
        )
    if not os.path.exists(path):
        raise ValueError(
            f"File not found: filepath={path}. Please ensure the file is an accessible `.keras` "
            "zip file."
        )
    config = _config(path)
    if not compile:
        config.pop("compile_config", None)
    model = serialization.deserialize_keras_object(config, custom_objects)
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and not getattr(optimizer, "built", True) and model.built:
        optimizer.build(model.trainable_variables)
    with opened(path) as file:
        read_state(model, file)
    with zipfile.ZipFile(path) as archive:
        read_assets(model, archive)
    return model


def _config(path: str) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise errors.DataLossError(
            f"load_model: expected {path} to be a zip with config.json and model.weights.h5; "
            f"received {type(error).__name__}: {error}"
        ) from error
