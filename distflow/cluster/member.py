"""A worker's side of an elastic job: ask to join, give signs of life, leave."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from distflow.base import errors, log, tls
from distflow.cluster import coordinator, rendezvous
from distflow.protos import cluster_pb2 as pb

BEAT_SECONDS = 0.5
CALL_SECONDS = 5.0
RETRY_SECONDS = 0.1
NOTICE_SECONDS = 5.0  # waiting longer is said


class Member:
    """One worker's connection to the coordinator of its job.

    Args:
      address: "host:port" of the coordinator.
      token: secret of the job.
      slot: the number under which this worker was started.
      identity: random number of the process, for tests that have several in one.
    """

    def __init__(
        self, address: str, *, token: str | None, slot: int, identity: bytes | None = None
    ):
        rendezvous.check_token(token)
        self.id = identity or secrets.token_bytes(16)
        self.slot = slot
        self.description = f"worker {slot} (process {os.getpid()} on {socket.gethostname()})"
        self.is_awaited = False
        # Called with the slots for which this worker is to start processes.
        self.on_wanted: Callable[[Sequence[int]], None] | None = None
        self._address = address
        self._metadata = ((rendezvous.TOKEN_HEADER, token or ""),)
        self._channel = tls.channel(
            address,
            [
                ("grpc.enable_http_proxy", 0),
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.min_reconnect_backoff_ms", 200),
                ("grpc.max_reconnect_backoff_ms", 500),
                ("grpc.use_local_subchannel_pool", 1),
                # Its name may come to mean another host: a pod that is started again.
                ("grpc.dns_min_time_between_resolutions_ms", 1000),
            ],
        )
        self._stop = threading.Event()
        self._status = (0, 0, "")  # generation, position, donor

    def join(
        self,
        member: pb.Member,
        *,
        suspects: Sequence[bytes] = (),
        known: Sequence[bytes] = (),
        late: Sequence[bytes] = (),
        timeout_seconds: float,
        check: Callable[[], None] = lambda: None,
    ) -> pb.JoinReply:
        """Asks to be in the next generation, until there is an answer.

        Args:
          member: this worker as it is now, with a fresh address to listen on.
          suspects, known, late: members of its last generation: those it has lost, all, and those
            that nobody is to wait for.
          timeout_seconds: how long to wait for others, or for the coordinator.
          check: called between questions; what it raises ends the wait.

        Returns:
          A reply with a generation, or with donors, or that the job has finished.

        Raises:
          WorkerLateError: if there is no generation in time; says what was waited for.
          PermissionDeniedError, NumericMismatchError, AlreadyExistsError: if refused for good.
        """
        request = pb.JoinRequest(
            member=member, suspects=suspects, known=known, late=late,
            wait_seconds=coordinator.MAX_WAIT_SECONDS,
        )  # fmt: skip
        start = time.monotonic()
        noticed, trouble = start, "no answer yet"
        while True:
            check()
            try:
                reply = self._call("Join", request, pb.JoinReply)
                if reply.HasField("generation") or reply.donors or reply.is_finished:
                    return reply
                trouble = reply.waiting_for
            except grpc.RpcError as error:
                trouble = self._translate(error)
                time.sleep(RETRY_SECONDS)
            elapsed = time.monotonic() - start
            if elapsed >= timeout_seconds:
                raise errors.WorkerLateError(
                    errors.message(
                        "elastic job",
                        f"a generation with {self.description} within {timeout_seconds:g} s "
                        "(DISTFLOW_ELASTIC_TIMEOUT)",
                        f"none: {trouble}",
                    )
                )
            if time.monotonic() - noticed > NOTICE_SECONDS:
                noticed = time.monotonic()
                log.get_logger().warning(
                    "%s waits to join since %.0f s: %s", self.description, elapsed, trouble
                )

    def leave(self, *, is_finished: bool = False) -> None:
        """Tells the coordinator that this worker goes; without one nobody needs to know."""
        request = pb.LeaveRequest(id=self.id, is_finished=is_finished)
        with contextlib.suppress(grpc.RpcError):
            self._call("Leave", request, pb.LeaveReply, seconds=1.0)

    def status(self, generation: int, position: int, donor: str) -> None:
        """Sets what the signs of life say."""
        if generation != self._status[0]:
            self.is_awaited = False
        self._status = (generation, position, donor)

    def start_beating(self) -> None:
        """Gives a sign of life every BEAT_SECONDS from a thread of its own, until `close`."""
        threading.Thread(target=self._beat, name="distflow-beat", daemon=True).start()

    def close(self) -> None:
        """Ends the signs of life and the connection."""
        self._stop.set()
        self._channel.close()

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            generation, position, donor = self._status
            request = pb.BeatRequest(
                id=self.id, generation=generation, position=position, donor=donor
            )
            try:
                reply = self._call("Beat", request, pb.BeatReply, seconds=2.0)
            except (grpc.RpcError, ValueError):
                continue  # without a coordinator training goes on; or closed meanwhile
            if reply.wanted and self.on_wanted is not None:
                self.on_wanted(reply.wanted)
            # An answer from before the last change would call for another one.
            self.is_awaited = reply.is_awaited and reply.generation == self._status[0]

    def _call(self, method: str, request: Any, reply: Any, seconds: float = CALL_SECONDS) -> Any:
        call = self._channel.unary_unary(
            f"/{coordinator.SERVICE}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=reply.FromString,
        )
        return call(request, timeout=seconds, metadata=self._metadata)

    def _translate(self, error: grpc.RpcError) -> str:
        """Raises the typed error of a refusal; returns what to report of a passing trouble."""
        code, details = error.code(), error.details() or ""
        if code is grpc.StatusCode.UNAUTHENTICATED:
            raise errors.PermissionDeniedError(
                errors.message(
                    "elastic job",
                    f"the coordinator at {self._address} expects the token of its job",
                    f"another one, or none, from {self.description}",
                    "Set DISTFLOW_TOKEN to the same value for all workers of the job.",
                )
            ) from None
        refusals = {
            grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExistsError,
            grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidArgumentError,
            grpc.StatusCode.FAILED_PRECONDITION: errors.NumericMismatchError,
        }
        if code in refusals:
            raise refusals[code](details) from None
        return f"{code.name}: {details}"
