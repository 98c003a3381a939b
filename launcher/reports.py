"""What workers tell the launcher of themselves: how far they are, and of what they have died.

They send one datagram for each message to a socket in a folder that is this user's alone
(DISTFLOW_REPORT names it; `distflow.telemetry.pulse` is the other end). A message that finds no
room is dropped: nothing a worker does waits for the launcher.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

NAME = "reports"
MAX_BYTES = 128 * 1024
ROOM_BYTES = 1024 * 1024  # what the kernel keeps until we read; it may grant less


MEMORY = "/dev/shm"
PREFIX = "distflow-"


def private_folder() -> Path:
    """Makes a folder for this user only (mode 0700), in shared memory where there is some."""
    base = MEMORY if os.access(MEMORY, os.W_OK | os.X_OK) else None
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=base))


def remove_left_behind(base: Path) -> None:
    """Removes this user's folders of launchers and agents that were killed before they could.

    Nobody listens at their sockets: unlike the number of a process that holds in all namespaces.
    """
    for folder in base.glob(f"{PREFIX}*"):
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe,
        ):
            if folder.stat().st_uid == os.getuid():
                try:
                    probe.connect(str(folder / NAME))
                except ConnectionRefusedError:
                    shutil.rmtree(folder, ignore_errors=True)


class Reports:
    """The launcher's end.

    Attributes:
      folder: holds the socket; removed by `close`.
      path: what DISTFLOW_REPORT is to be.
    """

    def __init__(self) -> None:
        self.folder = private_folder()
        remove_left_behind(self.folder.parent)
        self.path = str(self.folder / NAME)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM_BYTES)

    def fileno(self) -> int:
        """Returns what to wait on."""
        return self._socket.fileno()

    def read(self) -> list[dict[str, Any]]:
        """Returns the messages that have come; what is no message is passed over."""
        found: list[dict[str, Any]] = []
        while True:
            try:
                data = self._socket.recv(MAX_BYTES)
            except (BlockingIOError, InterruptedError):
                return found
            message = parsed(data)
            if message is not None:
                found.append(message)

    def close(self) -> None:
        """Removes socket and folder."""
        self._socket.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def parsed(data: bytes) -> dict[str, Any] | None:
    """Returns the message in a datagram, None if it is none."""
    with contextlib.suppress(ValueError, RecursionError):
        message = json.loads(data)
        if isinstance(message, dict) and isinstance(message.get("rank"), int):
            return message
    return None
