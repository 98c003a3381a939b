"""The variables that `distflow run` sets for each worker; anybody else may set them too."""

from __future__ import annotations

import os

from distflow.base import errors, flags
from distflow.cluster.environments import mpi
from distflow.cluster.worker import WorkerEnvironment, effective_backend, requested_backend

HINT = (
    "Start the job with `distflow run -n N train.py`, which sets DISTFLOW_RANK, "
    "DISTFLOW_WORLD_SIZE and DISTFLOW_COORDINATOR, or set all three for each worker."
)


def is_present() -> bool:
    """Whether this worker was given its rank by DISTFLOW_RANK."""
    return bool(os.environ.get("DISTFLOW_RANK"))


def read() -> WorkerEnvironment:
    """Returns this worker's place as the DISTFLOW_* variables say.

    Where the launcher has set DISTFLOW_JOB it runs the rendezvous server, else rank 0 does.
    """
    size = flags.get("DISTFLOW_WORLD_SIZE")
    if size is None:
        raise errors.invalid(
            "environment", "DISTFLOW_RANK needs DISTFLOW_WORLD_SIZE beside it", "none", HINT
        )
    return environment(flags.get("DISTFLOW_RANK"), size, "the DISTFLOW_* variables", HINT)


def environment(
    rank: int,
    size: int,
    source: str,
    hint: str,
    *,
    coordinator: str | None = None,
    local_rank: int = 0,
) -> WorkerEnvironment:
    """Returns the place of `rank` among `size`.

    `coordinator` and `local_rank` are what holds unless DISTFLOW_COORDINATOR and
    DISTFLOW_LOCAL_RANK say otherwise.
    """
    wanted = requested_backend()
    # Without a place to meet, workers that an mpirun has started meet over MPI.
    by_mpi = (
        wanted in ("auto", "shm") and not flags.get("DISTFLOW_COORDINATOR") and mpi.is_present()
    )
    backend = effective_backend("mpi" if wanted == "mpi" or by_mpi else "grpc", size)
    is_elastic = bool(flags.get("DISTFLOW_ELASTIC"))
    if is_elastic:  # one worker alone, too: others may come
        backend = "mpi" if wanted == "mpi" else "grpc"
    meets = backend == "grpc" or is_elastic  # who is in an elastic job is told over gRPC
    coordinator = (flags.get("DISTFLOW_COORDINATOR") or coordinator) if meets else None
    if meets and coordinator is None:
        raise errors.invalid(
            source,
            f"{size} workers need DISTFLOW_COORDINATOR=host:port, where they meet",
            "none",
            hint,
        )
    named_local_rank = flags.get("DISTFLOW_LOCAL_RANK")
    job = flags.get("DISTFLOW_JOB")
    return WorkerEnvironment(
        rank=rank,
        world_size=size,
        local_rank=local_rank if named_local_rank is None else named_local_rank,
        backend=backend,
        coordinator=coordinator,
        hosts_coordinator=coordinator is not None and rank == 0 and not job,
        job=job or coordinator or "",
        token=flags.get("DISTFLOW_TOKEN"),
        source=source,
        task_id=rank,
    )


def incomplete() -> errors.InvalidArgumentError | None:
    """Returns the error for a worker that knows the job's size but not its own rank, if so."""
    size = flags.get("DISTFLOW_WORLD_SIZE")
    if size is None or size == 1:
        return None
    return errors.invalid(
        "environment", f"DISTFLOW_WORLD_SIZE={size} needs DISTFLOW_RANK beside it", "none", HINT
    )
