"""How two ranks get acquainted over gRPC: what the opener of a stream says, and who is let in.

A stream is admitted by its metadata alone: job token (compared in constant time), job and its
generation, version of the frames, ranks and size of the world. Who is refused hears why.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Sequence
from typing import Any, Protocol

from distflow.base import errors, flags, log
from distflow.comm.transport import frames
from distflow.comm.transport.grpc_channel import grpc

SERVICE, METHOD = "distflow.Comm", "Stream"
WELCOME = b"distflow-welcome-2"
_MOST_REFUSALS = 10  # that are remembered
BLAME = {  # status codes with which a peer refuses us for good
    grpc.StatusCode.UNAUTHENTICATED: errors.PermissionDeniedError,
    grpc.StatusCode.FAILED_PRECONDITION: errors.FailedPreconditionError,
    grpc.StatusCode.UNIMPLEMENTED: errors.FailedPreconditionError,
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidArgumentError,
}


class Host(Protocol):
    """Whom the streams are for: a transport."""

    rank: int
    world_size: int

    @property
    def peers(self) -> Sequence[int]:
        """The other ranks."""

    def admit(self, peer: int) -> bool:
        """Notes the stream of a peer; False if there is one already."""


def introduction(
    *, token: str, job: int, rank: int, to: int, world_size: int
) -> tuple[tuple[str, str], ...]:
    """Returns the metadata with which a rank opens its stream to another one."""
    return (
        ("distflow-token", token),
        ("distflow-job", str(job)),
        ("distflow-version", str(frames.VERSION)),
        ("distflow-rank", str(rank)),
        ("distflow-to", str(to)),
        ("distflow-world", str(world_size)),
    )


class Door:
    """Lets streams in, or refuses them.

    Args:
      token: secret that peers must present.
      job: name of the job and its generation; None: not known before `open_for`.
    """

    def __init__(self, token: str, job: str | None):
        self.token = token
        self.job = job
        self.refused: list[str] = []  # why peers were refused, for the error when none comes
        self._host: Any = None
        self._open = threading.Event()

    def open_for(self, host: Host) -> None:
        """Lets streams in for this transport; the job is known by now."""
        self._host = host
        self._open.set()

    def close(self) -> None:
        """Sends away who still waits."""
        self._open.set()

    def admit(self, context: Any) -> tuple[Any, int]:
        """Returns the transport and the peer that a stream belongs to, or ends the call."""
        said = dict(context.invocation_metadata())
        if not hmac.compare_digest(
            str(said.get("distflow-token", "")).encode(), self.token.encode()
        ):
            self._refuse(context, grpc.StatusCode.UNAUTHENTICATED, "wrong job token", said)
        if self.job is not None:
            self._refuse_other_job(context, said)
        # A peer may be quicker than we are: it waits here until there is a transport.
        if not self._open.wait(flags.get("DISTFLOW_JOIN_TIMEOUT")) or self._host is None:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not ready")
        host = self._host
        self._refuse_other_job(context, said)
        want = {
            "distflow-version": str(frames.VERSION),
            "distflow-world": str(host.world_size),
            "distflow-to": str(host.rank),
        }
        for key, value in want.items():
            if said.get(key) != value:
                text = f"{key} is {value} here, {str(said.get(key))[:32]!r} there"
                self._refuse(context, grpc.StatusCode.FAILED_PRECONDITION, text, said)
        text = str(said.get("distflow-rank", ""))
        peer = int(text) if text.isdigit() and len(text) < 10 else -1
        if peer not in host.peers or not host.admit(peer):
            text = f"rank {text[:10]!r} is not expected"
            self._refuse(context, grpc.StatusCode.FAILED_PRECONDITION, text, said)
        return host, peer

    def _refuse_other_job(self, context: Any, said: dict[str, Any]) -> None:
        if said.get("distflow-job") != str(frames.job_number(self.job or "")):
            text = "another job or generation"
            self._refuse(context, grpc.StatusCode.FAILED_PRECONDITION, text, said)

    def _refuse(self, context: Any, code: Any, text: str, said: dict[str, Any]) -> None:
        reason = f"rank {str(said.get('distflow-rank'))[:10]}: {text}"
        self.refused = [*self.refused, reason][-_MOST_REFUSALS:]
        log.get_logger().info("refused a stream: %s", reason)
        context.abort(code, text)
