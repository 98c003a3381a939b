"""The bytes of a gRPC stream: a fixed header before each chunk, and the way back to whole frames.

A frame is cut into chunks of at most `CHUNK_BYTES` of body; the first one also carries the frame's
meta. Every chunk says whose it is, which frame of the stream, and where it begins, and has a
checksum, so that a lost, doubled, reordered, foreign or damaged chunk is an error and never data.
Pure: no network.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from distflow.base import errors
from distflow.comm.transport.base import Frame
from distflow.comm.transport.checksum import Checksum

MAGIC = b"dfcm"
VERSION = 3
CHUNK_BYTES = 1 << 20  # 1 MiB: fastest of 64 KiB .. 16 MiB on one loopback gRPC stream
MAX_META_BYTES = 4 << 20
MAX_BODY_BYTES = 64 << 30

DATA, GOODBYE, ABORT, HEARTBEAT, ASK, STACK, BULK = 1, 2, 3, 4, 5, 6, 7
_NOTHING = np.empty(0, np.uint8)
_SIGNALS = (ABORT, HEARTBEAT, ASK, STACK)  # not counted; an abort may interrupt a frame

# magic, version, kind, job, source, frame index, tag, meta bytes, body bytes, offset, payload bytes
_HEADER = struct.Struct("<4sHHQIQQIQQI")
_CHECKSUM = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _CHECKSUM.size
MAX_MESSAGE_BYTES = HEADER_BYTES + MAX_META_BYTES + CHUNK_BYTES


class Header(NamedTuple):
    """The fields of a chunk's header, after magic and version."""

    kind: int
    job: int
    source: int
    number: int
    tag: int
    meta_bytes: int
    body_bytes: int
    offset: int
    payload_bytes: int


class Signal(NamedTuple):
    """A frame without data: goodbye, heartbeat, the error that a peer gave up with, or the question
    where its program is, and the answer."""

    kind: int
    meta: bytes


class Announced(NamedTuple):
    """The head of a frame whose body comes over the bulk connection."""

    tag: int
    meta: bytes
    body_bytes: int


def job_number(job: str) -> int:
    """Returns the 64-bit number that stands for a job (and its generation) in headers."""
    return int.from_bytes(hashlib.blake2b(job.encode(), digest_size=8).digest(), "little")


def encode(header: Header, meta: bytes = b"", pieces: Sequence[np.ndarray] = ()) -> bytes:
    """Returns a message: a header, the checksum of everything, meta, and the payload's pieces."""
    lead = _HEADER.pack(MAGIC, VERSION, *header)
    return b"".join([lead, _CHECKSUM.pack(_checksum(lead, meta, pieces)), meta, *pieces])  # type: ignore[list-item]


def _checksum(lead: bytes, meta: bytes, pieces: Sequence[np.ndarray]) -> int:
    payload = Checksum()
    for piece in pieces:
        payload.update(piece)
    return zlib.crc32(meta, zlib.crc32(lead, payload.value))


def decode_header(message: bytes) -> Header:
    """Returns the header of a message.

    Raises:
      DataLossError: if the message is no chunk of this version, its sizes do not add up, or it was
        damaged on its way.
    """
    if len(message) < HEADER_BYTES:
        raise errors.DataLossError(f"a chunk has {HEADER_BYTES} bytes or more, not {len(message)}")
    magic, version, *fields = _HEADER.unpack_from(message)
    if magic != MAGIC:
        raise errors.DataLossError(f"a chunk begins with {MAGIC!r}, not {magic!r}")
    if version != VERSION:
        raise errors.DataLossError(f"wire version {version}, this side speaks {VERSION}")
    header = Header(*fields)
    if header.kind not in (DATA, GOODBYE, BULK, *_SIGNALS):
        raise errors.DataLossError(f"unknown kind of frame {header.kind}")
    if header.meta_bytes > MAX_META_BYTES or header.body_bytes > MAX_BODY_BYTES:
        raise errors.DataLossError(f"announced sizes are over the limits: {header}")
    meta = header.meta_bytes if header.offset == 0 else 0
    if len(message) != HEADER_BYTES + meta + header.payload_bytes:
        raise errors.DataLossError(f"{len(message)} bytes do not fit {header}")
    if header.offset + header.payload_bytes > header.body_bytes:
        raise errors.DataLossError(f"a chunk reaches past the end of its frame: {header}")
    if header.payload_bytes > CHUNK_BYTES:
        raise errors.DataLossError(f"a chunk over {CHUNK_BYTES} bytes: {header}")
    start = HEADER_BYTES + meta
    payload = np.frombuffer(message, np.uint8, offset=start) if len(message) > start else _NOTHING
    lead, said = message[: _HEADER.size], _CHECKSUM.unpack_from(message, _HEADER.size)[0]
    if said != _checksum(lead, message[HEADER_BYTES:start], [payload]):
        raise errors.DataLossError(f"a chunk with the checksum of another one: {header}")
    return header


def chunks(
    kind: int,
    job: int,
    source: int,
    index: int,
    tag: int,
    meta: bytes,
    parts: Sequence[np.ndarray],
) -> Iterator[bytes]:
    """Yields the messages of a frame; each part is read when its chunk is due."""
    views = [part.reshape(-1).view(np.uint8) for part in parts if part.nbytes]
    body_bytes = sum(view.nbytes for view in views)
    if len(meta) > MAX_META_BYTES:
        expected = f"a header of at most {MAX_META_BYTES} bytes"
        raise errors.invalid("send", expected, f"{len(meta)} (too many arrays in one call?)")
    offset = 0
    while True:
        pieces, size = _take(views, CHUNK_BYTES)
        header = Header(kind, job, source, index, tag, len(meta), body_bytes, offset, size)
        yield encode(header, b"" if offset else meta, pieces)
        offset += size
        if offset >= body_bytes:
            return


def announcement(
    job: int, source: int, index: int, tag: int, meta: bytes, body_bytes: int
) -> bytes:
    """Returns the message for a frame whose body goes over the bulk connection."""
    header = Header(BULK, job, source, index, tag, len(meta), body_bytes, 0, 0)
    return encode(header, meta)


def _take(views: list[np.ndarray], limit: int) -> tuple[list[np.ndarray], int]:
    pieces: list[np.ndarray] = []
    size = 0
    while views and size < limit:
        piece = views[0][: limit - size]
        pieces.append(piece)
        size += piece.nbytes
        if piece.nbytes == views[0].nbytes:
            views.pop(0)
        else:
            views[0] = views[0][piece.nbytes :]
    return pieces, size


class Assembler:
    """Puts the chunks of one stream together again, in one preallocated body per frame."""

    def __init__(self, job: int, source: int):
        self._job = job
        self._source = source
        self._index = 0
        self._first: Header | None = None
        self._meta = b""
        self._body = np.empty(0, np.uint8)
        self._offset = 0

    def feed(self, message: bytes) -> Frame | Signal | Announced | None:
        """Takes the next message; returns a frame when it is whole.

        Raises:
          DataLossError: if the message is malformed or not the next one of this stream.
        """
        header = decode_header(message)
        if header.job != self._job or header.source != self._source:
            raise errors.DataLossError(
                f"a chunk of job {header.job:#x}, rank {header.source}; this stream belongs to job "
                f"{self._job:#x}, rank {self._source}"
            )
        if header.kind in _SIGNALS:
            return Signal(
                header.kind, bytes(message[HEADER_BYTES : HEADER_BYTES + header.meta_bytes])
            )
        if header.number != self._index or header.offset != self._offset:
            raise errors.DataLossError(
                f"frame {header.number} offset {header.offset} came, "
                f"frame {self._index} offset {self._offset} was due"
            )
        if header.kind == BULK:
            if header.payload_bytes or self._first is not None:
                raise errors.DataLossError(f"a bulk frame with a payload: {header}")
            if not header.body_bytes:
                raise errors.DataLossError(f"a bulk frame without a body: {header}")
            self._index += 1
            meta = bytes(message[HEADER_BYTES : HEADER_BYTES + header.meta_bytes])
            return Announced(header.tag, meta, header.body_bytes)
        start = HEADER_BYTES
        if self._first is None:
            start += header.meta_bytes
            self._first = header
            self._meta = bytes(message[HEADER_BYTES:start])
            try:
                # The system gives the memory when it is written to: as much as really comes.
                self._body = np.empty(header.body_bytes, np.uint8)
            except MemoryError as error:
                raise errors.DataLossError(f"no memory for {header}") from error
        elif (header.kind, header.tag, header.meta_bytes, header.body_bytes) != (
            self._first.kind,
            self._first.tag,
            self._first.meta_bytes,
            self._first.body_bytes,
        ):
            raise errors.DataLossError(f"{header} does not continue {self._first}")
        if header.payload_bytes == 0 and header.body_bytes:
            raise errors.DataLossError(f"an empty chunk in a frame with a body: {header}")
        stop = self._offset + header.payload_bytes
        if stop < header.body_bytes and header.payload_bytes != CHUNK_BYTES:
            raise errors.DataLossError(f"a chunk that is not full inside of a frame: {header}")
        self._body[self._offset : stop] = np.frombuffer(message, np.uint8, offset=start)
        self._offset = stop
        if stop < header.body_bytes:
            return None
        frame = Frame(header.tag, self._meta, self._body)
        self._index += 1
        self._offset = 0
        self._first, self._meta, self._body = None, b"", np.empty(0, np.uint8)
        return Signal(GOODBYE, frame.meta) if header.kind == GOODBYE else frame
