"""Public names of `keras.distribution`: layouts over the devices of one process.

A process has one device here, its CPU, which all threads share: a program of this API runs as it
does in Keras on one device, and its layouts are checked. Several processes are
`tf.distribute`'s strategies; a mesh of more devices than one is refused, and says so.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, MutableMapping
from typing import Any

import numpy as np

from distflow.base import errors
from distflow.core.convert import convert_to_tensor

__all__ = [
    "DataParallel", "DeviceMesh", "LayoutMap", "ModelParallel", "TensorLayout",
    "distribute_tensor", "distribution", "get_device_count", "initialize", "list_devices",
    "set_distribution",
]  # fmt: skip


def list_devices(device_type: str | None = None) -> list[str]:
    """Returns the devices of this process: ["cpu:0"], none of another type."""
    return ["cpu:0"] if device_type is None or device_type.lower() == "cpu" else []


def get_device_count(device_type: str | None = None) -> int:
    """Returns the number of devices of this process."""
    return len(list_devices(device_type))


def initialize(job_addresses: str | None = None, num_processes: int | None = None,
               process_id: int | None = None) -> None:  # fmt: skip
    """Does nothing for one process.

    Raises:
      UnimplementedError: for several.
    """
    if (num_processes or 1) > 1 or "," in (job_addresses or ""):
        raise errors.UnimplementedError(
            f"keras.distribution.initialize: expected one process; received {num_processes}.\n"
            "Start the program with mpirun or `distflow run`, and make the model in "
            "tf.distribute.MultiWorkerMirroredStrategy().scope()."
        )


class DeviceMesh:
    """Devices in an array with named axes.

    Args:
      shape, axis_names: of the array.
      devices: their names, default all of this process.

    Raises:
      ValueError: unless shape, names and devices fit.
    """

    def __init__(self, shape: Any, axis_names: Any, devices: Any = None):
        if not shape or not axis_names:
            raise ValueError(
                "Shape and axis_names cannot be empty. Received: "
                f"shape={shape}, axis_names={axis_names}"
            )
        if len(shape) != len(axis_names):
            raise ValueError(
                "Shape and axis_names should have same size. Received: "
                f"shape={shape}, axis_names={axis_names}"
            )
        given = np.array(list_devices() if devices is None else devices)
        if math.prod(shape) != given.size:
            raise ValueError(
                f"Shape does not match the number of devices. Received: shape={shape}; "
                f"devices.shape={given.shape}"
            )
        unknown = sorted(set(given.ravel().tolist()) - set(list_devices()))
        if unknown:
            raise errors.invalid(
                "DeviceMesh", f"devices among {list_devices()}", ", ".join(unknown),
                "Several processes are started by mpirun or `distflow run`, and divided by the "
                "strategies of tf.distribute.",
            )  # fmt: skip
        self.shape, self.axis_names = shape, axis_names
        self.devices = given.reshape(shape)

    def __repr__(self) -> str:
        return f"<DeviceMesh shape={self.shape}, axis_names={self.axis_names}>"


class TensorLayout:
    """The axis of a mesh along which each axis of a tensor is divided; None for none.

    Raises:
      ValueError: if the mesh has no such axis.
    """

    def __init__(self, axes: Any, device_mesh: DeviceMesh | None = None):
        self.axes = tuple(axes)
        self._device_mesh = device_mesh
        self._check()

    @property
    def device_mesh(self) -> DeviceMesh | None:
        """The mesh; it can be set once."""
        return self._device_mesh

    @device_mesh.setter
    def device_mesh(self, mesh: DeviceMesh) -> None:
        if self._device_mesh is not None:
            raise ValueError(
                f"Cannot override device mesh value. Existing value is {self._device_mesh}"
            )
        self._device_mesh = mesh
        self._check()

    def _check(self) -> None:
        if self._device_mesh is None:
            return
        valid = set(self._device_mesh.axis_names)
        if set(self.axes) - valid - {None}:
            raise ValueError(
                f"Invalid axis names for Layout. Valid axis names: {sorted(valid)}, Got {self.axes}"
            )

    def __repr__(self) -> str:
        return f"<TensorLayout axes={self.axes}, device_mesh={self._device_mesh}>"


class LayoutMap(MutableMapping[str, Any]):
    """Layouts by path, or by a regular expression of the whole path; None for other paths."""

    def __init__(self, device_mesh: DeviceMesh | None):
        self.device_mesh = device_mesh
        self._map: dict[str, TensorLayout] = {}

    def __getitem__(self, key: str) -> TensorLayout | None:
        if key in self._map:
            return self._map[key]
        found = [pattern for pattern in self._map if re.fullmatch(pattern, key)]
        if len(found) > 1:
            raise ValueError(
                f"Path '{key}' matches multiple layout specification keys: {found}. Please make "
                "sure each tensor/variable path only matches at most one layout specification "
                "key in the LayoutMap."
            )
        return self._map[found[0]] if found else None

    def __setitem__(self, key: str, layout: Any) -> None:
        if key in self._map:
            raise ValueError(
                f"{key} already exist in the LayoutMap with value {self._map[key]}. Please make "
                "sure to not use duplicated keys."
            )
        layout = TensorLayout(layout) if isinstance(layout, tuple) else layout
        if not isinstance(layout, TensorLayout):
            raise ValueError(f"{layout} should be a TensorLayout type, got {type(layout)}")
        if layout.device_mesh is None and self.device_mesh is not None:
            layout.device_mesh = self.device_mesh
        self._map[key] = layout

    def __delitem__(self, key: str) -> None:
        del self._map[key]

    def __len__(self) -> int:
        return len(self._map)

    def __iter__(self) -> Iterator[str]:
        return iter(self._map)


class _Distribution:
    """Layouts of data, of variables and of tensors on a mesh."""

    def __init__(self, device_mesh: DeviceMesh, batch_dim_name: str, auto_shard_dataset: bool):
        self.device_mesh, self.batch_dim_name = device_mesh, batch_dim_name
        self.auto_shard_dataset = auto_shard_dataset

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Makes it the distribution of a block."""
        before = _current[-1]
        _current.append(self)
        try:
            yield
        finally:
            _current[:] = [before]

    def get_data_layout(self, data_shape: Any) -> TensorLayout:
        """Returns the layout of a batch: rows are divided."""
        rest = [None] * (len(data_shape) - 1)
        return TensorLayout([self.batch_dim_name, *rest], self.device_mesh)

    def get_tensor_layout(self, path: str) -> TensorLayout | None:
        """Returns the layout of a tensor by its path, or None."""
        return None

    def get_variable_layout(self, variable: Any) -> TensorLayout:
        """Returns the layout of a variable: each device has all of it."""
        return TensorLayout([None] * len(variable.shape), self.device_mesh)

    def distribute_dataset(self, dataset: Any) -> Any:
        """Returns the data set: one process reads all of it."""
        return dataset

    def __repr__(self) -> str:
        return f"<{type(self).__name__} device_mesh={self.device_mesh}>"


class DataParallel(_Distribution):
    """Rows of a batch divided among the devices of a mesh, all of a model on each.

    Args:
      device_mesh: with one axis; else `devices`, else all of this process.
      auto_shard_dataset: whether data sets are divided among processes.
    """

    def __init__(self, device_mesh: DeviceMesh | None = None, devices: Any = None,
                 auto_shard_dataset: bool = True):  # fmt: skip
        if device_mesh is None:
            names = list_devices() if devices is None else list(np.ravel(devices))
            device_mesh = DeviceMesh((len(names),), ["batch"], names)
        if not isinstance(device_mesh, DeviceMesh):
            raise ValueError(
                "Expect `mesh` to be an instance of `DeviceMesh`. Received: "
                f"mesh={device_mesh} (of type {type(device_mesh)})"
            )
        super().__init__(device_mesh, device_mesh.axis_names[0], auto_shard_dataset)

    @property
    def num_model_replicas(self) -> int:
        """How many devices have the model."""
        return int(self.device_mesh.devices.size)


class ModelParallel(_Distribution):
    """Weights divided among the devices of a mesh as a map of layouts says.

    Args:
      layout_map: LayoutMap with a mesh.
      batch_dim_name: the mesh's axis along which batches are divided; default its first.
    """

    def __init__(self, *, layout_map: Any = None, batch_dim_name: str | None = None,
                 auto_shard_dataset: bool = True, **kwargs: Any):  # fmt: skip
        kwargs.pop("device_mesh", None)
        if layout_map is None:
            raise ValueError("You must specify a layout_map argument.")
        if not isinstance(layout_map, LayoutMap) or layout_map.device_mesh is None:
            raise ValueError(
                "Argument `layout_map` must be a `LayoutMap` instance with a device mesh. "
                f"Received: layout_map={layout_map}"
            )
        mesh = layout_map.device_mesh
        name = batch_dim_name or mesh.axis_names[0]
        if name not in mesh.axis_names:
            raise ValueError(f"batch_dim_name={name!r} is none of {list(mesh.axis_names)}.")
        super().__init__(mesh, name, auto_shard_dataset)
        self._layout_map = layout_map

    @property
    def num_model_replicas(self) -> int:
        """How many groups of devices have the model."""
        mesh = self.device_mesh
        return int(mesh.shape[list(mesh.axis_names).index(self.batch_dim_name)])

    def get_tensor_layout(self, path: str) -> TensorLayout | None:
        """Returns what the map says of a path."""
        return self._layout_map[path]

    def get_variable_layout(self, variable: Any) -> TensorLayout:
        """Returns what the map says of a variable's path; else each device has all of it."""
        path = getattr(variable, "path", variable.name)
        return self._layout_map[path] or super().get_variable_layout(variable)


def distribute_tensor(tensor: Any, layout: TensorLayout) -> Any:
    """Returns the tensor: the one device has all of it."""
    x = convert_to_tensor(tensor)
    if not isinstance(layout, TensorLayout) or len(layout.axes) != x.ndim:
        raise errors.invalid("distribute_tensor", f"a TensorLayout of {x.ndim} axes", repr(layout))
    return x


_current: list[Any] = [None]


def distribution() -> Any:
    """Returns the distribution that is set, or None."""
    return _current[-1]


def set_distribution(value: Any) -> None:
    """Sets the distribution of the process; None for none.

    Raises:
      ValueError: for something else.
    """
    if value is not None and not isinstance(value, _Distribution):
        raise errors.invalid("set_distribution", "DataParallel, ModelParallel or None", repr(value))
    _current[:] = [value]
