"""Ranks that are processes of one host: frames and waits over a shared segment.

The segment (`segment.py`) also holds the lanes through which `algorithms/shared.py` reduces without
frames. A rank that waits spins a little, then yields the processor, then sleeps in growing steps;
meanwhile it looks every few milliseconds whether a peer has died, left or given up. There are no
threads: a rank that computes does nothing here.
"""

from __future__ import annotations

import atexit
import functools
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from distflow.base import errors
from distflow.comm.transport import base, segment, stall
from distflow.comm.transport.liveness import Process
from distflow.comm.transport.rings import Reader, Writer
from distflow.comm.transport.segment import Segment
from distflow.telemetry import stacks

_SPINS = 1000  # looks before yielding, some 100 us, where each rank has a processor of its own
_SPINS_CROWDED = 200  # each lets another process run
_YIELD_SECONDS = 2e-3
_FIRST_SLEEP, _MAX_SLEEP = 2e-5, 1e-3
_LOOK_SECONDS = 0.01  # between two looks at the peers


class ShmTransport(base.Transport):
    """One rank's end of a segment.

    Args:
      shared: the segment; one of its ranks has created it, the others opened it.
      rank: this worker's rank in it.
      join_timeout_seconds: how long to wait until all ranks have joined.
      names: what errors call the ranks, where the segment's are some of a larger group.

    Raises:
      WorkerLateError: if a rank does not join in time.
    """

    def __init__(
        self, shared: Segment, rank: int, *, join_timeout_seconds: float = 60.0,
        names: Sequence[int] | None = None,
    ):  # fmt: skip
        self.rank = rank
        self.world_size = shared.plan.world_size
        self.segment = shared
        self.words = shared.words
        self._names = list(range(self.world_size) if names is None else names)
        self._control = [shared.plan.control_word(r) for r in range(self.world_size)]
        self._writers = {p: Writer(shared, rank, p) for p in self.peers}
        self._readers = {p: Reader(shared, p, rank) for p in self.peers}
        self._processes: dict[int, Process] = {}
        self._patience = stall.Patience()
        self._stacks: dict[int, str] = {}  # of peers that were asked last
        self._closed = False
        self.num_calls = 0  # of reductions, by all communicators that had this transport
        crowded = self.world_size > len(os.sched_getaffinity(0))
        # How a short wait goes: so many looks, with a call between them where the ranks are more
        # than the processors.
        self.spins = _SPINS_CROWDED if crowded else _SPINS
        self.spin: Callable[[], object] | None = os.sched_yield if crowded else None
        self._yield: Callable[[], object] = os.sched_yield
        own = self._control[rank]
        self.words[own + segment.PID] = os.getpid()
        self.beat(0)
        segment.fence()
        self.words[own + segment.STATE] = segment.JOINED
        try:
            self._await_all(join_timeout_seconds)
        except BaseException:
            self._drop(segment.LEFT)
            raise
        shared.close()  # all have opened it
        atexit.register(self._close_at_exit)

    def _await_all(self, timeout_seconds: float) -> None:
        for peer in self.peers:
            joined = functools.partial(self._has_joined, peer)
            self.wait(joined, peer, timeout_seconds, "joining the shared memory")
            pid = self.words[self._control[peer] + segment.PID]
            if pid != os.getpid():
                self._processes[peer] = Process(pid)
            else:  # ranks are threads of one process: let them have Python's lock
                self.spins, self._yield = 0, functools.partial(time.sleep, 0)

    def _has_joined(self, peer: int) -> bool:
        return self.words[self._control[peer] + segment.STATE] != 0

    def beat(self, call: int) -> None:
        """Notes for the others when this rank was last active, and in which call."""
        own = self._control[self.rank]
        self.words[own + segment.BEAT] = time.monotonic_ns()
        self.words[own + segment.CALL] = call

    def wait(
        self, ready: Callable[[], bool], peer: int | None, timeout_seconds: float, what: str,
        progress: Callable[[], bool] | None = None,
    ) -> None:  # fmt: skip
        """Waits until `ready()`; blames `peer` if that takes too long.

        Args:
          ready: looked at again and again; cheap.
          peer: the rank that this one waits for. If it has left, or if None and any has, or any is
            lost, that is an error.
          timeout_seconds: longest time without progress.
          what: names the operation in errors.
          progress: does work that others may wait for; returns whether there was any.
        """
        for _ in range(0 if self.spin else self.spins):
            if ready():
                return
        deadline = base.Deadline(timeout_seconds)
        start = idle = looked = time.monotonic()
        pause, has_warned = _FIRST_SLEEP, False
        while True:
            moved = progress is not None and progress()
            if moved:
                deadline.progress()
            if ready():
                self._patience.note(deadline.elapsed)
                return
            now = time.monotonic()
            if moved:  # more is on its way: sleeping after each piece took ten times as long
                idle, pause = now, _FIRST_SLEEP
            if now - looked > _LOOK_SECONDS or now - idle > 5 * _YIELD_SECONDS:
                looked = now
                causes = self._causes(peer)
                # What a peer did before it ended counts: look once more.
                if progress is not None and progress():
                    continue
                if ready():
                    return
                self._raise_first(causes, what, deadline.elapsed)
            if not deadline.remaining:
                raise self._late(what, peer, deadline)
            if not has_warned and peer is not None and now - start > self._patience.seconds:
                has_warned = True
                rank, name = self._names[self.rank], self._names[peer]
                stall.warn(rank, name, f"{what} ({self._last_seen(peer)})", now - start)
                self._ask(peer)
            if now - idle < _YIELD_SECONDS:
                self._yield()
            else:
                time.sleep(pause)
                pause = min(2 * pause, _MAX_SLEEP)

    def _ask(self, peer: int) -> None:
        """Says where the program of a peer is, and keeps it for the error."""
        if peer in self._processes:
            text = stacks.main_thread(stacks.of_process(self._processes[peer].pid))
            if text:
                rank, name = self._names[self.rank], self._names[peer]
                self._stacks[peer] = stall.warn_with_stack(rank, name, text.encode())

    def _causes(self, needed: int | None) -> list[tuple[str, int]]:
        """What keeps this rank from going on: (kind, rank), the most telling first."""
        found = []
        for peer in self.peers:
            state = self.words[self._control[peer] + segment.STATE]
            if state == segment.ABORTED:
                found.append(("aborted", peer))
            elif state == segment.LEFT:
                if peer == needed:
                    found.append(("left", peer))
            elif peer in self._processes and self._processes[peer].dead:
                found.append(("lost", peer))
        return sorted(found)

    def _raise_first(self, causes: list[tuple[str, int]], what: str, elapsed: float) -> None:
        if self._closed:
            raise errors.FailedPreconditionError(f"{what}: the transport is closed")
        for kind, peer in causes:
            rank, name = self._names[self.rank], self._names[peer]
            if kind == "aborted":
                raise base.decode_error(self.segment.read_error(peer), name, what)
            if kind == "left":
                raise base.left(what, rank, name, elapsed, self._place(peer))
            cause = "it has ended without a goodbye"
            raise base.lost(what, rank, name, cause, elapsed, self._place(peer))

    def _late(self, what: str, peer: int | None, deadline: base.Deadline) -> errors.OpError:
        if peer is None:
            return errors.DeadlineExceededError(f"{what}: no end after {deadline.elapsed:.1f} s")
        rank, name = self._names[self.rank], self._names[peer]
        stack, place = self._stacks.get(peer, ""), self._place(peer)
        error = base.late(what, rank, name, deadline, stack, place)
        return errors.WorkerLateError(f"{error}\nThere: {self._last_seen(peer)}.", error.rank)

    def _place(self, peer: int) -> str:
        pid = self.words[self._control[peer] + segment.PID]
        return f"process {pid} on {socket.gethostname()}" if pid else ""

    def _last_seen(self, peer: int) -> str:
        """What is known of a peer that lets others wait, for people."""
        control = self._control[peer]
        silent = (time.monotonic_ns() - self.words[control + segment.BEAT]) / 1e9
        pid, call = self.words[control + segment.PID], self.words[control + segment.CALL]
        if not pid:
            return "it has not joined"
        return f"its process {pid} was last heard of {silent:.1f} s ago, in call {call}"

    def send(
        self, to_rank: int, tag: int, meta: bytes = b"", parts: Sequence[np.ndarray] = ()
    ) -> None:
        """Queues the frame, and writes as much of it as there is room for."""
        self._writers[to_rank].put(tag, meta, parts)
        self._writers[to_rank].push()

    def recv(self, from_rank: int, *, timeout_seconds: float, what: str) -> base.Frame:
        """Waits for the next frame from a rank."""
        reader = self._readers[from_rank]
        if not reader.frames:
            self.beat(0)
            self._pump(what)
            self.wait(
                lambda: bool(reader.frames), from_rank, timeout_seconds, what,
                lambda: self._pump(what),
            )  # fmt: skip
        return reader.frames.popleft()

    def _pump(self, what: str) -> bool:
        """Moves what can be moved, both ways; returns whether that was anything."""
        moved = False
        for writer in self._writers.values():
            moved |= writer.push()
        for reader in self._readers.values():
            try:
                moved |= reader.pull()
            except errors.DataLossError as error:
                raise errors.DataLossError(f"{what}: {error}") from error
        return moved

    def poll(self, from_rank: int) -> bool:
        """Whether a frame has begun to arrive."""
        self._readers[from_rank].pull()
        return self._readers[from_rank].begun

    def flush(self, *, timeout_seconds: float, what: str) -> None:
        """Waits until everything is in the rings."""
        for peer, writer in self._writers.items():
            if not writer.empty:
                self._drain(peer, writer, timeout_seconds, what)

    def _drain(self, peer: int, writer: Writer, timeout_seconds: float, what: str) -> None:
        def ready() -> bool:
            if self.words[self._control[peer] + segment.STATE] == segment.LEFT:
                writer.drop()  # it has read what it needed
            return writer.empty

        self.wait(ready, peer, timeout_seconds, what, lambda: self._pump(what))

    def check(self, what: str) -> None:
        """Raises if a peer is lost, has left or gave up."""
        if self._closed:
            raise errors.FailedPreconditionError(f"{what}: the transport is closed")
        for peer in self.peers:
            self._raise_first(self._causes(peer), what, 0.0)

    def abort(self, error: BaseException) -> None:
        """Tells all peers that this rank gave up."""
        if not self._closed:
            self.segment.write_error(self.rank, base.encode_error(error))

    def close(self) -> None:
        """Says goodbye to all peers."""
        if not self._closed:
            self._drop(segment.LEFT)

    def _close_at_exit(self) -> None:
        # After an uncaught exception the peers must see a loss, not a goodbye.
        if getattr(sys, "last_value", None) is None:
            self.close()

    def _drop(self, state: int) -> None:
        self._closed = True
        atexit.unregister(self._close_at_exit)
        word = self._control[self.rank] + segment.STATE
        segment.fence()
        if self.words[word] != segment.ABORTED:
            self.words[word] = state
        for process in self._processes.values():
            process.close()
        self.segment.close()
