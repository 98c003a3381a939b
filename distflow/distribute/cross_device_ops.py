"""CrossDeviceOps: how TF's MirroredStrategy sums over devices, accepted by their names.

Here sums always follow the replicas' tree, in shared memory, so that bits do not depend on the
choice; the objects are checked and kept for programs that name one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from distflow.base import errors
from distflow.distribute import context


class CrossDeviceOps:
    """Reduces values of replicas under the strategy in force."""

    def reduce(
        self, reduce_op: Any, per_replica_value: Any, destinations: Any, options: Any = None
    ) -> Any:
        """Returns the values reduced over all replicas; see StrategyExtended.reduce_to."""
        extended = context.get_strategy().extended
        return extended.reduce_to(reduce_op, per_replica_value, destinations, options)

    def batch_reduce(
        self, reduce_op: Any, value_destination_pairs: Iterable[Any], options: Any = None
    ) -> list[Any]:
        """Returns `reduce` of the first of each pair."""
        extended = context.get_strategy().extended
        return extended.batch_reduce_to(reduce_op, value_destination_pairs, options)

    def broadcast(self, tensor: Any, destinations: Any) -> Any:
        """Returns the tensor, which every replica of this worker may read."""
        return context.get_strategy().extended.broadcast_to(tensor, destinations)


class HierarchicalCopyAllReduce(CrossDeviceOps):
    """TF's name for a sum within groups of devices, then between them.

    Args:
      num_packs: into how many parts TF would divide gradients; at least 0.
    """

    def __init__(self, num_packs: int = 1):
        if num_packs < 0:
            raise ValueError(
                f"HierarchicalCopyAllReduce requires num_packs >= 0; received {num_packs}."
            )
        self.num_packs = num_packs


class ReductionToOneDevice(CrossDeviceOps):
    """TF's name for a sum on one device.

    Args:
      reduce_to_device: accepted if it is a CPU, or None.
      accumulation_fn: must be None: additions follow the replicas' tree, two at a time.
    """

    def __init__(self, reduce_to_device: str | None = None, accumulation_fn: Any = None):
        if reduce_to_device is not None and "cpu" not in str(reduce_to_device).lower():
            raise errors.invalid(
                "ReductionToOneDevice", "reduce_to_device must be a CPU", repr(reduce_to_device)
            )
        if accumulation_fn is not None:
            raise errors.invalid(
                "ReductionToOneDevice",
                "accumulation_fn=None",
                repr(accumulation_fn)[:80],
                "Sums are taken in a fixed tree over replicas, so that any number of workers gives "
                "the same bits.",
            )
        self.reduce_to_device = reduce_to_device


class NcclAllReduce(CrossDeviceOps):
    """TF's name for sums between GPUs; refused, as `CommunicationImplementation.NCCL` is.

    Raises:
      InvalidArgumentError: always.
    """

    def __init__(self, num_packs: int = 1):
        raise errors.invalid(
            "NcclAllReduce",
            "HierarchicalCopyAllReduce or ReductionToOneDevice",
            "NcclAllReduce",
            "NCCL connects GPUs; distflow computes on CPUs. Leave cross_device_ops out.",
        )


def check(where: str, found: Any) -> None:
    """Raises ValueError for what is neither None nor a CrossDeviceOps."""
    if found is not None and not isinstance(found, CrossDeviceOps):
        raise errors.invalid(
            where, "cross_device_ops must be a tf.distribute.CrossDeviceOps", repr(found)[:80]
        )
