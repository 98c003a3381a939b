"""What Slurm knows of jobs, by its own programs: sbatch, squeue, scontrol, scancel."""

from __future__ import annotations

import getpass
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from .arguments import UnreachableError, UsageError
from .slurm_script import MARK

SECONDS = 60.0
# Of squeue(1); all others mean that the job has ended.
UNFINISHED = frozenset(
    "PENDING RUNNING SUSPENDED CONFIGURING COMPLETING REQUEUED REQUEUE_HOLD REQUEUE_FED RESIZING "
    "SIGNALING SPECIAL_EXIT STAGE_OUT STOPPED".split()
)
COMPLETED = "COMPLETED"
_FIELDS = ("id", "name", "state", "workers", "reason", "used", "nodes", "comment")
_FORMAT = "%A|%j|%T|%C|%R|%M|%N|%k"


@dataclass(frozen=True)
class Entry:
    """One job as squeue lists it; `reason` is why it waits, or where it runs."""

    id: str
    name: str
    state: str
    workers: str
    reason: str
    used: str
    nodes: str
    comment: str

    @property
    def is_over(self) -> bool:
        """Whether the job has ended, in whatever way."""
        return self.state not in UNFINISHED


def call(command: Sequence[str], text: str | None = None) -> str:
    """Returns what one of Slurm's programs prints.

    Raises:
      UsageError: if it is not installed, or refuses.
      UnreachableError: if Slurm does not answer.
    """
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except FileNotFoundError as error:
        raise UsageError(
            f"expected {command[0]}, a program of Slurm; received none on PATH.\nRun this on a "
            "login node of the cluster (Debian's package is slurm-client), or use --dry-run."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise UnreachableError(f"{command[0]} did not answer for {SECONDS:g} s.") from error
    if done.returncode != 0:
        words = done.stderr.strip() or f"exit code {done.returncode}"
        unreachable = re.search(r"Unable to contact|Connection refused|Socket timed out", words)
        raise (UnreachableError if unreachable else UsageError)(f"{command[0]}: {words}")
    return done.stdout


def submit(script: str) -> str:
    """Hands a script to sbatch; returns the job's number."""
    return call(["sbatch", "--parsable"], script).strip().partition(";")[0]


def entries() -> list[Entry]:
    """Returns this user's jobs that distflow has submitted, the oldest first.

    Slurm forgets jobs some minutes after their end (MinJobAge).
    """
    listed = call(
        ["squeue", "--noheader", "--states=all", f"--user={getpass.getuser()}",
         f"--format={_FORMAT}", "--sort=i"]
    )  # fmt: skip
    found = [dict(zip(_FIELDS, line.split("|"))) for line in listed.splitlines()]
    return [Entry(**row) for row in found if row.get("comment") == MARK]


def find(name: str | None) -> Entry:
    """Returns the job of that name or number, the newest one; None means the only one.

    Raises:
      UsageError: if there is none, or there are several to choose from.
    """
    known = entries()
    found = [job for job in known if name in (None, job.id, job.name)]
    if name is None and len(found) > 1:
        found = [job for job in found if not job.is_over]
    if not found or (name is None and len(found) > 1):
        there = ", ".join(f"{job.id} ({job.name})" for job in known) or "none"
        raise UsageError(f"expected a job of yours; received {name or 'no name'}. Known: {there}.")
    return found[-1]


def output_file(job: Entry) -> str:
    """Returns the file that the job's output goes to."""
    text = call(["scontrol", "show", "job", job.id])
    match = re.search(r"^\s*StdOut=(.*)$", text, re.MULTILINE)
    if match is None:
        raise UsageError(f"expected StdOut= of job {job.id} in scontrol's answer; received none.")
    return match[1]


def exit_code(job: Entry) -> str:
    """Returns how the job ended as Slurm says it: `code:signal`."""
    match = re.search(r"\bExitCode=(\d+:\d+)", call(["scontrol", "show", "job", job.id]))
    return match[1] if match else "?"
