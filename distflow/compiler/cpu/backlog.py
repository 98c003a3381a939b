"""Work that other threads do while the caller goes on: compilations, which need no GIL.

A task is done by whoever comes first: a thread of the backlog, or the caller that needs its result
and finds that nobody has begun. Threads are started when there is work and end when there is none,
so none is left over. One core has none: the caller does all, when it is needed.
"""

from __future__ import annotations

import collections
import sys
import threading
from collections.abc import Callable

from distflow.base import flags, local_world
from distflow.compiler.cpu import cores

# More threads than this find nothing to do: one thread writes what they compile.
_MOST_THREADS = 3
# Seconds after which a thread that runs Python hands over the GIL. With Python's own 5 ms a
# compilation, which takes it a dozen times, would wait longer than it works.
_SWITCH_SECONDS = 1e-4


class Task:
    """A function that is called once, some time; it is queued when it is made."""

    def __init__(self, run: Callable[[], bytes]):
        self._run: Callable[[], bytes] | None = run
        self._done = threading.Event()
        self._result: bytes | None = None
        self._error: BaseException | None = None
        with _state.changed:
            _state.queue.append(self)
            _state.add_thread()

    def result(self) -> bytes:
        """Returns what the function returned, or raises what it raised."""
        with _state.changed:
            own = self in _state.queue
            if own:
                _state.queue.remove(self)
                _state.running += 1
        if own:
            self.do()
        self._done.wait()
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def do(self) -> None:
        """Calls the function, in a thread that has taken the task."""
        try:
            assert self._run is not None, "a task is done once"
            self._result = self._run()
        except BaseException as error:  # noqa: BLE001  (it belongs to who asks for the result)
            self._error = error
        finally:
            self._run = None
            self._done.set()
            with _state.changed:
                _state.running -= 1
                _state.changed.notify_all()


class _State:
    """The queue, and who works on it; all of it is guarded by `changed`."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.queue: collections.deque[Task] = collections.deque()
        self.running = 0
        self._threads = 0
        self._held = 0
        self._interval = 0.0

    def add_thread(self) -> None:
        """Starts a thread, if there is a core for it."""
        if self._held or self._threads >= min(len(self.queue), _spare_cores()):
            return
        try:
            # Not a daemon: Python must not end while LLVM works.
            threading.Thread(target=self._work, name="distflow-compile", daemon=False).start()
        except RuntimeError:  # too many, or Python is about to end
            return
        if not self._threads:
            self._interval = sys.getswitchinterval()
            sys.setswitchinterval(min(self._interval, _SWITCH_SECONDS))
        self._threads += 1

    def _work(self) -> None:
        while True:
            with self.changed:
                if self._held or not self.queue or not threading.main_thread().is_alive():
                    self._threads -= 1
                    if not self._threads:
                        sys.setswitchinterval(self._interval)
                    self.changed.notify_all()
                    return
                task = self.queue.popleft()
                self.running += 1
            task.do()

    def wait(self) -> None:
        """Returns when the queue is empty and nothing runs."""
        while self.queue:
            self.queue[0].result()
        with self.changed:
            self.changed.wait_for(lambda: not (self.queue or self.running))

    def hold(self) -> None:
        """Lets nothing begin, and waits until nothing runs; keeps the lock."""
        self.changed.acquire()
        self._held += 1
        self.changed.wait_for(lambda: not (self.running or self._threads))

    def go_on(self) -> None:
        """Ends `hold`."""
        self._held -= 1
        for _ in range(len(self.queue)):
            self.add_thread()
        self.changed.release()


_state = _State()


def wait() -> None:
    """Returns when no task is left."""
    _state.wait()


def hold() -> None:
    """Waits for what runs and lets nothing begin until `go_on`: for a fork."""
    _state.hold()


def go_on() -> None:
    """Ends `hold`; in a child of a fork as well, where what is queued is done by new threads."""
    _state.go_on()


def _spare_cores() -> int:
    wanted: int | None = flags.get("DISTFLOW_THREADS")
    found = cores.share(local_world.local_world_size(), flags.get("DISTFLOW_LOCAL_CORES"))
    return min(found if wanted is None else min(found, wanted), _MOST_THREADS + 1) - 1
