"""Joins a job over gRPC: bind a port, tell it at the rendezvous, connect to everybody."""

from __future__ import annotations

from distflow.base import flags
from distflow.cluster import WorkerEnvironment, client
from distflow.comm import Transport
from distflow.comm.transport import grpc, wires
from distflow.distribute import over_host


def connect(environment: WorkerEnvironment) -> Transport:
    """Returns the transport when all workers are connected; errors name who is missing.

    Workers of one host end up with shared memory (`over_host`), others with wires where they can.
    """
    if environment.addresses is not None:
        host, port = grpc.split_address(environment.addresses[environment.rank])
    else:
        host, port = client.advertised_host(environment.coordinator), 0
    server = grpc.GrpcServer(host, port, token=environment.token, job=environment.job)
    try:
        addresses = client.exchange_addresses(environment, server.address)
        timeout = flags.get("DISTFLOW_JOIN_TIMEOUT")
        transport = server.connect(environment.rank, addresses, connect_timeout_seconds=timeout)
        return over_host.within_host(wires.over(transport, timeout_seconds=timeout))
    except BaseException:
        server.close()
        raise
