"""Frames that wait to be sent to one peer; read by the thread in which gRPC sends."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from distflow.comm.transport import frames


class Outbox:
    """A queue of frames held by reference and turned into chunks only when gRPC asks for more.

    So memory in flight is bounded by gRPC's flow control, and adding a frame never waits.
    """

    def __init__(self, job: int, source: int, condition: threading.Condition):
        self._job = job
        self._source = source
        self._condition = condition
        self._queue: deque[tuple[int, bytes, Sequence[np.ndarray]]] = deque()
        self._index = 0
        self._busy = False
        self._abort: bytes | None = None
        self._ended = False  # no more frames, say goodbye
        self._cut = False  # say nothing more

    def put(self, tag: int, meta: bytes, parts: Sequence[np.ndarray]) -> None:
        """Adds a frame."""
        with self._condition:
            self._queue.append((tag, meta, parts))
            self._condition.notify_all()

    @property
    def empty(self) -> bool:
        """Whether the memory of all frames is free (call with the condition held)."""
        return self._cut or not (self._queue or self._busy)

    def abort(self, error: bytes) -> None:
        """Sends the error next, before anything that still waits."""
        with self._condition:
            self._abort = error
            self._condition.notify_all()

    def end(self) -> None:
        """Lets the stream end with a goodbye after the last frame."""
        with self._condition:
            self._ended = True
            self._condition.notify_all()

    def cut(self) -> None:
        """Lets the stream end at once, without a goodbye."""
        with self._condition:
            self._cut = True
            self._condition.notify_all()

    def messages(self) -> Iterator[bytes]:
        """Yields the messages of the stream until it ends."""
        while True:
            with self._condition:
                self._busy = False
                self._condition.notify_all()  # for `flush`
                while not (self._queue or self._abort or self._ended or self._cut):
                    self._condition.wait()
                item = self._queue.popleft() if self._queue and not self._abort else None
                self._busy = item is not None
            if item is not None and not self._cut:
                tag, meta, parts = item
                for chunk in frames.chunks(
                    frames.DATA, self._job, self._source, self._index, tag, meta, parts
                ):
                    if self._abort or self._cut:
                        break
                    yield chunk
                self._index += 1
                del item, parts
            if self._cut:
                break
            if self._abort is not None:
                error, self._abort = self._abort, None
                yield from self._signal(frames.ABORT, error)
                self._cut = True
                break
            if item_done(self._queue, self._ended):
                yield from self._signal(frames.GOODBYE, b"")
                break
        with self._condition:
            self._cut = True
            self._busy = False
            self._condition.notify_all()

    def _signal(self, kind: int, meta: bytes) -> Iterator[bytes]:
        return frames.chunks(kind, self._job, self._source, self._index, 0, meta, ())


def item_done(queue: deque, ended: bool) -> bool:
    """Whether nothing is left to send and nothing will come."""
    return ended and not queue
