"""Frames between two processes through a ring of shared bytes, each direction its own ring.

A ring has one writer and one reader. `written` and `read` count bytes for ever; the data of byte n
lie at n modulo the size. Frames are written piece by piece as there is room, so any size passes.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence

import numpy as np

from distflow.base import errors
from distflow.comm.transport import base, frames
from distflow.comm.transport.segment import LINE, Segment, fence

_HEAD = struct.Struct("<QQQ")  # tag, meta bytes, body bytes


class _Ring:
    def __init__(self, segment: Segment, source: int, target: int):
        self._words = segment.words
        self._written = segment.plan.ring(source, target) // 8
        self._read = self._written + LINE
        start = segment.plan.ring_data(source, target)
        self._size = segment.plan.ring_bytes
        self._data = segment.data[start : start + self._size]


class Writer(_Ring):
    """This rank's end of the ring to a peer."""

    def __init__(self, segment: Segment, source: int, target: int):
        super().__init__(segment, source, target)
        self._pending: deque[np.ndarray] = deque()

    def put(self, tag: int, meta: bytes, parts: Sequence[np.ndarray]) -> None:
        """Queues a frame by reference."""
        views = [part.reshape(-1).view(np.uint8) for part in parts if part.nbytes]
        head = _HEAD.pack(tag, len(meta), sum(view.size for view in views)) + meta
        self._pending.append(np.frombuffer(head, np.uint8))
        self._pending.extend(views)

    @property
    def empty(self) -> bool:
        """Whether all that was queued is in the ring."""
        return not self._pending

    def drop(self) -> None:
        """Forgets what is queued: nobody will read it."""
        self._pending.clear()

    def push(self) -> bool:
        """Writes what there is room for; returns whether that was anything."""
        moved = False
        while self._pending:
            written = self._words[self._written]
            at = written % self._size
            room = self._size - (written - self._words[self._read])
            count = min(room, self._size - at, self._pending[0].size)
            if not count:
                break
            fence()  # the reader's copy of what was here before is done
            self._data[at : at + count] = self._pending[0][:count]
            fence()
            self._words[self._written] = written + count
            moved = True
            if count == self._pending[0].size:
                self._pending.popleft()
            else:
                self._pending[0] = self._pending[0][count:]
        return moved


class Reader(_Ring):
    """This rank's end of the ring from a peer: puts bytes together to frames."""

    def __init__(self, segment: Segment, source: int, target: int):
        super().__init__(segment, source, target)
        self.frames: deque[base.Frame] = deque()
        self._source = source
        self._begin()

    def _begin(self) -> None:
        self._into = np.empty(_HEAD.size, np.uint8)
        self._filled = 0
        self._head: tuple[int, int, int] | None = None
        self._meta: bytes | None = None

    @property
    def begun(self) -> bool:
        """Whether a frame is there, or has begun to arrive."""
        return bool(self.frames) or self._filled > 0 or self._head is not None

    def pull(self) -> bool:
        """Reads what has come; returns whether that was anything."""
        moved = False
        while count := self._words[self._written] - (read := self._words[self._read]):
            if not 0 < count <= self._size:
                raise errors.DataLossError(
                    f"rank {self._source} sent a malformed ring: {count} bytes at once"
                )
            at = read % self._size
            count = min(count, self._size - at, self._into.size - self._filled)
            fence()
            self._into[self._filled : self._filled + count] = self._data[at : at + count]
            fence()
            self._words[self._read] = read + count
            self._filled += count
            moved = True
            if self._filled == self._into.size:
                self._advance()
        return moved

    def _advance(self) -> None:
        """Goes from head to meta to body, over those that are empty."""
        if self._head is None:
            self._head = _HEAD.unpack(self._into.tobytes())
            _, meta_bytes, body_bytes = self._head
            if meta_bytes > frames.MAX_META_BYTES or body_bytes > frames.MAX_BODY_BYTES:
                raise errors.DataLossError(f"rank {self._source} sent a malformed head")
            self._into, self._filled = np.empty(meta_bytes, np.uint8), 0
            if meta_bytes:
                return
        if self._meta is None:
            self._meta = self._into.tobytes()
            self._into, self._filled = np.empty(self._head[2], np.uint8), 0
            if self._head[2]:
                return
        self.frames.append(base.Frame(self._head[0], self._meta, self._into))
        self._begin()
