"""Gives workers of one host shared memory, as DISTFLOW_BACKEND says."""

from __future__ import annotations

from distflow.base import flags
from distflow.cluster.worker import requested_backend
from distflow.comm import Transport
from distflow.comm.transport import host


def within_host(transport: Transport) -> Transport:
    """Returns a transport over shared memory in place of a network, where that can be.

    With "auto" only if all workers can share memory; with "shm" it is an error if they cannot; with
    "mpi" and "grpc" the transport stays. All ranks call it together.
    """
    backend = requested_backend()
    if backend not in ("auto", "shm"):
        return transport
    return host.share_memory(
        transport,
        required=backend == "shm",
        timeout_seconds=flags.get("DISTFLOW_JOIN_TIMEOUT"),
    )
