"""MirroredStrategy: the replicas of one process, as threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distflow.base import errors, flags
from distflow.comm import Communicator
from distflow.distribute import cross_device_ops as cross_device_ops_
from distflow.distribute.strategy import Strategy


class MirroredStrategy(Strategy):
    """Synchronous training on the logical replicas of one process.

    Args:
      devices: a number of replicas, or a list with one entry each (["/cpu:0", "/cpu:1"]).
      cross_device_ops: a CrossDeviceOps, or None; whichever it is, sums follow the replicas' tree.
      logical_replicas: V, if it is not the number of devices.

    V is `logical_replicas`, else the environment's DISTFLOW_REPLICAS, else the devices, else 1.
    """

    def __init__(
        self,
        devices: int | Sequence[str] | None = None,
        cross_device_ops: Any = None,
        logical_replicas: int | None = None,
    ):
        _check_devices(devices)
        cross_device_ops_.check("MirroredStrategy", cross_device_ops)
        count = devices if isinstance(devices, int) or devices is None else len(devices)
        replicas = logical_replicas or flags.get("DISTFLOW_REPLICAS") or count or 1
        check_replicas("MirroredStrategy", replicas)
        super().__init__(Communicator.local(replicas))


def check_replicas(where: str, replicas: Any) -> None:
    """Raises InvalidArgumentError unless the number of logical replicas is an int >= 1."""
    if not isinstance(replicas, int) or replicas < 1:
        raise errors.invalid(where, "the number of logical replicas must be >= 1", repr(replicas))


def _check_devices(devices: Any) -> None:
    """Raises InvalidArgumentError for a device that is not the host's CPU."""
    names = devices if isinstance(devices, list | tuple) else []
    unknown = [name for name in names if "cpu" not in str(name).lower()]
    if unknown:
        raise errors.invalid(
            "MirroredStrategy", "devices must be a number, or CPUs such as '/cpu:0'",
            ", ".join(map(repr, unknown)), "distflow computes on the host's CPU.",
        )  # fmt: skip
