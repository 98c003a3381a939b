"""tf.config: devices (the host's CPU is the only one) and how functions run."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any, NamedTuple

from distflow._missing import lookup
from distflow.base import errors
from distflow.base.missing import NotThereYetError


class PhysicalDevice(NamedTuple):
    """A device of this machine."""

    name: str
    device_type: str


class LogicalDevice(NamedTuple):
    """A device as programs see it."""

    name: str
    device_type: str


_PHYSICAL = PhysicalDevice("/physical_device:CPU:0", "CPU")
_LOGICAL = LogicalDevice("/device:CPU:0", "CPU")
_soft_placement = True


def list_physical_devices(device_type: str | None = None) -> list[PhysicalDevice]:
    """Returns the devices of a type: one CPU, and no GPU or TPU."""
    return [_PHYSICAL] if device_type in (None, "CPU") else []


def list_logical_devices(device_type: str | None = None) -> list[LogicalDevice]:
    """Returns the logical devices of a type: one CPU."""
    return [_LOGICAL] if device_type in (None, "CPU") else []


def get_visible_devices(device_type: str | None = None) -> list[PhysicalDevice]:
    """Returns the devices in use: the CPU always is."""
    return list_physical_devices(device_type)


def set_visible_devices(devices: Any, device_type: str | None = None) -> None:
    """Checks the devices; there is only the CPU, and it cannot be hidden.

    Raises:
      InvalidArgumentError: if a device is not there, or the CPU is to be hidden.
    """
    given = devices if isinstance(devices, list | tuple) else [devices]
    unknown = [d for d in given if d != _PHYSICAL]
    if unknown:
        raise errors.invalid("set_visible_devices", f"devices are {[_PHYSICAL]}", str(unknown))
    if not given and device_type in (None, "CPU"):
        raise errors.invalid("set_visible_devices", "the CPU must stay visible", "no device")


def get_soft_device_placement() -> bool:
    """Whether operations for devices that are not there run on the CPU."""
    return _soft_placement


def set_soft_device_placement(enabled: bool) -> None:
    """Notes the setting; there is only the CPU, so everything runs there."""
    global _soft_placement
    _soft_placement = bool(enabled)


def run_functions_eagerly(run_eagerly: bool) -> None:
    """Lets every `tf.function` run its Python code at each call, to debug it (True), or not."""
    importlib.import_module("distflow.function").run_functions_eagerly(run_eagerly)


def functions_run_eagerly() -> bool:
    """Whether functions run as plain Python."""
    return importlib.import_module("distflow.function").functions_run_eagerly()


experimental_run_functions_eagerly = run_functions_eagerly
experimental_functions_run_eagerly = functions_run_eagerly


def _enable_op_determinism() -> None:
    """Does nothing: distflow's operations always are deterministic."""


class _Experimental(SimpleNamespace):
    def __getattr__(self, name: str) -> Any:
        raise NotThereYetError(f"tf.config.experimental.{name} is not there in distflow.")


experimental = _Experimental(
    enable_op_determinism=_enable_op_determinism,
    get_visible_devices=get_visible_devices,
    list_logical_devices=list_logical_devices,
    list_physical_devices=list_physical_devices,
    set_visible_devices=set_visible_devices,
)

__all__ = [
    "LogicalDevice", "PhysicalDevice", "experimental", "experimental_functions_run_eagerly",
    "experimental_run_functions_eagerly", "functions_run_eagerly", "get_soft_device_placement",
    "get_visible_devices", "list_logical_devices", "list_physical_devices",
    "run_functions_eagerly", "set_soft_device_placement", "set_visible_devices",
]  # fmt: skip

__getattr__ = lookup("config")
