"""One generation of an elastic job as this worker sees it: peers, collectives, who lacks what.

`form` asks the coordinator for the next generation, connects its members, and brings those that are
behind to the position of the furthest: by what their last event gave, or by the whole state.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distflow.base import errors, log
from distflow.cluster.member import Member
from distflow.comm import Communicator, Placement, buckets, faults
from distflow.comm.round import Round
from distflow.comm.transport import grpc, ulfm
from distflow.distribute import elastic_audit as audit
from distflow.distribute import elastic_codec as codec
from distflow.distribute.elastic_placement import Speeds
from distflow.distribute.elastic_record import Record
from distflow.protos import cluster_pb2 as pb
from distflow.telemetry import timeline

# What ends a generation: a member is lost, late, or what it sent is damaged.
LOSSES = (errors.WorkerLostError, errors.WorkerLateError, errors.DataLossError)
# Peers that do not let this worker in: they are of another generation already, or what it said was
# damaged on its way. One without the job's token would not have come past the coordinator.
REFUSALS = (
    errors.FailedPreconditionError, errors.PermissionDeniedError, errors.InvalidArgumentError,
)  # fmt: skip
CONNECT_SECONDS = 10.0
_STATE_TAG = (1 << 64) - 256  # no collective has it


class GenerationChanged(Exception):
    """The members of the job change: what is under way is to be done again with the new ones.

    Internal: programs never see it.
    """


class JobFinished(Exception):
    """The others have come to the end of the program: there is nothing to join."""


@dataclass(frozen=True)
class Standing:
    """Where this worker stands when it asks for a generation; see `cluster.proto`."""

    position: int
    has_state: bool
    is_in_commit: bool


@dataclass
class Settings:
    """What stays the same over all generations of a job."""

    job: str
    token: str | None
    host: str
    num_replicas: int
    silence_seconds: float
    timeout_seconds: float
    join_seconds: float
    audit_rate: float = 0.0
    backend: str = "grpc"  # or "mpi"
    speculate: float | None = None
    spawn: str | None = None  # DISTFLOW_SPAWN, over MPI

    def meeting(self) -> grpc.GrpcServer | ulfm.UlfmMeeting:
        """Returns where members of the next generation find this worker."""
        if self.backend == "mpi":
            return ulfm.UlfmMeeting(silence_seconds=self.silence_seconds)
        return grpc.GrpcServer(
            self.host, 0, token=self.token or "", job=None, silence_seconds=self.silence_seconds
        )


class GroupCommunicator(Communicator):
    """Collectives of one generation: the loss of a member ends it."""

    is_over = False

    @contextlib.contextmanager
    def _round(self, *args: Any, **kwargs: Any) -> Iterator[Round]:
        if self.is_over:
            raise GenerationChanged
        try:
            with super()._round(*args, **kwargs) as round_:
                yield round_
        except LOSSES as error:
            raise GenerationChanged from error

    def abort(self, error: BaseException) -> None:
        """Tells the others of an error of this worker; they know of changes by themselves."""
        if not isinstance(error, GenerationChanged):
            super().abort(error)


class Group:
    """The members of one generation, connected.

    Attributes:
      number: the generation.
      members: by rank.
      communicator: collectives between them.
      replicas: those that this worker computes.
    """

    def __init__(self, generation: pb.Generation, rank: int, transport: Any, settings: Settings):
        self.number = generation.number
        self.members = list(generation.members)
        self.rank = rank
        self.transport = transport
        self._timeout_seconds = settings.timeout_seconds
        self._speeds = Speeds(len(self.members))
        self._place(Placement(settings.num_replicas, len(self.members)))

    def _place(self, placement: Placement) -> None:
        self.communicator = GroupCommunicator(
            self.transport, placement=placement, timeout_seconds=self._timeout_seconds
        )
        self.replicas = self.communicator.local_replicas
        self._moved_on: dict[int, GroupCommunicator] = {}

    def balance(self, seconds: Sequence[float]) -> None:
        """Places the replicas by speed, after a step that all members have completed.

        Args:
          seconds: what a replica has cost each, by rank; equal on all members.
        """
        self._speeds.hear(seconds)
        better = self._speeds.better_than(self.communicator.placement)
        if better is not None:
            self._place(better)
            log.get_logger().info(
                "generation %d: replicas are placed by speed, %s here", self.number, self.replicas
            )

    @property
    def size(self) -> int:
        """The number of members."""
        return len(self.members)

    def moved_on(self, places: int) -> GroupCommunicator:
        """Returns collectives between the same members, with each replica so many ranks further."""
        if places not in self._moved_on:
            self._moved_on[places] = GroupCommunicator(
                self.transport, placement=audit.moved_on(self.communicator.placement, places),
                timeout_seconds=self._timeout_seconds,
            )  # fmt: skip
        return self._moved_on[places]

    def set_patience(self, seconds: float | None) -> None:
        """Sets how long collectives wait for a member that is silent; at most as long as ever."""
        self.communicator.timeout_seconds = min(seconds or math.inf, self._timeout_seconds)

    def suspects(self, cause: BaseException | None) -> list[bytes]:
        """Returns the members that an error blames, by id."""
        rank = getattr(cause, "rank", None)
        if rank is None or not 0 <= rank < len(self.members) or rank == self.rank:
            return []
        return [self.members[rank].id]

    def end(self) -> None:
        """Lets no collective begin any more."""
        self.communicator.is_over = True

    def drop(self) -> None:
        """Disconnects without a goodbye."""
        self.communicator.is_over = True
        self.transport.drop()

    def close(self) -> None:
        """Leaves in good order: what was sent arrives."""
        self.communicator.is_over = True
        self.transport.close()


@dataclass
class Formed:
    """What forming a generation gave.

    Attributes:
      group: the generation; None if the record of the job is to be fetched from `donors` first.
      messages: events this worker lacks.
      state: (head, arrays) of the state after them, or None if this worker has it.
    """

    group: Group | None
    donors: Sequence[str] = ()
    messages: Sequence[np.ndarray[Any, Any]] = ()
    state: tuple[Any, list[np.ndarray[Any, Any]]] | None = None


def form(
    member: Member,
    settings: Settings,
    standing: Standing,
    *,
    last: Group | None,
    suspects: Sequence[bytes],
    late: Sequence[bytes] = (),
    donor: str,
    fingerprint: str,
    record: Record,
    give_state: Callable[[], tuple[Any, list[np.ndarray[Any, Any]]]],
    check: Callable[[], None],
) -> Formed:
    """Returns the next generation that can be connected, with this worker in it.

    Raises:
      JobFinished: if nobody needs this worker any more.
      WorkerLateError: if there are too few workers for too long.
    """
    generation, known = (last.number, [m.id for m in last.members]) if last else (0, [])
    while True:
        server = settings.meeting()
        try:
            reply = member.join(
                pb.Member(
                    id=member.id, slot=member.slot, description=member.description,
                    address=server.address, donor=donor, position=standing.position,
                    has_state=standing.has_state, is_in_commit=standing.is_in_commit,
                    generation=generation, fingerprint=fingerprint,
                ),
                suspects=suspects, known=known, late=late,
                timeout_seconds=settings.join_seconds, check=check,
            )  # fmt: skip
            if reply.is_finished:
                raise JobFinished
            if reply.donors:
                server.close()
                return Formed(None, donors=[m.donor for m in reply.donors])
            formed = reply.generation
            rank = next(i for i, m in enumerate(formed.members) if m.id == member.id)
        except BaseException:
            server.close()
            raise
        generation, known, late = formed.number, [m.id for m in formed.members], ()
        group = None
        try:
            transport = server.connect(
                rank, [m.address for m in formed.members],
                connect_timeout_seconds=CONNECT_SECONDS, job=f"{settings.job}/{formed.number}",
                names=[m.description for m in formed.members],
            )  # fmt: skip
            group = Group(formed, rank, transport, settings)
            with timeline.span("state transfer", "job", generation=formed.number):
                return _bring_level(group, standing, record, give_state, settings)
        except (*LOSSES, *REFUSALS) as error:
            lost = getattr(error, "rank", None)
            suspects = [known[lost]] if lost is not None and lost != rank else []
            with contextlib.suppress(Exception):
                group.drop() if group else server.close()


def _bring_level(
    group: Group,
    standing: Standing,
    record: Record,
    give_state: Callable[[], Any],
    settings: Settings,
) -> Formed:
    """Gives members that are behind what they lack; all know from the list who that is."""
    front = max(m.position for m in group.members if m.has_state)
    ahead = [i for i, m in enumerate(group.members) if m.has_state and m.position == front]
    behind = [i for i in range(len(group.members)) if i not in ahead]
    what = f"state of generation {group.number}"
    for turn, rank in enumerate(behind):
        giver = ahead[turn % len(ahead)]
        needy = group.members[rank]
        lacks_result_only = needy.has_state and needy.is_in_commit and needy.position == front - 1
        if group.rank == giver:
            messages = record.messages(needy.position)
            head, arrays = (None, []) if lacks_result_only else give_state()
            meta = json.dumps(
                [head, buckets.encode(buckets.specs_of(messages)),
                 buckets.encode(buckets.specs_of(arrays))]
            ).encode()  # fmt: skip
            parts = buckets.padded_parts([*messages, *arrays])
            faults.reach("state-transfer", standing.position)
            group.transport.send(rank, _STATE_TAG, b"", parts=_framed(meta, parts))
        elif group.rank == rank:
            frame = group.transport.recv(giver, timeout_seconds=settings.timeout_seconds, what=what)
            faults.reach("state-receive", standing.position)
            return _read_state(group, giver, frame)
    if group.rank in ahead:
        group.transport.flush(timeout_seconds=settings.timeout_seconds, what=what)
    return Formed(group)


def _framed(meta: bytes, parts: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    """The head travels in the body, as it may be long."""
    text = meta + b" " * (-(len(meta) + 8) % 16)
    lead = np.frombuffer(len(text).to_bytes(8, "little") + text, np.uint8)
    return [lead, *parts]


def _read_state(group: Group, giver: int, frame: Any) -> Formed:
    def damaged(detail: str) -> errors.DataLossError:
        return errors.DataLossError(
            f"state of generation {group.number} from rank {giver}: {detail}"
        )

    if frame.tag != _STATE_TAG:
        raise damaged(f"a frame with tag {frame.tag}")
    try:
        length = int.from_bytes(frame.body[:8].tobytes(), "little")
        if length > min(frame.body.size, codec.MAX_HEAD_BYTES):
            raise ValueError(f"a head of {length} bytes")
        head, messages, arrays = json.loads(frame.body[8 : 8 + length].tobytes())
        first, second = buckets.decode(messages), buckets.decode(arrays)
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged(str(error)) from error
    views = buckets.unpad(frame.body[8 + length :], [*first, *second], damaged)
    state = None if head is None else (head, [np.array(v) for v in views[len(first) :]])
    return Formed(group, messages=views[: len(first)], state=state)
