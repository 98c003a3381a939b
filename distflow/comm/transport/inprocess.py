"""Ranks that are threads of one process: for MirroredStrategy and for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distflow.base import errors
from distflow.comm.transport import base
from distflow.comm.transport.inbox import Inbox


class InProcessHub:
    """Connects `world_size` endpoints, one for each rank."""

    def __init__(self, world_size: int):
        if world_size < 1:
            raise errors.invalid("InProcessHub", "world_size must be at least 1", str(world_size))
        self.world_size = world_size
        self.inboxes = [Inbox(rank, world_size) for rank in range(world_size)]

    def endpoint(self, rank: int) -> InProcessTransport:
        """The transport of one rank."""
        if not 0 <= rank < self.world_size:
            raise errors.invalid("endpoint", f"rank must be 0..{self.world_size - 1}", str(rank))
        return InProcessTransport(self, rank)

    def kill(self, rank: int, cause: str = "killed") -> None:
        """Makes a rank vanish without a goodbye, as a crash would."""
        for inbox in self.inboxes:
            if inbox.rank != rank:
                inbox.mark_lost(rank, cause)
        self.inboxes[rank].close()


class InProcessTransport(base.Transport):
    """One rank's end. A send copies, so the sender's memory is free at once."""

    def __init__(self, hub: InProcessHub, rank: int):
        self.rank = rank
        self.world_size = hub.world_size
        self._hub = hub
        self._inbox = hub.inboxes[rank]
        self._closed = False

    def send(
        self, to_rank: int, tag: int, meta: bytes = b"", parts: Sequence[np.ndarray] = ()
    ) -> None:
        """Copies the frame into the peer's inbox."""
        body = np.empty(sum(part.nbytes for part in parts), np.uint8)
        start = 0
        for part in parts:
            body[start : start + part.nbytes] = part.reshape(-1).view(np.uint8)
            start += part.nbytes
        # Not waiting for room: the sender may be the very thread that the receiver waits for.
        self._hub.inboxes[to_rank].put(self.rank, base.Frame(tag, meta, body), wait=False)

    def recv(self, from_rank: int, *, timeout_seconds: float, what: str) -> base.Frame:
        """Waits for the next frame from a rank."""
        return self._inbox.take(from_rank, timeout_seconds, what)

    def poll(self, from_rank: int) -> bool:
        """Whether a frame is there."""
        return self._inbox.has_frame(from_rank)

    def flush(self, *, timeout_seconds: float, what: str) -> None:
        """Returns at once: sends have copied."""

    def check(self, what: str) -> None:
        """Raises if a peer is lost, has left or gave up."""
        self._inbox.check(what)

    def abort(self, error: BaseException) -> None:
        """Tells all peers that this rank gave up."""
        for peer in self.peers:
            self._hub.inboxes[peer].mark_aborted(self.rank, base.encode_error(error))

    def close(self) -> None:
        """Says goodbye to all peers."""
        if self._closed:
            return
        self._closed = True
        for peer in self.peers:
            self._hub.inboxes[peer].mark_left(self.rank)
        self._inbox.close()
