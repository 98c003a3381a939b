"""Limits a container's memory and CPU by control groups of version 1, where they are mounted."""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
PREFIX = "fakekube-"
PERIOD_MICROSECONDS = 100_000
REMOVE_SECONDS = 2.0
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 10**3, "M": 10**6, "G": 10**9, "": 1}


def is_mounted() -> bool:
    """Whether memory can be limited here."""
    return os.access(MOUNT / "memory/memory.limit_in_bytes", os.W_OK)


def remove_left_behind() -> None:
    """Removes the empty groups of test processes that were killed."""
    for controller in ("memory", "cpu"):
        for folder in (MOUNT / controller).glob(PREFIX + "*"):
            owner = folder.name.removeprefix(PREFIX).partition("-")[0]
            if not Path("/proc", owner).exists():
                with contextlib.suppress(OSError):
                    folder.rmdir()


def quantity(text: str | float) -> float:
    """Returns the number that a resource quantity means: 512Mi, 1.5, 250m."""
    found = re.fullmatch(r"([\d.]+)(Ki|Mi|Gi|[kMGm]?)", str(text))
    if found is None:
        raise ValueError(f"quantity {text!r} is not known")
    return float(found[1]) * (0.001 if found[2] == "m" else _UNITS[found[2]])


class Group:
    """The control groups of one container; without limits or mounts it does nothing."""

    def __init__(self, name: str, limits: dict[str, str]):
        self._folders: dict[str, Path] = {}
        if not is_mounted():
            return
        if "memory" in limits:
            folder = self._make("memory", name)
            (folder / "memory.limit_in_bytes").write_text(str(int(quantity(limits["memory"]))))
            with contextlib.suppress(OSError):  # only where the kernel accounts for swap
                limit = str(int(quantity(limits["memory"])))
                (folder / "memory.memsw.limit_in_bytes").write_text(limit)
        if "cpu" in limits and (MOUNT / "cpu/cpu.cfs_quota_us").parent.exists():
            folder = self._make("cpu", name)
            quota = int(quantity(limits["cpu"]) * PERIOD_MICROSECONDS)
            with contextlib.suppress(OSError):  # kernels without CFS bandwidth control
                (folder / "cpu.cfs_quota_us").write_text(str(quota))

    def _make(self, controller: str, name: str) -> Path:
        folder = MOUNT / controller / f"{PREFIX}{os.getpid()}-{name}"
        folder.mkdir()
        self._folders[controller] = folder
        return folder

    @property
    def prefix(self) -> list[str]:
        """Words before a command by which it starts in the groups."""
        files = " ".join(f"{folder}/cgroup.procs" for folder in self._folders.values())
        script = f'for file in {files}; do echo $$ > $file; done; exec "$@"'
        return ["sh", "-c", script, "sh"] if files else []

    @property
    def was_out_of_memory(self) -> bool:
        """Whether the kernel killed a process of the group for its memory."""
        if "memory" not in self._folders:
            return False
        text = (self._folders["memory"] / "memory.oom_control").read_text()
        found = re.search(r"^oom_kill (\d+)", text, re.MULTILINE)
        return found is not None and int(found[1]) > 0

    def close(self) -> None:
        """Removes the groups; their processes must have ended."""
        over = time.monotonic() + REMOVE_SECONDS
        for folder in self._folders.values():
            while time.monotonic() < over:
                with contextlib.suppress(OSError):
                    folder.rmdir()
                    break
                time.sleep(0.01)  # what was killed is still being buried
