"""Frames that wait to be sent to one peer; read by the thread in which gRPC sends."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from distflow.comm import faults
from distflow.comm.transport import bulk, frames


class Outbox:
    """A queue of frames held by reference and turned into chunks only when gRPC asks for more.

    So memory in flight is bounded by gRPC's flow control, and adding a frame never waits.
    """

    def __init__(
        self, job: int, source: int, condition: threading.Condition, heartbeat_seconds: float
    ):
        self._job = job
        self._source = source
        self._condition = condition
        self._heartbeat_seconds = heartbeat_seconds
        self._queue: deque[tuple[int, bytes, Sequence[np.ndarray]]] = deque()
        self._index = 0
        self.bulk: socket.socket | None = None  # for large bodies, once the stream is open
        self._busy = False
        self._abort: bytes | None = None
        self._signals: deque[tuple[int, bytes]] = deque()
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

    def signal(self, kind: int, meta: bytes = b"") -> None:
        """Sends a frame without data between two others."""
        with self._condition:
            self._signals.append((kind, meta))
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
            self._set_free()
            with self._condition:
                idle = not self._condition.wait_for(self._has_work, self._heartbeat_seconds)
                item = self._queue.popleft() if self._queue and not self._abort else None
                self._busy = item is not None
            if item is not None and self._is_bulk(item[2]) and not self._cut:
                yield from self._bulk_frame(*item)
                del item
            elif item is not None and not self._cut:
                tag, meta, parts = item
                chunks = frames.chunks(
                    frames.DATA, self._job, self._source, self._index, tag, meta, parts
                )
                chunk: bytes | None = next(chunks)
                while chunk is not None and not (self._abort or self._cut):
                    due, chunk = chunk, next(chunks, None)
                    if chunk is None:  # all is copied: the caller's memory is free
                        self._set_free()
                    faults.reach("mid-send")
                    yield due
                self._index += 1
                del item, parts, chunks
            if idle:
                yield from self._signal(frames.HEARTBEAT, b"")
                continue
            if self._cut:
                break
            while self._signals:
                yield from self._signal(*self._signals.popleft())
            if self._abort is not None:
                error, self._abort = self._abort, None
                yield from self._signal(frames.ABORT, error)
                self._cut = True
                break
            if self._ended and not self._queue:
                yield from self._signal(frames.GOODBYE, b"")
                break
        self.cut()

    def _is_bulk(self, parts: Sequence[np.ndarray]) -> bool:
        return self.bulk is not None and sum(p.nbytes for p in parts) >= bulk.BULK_BYTES

    def _bulk_frame(self, tag: int, meta: bytes, parts: Sequence[np.ndarray]) -> Iterator[bytes]:
        """Yields a frame's head; when the next message is asked for the head has been sent."""
        size = sum(part.nbytes for part in parts)
        yield frames.announcement(self._job, self._source, self._index, tag, meta, size)
        self._index += 1
        faults.reach("mid-send")
        assert self.bulk is not None
        bulk.send(self.bulk, parts, lambda: not (self._abort or self._cut))
        self._set_free()

    def _has_work(self) -> bool:
        return bool(self._queue or self._signals or self._abort or self._ended or self._cut)

    def _set_free(self) -> None:
        with self._condition:
            if self._busy:
                self._busy = False
                self._condition.notify_all()  # for `flush`

    def _signal(self, kind: int, meta: bytes) -> Iterator[bytes]:
        return frames.chunks(kind, self._job, self._source, self._index, 0, meta, ())
