"""The mpirun of this machine: where it is, whose it is, and how it is called."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROBE_SECONDS = 20.0


@dataclass(frozen=True)
class Flavour:
    """One MPI implementation: how its mpirun names itself, and the options we give it."""

    name: str
    sign: str
    options: tuple[str, ...]


# Open MPI counts cores as slots and refuses more ranks, and binds ranks to cores, which would put
# all threads of a rank on one; MPICH does neither.
FLAVOURS = (
    Flavour("Open MPI", "Open MPI", ("--oversubscribe", "--bind-to", "none")),
    Flavour("Open MPI", "PRRTE", ("--oversubscribe", "--bind-to", "none")),
    Flavour("MPICH", "HYDRA", ("-genvall",)),
)


@dataclass(frozen=True)
class Mpirun:
    """An mpirun and its flavour."""

    path: str
    name: str
    version: str
    options: tuple[str, ...]

    def command(self, num_workers: int, worker: list[str]) -> list[str]:
        """Returns the command that starts `worker` on each of `num_workers` ranks of this host."""
        return [self.path, "-n", str(num_workers), *self.options, *worker]


def find_mpirun() -> Mpirun | None:
    """Returns the mpirun beside this Python, else the one on PATH; None if there is none."""
    beside = Path(sys.executable).parent / "mpirun"
    path = str(beside) if beside.is_file() else shutil.which("mpirun")
    if path is None:
        return None
    try:
        answer = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return identify(path, answer.stdout + answer.stderr)


def identify(path: str, text: str) -> Mpirun:
    """Returns the mpirun whose `--version` says `text`; an unknown one gets no options."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for flavour in FLAVOURS:
        if flavour.sign in text:
            told = [line for line in lines if "ersion" in line or flavour.sign in line]
            version = next((w for w in " ".join(told).split() if w[:1].isdigit()), "unknown")
            return Mpirun(path, flavour.name, version, flavour.options)
    return Mpirun(path, "an unknown MPI", lines[0] if lines else "unknown", ())
