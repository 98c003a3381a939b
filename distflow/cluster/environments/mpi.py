"""The variables by which MPI's process managers (Open MPI, MPICH, PMIx) tell a process its rank."""

from __future__ import annotations

import os
from dataclasses import dataclass

from distflow.base import errors, flags
from distflow.cluster.worker import WorkerEnvironment, effective_backend, requested_backend


@dataclass(frozen=True)
class Variables:
    """The names one process manager uses; `local_rank` may be absent from the environment."""

    name: str
    rank: str
    size: str
    local_rank: str


# Sources: Open MPI 5 manual, mpirun(1); MPICH's hydra sets the PMI-1 names.
PROCESS_MANAGERS = (
    Variables(
        "Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"
    ),
    Variables("MPICH", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
    Variables("PMIx", "PMIX_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
)


def detect() -> Variables | None:
    """Returns the process manager that started this process, if one did."""
    for variables in PROCESS_MANAGERS:
        if variables.rank in os.environ and variables.size in os.environ:
            return variables
    return None


def is_present() -> bool:
    """Whether this process was started by an mpirun."""
    return detect() is not None


def read() -> WorkerEnvironment:
    """Returns this worker's place among the processes of one mpirun.

    Rank and size come from MPI also when DISTFLOW_BACKEND=grpc; the workers then meet at
    DISTFLOW_COORDINATOR, whose server rank 0 runs.
    """
    variables = detect()
    assert variables is not None, "read() is called after is_present()"
    source = f"{variables.name}'s environment"
    rank, size = _integer(variables.rank, source), _integer(variables.size, source)
    local_rank = _integer(variables.local_rank, source, default=0)
    backend = effective_backend("grpc" if requested_backend() == "grpc" else "mpi", size)
    coordinator = flags.get("DISTFLOW_COORDINATOR") if backend == "grpc" else None
    if backend == "grpc" and coordinator is None:
        raise errors.invalid(
            source,
            "DISTFLOW_BACKEND=grpc under mpirun needs DISTFLOW_COORDINATOR=host:port, an address "
            "of rank 0's host with a free port, where the workers meet",
            "none",
            "Add it to the command (Open MPI: -x DISTFLOW_COORDINATOR=127.0.0.1:2222, MPICH: "
            "-genv DISTFLOW_COORDINATOR 127.0.0.1:2222), or unset DISTFLOW_BACKEND to use MPI.",
        )
    return WorkerEnvironment(
        rank=rank,
        world_size=size,
        local_rank=local_rank,
        backend=backend,
        coordinator=coordinator,
        hosts_coordinator=coordinator is not None and rank == 0,
        job=coordinator or "",
        token=flags.get("DISTFLOW_TOKEN"),
        source=source,
        task_id=rank,
    )


def _integer(name: str, source: str, default: int | None = None) -> int:
    text = os.environ.get(name)
    if text is None and default is not None:
        return default
    try:
        return int(text or "")
    except ValueError as error:
        raise errors.invalid(source, f"{name} must be an integer", repr(text)) from error
