"""Ranks on any hosts, over gRPC streams of raw bytes: no protobuf, no pickle, no coordinator.

Each rank serves one method and opens one stream to every other rank, on which its frames travel in
the form of `frames.py`; the answer to a stream is one welcome. `grpc_handshake.py` says who is let
in. A broken stream means a lost peer. Without a token only loopback addresses are served. Traffic
is encrypted where DISTFLOW_TLS says with what (`base.tls`).
"""

from __future__ import annotations

import atexit
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from distflow.base import errors, flags, log, tls
from distflow.base.daemons import DaemonThreads
from distflow.comm import faults
from distflow.comm.transport import base, bulk, frames, stall
from distflow.comm.transport.bulk import BulkServer
from distflow.comm.transport.grpc_channel import (
    bracketed,
    grpc,
    is_loopback,
    options,
    split_address,
)
from distflow.comm.transport.grpc_handshake import (
    BLAME,
    METHOD,
    SERVICE,
    WELCOME,
    Door,
    introduction,
)
from distflow.comm.transport.inbox import Inbox
from distflow.comm.transport.outbox import Outbox

_CLOSE_SECONDS = 2.0
_MAX_STREAMS = 1024
_NOTICE_SECONDS = 5.0  # waiting longer for peers at the start is said: somebody may start them


class GrpcServer:
    """Listens for peers; its port is known before the addresses of the peers are.

    Args:
      host: address to listen on. Other than loopback needs a token.
      port: 0 for any free port.
      token: secret that peers must present; DISTFLOW_TOKEN if None.
      job: name of the job and its generation; peers with another one are refused. None: it is
        not known before `connect`.
      silence_seconds: a peer without a sign of life for so long is lost. Peers send one every
        tenth of it, from a thread: only a process that holds Python's lock so long seems dead.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        token: str | None = None,
        job: str | None = "",
        silence_seconds: float = 30.0,
    ):
        self.host = host
        token = token if token is not None else flags.get("DISTFLOW_TOKEN") or ""
        if not token and not is_loopback(host):
            raise errors.invalid(
                "GrpcServer",
                "an address other than loopback needs a job token",
                repr(host),
                "Set DISTFLOW_TOKEN to the same secret on all workers, or listen on 127.0.0.1.",
            )
        if not (token.isascii() and token.isprintable()):
            raise errors.invalid("GrpcServer", "a token must be printable ASCII")
        self.silence_seconds = silence_seconds
        self.door = Door(token, job)
        self._server = grpc.server(
            DaemonThreads(),
            options=options(),
            maximum_concurrent_rpcs=_MAX_STREAMS,
        )
        handler = grpc.stream_stream_rpc_method_handler(self._serve)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),)
        )
        # gRPC takes ::1 alone for "localhost" if another program has the port of 127.0.0.1.
        bound = "127.0.0.1" if host == "localhost" else bracketed(host)
        try:
            self.port = tls.listen(self._server, f"{bound}:{port}")
        except RuntimeError as error:
            self.port = 0
            cause: Exception | None = error
        else:
            cause = None
        if not self.port:
            raise errors.UnavailableError(
                f"GrpcServer: cannot listen on {host}:{port}; the port is in use or the address is "
                "not this host's.\nEnd the other process, choose another port, or port 0 for any."
            ) from cause
        # Encrypted jobs send everything over gRPC.
        self.bulk = None if tls.material() else BulkServer(bound.strip("[]"), token)
        self._server.start()

    @property
    def address(self) -> str:
        """The "host:port" at which peers on this network reach the server."""
        return f"{bracketed(self.host)}:{self.port}"

    def connect(
        self,
        rank: int,
        addresses: Sequence[str],
        *,
        connect_timeout_seconds: float | None = None,
        job: str | None = None,
        names: Sequence[str] | None = None,
    ) -> GrpcTransport:
        """Returns this rank's transport when all peers are connected both ways.

        Args:
          rank: this worker's rank.
          addresses: "host:port" of every rank; the own entry is not used.
          connect_timeout_seconds: how long to wait for all; DISTFLOW_JOIN_TIMEOUT if None.
          job: name of the job and its generation, if it was not known before.
          names: what errors call each rank; its address if None.

        Raises:
          WorkerLateError: if a peer does not come in time; names its rank and address.
          PermissionDeniedError: if a peer refuses the token.
        """
        if job is not None:
            self.door.job = job
        return GrpcTransport(
            rank,
            addresses,
            server=self,
            connect_timeout_seconds=connect_timeout_seconds,
            names=names,
        )

    def close(self) -> None:
        """Stops listening and drops all streams."""
        if self.bulk is not None:
            self.bulk.close()
        self._server.stop(None)
        self.door.close()

    def _serve(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        transport, peer = self.door.admit(context)
        yield WELCOME + (b"" if self.bulk is None else self.bulk.welcome)
        transport.receive(peer, requests, context)


class GrpcTransport(base.Transport):
    """One rank's end of a group connected over gRPC.

    Args:
      rank: this worker's rank.
      addresses: "host:port" of every rank.
      token: secret of the job; DISTFLOW_TOKEN if None.
      listen: "host:port" to listen on; this rank's own address if None.
      connect_timeout_seconds: how long to wait for all; DISTFLOW_JOIN_TIMEOUT if None.
      job: name of the job and its generation.
      server: a GrpcServer that listens already; then token, listen and job are its own.
      names: what errors call each rank (host and process, say); its address if None.
    """

    def __init__(
        self,
        rank: int,
        addresses: Sequence[str],
        token: str | None = None,
        listen: str | None = None,
        connect_timeout_seconds: float | None = None,
        *,
        job: str = "",
        server: GrpcServer | None = None,
        names: Sequence[str] | None = None,
    ):
        if not 0 <= rank < len(addresses):
            raise errors.invalid(
                "GrpcTransport", f"rank must be 0..{len(addresses) - 1}", str(rank)
            )
        if server is None:
            host, port = split_address(listen or addresses[rank])
            server = GrpcServer(host, port, token=token, job=job)
        self.rank = rank
        self.world_size = len(addresses)
        self._addresses = list(addresses)
        self._server = server
        self._job = frames.job_number(server.door.job or "")
        self._inbox = Inbox(
            rank,
            self.world_size,
            silence_seconds=server.silence_seconds,
            ask=lambda peer: self._outboxes[peer].signal(frames.ASK),
            names=names or addresses,
        )
        self._condition = self._inbox.condition
        self._outboxes = {peer: self._new_outbox() for peer in self.peers}
        self._admitted: set[int] = set()
        self._finished: set[int] = set()  # peers that have read our goodbye
        self._streams: dict[int, tuple[Any, Any]] = {}
        self._closed = False
        timeout = connect_timeout_seconds or flags.get("DISTFLOW_JOIN_TIMEOUT")
        if server.bulk is not None:
            server.bulk.admit(self._job, rank, self.peers)
        server.door.open_for(self)
        deadline = base.Deadline(timeout)
        notice = threading.Timer(_NOTICE_SECONDS, self._say_who_is_missing, (deadline,))
        notice.daemon = True
        notice.start()
        try:
            self._connect(deadline)
        except BaseException:
            self.drop()
            raise
        finally:
            notice.cancel()
        atexit.register(self._close_at_exit)

    def _new_outbox(self) -> Outbox:
        heartbeat_seconds = self._server.silence_seconds / 10
        return Outbox(self._job, self.rank, self._condition, heartbeat_seconds)

    def _connect(self, deadline: base.Deadline) -> None:
        for peer in self.peers:
            while not self._open(peer, deadline):
                if not deadline.remaining:
                    raise self._never_came(peer, deadline)
                time.sleep(0.05)
        with self._condition:
            while missing := [peer for peer in self.peers if peer not in self._admitted]:
                if not deadline.remaining:
                    raise self._never_came(missing[0], deadline)
                self._condition.wait(deadline.remaining)

    def _open(self, peer: int, deadline: base.Deadline) -> bool:
        """Opens the stream to a peer; False if it may be tried again."""
        channel = tls.channel(self._addresses[peer], options())
        call = channel.stream_stream(f"/{SERVICE}/{METHOD}")(
            self._outboxes[peer].messages(),
            metadata=introduction(
                token=self._server.door.token,
                job=self._job,
                rank=self.rank,
                to=peer,
                world_size=self.world_size,
            ),
            wait_for_ready=True,
        )
        timer = threading.Timer(deadline.remaining, call.cancel)
        timer.daemon = True
        timer.start()
        try:
            welcome = next(call)
            if not welcome.startswith(WELCOME):
                raise errors.FailedPreconditionError(f"rank {peer} answered {welcome[:32]!r}")
            self._open_bulk(peer, welcome[len(WELCOME) :])
        except (grpc.RpcError, StopIteration) as error:
            refusal: Any = error if isinstance(error, grpc.RpcError) else None
            code = refusal and refusal.code()
            self._outboxes[peer].cut()  # ends the generator of this attempt
            self._outboxes[peer] = self._new_outbox()
            channel.close()
            if code in BLAME:
                raise BLAME[code](
                    f"connect: rank {peer} at {self._addresses[peer]} refuses rank {self.rank}: "
                    f"{refusal.details()}"
                ) from error
            return False
        finally:
            timer.cancel()
        self._streams[peer] = (channel, call)
        call.add_callback(lambda: self._stream_ended(peer, call))
        return True

    def _open_bulk(self, peer: int, welcome: bytes) -> None:
        """Connects for large bodies, where the peer listens for that."""
        if self._server.bulk is None or len(welcome) != len(self._server.bulk.welcome):
            return
        self._outboxes[peer].bulk = bulk.connect(
            split_address(self._addresses[peer])[0], welcome, token=self._server.door.token,
            job=self._job, rank=self.rank, to=peer,
        )  # fmt: skip

    def _stream_ended(self, peer: int, call: Any) -> None:
        code = call.code()
        if code is grpc.StatusCode.OK and self._closed:
            with self._condition:
                self._finished.add(peer)
                self._condition.notify_all()
        elif not self._closed:
            detail = call.details() or "no details"
            self._inbox.mark_lost(peer, f"its connection broke: {code.name}, {detail[:200]}")

    def _say_who_is_missing(self, deadline: base.Deadline) -> None:
        missing = [p for p in self.peers if p not in self._admitted]
        if missing:
            log.get_logger().warning(
                "rank %d waits for %s, for %.0f s more (DISTFLOW_JOIN_TIMEOUT)",
                self.rank,
                ", ".join(f"rank {p} at {self._addresses[p]}" for p in missing),
                deadline.remaining,
            )

    def _never_came(self, peer: int, deadline: base.Deadline) -> errors.WorkerLateError:
        text = (
            f"connect: rank {peer} at {self._addresses[peer]} has not come; "
            f"rank {self.rank} has waited {deadline.elapsed:.1f} s"
        )
        absent = [p for p in self.peers if p not in self._admitted and p != peer]
        if absent:
            text += f"\nNothing has come from ranks {absent} either."
        if self._server.door.refused:
            text += f"\nRefused meanwhile: {'; '.join(self._server.door.refused)}"
        text += "\nStart all workers, or set DISTFLOW_JOIN_TIMEOUT to more seconds."
        return errors.WorkerLateError(text, peer)

    def admit(self, peer: int) -> bool:
        """Notes the stream of a peer; False if there is one already (called by the server)."""
        with self._condition:
            if peer in self._admitted or self._closed:
                return False
            self._admitted.add(peer)
            self._condition.notify_all()
            return True

    def receive(self, peer: int, requests: Iterator[bytes], context: Any) -> None:
        """Reads a peer's stream to its end (called in a thread of the server)."""
        assembler = frames.Assembler(self._job, peer)
        try:
            for message in requests:
                item = assembler.feed(message)
                self._inbox.heard(peer, len(message) if item is None else 0)
                if isinstance(item, frames.Announced):
                    item = self._receive_bulk(peer, item)
                if isinstance(item, base.Frame):
                    faults.reach("mid-receive")
                    if not self._inbox.put(peer, item, wait=True):
                        return
                elif item is None or item.kind == frames.HEARTBEAT:
                    continue
                elif item.kind == frames.ABORT:
                    self._inbox.mark_aborted(peer, item.meta)
                elif item.kind == frames.ASK:
                    self._outboxes[peer].signal(frames.STACK, stall.own_stack())
                elif item.kind == frames.STACK:
                    self._inbox.note_stack(peer, item.meta)
                else:
                    self._inbox.mark_left(peer)
                    return
        except (errors.DataLossError, MemoryError) as error:
            self._inbox.mark_lost(peer, f"it sent a malformed frame: {error}")
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"malformed frame: {error}"[:500])
        except (grpc.RpcError, OSError):
            pass  # the stream broke: below
        self._inbox.mark_lost(peer, "its stream broke")

    @property
    def links(self) -> tuple[Inbox, dict[int, Outbox], BulkServer | None]:
        """What `wires.py` moves frames with; nobody calls `send` any more then."""
        return self._inbox, self._outboxes, self._server.bulk

    def _receive_bulk(self, peer: int, head: frames.Announced) -> base.Frame:
        if self._server.bulk is None:
            raise errors.DataLossError("a bulk frame, which nobody listens for")
        connection = self._server.bulk.socket_of(peer)
        body = np.empty(head.body_bytes, np.uint8)
        bulk.receive(
            connection, body, lambda count: self._inbox.heard(peer, count),
            lambda: not (self._closed or self._inbox.gone(peer)),
        )  # fmt: skip
        return base.Frame(head.tag, head.meta, body)

    def send(
        self, to_rank: int, tag: int, meta: bytes = b"", parts: Sequence[np.ndarray] = ()
    ) -> None:
        """Queues the frame, by reference."""
        self._outboxes[to_rank].put(tag, meta, parts)

    def recv(self, from_rank: int, *, timeout_seconds: float, what: str) -> base.Frame:
        """Waits for the next frame from a rank."""
        return self._inbox.take(from_rank, timeout_seconds, what)

    def poll(self, from_rank: int) -> bool:
        """Whether a frame is there."""
        return self._inbox.has_frame(from_rank)

    def flush(self, *, timeout_seconds: float, what: str) -> None:
        """Waits until gRPC has copied everything."""

        def unsent() -> int | None:
            # A peer that has left has read what it needed.
            unsent = (peer for peer, box in self._outboxes.items() if not box.empty)
            return next((peer for peer in unsent if not self._inbox.gone(peer)), None)

        self._inbox.wait_for_peers(unsent, timeout_seconds, what)

    def check(self, what: str) -> None:
        """Raises if a peer is lost, has left or gave up."""
        self._inbox.check(what)

    def abort(self, error: BaseException) -> None:
        """Tells all peers that this rank gave up."""
        for outbox in self._outboxes.values():
            outbox.abort(base.encode_error(error))

    def close(self) -> None:
        """Says goodbye to all peers, waits shortly until they have read it, and disconnects."""
        if self._closed:
            return
        self._closed = True
        for outbox in self._outboxes.values():
            outbox.end()
        deadline = base.Deadline(_CLOSE_SECONDS)
        with self._condition:
            while deadline.remaining and not all(
                peer in self._finished or self._inbox.gone(peer) for peer in self.peers
            ):
                self._condition.wait(deadline.remaining)
        self.drop()

    def _close_at_exit(self) -> None:
        # After an uncaught exception the peers must see a loss, not a goodbye.
        if getattr(sys, "last_value", None) is not None:
            self.drop()
        else:
            self.close()

    def drop(self) -> None:
        """Disconnects at once and without a goodbye. Idempotent."""
        self._closed = True
        atexit.unregister(self._close_at_exit)
        self._inbox.close()
        for outbox in self._outboxes.values():
            outbox.cut()
            if outbox.bulk is not None:
                bulk.close(outbox.bulk)
        for channel, call in self._streams.values():
            call.cancel()
            channel.close()
        self._server.close()
