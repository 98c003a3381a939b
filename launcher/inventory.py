"""What a host has of what a job needs: asked on each host before its workers are started."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import socket
from collections.abc import Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

# Other versions of these, other bits.
COMPARED = ("distflow", "numpy", "ml_dtypes", "llvmlite")
REACH_SECONDS = 5.0


def of_this_host(folder: str, program: str) -> dict[str, Any]:
    """Returns versions, cores, the address of the launcher as seen from here, and what is missing.

    Args:
      folder: where the workers are to run.
      program: the file they run, relative to the folder; "" for a module.
    """
    launcher, address = _connection()
    return {
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "versions": versions(),
        "cores": len(os.sched_getaffinity(0)),
        "has_folder": Path(folder).is_dir(),
        "has_program": not program or (Path(folder) / program).exists(),
        "launcher": launcher,
        "address": address,
    }


@functools.cache
def versions() -> dict[str, str]:
    """Returns the versions of what must be the same everywhere; "" if a package is absent."""
    found = {}
    for name in COMPARED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found


def reach_all(targets: Sequence[tuple[str, int]]) -> list[str]:
    """Returns what `reach` says of each target, asked all at once."""
    with futures.ThreadPoolExecutor(max_workers=64) as pool:
        return list(pool.map(lambda target: reach(*target), targets))


def reach(address: str, port: int) -> str:
    """Returns "" if something listens there, else what happened."""
    try:
        socket.create_connection((address, port), REACH_SECONDS).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _connection() -> tuple[str, str]:
    """Returns the addresses of the launcher and of this host that ssh uses now."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    return (words[0], words[2]) if len(words) == 4 else ("", "")
