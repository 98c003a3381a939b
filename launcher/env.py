"""What `distflow run` sets for its workers: one table, the contract with `distflow.cluster`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Variable:
    """One variable: what it says, and who may know and set it.

    Attributes:
      per_rank: each worker has its own.
      secret: it is shown to nobody.
      settable: users may set it with --env, too.
    """

    meaning: str
    per_rank: bool = False
    secret: bool = False
    settable: bool = False


CONTRACT = {
    "DISTFLOW_JOB": Variable("id of the job; all its processes carry it, so that none is left"),
    "DISTFLOW_BACKEND": Variable("transport between the workers: auto, mpi, grpc or shm"),
    "DISTFLOW_WORLD_SIZE": Variable("number of workers, the most there may be with --elastic"),
    "DISTFLOW_ELASTIC": Variable("least and most workers, with --elastic min:max"),
    "DISTFLOW_ELASTIC_DIR": Variable("folder where a job that must end is kept, with --state-dir"),
    "DISTFLOW_GRACE": Variable("seconds from SIGTERM to SIGKILL"),
    "DISTFLOW_LEAVE": Variable("SIGTERM ends the program with a backup, with --elastic over MPI"),
    "DISTFLOW_RANK": Variable("rank of the worker", per_rank=True),
    "DISTFLOW_LOCAL_RANK": Variable("its rank among those of its host", per_rank=True),
    "DISTFLOW_LOCAL_WORLD_SIZE": Variable("number of workers on this host"),
    "DISTFLOW_LOCAL_CORES": Variable("cores of this host, which its workers share"),
    "DISTFLOW_COORDINATOR": Variable("host:port where gRPC workers meet"),
    "DISTFLOW_TOKEN": Variable("secret of the job, which gRPC peers must present", secret=True),
    "DISTFLOW_TLS": Variable("folder of the job's certificates, with --tls"),
    "DISTFLOW_FLIGHT_DIR": Variable("folder of the flight recorder, with --log-dir"),
    "DISTFLOW_REPORT": Variable("socket where the launcher hears how far the workers are"),
    "DISTFLOW_TIMELINE": Variable(
        "folder of the workers' timelines, with --timeline", settable=True
    ),
    "DISTFLOW_METRICS_PORT": Variable(
        "metrics port of the host's first worker, with --metrics-port", settable=True
    ),
    "DISTFLOW_REPLICAS": Variable("logical replicas, with --replicas", settable=True),
}

# Workers share the cores: one thread each for BLAS unless the user says otherwise. Compiled
# functions take each worker's share of the cores by themselves.
THREAD_DEFAULTS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}

# A pipe makes Python hold back its output; a job's output is to be seen as it comes.
# Of a crash in native code (SIGSEGV) the Python stack is all that tells where it was.
OUTPUT_DEFAULTS = {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}

# mpirun refuses to run as root, which is what containers often are.
ROOT_DEFAULTS = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}

# Open MPI looks for a fast network for 1.0 s of MPI_Init, which one host does not need
# (1.1 s without this, 0.1 s with it: Open MPI 5.0.11, 2 cores, 2026-11).
MPI_DEFAULTS = {"OMPI_MCA_btl": "^ofi"}


def defaults(present: Mapping[str, str], *, mpi: bool, root: bool) -> dict[str, str]:
    """Returns the defaults that are not already in the environment `present`."""
    table = {**THREAD_DEFAULTS, **OUTPUT_DEFAULTS}
    if mpi:
        table |= {**MPI_DEFAULTS, **(ROOT_DEFAULTS if root else {})}
    return {name: value for name, value in table.items() if name not in present}


def host_variables(num_workers: int) -> dict[str, str]:
    """Returns what workers of this host must know to take each its share of the cores."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return {"DISTFLOW_LOCAL_WORLD_SIZE": str(num_workers), "DISTFLOW_LOCAL_CORES": str(cores)}


def rank_variables(rank: int) -> dict[str, str]:
    """Returns the variables of one worker of a job on this host."""
    return {"DISTFLOW_RANK": str(rank), "DISTFLOW_LOCAL_RANK": str(rank)}


def shown(name: str, value: str) -> str:
    """Returns NAME=value for people, with secrets left out."""
    secret = name in CONTRACT and CONTRACT[name].secret
    return f"{name}={'<secret>' if secret else value}"
