"""Weights files: HDF5 in Keras 3's layout, a group `<path>/vars` with "0", "1", ... an object."""

from __future__ import annotations

import contextlib
import os
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

from distflow.base import errors
from distflow.keras.saving.files import check_overwrite, written_beside
from distflow.keras.saving.places import places


def h5py_module() -> Any:
    """Returns h5py; raises MissingExtraError where it is not installed."""
    try:
        import h5py
    except ImportError as error:
        raise errors.missing_extra("h5py", "keras-io", "Reading and writing weights") from error
    return h5py


def save_weights(model: Any, filepath: Any, overwrite: bool = True) -> None:
    """Writes a model's weights and optimizer state to `filepath`, which ends in .weights.h5."""
    path = os.fspath(filepath)
    if not path.endswith(".weights.h5"):
        raise ValueError(f"The filename must end in `.weights.h5`. Received: filepath={path}")
    require_built(model, "saving")
    check_overwrite(path, overwrite)
    with written_beside(path) as temporary, h5py_module().File(temporary, "w") as file:
        write_state(model, file)


def load_weights(model: Any, filepath: Any, skip_mismatch: bool = False) -> None:
    """Reads weights (and optimizer state) from a .weights.h5 or .keras file into a model."""
    path = os.fspath(filepath)
    if not path.endswith((".weights.h5", ".keras")):
        raise ValueError(
            "File format not supported: weights are loaded from `.weights.h5` or `.keras` files, "
            f"and from legacy `.h5` files. Received: filepath={path}"
        )
    require_built(model, "loading weights into")
    if not os.path.exists(path):
        raise ValueError(f"File not found: filepath={path}")
    with opened(path) as file:
        read_state(model, file, skip_mismatch=skip_mismatch)


def require_built(model: Any, doing: str) -> None:
    """Raises ValueError for a model without weights."""
    if not model.built or not _all_built(model):
        what = "saving a model" if doing == "saving" else "loading weights into a model"
        raise ValueError(
            f"You are {what} that has not yet been built. Try building the model first by calling "
            "it on some data or by using `build()`."
        )


def _all_built(model: Any) -> bool:
    layers = list(model._flatten_layers(include_self=False))
    return not layers or any(layer.built for layer in layers)


@contextlib.contextmanager
def opened(path: str) -> Iterator[Any]:
    """Opens the HDF5 file, or the one inside a .keras file, for reading."""
    h5py = h5py_module()
    try:
        if path.endswith(".keras"):
            with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as inner:
                with h5py.File(inner, "r") as file:
                    yield file
        else:
            with h5py.File(path, "r") as file:
                yield file
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise errors.DataLossError(
            f"{path}: expected a readable weights file; received {type(error).__name__}: {error}"
        ) from error


class Store:
    """One group of a weights file, as `save_own_variables` and `load_own_variables` see it."""

    def __init__(self, group: Any):
        self._group = group

    def __setitem__(self, key: str, value: Any) -> None:
        array = np.asarray(value)
        if array.dtype == ml_dtypes.bfloat16:
            # HDF5 knows no bfloat16: two opaque bytes, with the dtype's name beside them.
            self._group.create_dataset(key, data=array.view("V2"))
            self._group[key].attrs["dtype"] = "bfloat16"
        else:
            self._group[key] = array

    def __getitem__(self, key: str) -> Any:
        entry = self._group[key]
        array = np.asarray(entry)
        if entry.attrs.get("dtype") == "bfloat16":
            return array.view(ml_dtypes.bfloat16)
        return array

    def keys(self) -> Any:
        """Returns the names of the arrays."""
        return self._group.keys()

    def __len__(self) -> int:
        return len(self._group)

    def __contains__(self, key: str) -> bool:
        return key in self._group

    def __iter__(self) -> Iterator[str]:
        return iter(self._group)


def write_state(model: Any, file: Any) -> None:
    """Writes the state of a model and all objects in it."""
    for path, item in places(model):
        group = file.create_group(f"{path}/vars" if path else "vars")
        if isinstance(getattr(item, "name", None), str):
            group.attrs["name"] = item.name
        if hasattr(item, "save_own_variables"):
            item.save_own_variables(Store(group))


def read_state(model: Any, file: Any, skip_mismatch: bool = False) -> None:
    """Reads what `write_state` wrote; on an error the model keeps all of its old values."""
    found = list(places(model))
    optimizer = getattr(model, "optimizer", None)
    state = [*model.variables, *getattr(optimizer, "variables", ())]
    before = [(v, v.numpy()) for v in state]
    used = 0
    try:
        for path, item in found:
            where = f"{path}/vars" if path else "vars"
            group = file[where] if where in file else {}
            used += len(group)
            if hasattr(item, "load_own_variables"):
                _read_one(item, Store(group), path, skip_mismatch)
        if not used and any(hasattr(item, "weights") and item.weights for _, item in found):
            raise ValueError(
                "The weights file holds nothing for this model: no path in it is that of a layer "
                f"here. Paths in the file: {_paths(file)}"
            )
    except Exception:
        for variable, value in before:
            variable.assign(value)
        raise


def _read_one(item: Any, store: Store, path: str, skip_mismatch: bool) -> None:
    try:
        item.load_own_variables(store)
    except (ValueError, KeyError) as error:
        if not skip_mismatch:
            raise ValueError(
                f"A total of 1 object could not be loaded: {item!r} at '{path}' of the weights "
                f"file. {error}"
            ) from error
        warnings.warn(
            f"Could not load weights in object {item!r} at '{path}'. Error: {error}", stacklevel=4
        )


def _paths(file: Any) -> list[str]:
    found: list[str] = []
    file.visit(lambda name: found.append(name[:-5]) if name.endswith("/vars") else None)
    return found[:20]
