"""Whole models and weights in the `.h5` files of Keras 1, 2 and 3 (reading only).

A file has the attributes `model_config` and `training_config` (JSON) and the groups
`model_weights` and `optimizer_weights`; a file of weights alone is such a group at the root. A
group lists its layers in `layer_names`, each of them its arrays in `weight_names`, the trained ones
first.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from distflow.base import errors
from distflow.keras import registry, serialization
from distflow.keras.saving.older_config import upgraded
from distflow.keras.saving.weights_file import h5py_module

ENDINGS = (".h5", ".hdf5")


def load_model(path: str, custom_objects: dict[str, Any] | None, compile: bool) -> Any:
    """Returns the model of a legacy file; compiled as it was, if it was and `compile` is set.

    Raises:
      ValueError: if the file holds weights only.
      DataLossError: if it is damaged.
      TypeError: if it names a class that is not known.
    """
    with _opened(path) as file:
        if "model_config" not in file.attrs:
            raise ValueError(
                f"No model config found in the file at {path}: it holds weights only. Make the "
                "model, and load them by `model.load_weights`."
            )
        described = upgraded(_json(file.attrs["model_config"], path))
        with registry.custom_object_scope(custom_objects or {}):
            model = serialization.deserialize_keras_object(described)
            _read_layers(model, file["model_weights"], by_name=True, skip_mismatch=False)
            if compile and "training_config" in file.attrs:
                _compile(model, _json(file.attrs["training_config"], path))
                if getattr(model, "optimizer", None) is not None and "optimizer_weights" in file:
                    _read_optimizer(model, file["optimizer_weights"])
    return model


def load_weights(model: Any, path: str, by_name: bool = False, skip_mismatch: bool = False) -> None:
    """Reads the weights of a legacy file; layers go by their order, or by their names.

    Raises:
      ValueError: if numbers or shapes differ, unless `skip_mismatch` turns that into a warning;
        then nothing is changed.
    """
    with _opened(path) as file:
        group = file["model_weights"] if "layer_names" not in file.attrs else file
        _read_layers(model, group, by_name, skip_mismatch)


def is_legacy(path: str) -> bool:
    """Whether a path is that of a legacy file."""
    return path.endswith(ENDINGS) and not path.endswith(".weights.h5")


@contextlib.contextmanager
def _opened(path: str) -> Iterator[Any]:
    h5py = h5py_module()
    if not os.path.exists(path):
        raise ValueError(f"File not found: filepath={path}.")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise errors.DataLossError(
            f"{path}: expected a readable HDF5 file; received {type(error).__name__}: {error}"
        ) from error
    with file:
        try:
            yield file
        except KeyError as error:
            raise errors.DataLossError(f"{path}: expected a file of Keras; received one without "
                                       f"{error}") from error  # fmt: skip


def _json(text: Any, path: str) -> Any:
    try:
        return json.loads(text.decode() if isinstance(text, bytes) else text)
    except ValueError as error:
        raise errors.DataLossError(
            f"{path}: expected a description in JSON; received {error}"
        ) from (error)


def _names(group: Any, attribute: str) -> list[str]:
    """A list of names, which may be cut into attributes `name0`, `name1`, ... for its length."""
    if attribute in group.attrs:
        found = list(group.attrs[attribute])
    else:
        found, part = [], 0
        while f"{attribute}{part}" in group.attrs:
            found.extend(group.attrs[f"{attribute}{part}"])
            part += 1
    return [n.decode() if isinstance(n, bytes) else str(n) for n in found]


# -- weights -----------------------------------------------------------------------------------


def _read_layers(model: Any, group: Any, by_name: bool, skip_mismatch: bool) -> None:
    stored = {}
    for name in _names(group, "layer_names"):
        arrays = [np.asarray(group[name][w]) for w in _names(group[name], "weight_names")]
        if arrays:
            stored[name] = arrays
    layers = [layer for layer in model.layers if layer.weights]
    if by_name:
        pairs = [(layer, stored[layer.name]) for layer in layers if layer.name in stored]
    else:
        if len(stored) != len(layers):
            raise ValueError(
                "Layer count mismatch when loading weights from file. Model expected "
                f"{len(layers)} layers, found {len(stored)} saved layers."
            )
        pairs = list(zip(layers, stored.values()))
    assignments: list[tuple[Any, Any]] = []
    for layer, arrays in pairs:
        problem = _problem(layer, arrays)
        if not problem:
            assignments.extend(zip(_legacy_order(layer), arrays))
        elif skip_mismatch:
            warnings.warn(f"Skipping loading weights for layer '{layer.name}': {problem}",
                          stacklevel=4)  # fmt: skip
        else:
            raise ValueError(f"Weights of layer '{layer.name}' do not fit: {problem}")
    for variable, array in assignments:
        variable.assign(array.astype(variable.dtype.numpy))


def _legacy_order(layer: Any) -> list[Any]:
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def _problem(layer: Any, arrays: list[Any]) -> str:
    variables = _legacy_order(layer)
    if len(variables) != len(arrays):
        return f"expected {len(variables)} weights; received {len(arrays)}."
    for variable, array in zip(variables, arrays):
        if tuple(variable.shape) != array.shape:
            return (
                f"expected shape {tuple(variable.shape)} for {variable.name}; received "
                f"{array.shape}."
            )
    return ""


# -- compilation -------------------------------------------------------------------------------


def _compile(model: Any, config: dict[str, Any]) -> None:
    """Compiles as the file says; what cannot be understood leaves the model uncompiled."""
    config = {key: upgraded(value) for key, value in config.items()}
    config["optimizer"] = config.pop("optimizer_config", None)
    try:
        model._compile_by(config)
    except (TypeError, ValueError, errors.UnimplementedError) as error:
        warnings.warn(
            "The arguments of compile() in the file cannot be used, so that the loaded model must "
            f"be compiled again: {error}",
            stacklevel=5,
        )


def _read_optimizer(model: Any, group: Any) -> None:
    """Puts the slots into the optimizer; the learning rate comes with its configuration."""
    names = [n for n in _names(group, "weight_names") if "learning_rate" not in n]
    variables = [
        v for v in model.optimizer.variables if "learning_rate" not in getattr(v, "path", v.name)
    ]
    arrays = [np.asarray(group[name]) for name in names]
    if [a.shape for a in arrays] != [tuple(v.shape) for v in variables]:
        warnings.warn(
            "The optimizer's state in the file does not fit the optimizer here, so that its slots "
            f"start anew: expected {len(variables)} arrays; received {len(arrays)}.",
            stacklevel=5,
        )
        return
    for variable, array in zip(variables, arrays):
        variable.assign(array.astype(variable.dtype.numpy))
