"""Pieces of bytes with a kind and a rank: what a host's agent sends to the launcher."""

from __future__ import annotations

import struct
from collections.abc import Iterator

OUT, ERR, MESSAGE, FILE = b"o", b"e", b"j", b"f"
KINDS = (OUT, ERR, MESSAGE, FILE)
MAX_BYTES = 1024 * 1024
_HEADER = struct.Struct(">4scHI")
_SIGN = b"\x00df1"  # what a login script prints is not taken for a frame


class BadFrame(Exception):
    """Something else than frames came."""


def encode(kind: bytes, rank: int, data: bytes) -> bytes:
    """Returns the frame of a piece."""
    return _HEADER.pack(_SIGN, kind, rank, len(data)) + data


class Decoder:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._has_begun = False

    def feed(self, data: bytes) -> Iterator[tuple[bytes, int, bytes]]:
        """Takes bytes; yields (kind, rank, data) of the frames that are complete.

        Raises:
          BadFrame: where a frame should begin and none does.
        """
        self._rest += data
        if not self._has_begun:
            start = self._rest.find(_SIGN)
            if start < 0:
                if len(self._rest) > MAX_BYTES:
                    raise BadFrame("a megabyte came before the first frame")
                return
            del self._rest[:start]  # a login script had something to say
            self._has_begun = True
        while len(self._rest) >= _HEADER.size:
            sign, kind, rank, size = _HEADER.unpack_from(self._rest)
            if sign != _SIGN or kind not in KINDS or size > MAX_BYTES:
                raise BadFrame(f"expected a frame; received {bytes(self._rest[:20])!r}")
            if len(self._rest) < _HEADER.size + size:
                return
            body = bytes(self._rest[_HEADER.size : _HEADER.size + size])
            del self._rest[: _HEADER.size + size]
            yield kind, rank, body
