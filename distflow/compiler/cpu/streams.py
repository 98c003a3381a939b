"""The records of some threads that run side by side, and where they have to wait for each other."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from distflow.compiler.cpu import schedule, threads, worker
from distflow.compiler.cpu.operations import Native
from distflow.compiler.cpu.task import Call


class Streams:
    """Programs while they are being made.

    Args:
      count: number of threads.

    Attributes:
      records: of each thread.
      labels: for each record of the first thread, the operation it belongs to, or None.
      dirty: threads that wrote something since all threads met.
    """

    def __init__(self, count: int):
        self.count = count
        self.records: list[list[int]] = [[] for _ in range(count)]
        self.labels: list[Any] = []
        self.dirty: set[int] = set()

    def add(self, thread: int, record: tuple[int, int, int, int], label: Any = None) -> None:
        """Adds a record for one thread."""
        self.records[thread] += record
        if thread == 0:
            self.labels.append(label)

    def meet(self) -> None:
        """Lets all threads wait for each other."""
        if self.count > 1:
            for t in range(self.count):
                self.add(t, (worker.BARRIER, 0, 0, 0))
        self.dirty = set()

    def phase(
        self, phase: Sequence[tuple[Native, Call]], pointers: Callable[[int, Native, Call], int]
    ) -> None:
        """Adds calls that run at once, after what was added before.

        Args:
          pointers: gives the address of a call's pointers for a thread.
        """
        parts = schedule.deal(phase, self.count)
        busy = {t for t, part in enumerate(parts) if part}
        # Only what another thread did before has to be waited for.
        if any(t != u for t in busy for u in self.dirty):
            self.meet()
        self.dirty |= busy
        for t, part in enumerate(parts):
            for operation, call, begin, end in part:
                function = threads.function_address(call.function)
                self.add(t, (function, pointers(t, operation, call), begin, end), operation)

    def programs(self) -> list[Any]:
        """Returns the finished programs as arrays of words."""
        return [(ctypes.c_int64 * (len(r) + 4))(*r, worker.END, 0, 0, 0) for r in self.records]
