"""Starts further workers of an elastic job over MPI, which only its members can, when asked to."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence

from distflow.base import errors, log
from distflow.cluster.environments import mpi
from distflow.comm.transport import ulfm


def starter(told: str) -> Callable[[Sequence[int]], None]:
    """Returns a function that starts a process for each of some slots.

    Args:
      told: DISTFLOW_SPAWN: `{"command": words, "folder": where they are run}`.

    Raises:
      InvalidArgumentError: if it says something else.
    """
    try:
        plan = json.loads(told)
        command, folder = [str(word) for word in plan["command"]], str(plan["folder"])
    except (ValueError, TypeError, KeyError) as error:
        raise errors.invalid("DISTFLOW_SPAWN", 'JSON with "command" and "folder"', told) from error

    def start(slots: Sequence[int]) -> None:
        for slot in slots:
            log.get_logger().info("worker %d is started by MPI_Comm_spawn", slot)
            ulfm.ways().spawn([*_as_rank(slot), *command], folder, f"worker {slot}")

    return start


def _as_rank(slot: int) -> list[str]:
    """Returns the words that let a command find its rank where those of mpirun find theirs.

    MPI numbers the processes of each MPI_Comm_spawn from 0.
    """
    names = mpi.detect() or mpi.PROCESS_MANAGERS[0]
    values = {
        names.rank: str(slot), names.local_rank: str(slot),
        names.size: os.environ.get(names.size, "1"),
    }  # fmt: skip
    return [shutil.which("env") or "env", *(f"{name}={value}" for name, value in values.items())]
