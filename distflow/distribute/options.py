"""CommunicationOptions: how long workers wait for each other, and how they reduce."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from distflow.base import errors


class CommunicationImplementation(enum.Enum):
    """TF's names of algorithms; all of ours give equal bytes.

    AUTO chooses by size. RING takes the algorithm that moves as few bytes as a ring at any size.
    NCCL is for GPUs and refused.
    """

    AUTO = "AUTO"
    RING = "RING"
    NCCL = "NCCL"


# The communicator's names.
ALGORITHM = {
    CommunicationImplementation.AUTO: "auto",
    CommunicationImplementation.RING: "direct",
}


@dataclass(frozen=True)
class CommunicationOptions:
    """Options of collectives between workers (TF's name).

    Args:
      bytes_per_pack: bytes of a bucket of gradients in compiled steps; 0: 4 MiB, after a first one
        of 1 MiB. Equal on all workers; bits do not depend on it. Must not be negative.
      timeout_seconds: how long a collective may make no progress; DISTFLOW_TIMEOUT if None.
      implementation: a CommunicationImplementation.
      overlap: whether a bucket leaves as soon as its gradients are final, while backward still
        runs; None: DISTFLOW_OVERLAP, else where a core is left for it. Bits do not depend on it.
      compression: "bf16": float32 arrays that replicas sum within a step (gradients, and what they
        `all_reduce`) are rounded to bfloat16 at every leaf and node of the summation tree. That
        halves the bytes between workers, and any number of workers still gives the same bits;
        they are others than without. None: full precision.

    Raises:
      InvalidArgumentError: for a negative size, a timeout that is not positive, another
        compression, or NCCL.
    """

    bytes_per_pack: int = 0
    timeout_seconds: float | None = None
    implementation: CommunicationImplementation = CommunicationImplementation.AUTO
    overlap: bool | None = None
    compression: str | None = None

    def __post_init__(self) -> None:
        where = "CommunicationOptions"
        if self.bytes_per_pack < 0:
            raise errors.invalid(where, "bytes_per_pack must be >= 0", str(self.bytes_per_pack))
        if self.timeout_seconds is not None and not self.timeout_seconds > 0:
            raise errors.invalid(where, "timeout_seconds must be > 0", str(self.timeout_seconds))
        # "int8" has state of each replica, which neither checkpoints nor elastic jobs carry yet.
        if self.compression not in (None, "bf16"):
            raise errors.invalid(
                where, 'compression must be None or "bf16"', repr(self.compression)
            )
        if self.implementation not in ALGORITHM:
            raise errors.invalid(
                where,
                "implementation must be CommunicationImplementation.AUTO or RING",
                str(self.implementation),
                "NCCL connects GPUs; distflow computes on CPUs.",
            )

    @property
    def algorithm(self) -> str:
        """The communicator's name of the algorithm."""
        return ALGORITHM[self.implementation]


def checked(where: str, options: Any) -> CommunicationOptions:
    """Returns the options, or the defaults for None; raises InvalidArgumentError for others."""
    if options is None:
        return CommunicationOptions()
    if not isinstance(options, CommunicationOptions):
        raise errors.invalid(
            where,
            "communication_options must be tf.distribute.experimental.CommunicationOptions",
            repr(options)[:80],
        )
    return options
