"""The memory through which the workers of one host talk: where everything in it lies.

Control blocks, a ring for frames from each rank to each other, and lanes of slots for reductions
(`algorithms/shared.py`). All offsets follow from three numbers.

Order of memory: control words are 8-byte aligned and written and read in one piece. Who publishes
data writes it first and then a word; who reads sees the word first. x86 keeps that order by itself;
elsewhere `fence` does.
"""

from __future__ import annotations

import platform
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from distflow.base import errors
from distflow.comm.transport.shared_file import SharedFile

LINE = 8  # words of a cache line
NUM_SLOTS = 4  # of each lane; see algorithms/shared.py
NUM_RESULTS = 4
# 105 MB between 2 processes: 35 ms with 128 KiB, 30 with 256, 30 with 512, 28 with 1 MiB; 16.8 MB:
# 5.0, 4.2, 4.3, 4.1 (Xeon, 2 cores with 2 MiB of second-level cache, 2026-11).
SLOT_BYTES = 512 << 10
_MIN_SLOT_BYTES = 64 << 10
_LANES_BYTES = 64 << 20  # of all lanes together, where there are many workers
RING_BYTES = 256 << 10
_MIN_RING_BYTES = 16 << 10
_RINGS_BYTES = 64 << 20  # of all rings together, where there are many workers
_PAGE = 4096
_CONTROL_BYTES = 3 * _PAGE

# Words of a rank's control block. The first is alone on its cache line: others wait for it.
DONE = 0
STATE, PID, BEAT, CALL, ERROR_BYTES = (LINE + i for i in range(5))
HEADERS = (4 * LINE, 64 * LINE)
HEADER_WORDS = 60 * LINE
ERROR_AT_BYTE = 2 * _PAGE
MAX_ERROR_BYTES = _PAGE

JOINED, LEFT, ABORTED = 1, 2, 3

# Whether stores are seen by others in the order in which they were made, and loads made in order.
_ORDERED = platform.machine() in {"x86_64", "AMD64", "i386", "i686"}
_lock = threading.Lock()


def fence() -> None:
    """Keeps memory accesses before it apart from those after it.

    Two pairs of lock operations: what is before the first release stays before the second
    acquisition. Free of cost where the processor keeps the order anyway.
    """
    if not _ORDERED:
        for _ in range(2):
            with _lock:
                pass


@dataclass(frozen=True)
class Plan:
    """Where everything lies in a segment for `world_size` workers."""

    world_size: int
    slot_bytes: int = SLOT_BYTES
    ring_bytes: int = RING_BYTES

    @classmethod
    def for_workers(cls, world_size: int) -> Plan:
        """Returns the plan for so many workers: with many of them all parts are smaller."""
        rings, slots = max(1, world_size * (world_size - 1)), NUM_SLOTS * (world_size + 1)
        return cls(
            world_size,
            max(_MIN_SLOT_BYTES, min(SLOT_BYTES, _LANES_BYTES // slots & -_PAGE)),
            max(_MIN_RING_BYTES, min(RING_BYTES, _RINGS_BYTES // rings & -_PAGE)),
        )

    def control_word(self, rank: int) -> int:
        """The first word of a rank's control block."""
        return (_PAGE + rank * _CONTROL_BYTES) // 8

    def ring(self, source: int, target: int) -> int:
        """The first byte of a ring: two words on lines of their own, then its data."""
        index = source * self.world_size + target
        return _PAGE + self.world_size * _CONTROL_BYTES + index * (_PAGE + self.ring_bytes)

    def ring_data(self, source: int, target: int) -> int:
        """The first byte of a ring's data."""
        return self.ring(source, target) + _PAGE

    def _lanes(self) -> int:
        return self.ring(self.world_size, 0)

    def slot(self, rank: int, slot: int) -> int:
        """The first byte of a slot of a rank's lane."""
        return self._lanes() + (rank * NUM_SLOTS + slot) * self.slot_bytes

    def result(self, slot: int) -> int:
        """The first byte of a slot for results, which all ranks write to."""
        return self.slot(self.world_size, slot)

    @property
    def num_bytes(self) -> int:
        """The size of the segment."""
        return self.result(NUM_RESULTS)


class Segment(SharedFile):
    """The segment of a group: bytes, and control words in front.

    Attributes:
      plan: where everything lies.
      words: the segment as signed 64-bit words.
      data: the segment as bytes, a NumPy array.
    """

    def __init__(self, file: int, num_bytes: int, cookie: bytes, plan: Plan):
        super().__init__(file, num_bytes, cookie)
        self.plan = plan
        self.words = memoryview(self.data.data).cast("q")

    @classmethod
    def make(cls, plan: Plan) -> Segment:
        """Returns a new segment; see `SharedFile.create`."""
        return cls.create(plan.num_bytes, plan)

    @property
    def ticket(self) -> dict[str, Any]:
        """What another process needs to open the segment, as JSON values."""
        plan = [self.plan.world_size, self.plan.slot_bytes, self.plan.ring_bytes]
        return {**super().ticket, "plan": plan}

    @classmethod
    def join(cls, ticket: dict[str, Any]) -> Segment:
        """Returns the segment that a process of this host has made; see `SharedFile.open`."""
        try:
            plan = Plan(*(int(size) for size in ticket["plan"]))
            if plan.num_bytes != ticket["size"]:
                raise ValueError(f"{plan} needs {plan.num_bytes} bytes")
        except (KeyError, TypeError, ValueError) as error:
            raise errors.DataLossError(f"shared memory: malformed ticket: {error!r}") from error
        return cls.open(ticket, plan)

    def write_error(self, rank: int, error: bytes) -> None:
        """Notes why a rank gave up."""
        error = error[:MAX_ERROR_BYTES]
        control = self.plan.control_word(rank)
        start = control * 8 + ERROR_AT_BYTE
        self.data[start : start + len(error)] = np.frombuffer(error, np.uint8)
        self.words[control + ERROR_BYTES] = len(error)
        fence()
        self.words[control + STATE] = ABORTED

    def read_error(self, rank: int) -> bytes:
        """Returns why a rank gave up."""
        control = self.plan.control_word(rank)
        size = max(0, min(self.words[control + ERROR_BYTES], MAX_ERROR_BYTES))
        start = control * 8 + ERROR_AT_BYTE
        return self.data[start : start + size].tobytes()
