"""The mpirun of this machine: where it is, whose it is, and how it is called."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROBE_SECONDS = 20.0
OPEN_MPI = "Open MPI"


@dataclass(frozen=True)
class Flavour:
    """One MPI implementation: how its mpirun names itself, and the options we give it."""

    name: str
    sign: str
    options: tuple[str, ...]


# Open MPI counts cores as slots and refuses more ranks, and binds ranks to cores, which would put
# all threads of a rank on one; MPICH does neither.
FLAVOURS = (
    Flavour(OPEN_MPI, "Open MPI", ("--oversubscribe", "--bind-to", "none")),
    Flavour(OPEN_MPI, "PRRTE", ("--oversubscribe", "--bind-to", "none")),
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

    def over_hosts(
        self, num_workers: int, hostfile: Path, variables: Sequence[str], worker: list[str]
    ) -> list[str]:
        """Returns the command that starts `worker` on hosts; lines of output carry their rank.

        Args:
          hostfile: a host a line, with its slots.
          variables: names of the variables that the ranks get.
        """
        assert self.name == OPEN_MPI, "the plan has looked"
        tagged = ["--tag-output"] if self.version.startswith("4") else ["--output", "tag"]
        words = [self.path, "-n", str(num_workers), "--hostfile", str(hostfile), *tagged]
        # Each host would bind its first rank to its first core, where hosts may be pods of a node.
        words += ["--bind-to", "none"]
        for name in variables:
            words += ["-x", name]
        return [*words, *worker]


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
