"""The records of some threads that run side by side, and where they have to wait for each other."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from distflow.compiler.cpu import schedule, threads, worker
from distflow.compiler.cpu.operations import Native
from distflow.compiler.cpu.task import Call

# Nanoseconds of work of a phase from which threads that are done take work from others, and into
# how many parts each thread's share of a call is cut for it.
_SHARED_WORK, _PARTS = 100_000, 8


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
        # Shared calls: descriptors, and the first values of their words.
        self._shared: list[Any] = []
        self._words: list[int] = []

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
        self, phase: Sequence[tuple[Native, Call]], pointers: Callable[[int, Native, Call], int],
        shared: bool = False,
    ) -> None:  # fmt: skip
        """Adds calls that run at once, after what was added before.

        Args:
          pointers: gives the address of a call's pointers for a thread.
          shared: whether a thread that is done may do what others have not begun. The pointers are
            those of all threads then, and the records run once.
        """
        parts = schedule.deal(phase, self.count)
        if shared and self.count > 1 and sum(c.work for _, c in phase) >= _SHARED_WORK:
            self._share(phase, parts, pointers)
            return
        busy = {t for t, part in enumerate(parts) if part}
        # Only what another thread did before has to be waited for.
        if any(t != u for t in busy for u in self.dirty):
            self.meet()
        self.dirty |= busy
        for t, part in enumerate(parts):
            for operation, call, begin, end in part:
                function = threads.function_address(call.function)
                self.add(t, (function, pointers(t, operation, call), begin, end), operation)

    def _share(self, phase: Sequence[tuple[Native, Call]], parts: Any, pointers: Any) -> None:
        if self.dirty:
            self.meet()
        self.dirty = set(range(self.count))
        native = worker.functions()
        own, steal = (threads.function_address(f) for f in (native.own, native.steal))
        ranges = {
            (id(operation), id(call), t): (begin, end)
            for t, part in enumerate(parts) for operation, call, begin, end in part
        }  # fmt: skip
        steals = []
        for operation, call in phase:
            grain = max(call.units // (self.count * _PARTS), 1)
            function = threads.function_address(call.function)
            descriptor = (ctypes.c_int64 * 4)(function, pointers(0, operation, call), grain, 0)
            self._shared.append((descriptor, len(self._words)))
            for t in range(self.count):
                begin, end = ranges.get((id(operation), id(call), t), (0, 0))
                self._words.append(begin << 32 | end)
                if end > begin:
                    self.add(t, (own, ctypes.addressof(descriptor), t, self.count), operation)
            steals.append((steal, ctypes.addressof(descriptor), operation))
        for t in range(self.count):
            for function, address, operation in steals:
                self.add(t, (function, address, t, self.count), operation)

    def shares(self) -> Any:
        """Returns what `threads.run` wants to know of shared calls; None if there are none."""
        if not self._words:
            return None
        count = len(self._words)
        block = (ctypes.c_int64 * (1 + 2 * count))(8 * count, *self._words)
        for descriptor, number in self._shared:
            descriptor[3] = ctypes.addressof(block) + 8 * (1 + count + number)
        return block, self._shared

    def programs(self) -> list[Any]:
        """Returns the finished programs as arrays of words."""
        return [(ctypes.c_int64 * (len(r) + 4))(*r, worker.END, 0, 0, 0) for r in self.records]
