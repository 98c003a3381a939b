"""How many cores one worker may keep busy: its part of what the host lends to all of them.

Three things bound it: the process's affinity mask, the cores of its container (cpuset) and the
container's quota of CPU time. All are read once.
"""

from __future__ import annotations

import contextlib
import functools
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path

_MOUNT = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


@functools.cache
def share(workers: int, cores: int | None = None) -> int:
    """Returns the number of cores of one of `workers` processes on this host, at least 1.

    A process whose mask holds no more than its part of the cores was bound to them by what
    started it (mpirun, srun): the mask is its share as it stands. A wider mask is taken to be
    that of all workers.

    Args:
      workers: number of processes that share the host.
      cores: how many cores they share; None: those of the container, else of the host.
    """
    mask = _mask()
    part = max(1, (cores or _container() or _host()) // workers)
    found = mask if mask <= part else mask // workers
    quota = _quota()
    if quota is not None:
        found = min(found, int(quota / workers))
    return max(1, found)


def _mask() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return _host()


def _host() -> int:
    return os.cpu_count() or 1


def _container() -> int | None:
    """Returns the number of CPUs in the cpuset of this process's control group."""
    for folder in _folders("cpuset"):
        for name in ("cpuset.cpus.effective", "cpuset.effective_cpus"):
            with contextlib.suppress(OSError, ValueError):
                return _count((folder / name).read_text())
    return None


def _quota() -> float | None:
    """Returns how many CPUs' time the control groups of this process may use; None: no limit."""
    limits = []
    for folder in _folders("cpu"):
        # Version 2 and version 1; "max" and -1 are no limit.
        with contextlib.suppress(OSError, ValueError):
            quota, period = map(int, (folder / "cpu.max").read_text().split())
            limits.append((quota, period))
        with contextlib.suppress(OSError, ValueError):
            quota = int((folder / "cpu.cfs_quota_us").read_text())
            limits.append((quota, int((folder / "cpu.cfs_period_us").read_text())))
    return min((q / p for q, p in limits if q > 0 and p > 0), default=None)


def _folders(controller: str) -> Iterator[Path]:
    """Yields the folders of this process's control groups, from its own up to the root.

    In a container the path may be the host's, of which the container sees only the root.
    """
    with contextlib.suppress(OSError, ValueError):
        for line in _MEMBERSHIP.read_text().splitlines():
            _, names, path = line.split(":", 2)
            if names and controller not in names.split(","):
                continue
            path = posixpath.normpath("/" + path.lstrip("/"))
            while True:
                yield _MOUNT / (controller if names else "") / path[1:]
                if path == "/":
                    break
                path = posixpath.dirname(path)


def _count(text: str) -> int:
    """Returns how many numbers a list like "0-3,8" names."""
    ends = [part.split("-") for part in text.strip().split(",")]
    return sum(int(pair[-1]) - int(pair[0]) + 1 for pair in ends)
