"""The cache on disk: a private folder of entries that are named by what decides their content.

An entry's name is a SHA-256 and it carries a checksum. It is used only if the folder and the file
belong to this user alone and the checksum holds; otherwise it is made anew. `size_limit.py` keeps
the folder from growing without end.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import tempfile
from pathlib import Path

from distflow.base import flags, log
from distflow.compiler.cpu import size_limit

_MAGIC = b"dfcode1\n"
_DIGEST_BYTES = 32


def folder() -> Path | None:
    """Returns the private folder of the cache, made if need be; None where there can be none."""
    root = flags.get("DISTFLOW_CACHE_DIR")
    if not root:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        root = os.path.join(home, "distflow")
    where = Path(root) / "code"
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        where.mkdir(mode=0o700, exist_ok=True)
        found = os.lstat(where)
    except OSError as error:
        log.get_logger().log(logging.INFO, "no cache of machine code: %s", error)
        return None
    if not stat.S_ISDIR(found.st_mode) or not _is_ours(found) or found.st_mode & 0o077:
        log.get_logger().log(
            logging.WARNING,
            "cache of machine code not used: %s must be a folder of this user with mode 0700",
            where,
        )
        return None
    return where


def _is_ours(found: os.stat_result) -> bool:
    return not hasattr(os, "getuid") or found.st_uid == os.getuid()


def read(path: Path, key: str) -> bytes | None:
    """Returns what an entry holds; None if there is none that can be trusted.

    Args:
      path: of the entry.
      key: that it must have been written under.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or not _is_ours(found):
            return None
        data = file.read()
    start = len(_MAGIC) + _DIGEST_BYTES
    if data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC) : start] != _checksum(key, data[start:]):
        return None
    size_limit.note_read(path, found.st_mtime)
    return data[start:]


def write(where: Path, key: str, content: bytes) -> None:
    """Puts an entry in place at once, so that a reader sees all of it or none."""
    try:
        handle, temporary = tempfile.mkstemp(dir=where, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_MAGIC + _checksum(key, content) + content)
            os.replace(temporary, where / key)
        except OSError:
            os.unlink(temporary)
            raise
    except OSError as error:
        log.get_logger().log(logging.INFO, "machine code not kept: %s", error)
    else:
        size_limit.note_written(where, len(content))


def _checksum(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + content).digest()
