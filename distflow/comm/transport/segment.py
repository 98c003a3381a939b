"""The memory that the workers of one host share: where everything lies, and how they come to it.

A segment is an anonymous file (memfd). It has no name, in /dev/shm or elsewhere, so nothing stays
behind whatever kills the workers, and the size of /dev/shm does not matter. Others open it through
/proc/<pid>/fd, which only works for processes of the same user that see each other; a random cookie
inside tells that the file found there is the right one. Offsets follow from four numbers.

Order of memory: control words are 8-byte aligned and written and read in one piece. Who publishes
data writes it first and then a word; who reads sees the word first. x86 keeps that order by itself;
elsewhere `fence` does.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import platform
import secrets
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from distflow.base import errors

MAGIC = 0x6D68735F66640001
LINE = 8  # words of a cache line
NUM_SLOTS = 4  # of each lane; see algorithms/shared.py
NUM_RESULTS = 4
# 256 KiB: slots in use at a time stay in a 2 MiB second-level cache; 128 KiB to 1 MiB are within
# 10 % for 105 MB between 2 processes (Xeon, 2 cores, 2026-11).
SLOT_BYTES = 256 << 10
RING_BYTES = 256 << 10
_MIN_RING_BYTES = 16 << 10
_RINGS_BYTES = 64 << 20  # of all rings together, where there are many workers
_PAGE = 4096
_CONTROL_BYTES = 3 * _PAGE
_MEMORY_SHARE = 0.5  # of the free memory a segment may take at most

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
        """Returns the plan for so many workers: with many of them the rings are shorter."""
        pairs = max(1, world_size * (world_size - 1))
        ring_bytes = max(_MIN_RING_BYTES, min(RING_BYTES, _RINGS_BYTES // pairs & -_PAGE))
        return cls(world_size, ring_bytes=ring_bytes)

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


class Segment:
    """A mapped segment: bytes, and the control words in front.

    Attributes:
      plan: where everything lies.
      words: the segment as signed 64-bit words.
      data: the segment as bytes, a NumPy array.
    """

    def __init__(self, file: int, plan: Plan, cookie: bytes):
        self.plan = plan
        self.cookie = cookie
        self._file = file
        self._map = mmap.mmap(file, plan.num_bytes)
        self.words = memoryview(self._map).cast("q")
        self.data = np.frombuffer(self._map, np.uint8)

    @classmethod
    def create(cls, plan: Plan) -> Segment:
        """Returns a new segment.

        Raises:
          UnavailableError: where there are no anonymous files (only Linux has them).
          ResourceExhaustedError: if the host has not the memory.
        """
        if not hasattr(os, "memfd_create"):
            raise errors.UnavailableError("shared memory: expected Linux, which has memfd_create")
        check_memory(plan)
        file = os.memfd_create("distflow", os.MFD_CLOEXEC)
        try:
            os.ftruncate(file, plan.num_bytes)
            segment = cls(file, plan, secrets.token_bytes(16))
        except BaseException:
            os.close(file)
            raise
        segment.data[16:32] = np.frombuffer(segment.cookie, np.uint8)
        segment.words[1] = plan.num_bytes
        segment.words[0] = MAGIC
        return segment

    @property
    def ticket(self) -> dict[str, Any]:
        """What another process needs to open the segment, as JSON values."""
        return {
            "pid": os.getpid(),
            "file": self._file,
            "cookie": self.cookie.hex(),
            "plan": [self.plan.world_size, self.plan.slot_bytes, self.plan.ring_bytes],
        }

    @classmethod
    def open(cls, ticket: dict[str, Any]) -> Segment:
        """Returns a segment that a process of this host has made.

        Raises:
          UnavailableError: if it cannot be reached (another host or container, another user).
        """
        try:
            plan = Plan(*(int(size) for size in ticket["plan"]))
            cookie = bytes.fromhex(ticket["cookie"])
            path = f"/proc/{int(ticket['pid'])}/fd/{int(ticket['file'])}"
        except (KeyError, TypeError, ValueError) as error:
            raise errors.DataLossError(f"shared memory: malformed ticket: {error!r}") from error
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise errors.UnavailableError(f"shared memory: {path} cannot be opened") from error
        try:
            found = os.pread(file, 32, 0)
            words = np.frombuffer(found.ljust(32, b"\0"), np.int64)
            # In another container the same path may be somebody else's file.
            if found[16:] != cookie or words[0] != MAGIC or words[1] != plan.num_bytes:
                raise errors.UnavailableError(f"shared memory: {path} is not the job's segment")
            return cls(file, plan, cookie)
        except BaseException:
            os.close(file)
            raise

    def close(self) -> None:
        """Gives up the file; the memory goes with the last array that looks into it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

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


def check_memory(plan: Plan) -> None:
    """Raises ResourceExhaustedError if the segment would take too much of the free memory."""
    free = free_memory()
    if free is not None and plan.num_bytes > free * _MEMORY_SHARE:
        raise errors.ResourceExhaustedError(
            errors.message(
                "shared memory",
                f"{plan.world_size} workers need {plan.num_bytes / 2**20:.0f} MiB, "
                f"at most {_MEMORY_SHARE:.0%} of what is free",
                f"{free / 2**20:.0f} MiB free",
                "Give the host or container more memory, or set DISTFLOW_BACKEND=grpc.",
            )
        )


def free_memory() -> int | None:
    """Returns the bytes that this process may still take, by host and cgroup; None if unknown."""
    found = []
    with contextlib.suppress(OSError, ValueError), open("/proc/meminfo") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) << 10)
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        ),
    ):
        with contextlib.suppress(OSError, ValueError), open(limit) as most, open(used) as now:
            found.append(int(most.read()) - int(now.read()))
    return min(found, default=None)
