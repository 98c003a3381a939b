"""Whether the processes that share a segment are alive: by pidfd, else by /proc (pure polling)."""

from __future__ import annotations

import os
import select


class Process:
    """Another process of this host, watched from now on."""

    def __init__(self, pid: int):
        self.pid = pid
        self._file = -1
        self._started = _start_time(pid)
        # A pidfd is safe against a pid that is used again, and sees a dead process at once, also
        # one whose parent has not asked yet what became of it.
        if hasattr(os, "pidfd_open"):
            try:
                self._file = os.pidfd_open(pid)
            except OSError:
                self._file = -1
        self._poll = select.poll()
        if self._file >= 0:
            self._poll.register(self._file, select.POLLIN)

    @property
    def dead(self) -> bool:
        """Whether the process has ended."""
        if self._file >= 0:
            return bool(self._poll.poll(0))
        now = _start_time(self.pid)
        return now is None or now != self._started

    def close(self) -> None:
        """Gives up the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _start_time(pid: int) -> str | None:
    """Returns when a process started, as the kernel counts; None if it has ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            # The name in parentheses may hold anything; the state is the field after it.
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZXx" else fields[19]
