"""Frames that have arrived but were not asked for yet, and what is known about the peers.

Filled by other threads (of other ranks in-process, or of gRPC), emptied by the rank's own thread.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from distflow.base import errors
from distflow.comm.transport import base, stall


class Inbox:
    """One rank's mailbox: a queue per peer, and the peers that are lost, left or gave up."""

    def __init__(
        self,
        rank: int,
        world_size: int,
        max_frames: int = 64,
        silence_seconds: float = math.inf,
        ask: Callable[[int], None] = lambda peer: None,
        names: Sequence[str] = (),
    ):
        self.rank = rank
        self.world_size = world_size
        self.condition = threading.Condition()  # reentrant
        self._max_frames = max_frames
        self._frames: list[deque[base.Frame]] = [deque() for _ in range(world_size)]
        self._bytes_seen = [0] * world_size
        self._silence_seconds = silence_seconds
        self._ask = ask  # a peer where its program is; the answer comes to `note_stack`
        self._names = names  # where each rank is, for errors
        self.patience = stall.Patience()
        self._stacks: dict[int, str] = {}
        self._heard = [time.monotonic()] * world_size
        self._looked = time.monotonic()
        self._lost: dict[int, str] = {}
        self._left: set[int] = set()
        self._aborted: tuple[int, bytes] | None = None
        self._closed = False

    def put(self, from_rank: int, frame: base.Frame, *, wait: bool) -> bool:
        """Adds a frame; waits for room if `wait`. Returns False if the inbox is closed."""
        with self.condition:
            queue = self._frames[from_rank]
            while wait and len(queue) >= self._max_frames and not self._closed:
                self.condition.wait()
            if self._closed:
                return False
            queue.append(frame)
            self._bytes_seen[from_rank] += 1 + frame.body.size
            self.condition.notify_all()
            return True

    def heard(self, from_rank: int, count: int = 0) -> None:
        """Notes a sign of life, and `count` bytes of progress on a frame that is arriving."""
        with self.condition:
            self._heard[from_rank] = time.monotonic()
            self._bytes_seen[from_rank] += count

    def bytes_seen(self, from_rank: int) -> int:
        """How much has come from a peer so far."""
        return self._bytes_seen[from_rank]

    def ask(self, rank: int) -> None:
        """Asks a peer where its program is; the answer comes to `note_stack`."""
        self._stacks.pop(rank, None)
        self._ask(rank)

    def stack_of(self, rank: int) -> str:
        """Where a peer's program was when it was last asked, or ""."""
        return self._stacks.get(rank, "")

    def mark_lost(self, rank: int, cause: str) -> None:
        """Notes that a peer is gone, unless it had left in good order."""
        with self.condition:
            if rank not in self._left and not self._closed:
                self._lost.setdefault(rank, cause)
                self.condition.notify_all()

    def mark_left(self, rank: int) -> None:
        """Notes that a peer has closed its transport."""
        with self.condition:
            self._left.add(rank)
            self.condition.notify_all()

    def mark_aborted(self, by_rank: int, error: bytes) -> None:
        """Notes that a peer gave up with an error (`base.encode_error`)."""
        with self.condition:
            if self._aborted is None:
                self._aborted = (by_rank, error)
            self.condition.notify_all()

    def note_stack(self, rank: int, stack: bytes) -> None:
        """Notes where a late peer's program is."""
        self._stacks[rank] = stall.warn_with_stack(self.rank, rank, stack)

    def close(self) -> None:
        """Wakes everybody; nothing is accepted any more."""
        with self.condition:
            self._closed = True
            self.condition.notify_all()

    def gone(self, rank: int) -> bool:
        """Whether the peer is lost or has left."""
        with self.condition:
            return rank in self._lost or rank in self._left

    def has_frame(self, from_rank: int) -> bool:
        """Whether a whole frame from the peer is there."""
        with self.condition:
            return bool(self._frames[from_rank])

    def take(self, from_rank: int, timeout_seconds: float, what: str) -> base.Frame:
        """Waits for the next frame of a peer."""
        queue = self._frames[from_rank]
        watch = Watch(self, from_rank, timeout_seconds, what)
        with self.condition:
            while not queue:
                self._wait(watch.look())
            frame = queue.popleft()
            watch.end()
            self.condition.notify_all()  # room for `put`
            return frame

    def wait_for_peers(
        self, waits_for: Callable[[], int | None], timeout_seconds: float, what: str
    ) -> None:
        """Waits until `waits_for()` names no rank any more; blames the one it names."""
        deadline = base.Deadline(timeout_seconds)
        with self.condition:
            while (peer := waits_for()) is not None:
                self.raise_if_broken(what, set(), deadline.elapsed)
                if not deadline.remaining:
                    raise base.late(what, self.rank, peer, deadline, place=self.place(peer))
                self._wait(deadline.remaining)

    def _wait(self, seconds: float) -> None:
        """Waits for news; notes as lost whoever has shown no sign of life for too long."""
        self.condition.wait(min(seconds, self._silence_seconds / 10))
        self.notice_silence()

    def notice_silence(self) -> None:
        """Notes as lost whoever has shown no sign of life for too long; called now and then."""
        if self._silence_seconds == math.inf:
            return
        with self.condition:
            now = time.monotonic()
            if now - self._looked > 3 * self._silence_seconds / 10:
                # Nobody looked for long (no wait, or this very process was stopped): judge later.
                self._heard = [max(heard, now) for heard in self._heard]
            self._looked = now
            for peer, heard in enumerate(self._heard):
                # A sign is due every tenth: by the end of the time it is known who gives none.
                if peer != self.rank and now - heard > 0.8 * self._silence_seconds:
                    self.mark_lost(peer, f"no sign of life for {now - heard:.1f} s")

    def check(self, what: str) -> None:
        """Raises if any peer is lost, has left or gave up."""
        with self.condition:
            self.raise_if_broken(what, set(range(self.world_size)), 0.0)

    def raise_if_broken(self, what: str, needed: set[int], elapsed: float) -> None:
        """Raises if a peer is lost or gave up, or one that is needed has left."""
        if self._closed:
            raise errors.FailedPreconditionError(f"{what}: the transport is closed")
        if self._aborted is not None:
            raise base.decode_error(self._aborted[1], self._aborted[0], what)
        for peer, cause in self._lost.items():
            raise base.lost(what, self.rank, peer, cause, elapsed, self.place(peer))
        for peer in sorted(self._left & needed):
            raise base.left(what, self.rank, peer, elapsed, self.place(peer))

    def place(self, rank: int) -> str:
        """Where a rank is, for errors."""
        return self._names[rank] if rank < len(self._names) else ""


class Watch:
    """One wait for a peer: its deadline, which progress puts off, and the warning before it.

    Args:
      inbox: knows the peers.
      from_rank: the peer that is waited for.
      timeout_seconds: longest time without progress.
      what: names the operation in errors.
    """

    def __init__(self, inbox: Inbox, from_rank: int, timeout_seconds: float, what: str):
        self._inbox = inbox
        self._peer = from_rank
        self._what = what
        self._deadline = base.Deadline(timeout_seconds)
        self._seen = -1
        self._has_asked = False

    def look(self) -> float:
        """Returns for how many seconds at most to wait before the next look.

        Raises:
          WorkerLateError, WorkerLostError, or what another rank gave up with.
        """
        inbox, peer, deadline = self._inbox, self._peer, self._deadline
        with inbox.condition:
            inbox.raise_if_broken(self._what, {peer}, deadline.elapsed)
            seen = inbox.bytes_seen(peer)
            if seen != self._seen:
                self._seen = seen
                deadline.progress()
            if not deadline.remaining:
                stack = inbox.stack_of(peer)
                raise base.late(self._what, inbox.rank, peer, deadline, stack, inbox.place(peer))
            patience = inbox.patience.seconds - deadline.elapsed
            if patience <= 0 and not self._has_asked:
                self._has_asked = True
                stall.warn(inbox.rank, peer, self._what, deadline.elapsed, inbox.place(peer))
                inbox.ask(peer)
            return min(deadline.remaining, patience if patience > 0 else math.inf)

    def progress(self) -> None:
        """Puts the deadline off: bytes have moved."""
        self._deadline.progress()

    def seconds_left(self, seconds: float) -> float:
        """How much is left of so many seconds since the wait began."""
        return seconds - self._deadline.elapsed

    def end(self) -> None:
        """Notes that the wait came to a good end."""
        self._inbox.patience.note(self._deadline.elapsed)
