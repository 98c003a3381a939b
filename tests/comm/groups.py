"""Groups of ranks in threads of the test process, one for each transport that can live there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from distflow.comm import InProcessHub
from distflow.comm.transport import wires
from distflow.comm.transport.base import Transport
from distflow.comm.transport.grpc import GrpcServer, GrpcTransport
from distflow.comm.transport.segment import Plan, Segment
from distflow.comm.transport.shm import ShmTransport
from distflow.comm.transport.wires import WiredTransport

JOIN_SECONDS = 60


def run_threads(count: int, target: Callable[[int], Any]) -> list[Any]:
    """Returns for each rank what target(rank) returned, or the exception it raised."""
    outcomes: list[Any] = [None] * count

    def run(rank: int) -> None:
        try:
            outcomes[rank] = target(rank)
        except BaseException as error:  # noqa: BLE001  the test looks at it
            outcomes[rank] = error

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(count)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + JOIN_SECONDS
    for rank, thread in enumerate(threads):
        thread.join(max(0.0, deadline - time.monotonic()))
        assert not thread.is_alive(), f"rank {rank} hangs"
    return outcomes


def run_inprocess(count: int, target: Callable[[Transport], Any]) -> list[Any]:
    """Runs target(transport) on ranks that share an InProcessHub."""
    hub = InProcessHub(count)

    def run(rank: int) -> Any:
        transport = hub.endpoint(rank)
        try:
            return target(transport)
        finally:
            transport.close()

    return run_threads(count, run)


def run_grpc(count: int, target: Callable[[Transport], Any]) -> list[Any]:
    """Runs target(transport) on ranks that are connected by gRPC over loopback."""
    servers = [GrpcServer(token="secret") for _ in range(count)]
    addresses = [server.address for server in servers]

    def run(rank: int) -> Any:
        transport = servers[rank].connect(rank, addresses, connect_timeout_seconds=20)
        try:
            return target(transport)
        finally:
            transport.close()

    return run_threads(count, run)


def run_wires(count: int, target: Callable[[Transport], Any]) -> list[Any]:
    """Runs target(transport) on ranks that are connected by wires over loopback."""

    def wired(transport: Transport) -> Any:
        assert isinstance(transport, GrpcTransport)
        found = wires.over(transport, timeout_seconds=20)
        assert isinstance(found, WiredTransport) or count == 1
        return target(found)

    return run_grpc(count, wired)


def run_shm(
    count: int, target: Callable[[Transport], Any], slot_bytes: int = 4096, ring_bytes: int = 4096
) -> list[Any]:
    """Runs target(transport) on ranks that share a segment, by default of tiny slots."""
    segment = Segment.make(Plan(count, slot_bytes, ring_bytes))

    def run(rank: int) -> Any:
        shared = segment if rank == 0 else Segment.join(segment.ticket)
        transport = ShmTransport(shared, rank, join_timeout_seconds=20)
        try:
            return target(transport)
        finally:
            transport.close()

    return run_threads(count, run)


RUNNERS = {"inprocess": run_inprocess, "grpc": run_grpc, "shm": run_shm}


def values(outcomes: list[Any]) -> list[Any]:
    """Returns the outcomes, raising the first that is an exception."""
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return outcomes
