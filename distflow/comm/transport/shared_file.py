"""Memory without a name that processes of one host share: an anonymous file, opened through /proc.

A memfd is neither in /dev/shm nor elsewhere, so nothing stays behind whatever kills the workers,
and the size of /dev/shm does not matter. Others open it through /proc/<pid>/fd, which only works
for processes of the same user that see each other; a random cookie inside tells that what is found
there is the right file.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import secrets
from typing import Any, TypeVar

import numpy as np

from distflow.base import errors

HEAD_BYTES = 4096  # a page for the cookie; what users of a file put into it begins here
_COOKIE_BYTES = 16
_MEMORY_SHARE = 0.5  # of the free memory that one file may take

File = TypeVar("File", bound="SharedFile")


class SharedFile:
    """A mapped anonymous file.

    Attributes:
      data: its bytes, a NumPy array; the first `HEAD_BYTES` are not for use.
    """

    def __init__(self, file: int, num_bytes: int, cookie: bytes):
        self._file = file
        self._cookie = cookie
        self.data = np.frombuffer(mmap.mmap(file, num_bytes), np.uint8)

    @classmethod
    def create(cls: type[File], num_bytes: int, *arguments: Any) -> File:
        """Returns a new file of zeros; `arguments` go to the constructor of a subclass.

        Raises:
          UnavailableError: where there are no anonymous files (only Linux has them).
          ResourceExhaustedError: if the host has not the memory.
        """
        if not hasattr(os, "memfd_create"):
            raise errors.UnavailableError("shared memory: expected Linux, which has memfd_create")
        check_memory(num_bytes)
        file = os.memfd_create("distflow", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(file, num_bytes)
            # Nobody can cut the file, which would kill whoever touches what is gone.
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
            made = cls(file, num_bytes, secrets.token_bytes(_COOKIE_BYTES), *arguments)
        except BaseException:
            os.close(file)
            raise
        made.data[:_COOKIE_BYTES] = np.frombuffer(made._cookie, np.uint8)
        return made

    @property
    def ticket(self) -> dict[str, Any]:
        """What another process needs to open the file, as JSON values. A secret of the job."""
        return {
            "pid": os.getpid(),
            "file": self._file,
            "cookie": self._cookie.hex(),
            "size": self.data.size,
        }

    @classmethod
    def open(cls: type[File], ticket: dict[str, Any], *arguments: Any) -> File:
        """Returns a file that a process of this host has made and not closed.

        Raises:
          UnavailableError: if it cannot be reached (another host or container, another user).
          DataLossError: if the ticket is malformed.
        """
        try:
            size, cookie = int(ticket["size"]), bytes.fromhex(ticket["cookie"])
            path = f"/proc/{int(ticket['pid'])}/fd/{int(ticket['file'])}"
        except (KeyError, TypeError, ValueError) as error:
            raise errors.DataLossError(f"shared memory: malformed ticket: {error!r}") from error
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            text = f"shared memory: {path} cannot be opened ({error.strerror})"
            raise errors.UnavailableError(text) from error
        try:
            # In another container the same path may be somebody else's file.
            if os.fstat(file).st_size != size or os.pread(file, _COOKIE_BYTES, 0) != cookie:
                raise errors.UnavailableError(f"shared memory: {path} is not the job's file")
            return cls(file, size, cookie, *arguments)
        except BaseException:
            os.close(file)
            raise

    def close(self) -> None:
        """Gives up the descriptor by which others open the file. Idempotent.

        The memory goes when no process holds an array that looks into it.
        """
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def check_memory(num_bytes: int) -> None:
    """Raises ResourceExhaustedError if a file would take too much of the free memory."""
    free = free_memory()
    if free is not None and num_bytes > free * _MEMORY_SHARE:
        raise errors.ResourceExhaustedError(
            errors.message(
                "shared memory",
                f"{num_bytes / 2**20:.0f} MiB must be at most {_MEMORY_SHARE:.0%} of what is free",
                f"{free / 2**20:.0f} MiB free",
                "Give the host or container more memory, or set DISTFLOW_BACKEND=grpc.",
            )
        )


def free_memory() -> int | None:
    """Returns the bytes that this process may still take, by host and cgroup; None if unknown."""
    found = []
    with contextlib.suppress(OSError, ValueError), open("/proc/meminfo") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) << 10)
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        ),
    ):
        with contextlib.suppress(OSError, ValueError), open(limit) as most, open(used) as now:
            found.append(int(most.read()) - int(now.read()))
    return min(found, default=None)
