"""The coordinator of an elastic job: serves `Membership` over gRPC, beside the rendezvous.

It runs in the launcher, or in the process of rank 0 where there is none. Training goes on without
it until the members change; one that is started again at the same address learns from the members
what it must know.
"""

from __future__ import annotations

import atexit
import threading
import time
from typing import Any

import grpc

from distflow.base import errors
from distflow.cluster import rendezvous
from distflow.cluster.membership import Membership
from distflow.cluster.spec import split_address
from distflow.protos import cluster_pb2 as pb

SERVICE = "distflow.cluster.Membership"
MAX_WAIT_SECONDS = 1.0  # a worker asks again, which is a sign of life
TICK_SECONDS = 0.05  # how often a waiting call looks at the clock


def host_coordinator(address: str, bounds: tuple[int, int], *, token: str | None) -> Coordinator:
    """Starts the coordinator of a job without a launcher in this process, until it ends.

    Started again at the same address (in the process that replaces this one) it learns from the
    workers what it must know.
    """
    host, port = split_address(address, "DISTFLOW_COORDINATOR")
    # A name of this host may resolve late or to an address of outside (a Service): listen on all.
    listen = host if rendezvous.is_loopback(host) else "0.0.0.0"
    coordinator = Coordinator(Membership(*bounds), host=listen, port=port or 0, token=token)
    atexit.register(coordinator.close)
    return coordinator


class Coordinator:
    """Serves the membership of one job until `close()`.

    Args:
      membership: the rules, and the state.
      host, port: where to listen; port 0 takes a free one, see `address`.
      token: secret of the job; None is allowed on loopback addresses only.

    Raises:
      UnavailableError: if the port is in use.
    """

    def __init__(
        self,
        membership: Membership,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
    ):
        rendezvous.check_token(token)
        if token is None and not rendezvous.is_loopback(host):
            raise errors.invalid(
                "coordinator",
                f"listening on {host}, which other hosts can reach, needs a token",
                "none",
                "Set DISTFLOW_TOKEN to the same long random string for all workers.",
            )
        self._membership = membership
        self._changed = threading.Condition()
        self._closed = False
        handlers: dict[str, Any] = {
            "Join": (self._join, pb.JoinRequest),
            "Beat": (self._beat, pb.BeatRequest),
            "Leave": (self._leave, pb.LeaveRequest),
        }
        self._server = rendezvous.serve(
            SERVICE,
            {
                name: (rendezvous.guarded(handler, token or "", self._changed), kind)
                for name, (handler, kind) in handlers.items()
            },
            # Beside the members there are spares and newcomers.
            2 * membership.max_workers + 8,
            host,
            port,
        )
        self.address = f"{rendezvous.bracketed(host)}:{self._server.port}"

    @property
    def generation(self) -> int:
        """The number of the newest generation."""
        return self._membership.number

    @property
    def slots(self) -> set[int]:
        """The slots of the newest generation's members, but for those that have gone."""
        with self._changed:
            return self._membership.slots()

    def slot_started(self, slot: int) -> None:
        """Notes that the owner has started a process for a slot."""
        with self._changed:
            self._membership.slot_started(slot)

    def want(self, slot: int) -> None:
        """Has a member start a process for a slot; see `Membership.want`."""
        with self._changed:
            self._membership.want(slot)

    def orphans(self) -> list[int]:
        """Returns the slots whose processes cannot come; see `Membership.orphans`."""
        with self._changed:
            return self._membership.orphans()

    def has_joined(self, slot: int) -> bool:
        """Whether the process of a slot that was wanted last has asked to join."""
        with self._changed:
            return self._membership.has_joined(slot)

    def slot_ended(self, slot: int, *, is_finished: bool = False) -> None:
        """Notes that the process of a slot has ended; its owner knows at once."""
        with self._changed:
            self._membership.slot_ended(slot, is_finished=is_finished)
            self._changed.notify_all()

    def close(self, grace_seconds: float = 0.5) -> None:
        """Ends the server; calls that wait are answered first."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.stop(grace_seconds)

    def _join(self, request: pb.JoinRequest, context: grpc.ServicerContext) -> pb.JoinReply:
        wait = request.wait_seconds if 0 < request.wait_seconds < MAX_WAIT_SECONDS else 1.0
        over = time.monotonic() + wait
        membership = self._membership
        membership.join(request, time.monotonic())
        self._changed.notify_all()
        while True:
            now = time.monotonic()
            reply = membership.reply(request.member.id, now)
            if reply is not None:
                self._changed.notify_all()
                return reply
            if now >= over or self._closed or not context.is_active():
                return pb.JoinReply(waiting_for=membership.waiting_for(request.member.id, now))
            self._changed.wait(min(TICK_SECONDS, over - now))

    def _beat(self, request: pb.BeatRequest, context: grpc.ServicerContext) -> pb.BeatReply:
        return self._membership.beat(request, time.monotonic())

    def _leave(self, request: pb.LeaveRequest, context: grpc.ServicerContext) -> pb.LeaveReply:
        self._membership.leave(request.id, is_finished=request.is_finished)
        self._changed.notify_all()
        return pb.LeaveReply()
