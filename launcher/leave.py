"""Asks the MPI ranks of this host, or container, to end after the step under way.

    python -m distflow_launcher.leave SECONDS [--end-sshd]

For a host that is about to go, as the preStop hook of an MPIJob's worker: it sends SIGUSR1 and
returns when they have ended, or after so many seconds. One rank that is asked ends the whole
mpirun, with a backup (BackupAndRestore); the launcher starts it again on the hosts that stay.

With --end-sshd it then ends the sshd of its own user by SIGQUIT, for which sshd exits with 255: for
SIGTERM it exits with 0, and a Job would count a drained pod's index as complete.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from . import light
from .arguments import USAGE_ERROR

POLL_SECONDS = 0.1


def ranks() -> list[int]:
    """Returns the processes that an MPI's daemon has started here, without what they started."""
    managers = light.load("cluster.environments.mpi").PROCESS_MANAGERS
    signs = [f"{manager.rank}=".encode() for manager in managers]
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environ = (folder / "environ").read_bytes().split(b"\0")
            if any(entry.startswith(sign) for entry in environ for sign in signs):
                words = (folder / "stat").read_text().rpartition(")")[2].split()
                if words[0] != "Z":
                    parents[int(folder.name)] = int(words[1])
        except (OSError, IndexError):
            continue  # it has ended, or is somebody else's
    return sorted(process for process, parent in parents.items() if parent not in parents)


def sshds() -> list[int]:
    """Returns the listening sshd of this user, if there is one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes()
            is_own = b"Uid:\t%d\t" % os.getuid() in (folder / "status").read_bytes()
        except OSError:
            continue  # it has ended
        # It calls itself `sshd: /usr/sbin/sshd -D [listener] ...` once it listens.
        if is_own and words.startswith(b"sshd: /") and b"[listener]" in words:
            found.append(int(folder.name))
    return found


def main(words: list[str]) -> int:
    """Asks, and waits; returns 0 also if some have not ended: the host goes anyway."""
    if not words[:1] or not words[0].isdigit() or words[1:] not in ([], ["--end-sshd"]):
        sys.stderr.write("usage: python -m distflow_launcher.leave SECONDS [--end-sshd]\n")
        return USAGE_ERROR
    over = time.monotonic() + int(words[0])
    _signal(ranks(), signal.SIGUSR1)
    while ranks() and time.monotonic() < over:
        time.sleep(POLL_SECONDS)
    if words[1:]:
        _signal(sshds(), signal.SIGQUIT)
    return 0


def _signal(processes: list[int], number: int) -> None:
    for process in processes:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            pass  # it has ended by itself


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
