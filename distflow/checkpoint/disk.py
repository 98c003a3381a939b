"""Files that appear whole or not at all, and errors that say which file and why.

A new file is written beside its place under a name that starts with a dot and ends in `.part`,
flushed to the disk, and renamed. What a killed process leaves is such a file: the next save to the
same place sweeps it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import socket
from collections.abc import Iterable, Iterator
from typing import Any

from distflow.base import errors

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLASSES: dict[int, type[errors.OpError]] = {
    errno.ENOENT: errors.NotFoundError,
    errno.ENOTDIR: errors.NotFoundError,
    errno.EACCES: errors.PermissionDeniedError,
    errno.EPERM: errors.PermissionDeniedError,
    errno.EROFS: errors.PermissionDeniedError,
    **dict.fromkeys(_FULL, errors.ResourceExhaustedError),
}
# Part of a temporary name, so that hosts that share a folder do not judge each other's processes.
_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


class Disk:
    """The operations that change files; tests put one in its place that fails after n bytes."""

    def write(self, file: Any, data: Any) -> None:
        """Writes all of `data` (bytes or a view of bytes)."""
        file.write(data)

    def sync(self, file: Any) -> None:
        """Returns when the file's contents are on the disk."""
        file.flush()
        os.fsync(file.fileno())

    def rename(self, source: str, target: str) -> None:
        """Puts `source` in the place of `target`, at once."""
        os.replace(source, target)

    def sync_folder(self, folder: str) -> None:
        """Returns when names in the folder are on the disk, where the system can say so."""
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def remove(self, path: str) -> None:
        """Removes a file; one that is gone already is no error."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


disk = Disk()


def write_file(path: str, chunks: Iterable[Any]) -> None:
    """Writes a file of these chunks; on an error what was at `path` stays.

    Raises:
      ResourceExhaustedError: if the disk or the quota is full.
      NotFoundError, PermissionDeniedError, UnknownError: for what else can be wrong.
    """
    folder, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(folder, _temporary_name(name))
    with told(path, "write"):
        os.makedirs(folder, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                for chunk in chunks:
                    disk.write(file, chunk)
                disk.sync(file)
            disk.rename(temporary, path)
        except Exception:
            disk.remove(temporary)
            raise
        disk.sync_folder(folder)


def check_space(path: str, num_bytes: int) -> None:
    """Raises ResourceExhaustedError if the disk has no room for so many bytes."""
    folder = os.path.dirname(os.path.abspath(path))
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    try:
        free = os.statvfs(folder)
    except (AttributeError, OSError):
        return
    left = free.f_bavail * free.f_frsize
    if left < num_bytes:
        raise errors.ResourceExhaustedError(
            f"save: {path} needs {num_bytes} bytes; received {left} free bytes in {folder}. "
            "Nothing was written; older checkpoints are as they were."
        )


def sweep(prefix: str) -> None:
    """Removes what killed processes of this host left when they wrote `<prefix>.<ending>`."""
    folder, name = os.path.split(os.path.abspath(prefix))
    with contextlib.suppress(OSError):
        for entry in os.listdir(folder):
            if entry.startswith(f".{name}.") and _is_left_over(entry):
                disk.remove(os.path.join(folder, entry))


@contextlib.contextmanager
def told(path: str, doing: str) -> Iterator[None]:
    """Turns an OSError of the block into the error class of its cause, naming the file."""
    try:
        yield
    except OSError as error:
        cls = _CLASSES.get(error.errno or 0, errors.UnknownError)
        hint = " Files that were there before are as they were." if doing == "write" else ""
        raise cls(f"checkpoint: cannot {doing} {path}: {error.strerror or error}.{hint}") from error


def _temporary_name(name: str) -> str:
    return f".{name}.{_HOST}.{os.getpid()}.{secrets.token_hex(4)}.part"


def _is_left_over(entry: str) -> bool:
    parts = entry.rsplit(".", 4)
    if len(parts) != 5 or parts[4] != "part" or parts[1] != _HOST or not parts[2].isdigit():
        return False
    try:
        os.kill(int(parts[2]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
