"""Ranks started by mpirun or srun: mpi4py's buffer calls on a communicator of our own.

Works with Open MPI and MPICH. MPI only moves bytes here; all additions are ours, because the order
of MPI_Allreduce's additions depends on sizes and topology. Waits poll, so they keep deadlines.
Several threads may use the transport, one at a time (MPI_THREAD_SERIALIZED suffices; mpi4py asks
for MULTIPLE). A process that dies takes the whole job with it: so does plain mpirun, and an
uncaught exception calls MPI_Abort here. There is no security beyond what the MPI has.
"""

from __future__ import annotations

import atexit
import struct
import sys
import threading
import time
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distflow.base import errors
from distflow.comm.transport import base, frames

_DATA, _CONTROL = 1, 2  # MPI tags
_GOODBYE, _ABORT, _DONE = b"G", b"A", b"D"
_HEAD = struct.Struct("<QIQ")  # tag, meta bytes, body bytes
PIECE_BYTES = 256 << 20  # MPI counts are 32-bit
_ACKNOWLEDGED_BYTES = 4 << 10  # larger bodies may need the receiver's help to complete
# Bytes of large messages move only inside MPI calls: while any are under way, poll often.
_SPINS_IDLE, _MAX_SLEEP_IDLE = 100, 1e-3
_SPINS_BUSY, _MAX_SLEEP_BUSY = 5000, 1e-4


class MpiTransport(base.Transport):
    """One rank's end of an MPI communicator. All ranks must construct it together (it calls Dup).

    Args:
      comm: an mpi4py communicator; COMM_WORLD if None.

    Raises:
      MissingExtraError: if mpi4py, or the MPI library it needs, is not there.
    """

    def __init__(self, comm: Any = None):
        self._mpi = load()
        self._comm = (self._mpi.COMM_WORLD if comm is None else comm).Dup()
        self.rank = self._comm.Get_rank()
        self.world_size = self._comm.Get_size()
        self._lock = threading.RLock()
        self._sends: list[tuple[Any, Any, int]] = []  # request, its buffer, peer
        self._left: set[int] = set()
        self._owes_done: set[int] = set()  # peers that were sent large bodies since the last flush
        self._awaits_done: set[int] = set()  # peers that have sent large bodies since
        self._num_done = [0] * self.world_size
        self._aborted: tuple[int, bytes] | None = None
        self._closed = False
        if self.world_size > 1:
            self._hook_errors()
            atexit.register(self.close)  # also keeps the memory of unfinished sends

    def _hook_errors(self) -> None:
        _install_excepthook(self._comm)

    def send(
        self, to_rank: int, tag: int, meta: bytes = b"", parts: Sequence[np.ndarray] = ()
    ) -> None:
        """Starts the sends of head and pieces."""
        flats = [part.reshape(-1).view(np.uint8) for part in parts if part.nbytes]
        head = _HEAD.pack(tag, len(meta), sum(flat.size for flat in flats)) + meta
        with self._lock:
            self._start(np.frombuffer(head, np.uint8), to_rank, _DATA)
            if sum(flat.size for flat in flats) > _ACKNOWLEDGED_BYTES:
                self._owes_done.add(to_rank)
            for flat in flats:
                for start in range(0, flat.size, PIECE_BYTES):
                    self._start(flat[start : start + PIECE_BYTES], to_rank, _DATA)

    def _start(self, buffer: np.ndarray, to_rank: int, mpi_tag: int) -> None:
        request = self._comm.Isend([buffer, buffer.size, self._mpi.BYTE], to_rank, mpi_tag)
        self._sends.append((request, buffer, to_rank))

    def recv(self, from_rank: int, *, timeout_seconds: float, what: str) -> base.Frame:
        """Waits for the next frame from a rank."""
        deadline = base.Deadline(timeout_seconds)
        limit = _HEAD.size + frames.MAX_META_BYTES
        head = np.empty(self._probe(from_rank, deadline, what), np.uint8)
        if not _HEAD.size <= head.size <= limit:
            raise errors.DataLossError(f"{what}: rank {from_rank} sent a head of {head.size} bytes")
        self._read(head, from_rank, deadline, what)
        tag, meta_bytes, body_bytes = _HEAD.unpack_from(head.data)
        if head.size != _HEAD.size + meta_bytes or body_bytes > frames.MAX_BODY_BYTES:
            raise errors.DataLossError(f"{what}: rank {from_rank} sent a malformed head")
        body = np.empty(body_bytes, np.uint8)
        if body_bytes > _ACKNOWLEDGED_BYTES:
            self._awaits_done.add(from_rank)
        start = 0
        while start < body_bytes:
            size = self._probe(from_rank, deadline, what)
            if not 0 < size <= body_bytes - start:
                raise errors.DataLossError(f"{what}: rank {from_rank} sent a piece of {size} bytes")
            self._read(body[start : start + size], from_rank, deadline, what)
            start += size
        return base.Frame(tag, head[_HEAD.size :].tobytes(), body)

    def _probe(self, from_rank: int, deadline: base.Deadline, what: str) -> int:
        """Waits for a message and returns its size; `_read` must follow."""
        status = self._mpi.Status()
        pause = _Pause()
        while True:
            with self._call(from_rank, what):
                self._read_control()
                self._message = self._comm.Improbe(from_rank, _DATA, status)
                if self._message is not None:
                    deadline.progress()
                    return status.Get_count(self._mpi.BYTE)
                self._raise_if_broken(what, {from_rank}, deadline.elapsed)
            if not deadline.remaining:
                raise base.late(what, self.rank, from_rank, deadline)
            pause(busy=not self._sent())

    def _read(self, buffer: np.ndarray, from_rank: int, deadline: base.Deadline, what: str) -> None:
        pause = _Pause()
        with self._call(from_rank, what):
            request = self._message.Irecv([buffer, buffer.size, self._mpi.BYTE])
        while True:
            with self._call(from_rank, what):
                if request.Test():
                    deadline.progress()
                    return
            if not deadline.remaining:
                raise base.late(what, self.rank, from_rank, deadline)
            pause(busy=True)

    def poll(self, from_rank: int) -> bool:
        """Whether a message is there."""
        with self._lock:
            return bool(self._comm.Iprobe(from_rank, _DATA))

    def flush(self, *, timeout_seconds: float, what: str) -> None:
        """Waits until all sends are complete, also those of the peers to this rank.

        A send may complete only when its receiver calls MPI once more (MPICH queues its
        acknowledgements). A rank that left for a long computation would stall its peers here, so
        senders of large bodies say when they are done, and receivers poll until then.
        """
        self._await(self._unsent, timeout_seconds, what)
        with self._lock:
            for peer in sorted(self._owes_done):
                self._start(np.frombuffer(_DONE, np.uint8), peer, _CONTROL)
            self._owes_done.clear()
        self._await(self._not_done, timeout_seconds, what)
        with self._lock:
            for peer in self._awaits_done:
                self._num_done[peer] -= 1
            self._awaits_done.clear()
        self._await(self._unsent, timeout_seconds, what)

    def _await(
        self, waits_for: Callable[[], int | None], timeout_seconds: float, what: str
    ) -> None:
        deadline = base.Deadline(timeout_seconds)
        pause = _Pause()
        while (peer := waits_for()) is not None:
            with self._call(peer, what):
                self._read_control()
                self._raise_if_broken(what, set(), deadline.elapsed)
            if not deadline.remaining:
                raise base.late(what, self.rank, peer, deadline)
            pause(busy=True)

    def _unsent(self) -> int | None:
        with self._lock:  # another thread may send, too
            return None if self._sent() else self._sends[0][2]

    def _not_done(self) -> int | None:
        # A peer that has left was done before.
        missing = (p for p in self._awaits_done if not self._num_done[p] and p not in self._left)
        return next(missing, None)

    def _sent(self) -> bool:
        with self._lock:
            self._sends = [send for send in self._sends if not send[0].Test()]
            return not self._sends

    def check(self, what: str) -> None:
        """Raises if a peer has left or gave up."""
        with self._lock:
            self._read_control()
            self._raise_if_broken(what, set(self.peers), 0.0)

    def abort(self, error: BaseException) -> None:
        """Tells all peers that this rank gave up."""
        self._signal(_ABORT + base.encode_error(error))

    def close(self) -> None:
        """Says goodbye to all peers. Without waiting: MPI_Finalize waits enough."""
        if self._closed:
            return
        self._signal(_GOODBYE)
        self._closed = True
        if not self._sends:
            atexit.unregister(self.close)

    def _signal(self, text: bytes) -> None:
        with self._lock:
            if self._closed or self._mpi.Is_finalized():
                return
            for peer in self.peers:
                self._start(np.frombuffer(text, np.uint8), peer, _CONTROL)
            self._sent()

    def _read_control(self) -> None:
        status = self._mpi.Status()
        while (message := self._comm.Improbe(self._mpi.ANY_SOURCE, _CONTROL, status)) is not None:
            text = np.empty(status.Get_count(self._mpi.BYTE), np.uint8)
            message.Recv([text, text.size, self._mpi.BYTE])  # short: it is here already
            self._hear(status.Get_source(), text.tobytes())

    def _hear(self, source: int, data: bytes) -> None:
        """Takes a control message."""
        if data[:1] == _GOODBYE:
            self._left.add(source)
        elif data[:1] == _DONE:
            self._num_done[source] += 1
        elif self._aborted is None:
            self._aborted = (source, data[1:])

    def _raise_if_broken(self, what: str, needed: set[int], elapsed: float) -> None:
        if self._closed:
            raise errors.FailedPreconditionError(f"{what}: the transport is closed")
        if self._aborted is not None:
            raise base.decode_error(self._aborted[1], self._aborted[0], what)
        for peer in sorted(self._left & needed):
            raise base.left(what, self.rank, peer, elapsed)

    def _call(self, peer: int, what: str) -> _MpiCall:
        return _MpiCall(self, peer, what)


class _MpiCall:
    """Holds the lock, and turns MPI's errors (a failed peer, where the MPI tells) into ours."""

    def __init__(self, transport: MpiTransport, peer: int, what: str):
        self._transport = transport
        self._peer = peer
        self._what = what

    def __enter__(self) -> None:
        self._transport._lock.acquire()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._transport._lock.release()
        if error is not None and isinstance(error, self._transport._mpi.Exception):
            rank = self._transport.rank
            raise base.lost(self._what, rank, self._peer, f"MPI says: {error}", 0.0) from error


class _Pause:
    """Waits a little longer each time, at first only yielding the processor."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, busy: bool) -> None:
        self._count += 1
        spins, longest = (_SPINS_BUSY, _MAX_SLEEP_BUSY) if busy else (_SPINS_IDLE, _MAX_SLEEP_IDLE)
        over = self._count - spins
        time.sleep(0 if over < 0 else min(longest, 2e-5 * (1 + over)))


def load() -> Any:
    """Returns mpi4py's MPI; raises MissingExtraError if it, or its MPI library, is not there."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: no libmpi to be found
        raise errors.missing_extra("mpi4py", "mpi", "the MPI transport") from error
    return MPI


_hooked = False


def _install_excepthook(comm: Any) -> None:
    """Makes an uncaught exception end the whole job, which would hang otherwise."""
    global _hooked
    if _hooked:
        return
    _hooked = True
    previous = sys.excepthook

    def hook(
        kind: type[BaseException], error: BaseException, trace: types.TracebackType | None
    ) -> None:
        previous(kind, error, trace)
        sys.stdout.flush()
        sys.stderr.flush()
        comm.Abort(base.exit_code(error))

    sys.excepthook = hook
