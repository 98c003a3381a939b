"""Whether the kernel killed a worker because its memory ran out, as the cgroups tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

# Where the two versions of cgroups are mounted; both may be there.
ROOTS = {1: ("/sys/fs/cgroup/memory",), 2: ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")}
_UNLIMITED = 1 << 60  # version 1 says "no limit" with a number near 2^63


@dataclass
class Watch:
    """What was known of the cgroups' memory kills when the job started.

    Attributes:
      kills: kills so far, by folder of the cgroup.
    """

    kills: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def here() -> Watch:
        """Returns the present state of the cgroups of this process, which workers inherit."""
        return Watch({str(folder): kills_in(folder) for folder in folders_of("self")})

    def explain(self, used_bytes: int) -> str:
        """Returns what is known of a SIGKILL that we did not send; "" if nothing is.

        Args:
          used_bytes: the most memory that the process had, 0 if unknown.
        """
        used = f"it had used {amount(used_bytes)}" if used_bytes else ""
        folders = [Path(name) for name in self.kills]
        if any(kills_in(folder) > self.kills[str(folder)] for folder in folders):
            limit = min(map(limit_of, folders))
            allowed = f"its cgroup allows {amount(limit)}" if limit < _UNLIMITED else ""
            known = ", ".join(filter(None, (used, allowed)))
            return "out of memory: the kernel killed it" + (f" ({known})" if known else "")
        return used


def folders_of(process: int | str) -> list[Path]:
    """Returns the memory cgroups of a process, its own first, then those around it.

    Those of a process that has ended are not known any more.
    """
    try:
        rows = Path(f"/proc/{process}/cgroup").read_text().splitlines()
    except OSError:
        return []
    found: list[Path] = []
    for row in rows:
        _, controllers, path = row.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        for root in ROOTS[1 if controllers else 2]:
            folder = Path(root + path.rstrip("/"))
            while len(folder.parts) >= len(Path(root).parts):
                if _has_memory(folder) and folder not in found:
                    found.append(folder)
                folder = folder.parent
    return found


def kills_in(folder: Path) -> int:
    """Returns how many processes of a cgroup were killed for want of memory."""
    for name in ("memory.events", "memory.oom_control"):
        try:
            rows = dict(line.split() for line in (folder / name).read_text().splitlines())
        except (OSError, ValueError):
            continue
        return int(rows.get("oom_kill", 0))
    return 0


def limit_of(folder: Path) -> int:
    """Returns the bytes a cgroup may use."""
    for name in ("memory.max", "memory.limit_in_bytes"):
        try:
            return int((folder / name).read_text())
        except (OSError, ValueError):
            continue  # not there, or "max"
    return _UNLIMITED


def amount(count: int) -> str:
    """Returns bytes for people: "1.9 GiB"."""
    value = float(count)
    for unit in ("bytes", "KiB", "MiB"):
        if value < 1000:
            return (
                f"{value:.0f} {unit}" if value >= 100 or unit == "bytes" else f"{value:.1f} {unit}"
            )
        value /= 1024
    return f"{value:.1f} GiB"


def _has_memory(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("memory.events", "memory.oom_control"))
