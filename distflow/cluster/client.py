"""The worker's side of the rendezvous: say where I listen, learn where the others do."""

from __future__ import annotations

import atexit
import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from distflow.base import errors, flags, tls
from distflow.cluster import rendezvous
from distflow.cluster.spec import split_address
from distflow.cluster.worker import WorkerEnvironment
from distflow.protos import cluster_pb2 as pb

REGISTRATION = "registration"
RETRY_SECONDS = 0.2
GONE_SECONDS = 10.0  # a server that has answered before and is silent for this long has ended
_INCARNATION = secrets.token_bytes(16)
_hosted: list[rendezvous.RendezvousServer] = []


def exchange_addresses(
    environment: WorkerEnvironment, my_address: str, timeout_seconds: float | None = None
) -> list[str]:
    """Returns "host:port" of every rank, once all of them have said theirs.

    Every rank of the job calls this once, after it has bound its data port; it blocks until all
    have, `timeout_seconds` (DISTFLOW_JOIN_TIMEOUT by default) at most. Where the addresses are
    known beforehand (TF_CONFIG) those are returned at once. In a job without a launcher, rank 0
    runs the server, until its process ends.

    Raises:
      WorkerLateError: if ranks are missing at the end of the time; names them and the server.
      WorkerLostError: if a worker died before all were there.
      AlreadyExistsError: if another process has this rank; a successor waits for the end of the
        job that has lost it.
      PermissionDeniedError: if the token is not the job's.
      UnavailableError: if the server cannot be reached, or its port is in use (rank 0).
    """
    if environment.addresses is not None:
        return list(environment.addresses)
    if environment.world_size == 1:
        return [my_address]
    if environment.coordinator is None:
        raise errors.invalid(
            environment.source,
            "the workers need DISTFLOW_COORDINATOR=host:port, where they meet",
            "none",
        )
    if environment.hosts_coordinator:
        host_rendezvous(environment)
    with RendezvousClient(environment) as client:
        return client.register(my_address, timeout_seconds)


def host_rendezvous(environment: WorkerEnvironment) -> rendezvous.RendezvousServer:
    """Starts the job's rendezvous server in this process, where it runs until the process ends."""
    assert environment.coordinator is not None
    host, port = split_address(environment.coordinator, "DISTFLOW_COORDINATOR")
    if port is None:
        raise errors.invalid(
            "DISTFLOW_COORDINATOR", "expected host:port", repr(environment.coordinator)
        )
    # A name of this host may resolve late or to an address of outside (a Service): listen on all.
    listen = host if rendezvous.is_loopback(host) else "0.0.0.0"
    server = rendezvous.RendezvousServer(
        environment.world_size, host=listen, port=port, token=environment.token
    )
    _hosted.append(server)
    atexit.register(server.close)
    return server


def advertised_host(coordinator: str | None, timeout_seconds: float | None = None) -> str:
    """Returns the address of this host by which the others reach it.

    It is the one from which this host reaches the coordinator, as the routing table says; no
    packet is sent. A coordinator on loopback, or none, gives 127.0.0.1. Waits for the
    coordinator's name to be known, `timeout_seconds` (DISTFLOW_JOIN_TIMEOUT by default) at most:
    in Kubernetes a pod has none before it runs.

    Raises:
      UnavailableError: if the name is still not known, or there is no way to it.
    """
    if coordinator is None:
        return "127.0.0.1"
    host, port = split_address(coordinator, "DISTFLOW_COORDINATOR")
    if rendezvous.is_loopback(host):
        return "127.0.0.1"
    timeout = flags.get("DISTFLOW_JOIN_TIMEOUT") if timeout_seconds is None else timeout_seconds
    over = time.monotonic() + timeout
    while True:
        try:
            return _route_to(host, port or 1)
        except OSError as error:
            if time.monotonic() >= over:
                raise errors.UnavailableError(
                    errors.message(
                        "rendezvous",
                        f"the host of DISTFLOW_COORDINATOR={coordinator} must be reachable",
                        f"an error ({error}) for {timeout:g} s",
                    )
                ) from error
        time.sleep(RETRY_SECONDS)


def _route_to(host: str, port: int) -> str:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(address)
        return str(probe.getsockname()[0])


class RendezvousClient:
    """One worker's connection to the rendezvous server; every call has a deadline."""

    def __init__(self, environment: WorkerEnvironment, *, incarnation: bytes = _INCARNATION):
        assert environment.coordinator is not None
        rendezvous.check_token(environment.token)
        split_address(environment.coordinator, "DISTFLOW_COORDINATOR")
        self._rank = environment.rank
        self._is_successor = environment.has_successor
        self._server = environment.coordinator
        self._worker = pb.Worker(
            rank=environment.rank,
            world_size=environment.world_size,
            incarnation=incarnation,
            description=f"process {os.getpid()} on {socket.gethostname()}"[:200],
        )
        self._metadata = ((rendezvous.TOKEN_HEADER, environment.token or ""),)
        self._channel = tls.channel(
            self._server,
            [
                ("grpc.enable_http_proxy", 0),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1000),
                ("grpc.dns_min_time_between_resolutions_ms", 1000),
                ("grpc.max_receive_message_length", 64 * rendezvous.MAX_MESSAGE_BYTES),
            ],
        )

    def __enter__(self) -> RendezvousClient:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def register(self, my_address: str, timeout_seconds: float | None = None) -> list[str]:
        """Says where this rank listens; returns the addresses of all ranks, by rank."""

        def ask(wait: float) -> Any:
            request = pb.RegisterRequest(worker=self._worker, address=my_address, wait_seconds=wait)
            return self._call("Register", request, pb.RegisterReply, wait)

        reply = self._until_complete(
            ask, REGISTRATION, timeout_seconds, lambda ranks: _ranks(ranks) + " not registered"
        )
        return list(reply.addresses)

    def set(self, key: str, value: bytes, timeout_seconds: float | None = None) -> None:
        """Stores a value; a second, different one for the same key is an AlreadyExistsError."""
        rendezvous.check_value(key, value)
        request = pb.SetRequest(worker=self._worker, key=key, value=value)
        self._until_complete(
            lambda wait: self._call("Set", request, pb.SetReply, wait),
            f"set {key!r}",
            timeout_seconds,
            str,
        )

    def get(self, keys: Sequence[str], timeout_seconds: float | None = None) -> list[bytes]:
        """Returns the values of the keys, as soon as all have been set."""

        def ask(wait: float) -> Any:
            request = pb.GetRequest(keys=keys, wait_seconds=wait)
            return self._call("Get", request, pb.GetReply, wait)

        reply = self._until_complete(
            ask, "get", timeout_seconds, lambda missing: f"the keys {missing} have not been set"
        )
        return list(reply.values)

    def barrier(self, name: str, timeout_seconds: float | None = None) -> None:
        """Returns when every rank has come to the barrier; each name serves once."""

        def ask(wait: float) -> Any:
            request = pb.BarrierRequest(worker=self._worker, name=name, wait_seconds=wait)
            return self._call("Barrier", request, pb.BarrierReply, wait)

        self._until_complete(
            ask,
            f"barrier {name!r}",
            timeout_seconds,
            lambda ranks: _ranks(ranks) + " not arrived",
        )

    def _call(self, method: str, request: Any, reply: Any, wait: float) -> Any:
        call = self._channel.unary_unary(
            f"/{rendezvous.SERVICE}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=reply.FromString,
        )
        return call(request, timeout=wait + 5.0, metadata=self._metadata)

    def _until_complete(
        self,
        ask: Callable[[float], Any],
        phase: str,
        timeout_seconds: float | None,
        describe: Callable[[list[Any]], str],
    ) -> Any:
        """Asks again and again until nothing is missing; the server holds each answer back."""
        timeout = flags.get("DISTFLOW_JOIN_TIMEOUT") if timeout_seconds is None else timeout_seconds
        start = answered = time.monotonic()
        missing: list[Any] | None = None
        trouble = ""
        while True:
            left = timeout - (time.monotonic() - start)
            try:
                reply = ask(max(min(left, rendezvous.MAX_WAIT_SECONDS), 0.0))
                answered, trouble = time.monotonic(), ""
                missing = list(getattr(reply, "missing", ()))
                if not missing:
                    return reply
                if reply.HasField("lost"):
                    raise _lost(reply.lost, self._rank, phase, time.monotonic() - start)
            except grpc.RpcError as error:
                trouble = self._translate(error, phase)
                time.sleep(min(RETRY_SECONDS, max(left, 0.0)))
            gone = missing is not None and time.monotonic() - answered > GONE_SECONDS
            if left <= 0 or gone:
                elapsed = time.monotonic() - start
                raise self._late(phase, elapsed, timeout, missing, trouble, describe)

    def _translate(self, error: grpc.RpcError, phase: str) -> str:
        """Raises the typed error of a refusal; returns what to report of a passing trouble."""
        code, details = error.code(), error.details() or ""
        is_held = code is grpc.StatusCode.ALREADY_EXISTS and phase == REGISTRATION
        if is_held and self._is_successor:
            # The others have not noticed yet that they have lost this rank. Rank 0 will end, and
            # its own successor hold the rendezvous of all.
            return details
        if code is grpc.StatusCode.UNAUTHENTICATED:
            raise errors.PermissionDeniedError(
                errors.message(
                    "rendezvous",
                    f"the server at {self._server} expects the token of its job",
                    f"another one, or none, from rank {self._rank}",
                    "Set DISTFLOW_TOKEN to the same value for all workers of the job; or another "
                    "job uses this address: choose another port in DISTFLOW_COORDINATOR.",
                )
            ) from None  # gRPC's own text would bury this one
        refusals = {
            grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExistsError,
            grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidArgumentError,
            grpc.StatusCode.FAILED_PRECONDITION: errors.ResourceExhaustedError,
            grpc.StatusCode.UNIMPLEMENTED: errors.UnavailableError,
        }
        if code in refusals:
            raise refusals[code](details) from None
        return f"{code.name}: {details}"

    def _late(
        self,
        phase: str,
        elapsed: float,
        timeout: float,
        missing: list[Any] | None,
        trouble: str,
        describe: Callable[[list[Any]], str],
    ) -> errors.OpError:
        where = f"rendezvous: {phase} of rank {self._rank} at {self._server}"
        if trouble or not missing:
            return errors.UnavailableError(
                f"{where}: no answer from the server after {elapsed:.1f} s ({trouble}).\n"
                "Check that rank 0 (or the launcher) runs, and that DISTFLOW_COORDINATOR names its "
                "host and port."
            )
        rank = missing[0] if isinstance(missing[0], int) else None
        return errors.WorkerLateError(
            f"{where}: after {elapsed:.1f} s {describe(missing)}.\n"
            f"Look at the output of the missing workers; DISTFLOW_JOIN_TIMEOUT ({timeout:g} s) "
            "says how long to wait for them.",
            rank,
        )


def _lost(lost: pb.LostWorker, rank: int, phase: str, elapsed: float) -> errors.WorkerLostError:
    return errors.WorkerLostError(
        f"rendezvous: rank {lost.rank} was lost ({lost.cause}) while rank {rank} waited in its "
        f"{phase}, after {elapsed:.1f} s.",
        lost.rank,
    )


def _ranks(ranks: Sequence[int]) -> str:
    names = ", ".join(map(str, ranks[:20])) + (", ..." if len(ranks) > 20 else "")
    return f"rank {names} has" if len(ranks) == 1 else f"ranks {names} have"
