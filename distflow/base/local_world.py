"""How many workers share this host, told by the launcher or by what started this process."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping

from distflow.base import flags

# Sources: Open MPI 5 manual, "Environment variables set for MPI applications"; the hydra of MPICH
# and Intel MPI; PMI of Cray PALS; srun(1).
_COUNTS = ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "PMI_LOCAL_SIZE")
# Only tasks of srun have these: the script of a batch job is one process, whatever tasks per node
# the job asked for.
_STEPS = ("SLURM_STEP_ID", "SLURM_STEPID")
_TASKS_PER_NODE = ("SLURM_STEP_TASKS_PER_NODE", "SLURM_NTASKS_PER_NODE")


def local_world_size() -> int:
    """Returns the number of workers on this host, this one included; 1 if nothing tells."""
    size: int | None = flags.get("DISTFLOW_LOCAL_WORLD_SIZE") or _started_beside()
    if size is None and flags.get("DISTFLOW_LOCAL_RANK") is not None:
        # Set by hand, as there are others here: at most all of them.
        size = flags.get("DISTFLOW_WORLD_SIZE") or flags.get("DISTFLOW_LOCAL_RANK") + 1
    return size or 1


def count_from(environment: Mapping[str, str]) -> int | None:
    """Returns the number of processes that MPI or Slurm started on this host; None if not told."""
    for name in _COUNTS:
        count = _count(environment.get(name, ""))
        if count is not None:
            return count
    if not any(name in environment for name in _STEPS):
        return None
    node = _count(environment.get("SLURM_NODEID", "")) or 0
    for name in _TASKS_PER_NODE:
        counts = _per_node(environment.get(name, ""))
        if counts:
            return counts[min(node, len(counts) - 1)] or None
    return None


@functools.cache
def _started_beside() -> int | None:
    return count_from(os.environ)


def _count(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,9}", text) and int(text) > 0 else None


def _per_node(text: str) -> list[int]:
    """Returns the counts of Slurm's form: "4(x2),3" is [4, 4, 3]; [] if it is not of that form."""
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,9})(?:\(x([0-9]{1,6})\))?", part)
        if match is None:
            return []
        counts += [int(match[1])] * int(match[2] or 1)
    return counts
