"""Large bodies beside a gRPC stream: a plain TCP connection for each stream, without copies.

gRPC copies each chunk four times between two arrays, all of it under Python's lock; a socket reads
from the sender's arrays and writes to the receiver's. The stream still carries every frame's head,
in order, and all that is said about peers; only bodies from BULK_BYTES on go here, each with its
checksum behind it where it leaves the host (DISTFLOW_CHECKSUM: always or never). A connection is
admitted by a keyed hash of a number that the stream's welcome has told. Encrypted jobs, and peers
that cannot be reached here, stay with gRPC.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from distflow.base import errors, flags, log
from distflow.comm.transport.checksum import Checksum

BULK_BYTES = 256 << 10
NONCE_BYTES = 16
_MAGIC = b"dfbulk01"
_HELLO = struct.Struct("<8sQII32s")
_WELCOME = struct.Struct(f"<H{NONCE_BYTES}s")
_HANDSHAKE_SECONDS = 5.0
_CONNECT_SECONDS = 2.0
_LOOK_SECONDS = 0.5  # how often a blocked transfer looks whether it is still wanted
_BACKLOG = 64
_MAX_STRANGERS = 64  # connections that have not said who they are
_PARTS_AT_ONCE = 64
# What the kernel holds of a connection within a host is in cache when it is read. All-reduce of
# 105 MB between 2 and 4 processes: 66 and 226 ms as the kernel chooses (megabytes); 73 and 172 with
# 128 KiB, 56 and 158 with 256 KiB, 59 and 177 with 512 KiB (Xeon, 2 cores, 2026-11).
_LOCAL_SEND_BYTES = 256 << 10
_BLOCK_BYTES = 1 << 20  # is in cache when it is sent or has come: the checksum is cheap then
_CHECKSUM = struct.Struct("<I")
_CHECKED, _UNCHECKED = b"sum?", b"none"  # before each body


class BulkServer:
    """Listens for the peers' connections; `port` is 0 if it cannot."""

    def __init__(self, host: str, token: str):
        self.nonce = secrets.token_bytes(NONCE_BYTES)
        self._token = token
        self._condition = threading.Condition()
        self._sockets: dict[int, socket.socket] = {}
        self._admission: tuple[int, int, frozenset[int]] | None = None
        self._strangers = threading.Semaphore(_MAX_STRANGERS)
        self._closed = False
        self.port = 0
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._listener = socket.create_server((host, 0), family=family, backlog=_BACKLOG)
        except OSError as error:
            log.get_logger().info("no bulk connections: %s", error)
            self._closed = True
            return
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="distflow-bulk", daemon=True).start()

    @property
    def welcome(self) -> bytes:
        """What a stream's opener must know to connect here."""
        return _WELCOME.pack(self.port, self.nonce)

    def admit(self, job: int, rank: int, peers: Sequence[int]) -> None:
        """Says whom to let in: peers of this job that want this rank."""
        with self._condition:
            self._admission = (job, rank, frozenset(peers))
            self._condition.notify_all()

    def socket_of(self, peer: int) -> socket.socket:
        """Waits for the connection of a peer, which it opened before it used it.

        Raises:
          DataLossError: if there is none.
        """
        with self._condition:
            self._condition.wait_for(
                lambda: peer in self._sockets or self._closed, _HANDSHAKE_SECONDS
            )
            if peer not in self._sockets:
                raise errors.DataLossError(f"rank {peer} has no bulk connection")
            return self._sockets[peer]

    def close(self) -> None:
        """Ends all connections."""
        with self._condition:
            if not self._closed:
                self._closed = True
                with contextlib.suppress(OSError):
                    self._listener.shutdown(socket.SHUT_RDWR)
                self._listener.close()
            for each in self._sockets.values():
                close(each)
            self._sockets = {}
            self._condition.notify_all()

    def _accept(self) -> None:
        while True:
            try:
                stranger, _ = self._listener.accept()
            except OSError:
                return
            if not self._strangers.acquire(blocking=False):
                stranger.close()
                continue
            threading.Thread(
                target=self._greet, args=(stranger,), name="distflow-bulk-hello", daemon=True
            ).start()

    def _greet(self, stranger: socket.socket) -> None:
        try:
            stranger.settimeout(_HANDSHAKE_SECONDS)
            hello = bytearray(_HELLO.size)
            view = memoryview(hello)
            while view:
                count = stranger.recv_into(view)
                if not count:
                    raise OSError("closed")
                view = view[count:]
            magic, job, rank, to, mac = _HELLO.unpack(hello)
            with self._condition:
                known = self._condition.wait_for(
                    lambda: self._admission is not None or self._closed, _HANDSHAKE_SECONDS
                )
                good = known and not self._closed and self._admission is not None
                if good and self._admission is not None:
                    mine, me, peers = self._admission
                    good = (magic, job, to) == (_MAGIC, mine, me) and rank in peers
                    good = good and rank not in self._sockets
                expected = _sign(self._token, self.nonce, job, rank, to)
                if not hmac.compare_digest(mac, expected) or not good:
                    raise OSError("refused")
                _prepare(stranger)
                self._sockets[rank] = stranger
                self._condition.notify_all()
        except OSError:
            stranger.close()
        finally:
            self._strangers.release()


def connect(
    host: str, welcome: bytes, *, token: str, job: int, rank: int, to: int
) -> socket.socket | None:
    """Returns a connection to a peer whose stream gave this welcome; None if there can be none."""
    port, nonce = _WELCOME.unpack(welcome)
    if not port:
        return None
    try:
        found = socket.create_connection((host, port), timeout=_CONNECT_SECONDS)
        found.sendall(_HELLO.pack(_MAGIC, job, rank, to, _sign(token, nonce, job, rank, to)))
        _prepare(found)
        if _is_on_one_host(found):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LOCAL_SEND_BYTES)
    except OSError as error:
        log.get_logger().info("no bulk connection to rank %d: %s", to, error)
        return None
    return found


def send(
    connection: socket.socket, parts: Sequence[np.ndarray], is_wanted: Callable[[], bool]
) -> None:
    """Sends the parts' bytes, end to end, straight from their memory.

    Raises:
      OSError: if the connection breaks, or the transfer is not wanted any more.
    """
    checked = is_checked(connection)
    views: list[Any] = [memoryview(_CHECKED if checked else _UNCHECKED)]
    found, pending = Checksum(), 0
    for block in _blocks(parts):
        if checked:
            found.update(block)
        views.append(block.data)
        pending += block.nbytes
        if pending >= _BLOCK_BYTES or len(views) == _PARTS_AT_ONCE:
            _send_all(connection, views, is_wanted)
            views, pending = [], 0
    _send_all(connection, [*views, memoryview(_CHECKSUM.pack(found.value))], is_wanted)


def is_checked(connection: socket.socket) -> bool:
    """Whether bodies have checksums here: 18 % of the time of large ones over loopback, where
    nothing damages them; hidden by any real network (2 cores)."""
    chosen = flags.get("DISTFLOW_CHECKSUM")
    if chosen is not None:
        return bool(chosen)
    return not _is_on_one_host(connection)


def _is_on_one_host(connection: socket.socket) -> bool:
    return bool(connection.getpeername()[0] == connection.getsockname()[0])


def _blocks(parts: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    for part in parts:
        view = part.reshape(-1).view(np.uint8)
        for start in range(0, view.nbytes, _BLOCK_BYTES):
            yield view[start : start + _BLOCK_BYTES]


def _send_all(connection: socket.socket, views: list[Any], is_wanted: Callable[[], bool]) -> None:
    while views:
        try:
            count = connection.sendmsg(views[:_PARTS_AT_ONCE])
        except TimeoutError:
            if not is_wanted():
                raise
            continue
        while views and count >= len(views[0]):
            count -= len(views.pop(0))
        if count:
            views[0] = views[0][count:]


def receive(
    connection: socket.socket,
    body: np.ndarray,
    heard: Callable[[int], None],
    is_wanted: Callable[[], bool],
) -> None:
    """Fills an array with the next bytes; `heard` is told how many have come.

    Raises:
      OSError: if the connection breaks, or the transfer is not wanted any more.
      DataLossError: if the bytes are not those that were sent.
    """
    found, word = Checksum(), bytearray(_CHECKSUM.size)
    _fill(connection, memoryview(word), lambda count: None, is_wanted)
    if word not in (_CHECKED, _UNCHECKED):
        raise errors.DataLossError(f"a bulk body begins with {bytes(word)!r}")
    checked = word == _CHECKED
    for start in range(0, body.size, _BLOCK_BYTES):
        block = body[start : start + _BLOCK_BYTES]
        _fill(connection, block.data, heard, is_wanted)
        if checked:
            found.update(block)
    _fill(connection, memoryview(word), lambda count: None, is_wanted)
    if _CHECKSUM.unpack(word)[0] != found.value:
        raise errors.DataLossError(f"a bulk body of {body.size} bytes with another's checksum")


def _fill(
    connection: socket.socket,
    view: Any,
    heard: Callable[[int], None],
    is_wanted: Callable[[], bool],
) -> None:
    while view:
        try:
            count = connection.recv_into(view)
        except TimeoutError:
            if not is_wanted():
                raise
            continue
        if not count:
            raise ConnectionResetError("the bulk connection was closed")
        heard(count)
        view = view[count:]


def close(connection: socket.socket) -> None:
    """Ends a connection; whoever waits on it wakes up."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def _prepare(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(_LOOK_SECONDS)


def _sign(token: str, nonce: bytes, job: int, rank: int, to: int) -> Any:
    said = nonce + struct.pack("<QII", job, rank, to)
    return hmac.new(token.encode() or b"no token", said, hashlib.sha256).digest()
