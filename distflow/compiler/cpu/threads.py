"""A small persistent pool of threads that run native programs side by side.

Programs and their records: `worker.py`. Each unit of work is computed by the same code whichever
thread has it, so results do not depend on the number of threads. One caller at a time has the
pool; another caller meanwhile does all of its work alone. After a fork the child starts a pool of
its own.
"""

from __future__ import annotations

import _thread
import ctypes
import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from distflow.base import flags, local_world
from distflow.compiler.cpu import cores, worker

# Nanoseconds of work below which a second thread does not pay.
INLINE_WORK = 12_000

_PROGRAM = ctypes.c_int64 * (2 * worker.RECORD_WORDS)


def aligned_words(count: int) -> tuple[np.ndarray, int]:
    """Returns zeros of int64 that begin at a cache line, and their address."""
    raw = np.zeros(8 * count + 128, np.uint8)
    start = -raw.ctypes.data % 128
    words = raw[start : start + 8 * count].view(np.int64)
    return words, words.ctypes.data


class _Pool:
    """Threads that wait for programs; they live as long as the process."""

    def __init__(self) -> None:
        self._state, self._address = aligned_words(worker.STATE_WORDS)
        self._native: worker.Functions | None = None
        self._busy = _thread.allocate_lock()
        self._tokens: list[Any] = [None]

    def run(self, programs: Sequence[int], times: int, shares: int) -> bool:
        """Runs programs, the first in the calling thread; False if another caller has the pool."""
        if not self._busy.acquire(blocking=False):
            return False
        try:
            native = self._native or self._start()
            count = len(programs)
            while len(self._tokens) < count:
                self._add(native)
            table = (ctypes.c_int64 * count)(*programs)
            self._release(native.publish(self._address, ctypes.addressof(table), count, shares))
            native.lead(self._address, programs[0], count, times)
            return True
        finally:
            self._busy.release()

    def run_alone(self, program: int, times: int) -> None:
        """Runs a program for one thread in the calling thread."""
        native = self._native or self._start()
        native.lead(0, program, 1, times)

    def wake(self) -> None:
        """Lets sleeping threads spin: there will be work in a moment."""
        if self._native is not None and len(self._tokens) > 1:
            self._release(self._native.wake(self._address, len(self._tokens)))

    def _start(self) -> worker.Functions:
        self._native = worker.functions()
        return self._native

    def _add(self, native: worker.Functions) -> None:
        token = _thread.allocate_lock()
        token.acquire()
        number = len(self._tokens)
        self._tokens.append(token)
        threading.Thread(
            target=_follow, args=(native.follow, self._address, number, token, self._state),
            name=f"distflow-cpu-{number}", daemon=True,
        ).start()  # fmt: skip

    def _release(self, mask: int) -> None:
        number = 0
        while mask:
            if mask & 1:
                self._tokens[number].release()
            mask >>= 1
            number += 1


def _follow(follow: Any, address: int, number: int, token: Any, state: Any) -> None:
    # `state` is held by the thread: it must not go before the thread does.
    while True:
        follow(address, number)
        token.acquire()


_pool = _Pool()


def num_threads() -> int:
    """Returns DISTFLOW_THREADS, else one for each core that is this worker's share."""
    wanted: int | None = flags.get("DISTFLOW_THREADS")
    if wanted is None:
        wanted = cores.share(local_world.local_world_size(), flags.get("DISTFLOW_LOCAL_CORES"))
    return min(wanted, worker.MOST_THREADS)


def run(programs: Sequence[int], alone: int, times: int = 0, shares: int = 0) -> None:
    """Runs one native program a thread.

    Args:
      programs: address of each thread's program, meeting at the same barriers.
      alone: address of a program that does all of it in one thread, if the pool is not free.
      times: address of a counter for each record of the first program (or of `alone`): cycles
        spent in it are added; 0: nobody asks.
      shares: of the programs, as `worker.Functions.publish` has them; 0: no calls are shared.
    """
    if len(programs) == 1 or not _pool.run(programs, times, shares):
        _pool.run_alone(alone, times)


def wake() -> None:
    """Makes the pool's threads ready for a program that comes within some 100 microseconds."""
    _pool.wake()


def parallel_for(function: Any, arguments: int, units: int, work: int) -> None:
    """Runs `function(arguments, begin, end)` over all of [0, units), cut among the threads.

    Args:
      function: from `jit.Module.function`; must not fail; may run at once on several ranges.
      arguments: address that is handed on; valid until this returns.
      units: number of units of work.
      work: rough nanoseconds of all units on one core; little work runs in the calling thread.
    """
    parts = 1 if work < INLINE_WORK else min(num_threads(), units)
    if parts <= 1:
        function(arguments, 0, units)
        return
    address = function_address(function)
    records = [
        _PROGRAM(address, arguments, units * i // parts, units * (i + 1) // parts)
        for i in range(parts)
    ]
    alone = _PROGRAM(address, arguments, 0, units)
    run([ctypes.addressof(r) for r in records], ctypes.addressof(alone))


def function_address(function: Any) -> int:
    """Returns the address of a native function."""
    found = getattr(function, "address", None)
    if found is None:
        found = ctypes.cast(function, ctypes.c_void_p).value
        function.address = found
    assert found is not None
    return int(found)


def _forget_threads() -> None:
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
