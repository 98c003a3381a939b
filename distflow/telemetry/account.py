"""What collectives have cost: bytes and seconds, by peer.

Each communicator has an Account; all of a process are added up when somebody asks for metrics, so
that hot code only adds to numbers. Each number is written by one thread at a time.
"""

from __future__ import annotations

# (sent, received) of each account so far: a few numbers for each communicator, kept when that is
# gone. No lock: a finalizer may run wherever memory is asked for, also under a lock of this file.
_all: list[tuple[list[int], list[int]]] = []


class Account:
    """The bytes and seconds of one communicator.

    Args:
      world_size: number of workers.

    Attributes:
      sent, received: bytes to and from each rank.
      waited: nanoseconds in which this worker could only wait for each rank.
      busy: nanoseconds in collectives, waiting included.
      calls: number of collectives.
    """

    def __init__(self, world_size: int):
        self.sent = [0] * world_size
        self.received = [0] * world_size
        self.waited = [0] * world_size
        self.busy = 0
        self.calls = 0
        _all.append((self.sent, self.received))


def _add(total: list[int], more: list[int]) -> None:
    total.extend([0] * (len(more) - len(total)))
    for rank, count in enumerate(more):
        total[rank] += count


def bytes_by_peer() -> tuple[list[int], list[int]]:
    """Returns the bytes sent to and received from each rank, by all communicators so far."""
    sent: list[int] = []
    received: list[int] = []
    for there, back in list(_all):
        _add(sent, there)
        _add(received, back)
    return sent, received
