"""How far this host's clock is from rank 0's: the middle of the shortest of some round trips.

Source: Cristian 1989, Probabilistic clock synchronization, Distributed Computing 3(3).
"""

from __future__ import annotations

import struct

from distflow.comm.transport.base import Transport
from distflow.telemetry import timeline

_TRIPS = 12
_TAG = (1 << 64) - 512  # no collective has it
_WHAT = "clock_offset"


def offset(transport: Transport, timeout_seconds: float) -> tuple[int, int]:
    """Returns (what to add to this clock to have rank 0's, time of the trip), in nanoseconds.

    All ranks call it between two collectives. Rank 0 answers one rank after the other; a trip
    during which it was busy with another one is long, and not the shortest.
    """
    if transport.rank == 0:
        for peer in range(1, transport.world_size):
            for _ in range(_TRIPS):
                transport.recv(peer, timeout_seconds=timeout_seconds, what=_WHAT)
                transport.send(peer, _TAG, struct.pack("<q", timeline.now()))
        return 0, 0
    best = (0, 1 << 62)
    for _ in range(_TRIPS):
        start = timeline.now()
        transport.send(0, _TAG)
        frame = transport.recv(0, timeout_seconds=timeout_seconds, what=_WHAT)
        end = timeline.now()
        (there,) = struct.unpack("<q", frame.meta)
        if end - start < best[1]:
            best = (there - (start + end) // 2, end - start)
    return best
