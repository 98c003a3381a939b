"""Ranks whose frames go over plain TCP connections that the calling thread serves itself.

Frames of gRPC pass through two threads at each end, which costs 0.3 ms before the first byte moves.
Here whoever waits moves the bytes, both ways, between the arrays and the kernel: no threads, no
queues, no copies. The connections are those of `bulk.py`, two for each pair of ranks, one a
direction; gRPC's streams stay beside them for all that is said about peers: signs of life, errors,
goodbyes, where a late one's program is.

A frame is a header with a checksum of itself, of the meta and of a small body, then meta and body;
behind a larger body comes a checksum of its own, which is 0 where none is taken (`bulk.is_checked`:
between ranks of a host, unless DISTFLOW_CHECKSUM says otherwise).
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from distflow.base import errors, local_world
from distflow.comm import faults
from distflow.comm.transport import base, bulk, frames
from distflow.comm.transport.checksum import Checksum
from distflow.comm.transport.inbox import Watch

if TYPE_CHECKING:
    from distflow.comm.transport.grpc import GrpcTransport

# Stays in cache between its checksum and the kernel. 105 MB between 2 processes: 81 ms with
# 256 KiB, 73 with 512, 72 with 1 MiB; 4 processes: 235, 244, 257 (Xeon, 2 cores with 2 MiB of
# second-level cache, loopback, 2026-11).
BLOCK_BYTES = 512 << 10
_TURN_BYTES = 1 << 20  # of one direction, before the others have their turn
_SMALL_BYTES = 16 << 10
_LOOK_SECONDS = 0.02  # between two looks at what gRPC's threads know of the peers
_LOOKS = 20  # some 60 us
_GRACE_SECONDS = 2.0  # goodbyes take another way than bytes, and may be quicker
_TAG = 0x77697265
_MAGIC = b"dfw1"
_HEADER = struct.Struct("<4sQIQI")  # magic, tag, bytes of meta, bytes of body, checksum
_SEAL = struct.Struct("<I")


class Wire:
    """The two connections with one peer: what is to be written, and where what comes shall go.

    Bytes come as they were sent, whatever they are: both ends must know what is next. Data between
    two seals has a checksum.

    Args:
      peer: its rank, for errors.
      to, source: the connection that is written to, and the one that is read.
      is_checked: whether large bodies have checksums; the peer must do the same.
    """

    def __init__(
        self, peer: int, to: socket.socket, source: socket.socket, is_checked: bool = True
    ):
        self.peer = peer
        self.frames: deque[base.Frame] = deque()
        self.broken = ""  # why
        self._to, self._source = to, source
        self._is_checked = is_checked
        for connection in (to, source):
            connection.setblocking(False)
        self._out: deque[Any] = deque()  # arrays of bytes; bytes without checksum; None: a seal
        self._view: Any = b""  # what is left of what is being written
        self._sum_out, self._sum_in = Checksum(), Checksum()
        self._in: deque[tuple[np.ndarray, Callable[[], None] | None, bool]] = deque()
        self._filled = 0  # bytes of the first of these
        self._in_frame = False

    # -- writing --

    @property
    def empty(self) -> bool:
        """Whether the memory of all that was put is free again."""
        return not (self._out or self._view) or bool(self.broken)

    def put(self, data: np.ndarray) -> None:
        """Adds an array's bytes (contiguous), to be read when it is their turn."""
        view = data.reshape(-1).view(np.uint8)
        self._out.extend(view[at : at + BLOCK_BYTES] for at in range(0, view.size, BLOCK_BYTES))

    def seal(self) -> None:
        """Adds the checksum of what was put since the last one."""
        self._out.append(None)

    def put_frame(self, tag: int, meta: bytes, parts: Sequence[np.ndarray]) -> None:
        """Adds a frame."""
        if len(meta) > frames.MAX_META_BYTES:
            expected = f"a header of at most {frames.MAX_META_BYTES} bytes"
            raise errors.invalid("send", expected, f"{len(meta)} (too many arrays in one call?)")
        views = [part.reshape(-1).view(np.uint8) for part in parts if part.nbytes]
        size = sum(view.size for view in views)
        small = b"".join([meta, *(v.data for v in views)]) if size <= _SMALL_BYTES else meta
        lead = _HEADER.pack(_MAGIC, tag, len(meta), size, 0)[: -_SEAL.size]
        self._out.append(lead + _SEAL.pack(zlib.crc32(small, zlib.crc32(lead))) + small)
        if size > _SMALL_BYTES:
            for view in views:
                self.put(view)
            self.seal()

    def write(self) -> bool:
        """Writes as much as the kernel takes, within limits; returns whether that was anything."""
        budget = _TURN_BYTES
        while budget > 0 and not self.empty:
            if not self._view:
                self._view = self._next()
            try:
                count = self._to.send(self._view)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self._break(str(error))
                break
            self._view = self._view[count:]
            budget -= count
        return budget < _TURN_BYTES

    def _next(self) -> Any:
        block = self._out.popleft()
        if block is None:
            found, self._sum_out = self._sum_out, Checksum()
            return _SEAL.pack(found.value if self._is_checked else 0)
        if isinstance(block, bytes):
            return memoryview(block)
        if self._is_checked:
            self._sum_out.update(block)
        return block.data

    # -- reading --

    @property
    def begun(self) -> bool:
        """Whether a frame has begun to arrive."""
        if self.frames or (self._in_frame and self._filled):
            return True
        poll = select.poll()  # `select.select` knows no descriptors from 1024 on
        poll.register(self._source, select.POLLIN)
        return not self.broken and bool(poll.poll(0))

    def expect(
        self, data: np.ndarray, then: Callable[[], None] | None = None, *, summed: bool = True
    ) -> None:
        """Says where the next bytes go (contiguous), and what to call when all of them are in.

        Long arrays are better given block by block (BLOCK_BYTES): what was read is still in cache
        when it is added to the checksum.
        """
        self._in.append((data.reshape(-1).view(np.uint8), then, summed))

    def expect_seal(self, then: Callable[[], None] | None = None) -> None:
        """Says that a checksum comes next; another one than that of the data is a DataLossError."""
        said = np.empty(_SEAL.size, np.uint8)

        def compare() -> None:
            found, self._sum_in = self._sum_in, Checksum()
            if _SEAL.unpack(said.tobytes())[0] != (found.value if self._is_checked else 0):
                raise self._damaged("its checksum is another one")
            if then is not None:
                then()

        self.expect(said, compare, summed=False)

    def expect_frame(self) -> None:
        """Says that a frame comes next, unless one is on its way; it comes to lie in `frames`."""
        if self._in_frame or self.frames:
            return
        self._in_frame = True
        lead = np.empty(_HEADER.size, np.uint8)
        self.expect(lead, lambda: self._read_header(lead.tobytes()), summed=False)

    def _read_header(self, lead: bytes) -> None:
        magic, tag, meta_bytes, body_bytes, said = _HEADER.unpack(lead)
        if magic != _MAGIC:
            raise self._damaged(f"it begins with {magic!r}, not {_MAGIC!r}")
        if meta_bytes > frames.MAX_META_BYTES or body_bytes > frames.MAX_BODY_BYTES:
            raise self._damaged(f"{meta_bytes} and {body_bytes} bytes are over the limits")
        small_bytes = body_bytes if body_bytes <= _SMALL_BYTES else 0
        small = np.empty(meta_bytes + small_bytes, np.uint8)

        def go_on() -> None:
            if zlib.crc32(small.data, zlib.crc32(lead[: -_SEAL.size])) != said:
                raise self._damaged("its checksum is another one")
            meta, body = small[:meta_bytes].tobytes(), small[meta_bytes:]
            if body_bytes <= _SMALL_BYTES:
                self._finish(base.Frame(tag, meta, body))
                return
            try:
                # The system gives the memory when it is written to: as much as really comes.
                body = np.empty(body_bytes, np.uint8)
            except MemoryError as error:
                raise self._damaged(f"no memory for {body_bytes} bytes") from error
            for at in range(0, body_bytes, BLOCK_BYTES):
                self.expect(body[at : at + BLOCK_BYTES])
            self.expect_seal(lambda: self._finish(base.Frame(tag, meta, body)))

        if small.size:
            self.expect(small, go_on, summed=False)
        else:
            go_on()

    def _finish(self, frame: base.Frame) -> None:
        self._in_frame = False
        self.frames.append(frame)

    def read(self) -> int:
        """Reads what has come for the places that are there, within limits; returns its size."""
        budget = _TURN_BYTES
        while budget > 0 and self._in and not self.broken:
            data, then, summed = self._in[0]
            try:
                count = self._source.recv_into(data[self._filled :].data)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self._break(str(error))
                break
            if not count:
                self._break("it was closed")
                break
            budget -= count
            self._filled += count
            if self._filled < data.size:
                continue
            self._in.popleft()
            self._filled = 0
            if summed and self._is_checked:
                self._sum_in.update(data)
            if then is not None:
                then()
        return _TURN_BYTES - budget

    def register(self, poll: select.poll, reads: bool) -> None:
        """Lets a poll return when something can be moved."""
        if self.broken:
            return
        if reads and self._in:
            poll.register(self._source, select.POLLIN)
        if not self.empty:
            poll.register(self._to, select.POLLOUT)

    def _break(self, why: str) -> None:
        self.broken = why
        self._out.clear()
        self._view = b""

    def _damaged(self, detail: str) -> errors.DataLossError:
        return errors.DataLossError(f"a message from rank {self.peer} was damaged: {detail}")


class WiredTransport(base.Transport):
    """One rank's end of a group whose ranks are all connected by wires.

    Args:
      control: connects the same ranks, and knows of their fate; closed with this one.
      wires: by peer.
    """

    def __init__(self, control: GrpcTransport, wires: dict[int, Wire]):
        self.rank = control.rank
        self.world_size = control.world_size
        self.wires = wires
        self._control = control
        self._inbox = control.links[0]
        # Before sleeping, where each worker of this host has a processor of its own.
        crowded = local_world.local_world_size() > (os.cpu_count() or 1)
        self._looks = 0 if crowded else _LOOKS

    def send(
        self, to_rank: int, tag: int, meta: bytes = b"", parts: Sequence[np.ndarray] = ()
    ) -> None:
        """Queues the frame, and writes as much of it as the kernel takes."""
        faults.reach("mid-send")
        self.wires[to_rank].put_frame(tag, meta, parts)
        self.wires[to_rank].write()

    def recv(self, from_rank: int, *, timeout_seconds: float, what: str) -> base.Frame:
        """Waits for the next frame from a rank."""
        wire = self.wires[from_rank]
        wire.expect_frame()
        faults.reach("mid-receive")
        # What another peer sends may not be a frame: it is left where it is.
        self.move_until(
            lambda: None if wire.frames else from_rank, timeout_seconds, what, reads=(wire,)
        )
        return wire.frames.popleft()

    def poll(self, from_rank: int) -> bool:
        """Whether a frame has begun to arrive."""
        return self.wires[from_rank].begun

    def flush(self, *, timeout_seconds: float, what: str) -> None:
        """Waits until the kernel has everything."""
        self.move_until(self._unsent, timeout_seconds, what, reads=())

    def _unsent(self) -> int | None:
        # A peer that has left has read what it needed.
        unsent = (peer for peer, wire in self.wires.items() if not wire.empty)
        return next((peer for peer in unsent if not self._inbox.gone(peer)), None)

    def move_until(
        self, waits_for: Callable[[], int | None], timeout_seconds: float, what: str, *,
        reads: Iterable[Wire] | None = None,
    ) -> None:  # fmt: skip
        """Moves bytes until `waits_for()` names no rank any more; blames the one it names.

        Args:
          waits_for: looked at again and again; cheap.
          timeout_seconds: longest time without progress.
          what: names the operation in errors.
          reads: the wires that are read from; all if None.
        """
        reading = list(self.wires.values()) if reads is None else list(reads)
        watch, watched, looks = None, None, 0
        while (peer := waits_for()) is not None:
            if self._move(reading):
                looks = 0
                if watch is not None:
                    watch.progress()
                continue
            looks += 1
            if looks < self._looks:
                continue
            if watch is None or watched != peer:
                watch, watched = Watch(self._inbox, peer, timeout_seconds, what), peer
            self._sleep(reading, self._look(watch, self.wires[peer]))
        if watch is not None:
            watch.end()

    def _move(self, reading: Sequence[Wire]) -> bool:
        moved = False
        for wire in self.wires.values():
            moved |= wire.write()
        for wire in reading:
            count = wire.read()
            if count:
                self._inbox.heard(wire.peer, count)
                moved = True
        return moved

    def _look(self, watch: Watch, wire: Wire) -> float:
        """Returns how long to sleep; raises if the peer will not come."""
        self._inbox.notice_silence()
        try:
            seconds = watch.look()
        except errors.WorkerLostError as error:
            if error.rank != wire.peer or wire.broken or watch.seconds_left(_GRACE_SECONDS) <= 0:
                raise
            return _LOOK_SECONDS
        if wire.broken and watch.seconds_left(_GRACE_SECONDS) <= 0:
            self._inbox.mark_lost(wire.peer, f"its connection broke: {wire.broken}")
        return min(seconds, _LOOK_SECONDS)

    def _sleep(self, reading: Sequence[Wire], seconds: float) -> None:
        poll = select.poll()
        for wire in self.wires.values():
            wire.register(poll, wire in reading)
        poll.poll(seconds * 1000)

    def check(self, what: str) -> None:
        """Raises if a peer is lost, has left or gave up."""
        self._control.check(what)

    def abort(self, error: BaseException) -> None:
        """Tells all peers that this rank gave up."""
        self._control.abort(error)

    def close(self) -> None:
        """Says goodbye to all peers, waits shortly until they have read it, and disconnects."""
        self._control.close()


def over(transport: GrpcTransport, *, timeout_seconds: float = 60.0) -> base.Transport:
    """Returns a transport over wires, or the given one if not all ranks have them.

    All ranks call it together, on a transport that has not been used.
    """
    _, outboxes, listener = transport.links
    to = {peer: outboxes[peer].bulk for peer in transport.peers}
    has_all = listener is not None and None not in to.values()
    checked = {peer: c is not None and bulk.is_checked(c) for peer, c in to.items()}
    mine = {peer: bytes([has_all, checked[peer]]) for peer in to}
    theirs = _exchange(transport, mine, timeout_seconds)
    has_all &= all(said[:1] == b"\1" for said in theirs.values())
    if not has_all or listener is None or not to:
        return transport
    # What was opened at its one end may have been closed at the other.
    sources: dict[int, socket.socket] = {}
    with contextlib.suppress(errors.DataLossError):
        sources = {peer: listener.socket_of(peer) for peer in to}
    has_all = len(sources) == len(to)
    found = _exchange(transport, dict.fromkeys(to, bytes([has_all])), timeout_seconds)
    if not has_all or any(said != b"\1" for said in found.values()):
        return transport
    wires = {
        peer: Wire(peer, connection, sources[peer], checked[peer] or theirs[peer] != b"\1\0")
        for peer, connection in to.items()
        if connection is not None
    }
    return WiredTransport(transport, wires)


def _exchange(
    transport: GrpcTransport, mine: dict[int, bytes], timeout_seconds: float
) -> dict[int, bytes]:
    """Tells each peer something; returns what they tell this rank."""
    what = "finding out whether all ranks are connected by wires"
    for peer, said in mine.items():
        transport.send(peer, _TAG, b"", [np.frombuffer(said, np.uint8)])
    arrived = {
        peer: transport.recv(peer, timeout_seconds=timeout_seconds, what=what) for peer in mine
    }
    transport.flush(timeout_seconds=timeout_seconds, what=what)
    return {
        peer: frame.body.tobytes() if frame.tag == _TAG else b"" for peer, frame in arrived.items()
    }
