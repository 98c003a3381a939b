"""How the replica threads of one process take turns and meet.

Python code of replicas runs one thread at a time, lowest replica first, so that layers may be
built and variables made inside `strategy.run`. Compiled functions run side by side. At a meeting
each thread leaves a value; the last to come acts on all of them once, and everybody gets the
result. A thread that fails wakes the others with its error.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from distflow.base import errors
from distflow.telemetry import timeline


class Aborted(Exception):
    """Ends the threads of other replicas after one has failed; never leaves `run`."""


class Lockstep:
    """Turns and meetings of `count` threads, numbered from 0.

    Args:
      count: number of threads.
      names: what messages call each thread, e.g. "replica 3".
      timeout_seconds: how long a meeting may wait for a thread.
    """

    def __init__(self, count: int, names: list[str], timeout_seconds: float):
        self._count = count
        self.names = names
        self.timeout_seconds = timeout_seconds
        # One condition a thread, so that a turn wakes nobody but the next.
        lock = threading.Lock()
        self._news = [threading.Condition(lock) for _ in range(count)]
        self._lock = lock
        self._waiting = set(range(count))
        self._holder: int | None = None
        self._arrived: dict[int, tuple[str, Any]] = {}
        self._finished: set[int] = set()
        self._round = 0
        self._result: Any = None
        self.failure: BaseException | None = None
        # Side by side, but not more than there are cores.
        self._slots = threading.Semaphore(1 if count == 1 else min(count, os.cpu_count() or 1))

    # -- turns ---------------------------------------------------------------------------

    def take_turn(self, index: int) -> None:
        """Blocks until it is this thread's turn to run Python code."""
        with self._lock:
            self._waiting.add(index)
            while self._holder is not None or min(self._waiting) != index:
                self._raise_if_failed()
                self._news[index].wait(1.0)
            self._raise_if_failed()
            self._holder = index
            self._waiting.discard(index)

    def end_turn(self, index: int) -> None:
        """Lets another thread run Python code."""
        with self._lock:
            if self._holder == index:
                self._holder = None
            self._waiting.discard(index)
            if self._waiting:
                self._news[min(self._waiting)].notify()

    @contextlib.contextmanager
    def outside_python(self, index: int) -> Iterator[None]:
        """Runs the block beside other threads, on a core of its own if there is one."""
        if self._count == 1:
            yield
            return
        self.end_turn(index)
        try:
            with self._slots:
                yield
        finally:
            self.take_turn(index)

    # -- meetings ------------------------------------------------------------------------

    def meet(self, index: int, what: str, value: Any, action: Callable[[list[Any]], Any]) -> Any:
        """Returns action([value of thread 0, 1, ...]), run once when all threads have come.

        Raises:
          CollectiveMismatchError: if the threads meet for different things, or one has ended.
          WorkerLateError: if a thread has not come in time.
        """
        if self._count == 1:
            return action([value])
        held = self._holder == index
        if held:
            self.end_turn(index)
        else:
            self._slots.release()
        try:
            return self._meet(index, what, value, action)
        finally:
            if held:
                self.take_turn(index)
            else:
                self._slots.acquire()

    def _meet(self, index: int, what: str, value: Any, action: Callable[[list[Any]], Any]) -> Any:
        with self._lock:
            self._raise_if_failed()
            self._check_same(index, what)
            self._arrived[index] = (what, value)
            if len(self._arrived) < self._count:
                self._check_nobody_ended(index, what)
                return self._wait(index, what)
            values = [self._arrived[i][1] for i in range(self._count)]
        # Outside the lock: a failure elsewhere must be able to wake those who wait.
        try:
            result = action(values)
        except BaseException as error:
            self.fail(error)
            raise
        with self._lock:
            self._result = result
            self._arrived = {}
            self._round += 1
            self._wake_all()
            return result

    def _wait(self, index: int, what: str) -> Any:
        begun = timeline.now()
        try:
            return self._wait_for_all(index, what)
        finally:
            if timeline.active is not None:
                timeline.active.add("wait for replicas", "wait", begun, {"at": what})

    def _wait_for_all(self, index: int, what: str) -> Any:
        round_, start = self._round, time.monotonic()
        while self._round == round_:
            self._raise_if_failed()
            self._check_nobody_ended(index, what)
            if time.monotonic() - start > self.timeout_seconds and len(self._arrived) < self._count:
                late = [self.names[i] for i in range(self._count) if i not in self._arrived]
                waited = f"{self.names[index]} waited {self.timeout_seconds:g} s"
                error = errors.WorkerLateError(
                    f"{what}: {waited} for {', '.join(late)}.\n"
                    "Set DISTFLOW_TIMEOUT (seconds) if a step really takes that long."
                )
                self.failure = error
                self._wake_all()
                raise error
            self._news[index].wait(1.0)
        return self._result

    def _check_same(self, index: int, what: str) -> None:
        for other, (theirs, _) in self._arrived.items():
            if theirs != what:
                self._mismatch(f"{self.names[other]} is in {theirs}, {self.names[index]} in {what}")

    def _check_nobody_ended(self, index: int, what: str) -> None:
        if self._finished:
            ended = ", ".join(self.names[i] for i in sorted(self._finished))
            self._mismatch(f"{self.names[index]} waits in {what}, but {ended} has returned")

    def _mismatch(self, text: str) -> None:
        error = errors.CollectiveMismatchError(
            f"strategy.run: all replicas must do the same collective operations; {text}.\n"
            "Do not let the replica's number or data decide whether it reduces or assigns."
        )
        self.failure = self.failure or error
        self._wake_all()
        raise error

    # -- ends ----------------------------------------------------------------------------

    def finish(self, index: int) -> None:
        """Notes that a thread has returned from the replica function."""
        with self._lock:
            self._finished.add(index)
            if self._arrived:
                self._wake_all()
        self.end_turn(index)

    def fail(self, error: BaseException) -> None:
        """Notes the first failure and wakes everybody."""
        with self._lock:
            if self.failure is None and not isinstance(error, Aborted):
                self.failure = error
            self._wake_all()

    def _wake_all(self) -> None:
        for news in self._news:
            news.notify()

    def _raise_if_failed(self) -> None:
        if self.failure is not None:
            raise Aborted from self.failure
