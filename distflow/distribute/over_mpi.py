"""Joins a job over MPI: mpirun has started all workers already."""

from __future__ import annotations

from distflow.base import errors
from distflow.cluster import WorkerEnvironment
from distflow.comm import Transport
from distflow.comm.transport import mpi
from distflow.distribute import over_host


def connect(environment: WorkerEnvironment) -> Transport:
    """Returns the transport over a communicator of our own, or over shared memory on one host.

    Raises:
      InvalidArgumentError: if MPI counts other workers than the environment says.
    """
    transport = mpi.MpiTransport()
    if (transport.rank, transport.world_size) != (environment.rank, environment.world_size):
        raise errors.invalid(
            "MPI",
            f"rank {environment.rank} of {environment.world_size} ({environment.source})",
            f"rank {transport.rank} of {transport.world_size} from MPI",
            "Start with the mpirun of the MPI that mpi4py uses; `distflow doctor` shows which.",
        )
    return over_host.within_host(transport)
