"""The meeting place of a job's workers: addresses by rank, keys and values, barriers, over gRPC.

The launcher runs it; without a launcher rank 0's process does. It holds soft state for the start of
a job only: training data never passes through it. Calls without the job's token are refused.
"""

from __future__ import annotations

import errno
import hmac
import math
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from distflow.base import errors, tls
from distflow.base.daemons import DaemonThreads
from distflow.cluster.spec import split_address
from distflow.protos import cluster_pb2 as pb

SERVICE = "distflow.cluster.Rendezvous"
TOKEN_HEADER = "distflow-token"
MIN_TOKEN_CHARACTERS = 22  # 128 bits in base64
MAX_WORLD_SIZE = 4096
MAX_KEYS = 4096
MAX_KEY_CHARACTERS = 256
MAX_VALUE_BYTES = 16 * 1024
MAX_MESSAGE_BYTES = 256 * 1024
MAX_WAIT_SECONDS = 5.0  # a client asks again, so that no thread is held by a client that has died
SILENT_SECONDS = 15.0  # a waiting worker asks every 5 s; one that has not for 15 s is gone
MAX_THREADS = 256


@dataclass
class _Holder:
    worker: pb.Worker
    address: str
    last_seen: float


class RendezvousServer:
    """Runs the meeting place until `close()`.

    Args:
      world_size: number of workers of the job.
      host, port: where to listen; port 0 takes a free one, see `address`.
      token: secret of the job, at least 128 bits; None is allowed on loopback addresses only.

    Raises:
      UnavailableError: if the port is in use.
    """

    def __init__(
        self, world_size: int, *, host: str = "127.0.0.1", port: int = 0, token: str | None = None
    ):
        if not 1 <= world_size <= MAX_WORLD_SIZE:
            raise errors.invalid(
                "rendezvous", f"the world size must be 1 to {MAX_WORLD_SIZE}", str(world_size)
            )
        check_token(token)
        if token is None and not is_loopback(host):
            raise errors.invalid(
                "rendezvous",
                f"listening on {host}, which other hosts can reach, needs a token",
                "none",
                "Set DISTFLOW_TOKEN to the same long random string for all workers: "
                'python -c "import secrets; print(secrets.token_hex(16))"',
            )
        self._world_size = world_size
        self._token = token or ""
        self._holders: dict[int, _Holder] = {}
        self._values: dict[str, tuple[bytes, pb.Worker]] = {}
        self._barriers: dict[str, set[int]] = {}
        self._lost: pb.LostWorker | None = None
        self._complete = False
        self._changed = threading.Condition()
        self._closed = False
        self._server = serve(SERVICE, self._handlers(), world_size, host, port)
        self.address = f"{bracketed(host)}:{self._server.port}"

    def mark_lost(self, rank: int, cause: str) -> None:
        """Tells all workers that wait that `rank` has died; its owner calls this."""
        with self._changed:
            if self._lost is None:
                self._lost = pb.LostWorker(rank=rank, cause=cause)
            self._changed.notify_all()

    def missing(self) -> list[int]:
        """Returns the ranks that have not registered yet."""
        with self._changed:
            return self._missing()

    def close(self, grace_seconds: float = 0.5) -> None:
        """Ends the server; calls that wait are answered first."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.stop(grace_seconds)

    def _handlers(self) -> dict[str, tuple[Callable[[Any, Any], Any], Any]]:
        return {
            "Register": (guarded(self._register, self._token, self._changed), pb.RegisterRequest),
            "Set": (guarded(self._set, self._token, self._changed), pb.SetRequest),
            "Get": (guarded(self._get, self._token, self._changed), pb.GetRequest),
            "Barrier": (guarded(self._barrier, self._token, self._changed), pb.BarrierRequest),
        }

    def _register(
        self, request: pb.RegisterRequest, context: grpc.ServicerContext
    ) -> pb.RegisterReply:
        worker = self._checked(request.worker)
        if len(request.address) > MAX_KEY_CHARACTERS or split_address(request.address)[1] is None:
            raise errors.invalid(
                "rendezvous",
                f"rank {worker.rank}: the address must be host:port",
                repr(request.address[:MAX_KEY_CHARACTERS]),
            )
        self._admit(worker, request.address)
        self._wait(request.wait_seconds, context, lambda: not self._missing())
        holder = self._holders.get(worker.rank)
        if holder is not None and holder.worker.incarnation == worker.incarnation:
            holder.last_seen = time.monotonic()
        missing = self._missing()
        if missing:
            return pb.RegisterReply(missing=missing, lost=self._lost)
        addresses = [self._holders[rank].address for rank in range(self._world_size)]
        return pb.RegisterReply(addresses=addresses)

    def _admit(self, worker: pb.Worker, address: str) -> None:
        """The first process with a rank keeps it, unless it went silent before all were there."""
        now = time.monotonic()
        holder = self._holders.get(worker.rank)
        if holder is not None and (
            holder.worker.incarnation != worker.incarnation or holder.address != address
        ):
            if worker.rank not in self._missing():
                raise errors.AlreadyExistsError(
                    errors.message(
                        "rendezvous",
                        f"rank {worker.rank} is held by {holder.worker.description} "
                        f"({holder.address})",
                        f"a second rank {worker.rank} from {worker.description} ({address})",
                        "Give every worker a rank of its own, and every job its own coordinator "
                        "address.",
                    )
                )
        for rank, other in self._holders.items():
            if other.address == address and rank != worker.rank:
                raise errors.AlreadyExistsError(
                    errors.message(
                        "rendezvous",
                        f"{address} is the address of rank {rank} ({other.worker.description})",
                        f"the same address from rank {worker.rank} ({worker.description})",
                    )
                )
        self._holders[worker.rank] = _Holder(worker, address, now)
        self._changed.notify_all()

    def _set(self, request: pb.SetRequest, context: grpc.ServicerContext) -> pb.SetReply:
        worker = self._checked(request.worker)
        check_value(request.key, request.value)
        before = self._values.get(request.key)
        if before is not None and before[0] != request.value:
            raise errors.AlreadyExistsError(
                errors.message(
                    "rendezvous",
                    f"key {request.key!r} was set by rank {before[1].rank} "
                    f"({before[1].description})",
                    f"another value from rank {worker.rank} ({worker.description})",
                )
            )
        if before is None and len(self._values) >= MAX_KEYS:
            raise errors.ResourceExhaustedError(f"rendezvous: all {MAX_KEYS} keys are in use.")
        self._values.setdefault(request.key, (request.value, worker))
        self._changed.notify_all()
        return pb.SetReply()

    def _get(self, request: pb.GetRequest, context: grpc.ServicerContext) -> pb.GetReply:
        for key in request.keys:
            _check_key(key)
        absent = lambda: [key for key in request.keys if key not in self._values]
        self._wait(request.wait_seconds, context, lambda: not absent())
        if absent():
            return pb.GetReply(missing=absent(), lost=self._lost)
        return pb.GetReply(values=[self._values[key][0] for key in request.keys])

    def _barrier(
        self, request: pb.BarrierRequest, context: grpc.ServicerContext
    ) -> pb.BarrierReply:
        worker = self._checked(request.worker)
        _check_key(request.name)
        if request.name not in self._barriers and len(self._barriers) >= MAX_KEYS:
            raise errors.ResourceExhaustedError(f"rendezvous: all {MAX_KEYS} barriers are in use.")
        arrived = self._barriers.setdefault(request.name, set())
        arrived.add(worker.rank)
        self._changed.notify_all()
        self._wait(request.wait_seconds, context, lambda: len(arrived) == self._world_size)
        missing = [rank for rank in range(self._world_size) if rank not in arrived]
        return pb.BarrierReply(missing=missing, lost=self._lost if missing else None)

    def _checked(self, worker: pb.Worker) -> pb.Worker:
        if worker.world_size != self._world_size:
            raise errors.invalid(
                "rendezvous",
                f"this job has {self._world_size} workers",
                f"world size {worker.world_size} from rank {worker.rank} ({worker.description})",
                "Start all workers with the same DISTFLOW_WORLD_SIZE.",
            )
        if worker.rank >= self._world_size or len(worker.description) > MAX_KEY_CHARACTERS:
            raise errors.invalid(
                "rendezvous", f"a rank is 0 to {self._world_size - 1}", f"{worker.rank}"
            )
        return worker

    def _missing(self) -> list[int]:
        """Ranks without a holder; until all have met, one that went silent counts as missing."""
        if self._complete:
            return []
        oldest = time.monotonic() - SILENT_SECONDS
        missing = [
            rank
            for rank in range(self._world_size)
            if rank not in self._holders or self._holders[rank].last_seen < oldest
        ]
        self._complete = not missing
        return missing

    def _wait(
        self, seconds: float, context: grpc.ServicerContext, ready: Callable[[], bool]
    ) -> None:
        """Waits, with the lock released, until ready, lost, closed, cancelled, or time is over."""
        if not math.isfinite(seconds):
            seconds = 0.0
        over = time.monotonic() + min(max(seconds, 0.0), MAX_WAIT_SECONDS)
        while not (ready() or self._lost is not None or self._closed) and context.is_active():
            left = over - time.monotonic()
            if left <= 0:
                return
            self._changed.wait(min(left, 1.0))


def guarded(
    handler: Callable[[Any, Any], Any], token: str, lock: threading.Condition
) -> Callable[[Any, Any], Any]:
    """Refuses calls without the token, holds the lock, and turns our errors into gRPC's."""

    def call(request: Any, context: grpc.ServicerContext) -> Any:
        given = dict(context.invocation_metadata()).get(TOKEN_HEADER, "")
        if isinstance(given, bytes):
            given = given.decode("ascii", "replace")
        if not hmac.compare_digest(given.encode(), token.encode()):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is wrong or missing")
        try:
            with lock:
                return handler(request, context)
        except errors.AlreadyExistsError as error:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, error.message)
        except (errors.ResourceExhaustedError, errors.NumericMismatchError) as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, error.message)
        except errors.InvalidArgumentError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)

    return call


def check_token(token: str | None) -> None:
    """Raises InvalidArgumentError for a token that is too short to be a secret, without it."""
    if token is not None and not (
        len(token) >= MIN_TOKEN_CHARACTERS and token.isascii() and token.isprintable()
    ):
        raise errors.invalid(
            "DISTFLOW_TOKEN",
            f"expected {MIN_TOKEN_CHARACTERS} or more printable ASCII characters",
            f"{len(token)} characters",
            'Make one with: python -c "import secrets; print(secrets.token_hex(16))"',
        )


def check_value(key: str, value: bytes) -> None:
    """Raises InvalidArgumentError for a key or value that is too long to be kept."""
    _check_key(key)
    if len(value) > MAX_VALUE_BYTES:
        raise errors.invalid(
            "rendezvous",
            f"a value may have {MAX_VALUE_BYTES} bytes",
            f"{len(value)} for key {key!r}",
        )


def is_loopback(host: str) -> bool:
    """Whether an address names this host only."""
    return host == "localhost" or host == "::1" or host.startswith("127.")


class _Server:
    """A started grpc.Server and its port."""

    def __init__(self, server: grpc.Server, port: int):
        self._server, self.port = server, port

    def stop(self, grace_seconds: float) -> None:
        self._server.stop(grace_seconds).wait(grace_seconds + 5.0)


def serve(
    service: str,
    handlers: dict[str, tuple[Callable[[Any, Any], Any], Any]],
    world_size: int,
    host: str,
    port: int,
) -> _Server:
    """Starts a server of unary calls; at most `world_size` callers wait at a time."""
    methods = {
        name: grpc.unary_unary_rpc_method_handler(
            _parsing(function, kind),
            response_serializer=lambda reply: reply.SerializeToString(),
        )
        for name, (function, kind) in handlers.items()
    }
    server = grpc.server(
        DaemonThreads(min(world_size + 8, MAX_THREADS)),
        maximum_concurrent_rpcs=4 * world_size + 64,
        options=[
            ("grpc.so_reuseport", 0),  # else a second server would share the port silently
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", 64 * MAX_MESSAGE_BYTES),
            ("grpc.max_metadata_size", 8 * 1024),
        ],
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
    _refuse_port_in_use(host, port)
    try:
        bound = tls.listen(server, f"{bracketed(host)}:{port}")
    except RuntimeError as error:
        raise _port_error(host, port, str(error)) from error
    server.start()
    return _Server(server, bound)


def _parsing(function: Callable[[Any, Any], Any], kind: Any) -> Callable[[Any, Any], Any]:
    """Refuses what is no message; gRPC would log a stack for every one that a stranger sends."""

    def call(data: bytes, context: grpc.ServicerContext) -> Any:
        try:
            request = kind.FromString(data)
        except DecodeError:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"the request is no {kind.__name__}")
        return function(request, context)

    return call


def _refuse_port_in_use(host: str, port: int) -> None:
    """Tries the port with a plain socket: gRPC says the same in many lines of its own on stderr."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        cause = "in use" if error.errno == errno.EADDRINUSE else str(error)
        raise _port_error(host, port, cause) from error


def _port_error(host: str, port: int, cause: str) -> errors.UnavailableError:
    return errors.UnavailableError(
        errors.message(
            "rendezvous",
            f"the server must listen on {bracketed(host)}:{port}",
            f"an error ({cause})",
            "Choose another port in DISTFLOW_COORDINATOR, or end the process that holds it "
            f"(ss -ltnp 'sport = :{port}' names it).",
        )
    )


def _check_key(key: str) -> None:
    if not 0 < len(key) <= MAX_KEY_CHARACTERS:
        raise errors.invalid(
            "rendezvous", f"a key has 1 to {MAX_KEY_CHARACTERS} characters", f"{len(key)}"
        )


def bracketed(host: str) -> str:
    """Returns the host as it stands before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host
