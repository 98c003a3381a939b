"""What is left in /dev/shm, on a machine on which other jobs run at the same time."""

import os
import re
import time
from pathlib import Path

FOLDER = Path("/dev/shm")


def entries():
    """Returns the names that are there now."""
    return set(os.listdir(FOLDER))


def left_behind(before, launcher=None, seconds=60):
    """Returns names that were not there `before` and stay: those of other jobs go in time.

    Of the folders of launchers and of their agents ("distflow-PROCESS-...") only those of the
    process `launcher` count: other tests kill theirs.
    """
    left = entries() - before
    over = time.monotonic() + seconds
    while (left := {name for name in left & entries() if not _is_of_another(name, launcher)}) and (
        time.monotonic() < over
    ):
        time.sleep(0.05)
    return left


def _is_of_another(name, launcher):
    found = re.match(r"distflow-(\d+)-", name)
    return found is not None and int(found[1]) != launcher


def named_in(process):
    """Returns the files of shared memory that a process maps or has open, and that have a name."""
    maps = Path(f"/proc/{process}/maps").read_text().splitlines()
    paths = [line.split(maxsplit=5)[5] for line in maps if len(line.split(maxsplit=5)) == 6]
    for fd in Path(f"/proc/{process}/fd").iterdir():
        try:
            paths.append(os.readlink(fd))
        except FileNotFoundError:
            continue
    return {p for p in paths if p.startswith(f"{FOLDER}/") and not p.endswith(" (deleted)")}
