"""Courier: moves buckets of gradients between workers while the step that made them goes on.

Buckets leave in the order in which they were handed over, which is the same on every worker. One
thread moves them, one after the other, so that collectives are still called by one at a time; what
calls one directly waits first until nothing is under way (`settle`).
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace

from distflow.telemetry import metrics, timeline


@dataclass
class Communication:
    """What the reductions of gradients have cost this worker so far.

    Attributes:
      buckets: how many were reduced.
      num_bytes: of these.
      seconds: from the start of each to its end.
      exposed_seconds: of these, what the steps had to wait.
    """

    buckets: int = 0
    num_bytes: int = 0
    seconds: float = 0.0
    exposed_seconds: float = 0.0


class Shipment:
    """A bucket under way."""

    def __init__(self, courier: Courier, move: Callable[[], None], num_bytes: int):
        self._courier = courier
        self._move: Callable[[], None] | None = move
        self._num_bytes = num_bytes
        self._done = threading.Event()
        self._error: BaseException | None = None

    def wait(self) -> None:
        """Returns when the bucket holds the sums; raises what went wrong on the way."""
        start = timeline.now()
        self._done.wait()
        self._courier.waited(start)
        if self._error is not None:
            raise self._error

    def run(self, failed: BaseException | None) -> BaseException | None:
        """Moves it, unless one before it has failed; returns the error."""
        start = timeline.now()
        move, self._move = self._move, None
        assert move is not None
        try:
            if failed is not None:
                raise failed
            move()
        except BaseException as error:  # noqa: BLE001 - raised by `wait`
            self._error = error
        self._courier.count(self._num_bytes, (timeline.now() - start) / 1e9)
        self._done.set()
        return self._error


class _Arrived:
    """A bucket that was moved at once."""

    def wait(self) -> None:
        """Returns."""


ARRIVED = _Arrived()


class Courier:
    """The thread that moves buckets, started when there is one, and what all of it has cost."""

    def __init__(self) -> None:
        self.statistics = Communication()
        self._waiting: queue.SimpleQueue[Shipment | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._last: Shipment | None = None
        weakref.finalize(self, self._waiting.put, None)

    def send(self, move: Callable[[], None], num_bytes: int) -> Shipment:
        """Calls `move` soon, after what was sent before. Returns what to wait for."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(
                target=_serve, args=(self._waiting,), name="distflow-courier", daemon=True
            )
            self._thread.start()
        self._last = shipment = Shipment(self, move, num_bytes)
        self._waiting.put(shipment)
        return shipment

    def carry(self, move: Callable[[], None], num_bytes: int) -> _Arrived:
        """Calls `move` at once, after what was sent before."""
        self.settle()
        start = timeline.now()
        move()
        self.count(num_bytes, (timeline.now() - start) / 1e9)
        self.waited(start, shown=False)
        return ARRIVED

    def settle(self) -> None:
        """Returns when nothing is under way any more: a collective of another kind may begin."""
        last = self._last
        if last is not None and threading.current_thread() is not self._thread:
            last._done.wait()
            self._last = None

    def waited(self, start: int, *, shown: bool = True) -> None:
        """Adds the time since `start` to what steps had to wait."""
        seconds = (timeline.now() - start) / 1e9
        self.statistics.exposed_seconds += seconds
        metrics.exposed_seconds.value += seconds
        if shown and timeline.active is not None:
            timeline.active.add("wait for bucket", "wait", start)

    def count(self, num_bytes: int, seconds: float) -> None:
        """Adds a bucket to the statistics."""
        found = self.statistics
        found.buckets += 1
        found.num_bytes += num_bytes
        found.seconds += seconds

    def snapshot(self) -> Communication:
        """Returns a copy of the statistics."""
        return replace(self.statistics)


def _serve(waiting: queue.SimpleQueue[Shipment | None]) -> None:
    # What has failed takes those of the same step with it; the queue runs empty before the next.
    failed: BaseException | None = None
    while (shipment := waiting.get()) is not None:
        failed = shipment.run(failed)
        if waiting.empty():
            failed = None
        # While it waits the thread must not keep a strategy alive.
        del shipment
