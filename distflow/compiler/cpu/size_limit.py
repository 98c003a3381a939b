"""Keeps the folder of machine code below DISTFLOW_CACHE_MB: what was used longest ago goes first.

An entry's time of change tells when it was used last, to a day. Processes need no lock: an entry
is read whole before it is used, so removing it costs no more than making it anew; processes that
find the folder too large at once choose the same files, and one that is gone was removed by
another. What cannot be looked at or removed is left alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from pathlib import Path

from distflow.base import flags

DAY_SECONDS = 86_400.0

_ENTRY = re.compile("[0-9a-f]{64}")
_UNFINISHED = ".new-"
# Bytes that this process may write before it looks at a folder again, by folder and limit.
_room: dict[tuple[Path, int], int] = {}


def note_read(path: Path, changed: float) -> None:
    """Marks an entry as used, if that is not on it for today (`changed`: its time of change)."""
    if abs(time.time() - changed) > DAY_SECONDS:
        with contextlib.suppress(OSError):
            os.utime(path)


def note_written(folder: Path, size: int) -> None:
    """Removes entries if the folder may have grown past its limit by a new one of `size` bytes.

    Looks at the folder at the first entry that a process writes, and then after each sixteenth of
    the limit, as others write too.
    """
    limit = flags.get("DISTFLOW_CACHE_MB") << 20
    room = _room.get((folder, limit), 0) - size
    if room < 0:
        room = min(limit - trim(folder, limit), limit // 16)
    _room[folder, limit] = room


def trim(folder: Path, limit: int) -> int:
    """Removes entries until there are 7/8 of the limit, if there is more than the limit.

    Files that a killed process has left unfinished go like entries once they are a day old; files
    of other names do not count.

    Returns:
      the bytes that are left.
    """
    files, total = _files(folder)
    if total <= limit:
        return total
    for _, name, size in sorted(files):
        if total <= limit - limit // 8:
            break
        try:
            os.unlink(folder / name)
        except FileNotFoundError:
            pass
        except OSError:
            continue
        total -= size
    return total


def _files(folder: Path) -> tuple[list[tuple[float, str, int]], int]:
    """Returns (time of change, name, bytes) of all that may be removed, and the bytes of all."""
    found, total = [], 0
    fresh = time.time() - DAY_SECONDS
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            is_unfinished = entry.name.startswith(_UNFINISHED)
            if not is_unfinished and not _ENTRY.fullmatch(entry.name):
                continue
            try:
                about = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if not stat.S_ISREG(about.st_mode):
                continue
            total += about.st_size
            if not is_unfinished or about.st_mtime < fresh:
                found.append((about.st_mtime, entry.name, about.st_size))
    return found, total
