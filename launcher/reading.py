"""Reads what has come by now from a file descriptor that does not block."""

from __future__ import annotations

import os


def read_now(fd: int, most: int) -> bytes | None:
    """Returns what has come, at most so many bytes: None if nothing has, b"" at the end."""
    try:
        return os.read(fd, most)
    except BlockingIOError:
        return None
