"""KerasFileEditor: looks into a weights file and changes it without a model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from distflow.base import errors, log
from distflow.keras.saving.files import written_beside
from distflow.keras.saving.places import places
from distflow.keras.saving.weights_file import h5py_module, opened


class KerasFileEditor:
    """The arrays of a `.weights.h5` or `.keras` file, which can be renamed, added and deleted.

    Args:
      filepath: the file; it is read whole and not changed. `save` writes another one.

    Attributes:
      weights_dict: object's path -> {name of the array -> array}, which may be changed.

    Raises:
      ValueError: for other files, or names that are not there.
    """

    def __init__(self, filepath: Any):
        path = os.fspath(filepath)
        if not path.endswith((".weights.h5", ".keras")):
            raise ValueError(
                "Invalid filename: expected a `.keras` or `.weights.h5` extension. Received: "
                f"filepath={path}"
            )
        if not os.path.exists(path):
            raise ValueError(f"File not found: filepath={path}")
        self.filepath = path
        self.weights_dict: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        with opened(path) as file:
            file.visititems(self._read)

    def _read(self, name: str, item: Any) -> None:
        head, _, key = name.rpartition("/")
        if not hasattr(item, "shape"):
            if "name" in item.attrs:
                self._names[name.removesuffix("vars").rstrip("/")] = item.attrs["name"]
            return
        owner = head.removesuffix("vars").rstrip("/")
        self.weights_dict.setdefault(owner, {})[key] = np.asarray(item)

    def summary(self) -> None:
        """Logs the paths, the shapes and dtypes of all arrays."""
        log.get_logger().info("%s", "\n".join(self._lines()))

    def _lines(self) -> Iterator[str]:
        yield f"Keras weights file '{self.filepath}' ({len(self.weights_dict)} objects):"
        for path, arrays in self.weights_dict.items():
            yield f"  {path or '/'}"
            for key, value in arrays.items():
                yield f"    {key}: {tuple(value.shape)} {value.dtype}"

    def compare(self, reference_model: Any) -> dict[str, Any]:
        """Returns how the file differs from the state of a model.

        Returns:
          {"status": "success"} or {"status": "error", "missing": paths of the model that the file
          lacks, "unexpected": paths that the model lacks, "shapes": those of other shapes}.
        """
        wanted = _state_of(reference_model)
        found = {f"{p}/{k}".lstrip("/"): v.shape for p, a in self.weights_dict.items()
                 for k, v in a.items()}  # fmt: skip
        missing = sorted(set(wanted) - set(found))
        unexpected = sorted(set(found) - set(wanted))
        other = {
            key: (found[key], wanted[key])
            for key in sorted(set(found) & set(wanted)) if found[key] != wanted[key]
        }  # fmt: skip
        if not (missing or unexpected or other):
            return {"status": "success"}
        return {"status": "error", "missing": missing, "unexpected": unexpected, "shapes": other}

    def rename_object(
        self, object_name: str, new_name: str, source_name: str | None = None
    ) -> None:
        """Gives an object (by its path, or its last part) another last part of its path."""
        old = self._find(object_name if source_name is None else source_name)
        head = old.rpartition("/")[0]
        new = f"{head}/{new_name}".lstrip("/")
        if any(p == new or p.startswith(f"{new}/") for p in self.weights_dict):
            raise ValueError(f"Object '{new}' is in the file already.")
        self.weights_dict = {
            new + path[len(old) :] if path == old or path.startswith(f"{old}/") else path: arrays
            for path, arrays in self.weights_dict.items()
        }

    def delete_object(self, object_name: str) -> None:
        """Takes an object out, and all that is inside of it."""
        old = self._find(object_name)
        self.weights_dict = {
            p: a for p, a in self.weights_dict.items() if p != old and not p.startswith(f"{old}/")
        }

    def add_object(self, object_path: str, weights: dict[str, Any]) -> None:
        """Puts an object with these arrays in at a path."""
        if object_path in self.weights_dict:
            raise ValueError(f"Object '{object_path}' is in the file already.")
        self.weights_dict[object_path] = {k: np.asarray(v) for k, v in weights.items()}

    def add_weights(self, object_name: str, weights: dict[str, Any]) -> None:
        """Puts arrays into an object."""
        path = self._find(object_name)
        self.weights_dict.setdefault(path, {}).update(
            {str(k): np.asarray(v) for k, v in weights.items()}
        )

    def delete_weight(self, object_name: str, weight_name: str) -> None:
        """Takes an array out of an object."""
        path = self._find(object_name)
        if weight_name not in self.weights_dict.get(path, {}):
            raise ValueError(f"Weight '{weight_name}' not found in object '{object_name}'.")
        del self.weights_dict[path][weight_name]

    def save(self, filepath: Any) -> None:
        """Writes a `.weights.h5` file; a failed save leaves an older file."""
        path = os.fspath(filepath)
        if not path.endswith(".weights.h5"):
            raise ValueError(
                f"Invalid `filepath` argument: expected a `.weights.h5` extension. Received: "
                f"filepath={path}"
            )
        with written_beside(path) as temporary, h5py_module().File(temporary, "w") as file:
            for owner, arrays in self.weights_dict.items():
                group = file.create_group(f"{owner}/vars" if owner else "vars")
                if owner in self._names:
                    group.attrs["name"] = self._names[owner]
                for key, value in arrays.items():
                    group[key] = value

    def _find(self, name: str) -> str:
        """Returns the path of an object from its path, or from the last part if that is unique."""
        paths = {"/".join(p.split("/")[:n]) for p in self.weights_dict
                 for n in range(1, p.count("/") + 2)}  # fmt: skip
        if name in paths:
            return name
        ends = [p for p in sorted(paths) if p.rpartition("/")[2] == name]
        if len(ends) == 1:
            return ends[0]
        if not ends:
            raise ValueError(f"Object '{name}' not found in the file. Objects: {sorted(paths)}")
        raise errors.invalid("KerasFileEditor", "the path of one object", f"{name!r}: {ends}")


def _state_of(model: Any) -> dict[str, Any]:
    """The shapes of all arrays that a file of this model would hold."""
    found: dict[str, Any] = {}

    def keep(path: str) -> Callable[[str, Any], None]:
        return lambda key, value: found.update({f"{path}/{key}".lstrip("/"): np.shape(value)})

    for path, item in places(model):
        if hasattr(item, "save_own_variables"):
            item.save_own_variables(_Recorder(keep(path)))
    return found


class _Recorder:
    """What `save_own_variables` writes to."""

    def __init__(self, keep: Callable[[str, Any], None]):
        self._keep = keep

    def __setitem__(self, key: str, value: Any) -> None:
        self._keep(key, value)
