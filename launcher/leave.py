"""Asks the MPI ranks of this host, or container, to end after the step under way.

    python -m distflow_launcher.leave SECONDS

For a host that is about to go, as the preStop hook of an MPIJob's worker: it sends SIGUSR1 and
returns when they have ended, or after so many seconds. One rank that is asked ends the whole
mpirun, with a backup (BackupAndRestore); the launcher starts it again on the hosts that stay.
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


def main(words: list[str]) -> int:
    """Asks, and waits; returns 0 also if some have not ended: the host goes anyway."""
    if len(words) != 1 or not words[0].isdigit():
        sys.stderr.write("usage: python -m distflow_launcher.leave SECONDS\n")
        return USAGE_ERROR
    over = time.monotonic() + int(words[0])
    for process in ranks():
        try:
            os.kill(process, signal.SIGUSR1)
        except ProcessLookupError:
            pass  # it has ended by itself
    while ranks() and time.monotonic() < over:
        time.sleep(POLL_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
