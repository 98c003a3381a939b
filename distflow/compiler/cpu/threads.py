"""A small persistent pool of threads that run native functions over ranges of units of work.

The functions release the GIL. Each unit is computed by the same code whichever thread has it, so
results do not depend on the number of threads. After a fork the child starts a pool of its own.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable

from distflow.base import flags

# Element operations below which waking threads costs more than it saves (hand-over of a range
# takes some 30 us).
INLINE_WORK = 1 << 18

# (pointer to arguments, first unit, end)
RangeFunction = Callable[[int, int, int], object]


class _Pool:
    """Threads that take jobs from one queue; they live as long as the process."""

    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[tuple[RangeFunction, int, int, int, _Latch]] = (
            queue.SimpleQueue()
        )
        self._lock = threading.Lock()
        self._count = 0

    def grow(self, count: int) -> None:
        """Makes sure that there are at least so many threads."""
        with self._lock:
            while self._count < count:
                self._count += 1
                threading.Thread(
                    target=self._work, name=f"distflow-cpu-{self._count}", daemon=True
                ).start()

    def _work(self) -> None:
        while True:
            function, arguments, begin, end, latch = self.jobs.get()
            try:
                function(arguments, begin, end)
            finally:
                latch.count_down()


class _Latch:
    """Opens when it was counted down to nothing."""

    def __init__(self, count: int):
        self._count = count
        self._lock = threading.Lock()
        self._open = threading.Event()

    def count_down(self) -> None:
        with self._lock:
            self._count -= 1
            if self._count == 0:
                self._open.set()

    def wait(self) -> None:
        self._open.wait()


_pool = _Pool()


def num_threads() -> int:
    """Returns DISTFLOW_THREADS, else one for each core that this process may use.

    Workers of one host that the launcher started share its cores: one thread each.
    """
    wanted: int | None = flags.get("DISTFLOW_THREADS")
    if wanted is not None:
        return wanted
    if flags.get("DISTFLOW_LOCAL_RANK") is not None:
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parallel_for(function: RangeFunction, arguments: int, units: int, work: int) -> None:
    """Runs `function(arguments, begin, end)` over all of [0, units), cut among the threads.

    Args:
      function: native, must not fail; may run at once on several ranges.
      arguments: address that is handed on; valid until this returns.
      units: number of units of work.
      work: rough number of element operations in all; little work runs in the calling thread.
    """
    parts = 1 if work < INLINE_WORK else min(num_threads(), units)
    if parts <= 1:
        function(arguments, 0, units)
        return
    pool = _pool
    pool.grow(parts - 1)
    latch = _Latch(parts - 1)
    cuts = [units * i // parts for i in range(parts + 1)]
    for i in range(1, parts):
        pool.jobs.put((function, arguments, cuts[i], cuts[i + 1], latch))
    function(arguments, cuts[0], cuts[1])
    latch.wait()


def _forget_threads() -> None:
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
