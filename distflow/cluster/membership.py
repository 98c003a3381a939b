"""Who is in an elastic job: the rules by which generations are formed. Pure: no network, no clock.

A generation is a numbered list of members that train together. A change (a member is lost, leaves
or comes) ends it: the members that are left ask to `join` the next one, and it is formed when all
of them have asked. All of this is soft state: members tell a restarted coordinator what it must
know. Training data never comes here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from distflow.base import errors
from distflow.cluster import fingerprints
from distflow.protos import cluster_pb2 as pb

# A newcomer this close to the others gets the rest when it is let in; one further behind is sent
# to fetch the record of the job first, so that nobody waits for it.
SLACK_EVENTS = 16
MAX_KNOWN = 4096  # identities that are remembered, so that strange ones do not pile up
MAX_ID_BYTES = 64
MAX_SPARES = 64  # that ask at the same time, beside four for each worker there may be
MAX_GENERATION = 1 << 48
FRESH_SECONDS = 1.0  # a living member was heard of within this time: it beats twice as often


@dataclass
class _Candidate:
    member: pb.Member
    heard_at: float
    since: float  # when it asked for the first time


@dataclass
class Membership:
    """The members of one job, now and in the next generation.

    Args:
      min_workers: with fewer the members wait for others.
      max_workers: surplus workers wait as spares until a member is lost.
      settle_seconds: how long to wait after the last arrival for more, where nobody knows how many
        there are: at the start without a launcher, and after a restart of the coordinator.
      silence_seconds: a member without a sign of life for so long is lost.

    Attributes:
      number: the newest generation, 0 before the first.
    """

    min_workers: int
    max_workers: int
    settle_seconds: float = 1.0
    silence_seconds: float = 5.0
    number: int = 0
    is_finished: bool = False
    _current: list[pb.Member] = field(default_factory=list)
    _candidates: dict[bytes, _Candidate] = field(default_factory=dict)
    _heard_at: dict[bytes, float] = field(default_factory=dict)
    _positions: dict[bytes, int] = field(default_factory=dict)
    _gone: set[bytes] = field(default_factory=set)
    _suspects: dict[bytes, float] = field(default_factory=dict)  # since when
    _late: set[bytes] = field(default_factory=set)
    _changed_at: float = 0.0
    _is_rebuilding: bool = False
    _started_slots: set[int] = field(default_factory=set)
    _ended_slots: set[int] = field(default_factory=set)
    _joined_slots: set[int] = field(default_factory=set)
    _wanted: list[int] = field(default_factory=list)
    _num_orders: int = 0
    _starters: dict[int, bytes] = field(default_factory=dict)  # slot -> who was asked
    _first: pb.Member | None = None

    def join(self, request: pb.JoinRequest, now: float) -> None:
        """Notes that a worker is ready for the next generation.

        Raises:
          AlreadyExistsError: if another process has its slot and lives.
          NumericMismatchError: if its host computes other bits than that of the first worker.
          InvalidArgumentError: if no worker asks so.
        """
        member = request.member
        named = [*request.known, *request.suspects, *request.late]
        _check(member.id, member.generation, named)
        self._forget()
        self._refuse_second_of_slot(member, now)
        self._refuse_other_bits(member)
        self._gone.discard(member.id)
        self._ended_slots.discard(member.slot)
        self._joined_slots.add(member.slot)
        self._starters.pop(member.slot, None)
        if member.generation > self.number:
            self._learn(member.generation, request.known)
        if member.generation == self.number:
            self._order(request.known)
            for identity in set(request.suspects) & {m.id for m in self._current}:
                self._suspects.setdefault(identity, now)
            self._late |= set(request.late) & {m.id for m in self._current}
        self._suspects.pop(member.id, None)
        if self._is_unneeded(member.id):
            return
        before = self._candidates.get(member.id)
        if before is None or before.member != member:
            self._changed_at = now
        since = now if before is None else before.since
        self._candidates[member.id] = _Candidate(member, now, since)
        self._heard_at[member.id] = now

    def beat(self, request: pb.BeatRequest, now: float) -> pb.BeatReply:
        """Notes a sign of life; returns what the member should know.

        Raises:
          InvalidArgumentError: if no worker gives such a sign.
        """
        _check(request.id, request.generation)
        self._forget()
        if request.generation > self.number:
            # After a restart: so nobody starts the job anew while its members train.
            self._learn(request.generation, [])
        unknown = all(m.id != request.id for m in self._current)
        has_room = len(self._current) < self.max_workers
        if self._is_rebuilding and request.generation == self.number and unknown and has_room:
            self._current.append(pb.Member(id=request.id, donor=request.donor))
            self._gone.discard(request.id)
        self._heard_at[request.id] = now
        self._positions[request.id] = request.position
        return pb.BeatReply(
            generation=self.number, is_awaited=bool(self._admissible(now)),
            wanted=self._orders(request.id),
        )  # fmt: skip

    def leave(self, identity: bytes, *, is_finished: bool = False) -> None:
        """Takes a worker out for good."""
        _check(identity, 0)
        self._gone.add(identity)
        self._candidates.pop(identity, None)
        self.is_finished = self.is_finished or is_finished

    def slots(self) -> set[int]:
        """Returns the slots of the newest generation's members that have not gone."""
        return {member.slot for member in self._current if member.id not in self._gone}

    def slot_ended(self, slot: int, *, is_finished: bool = False) -> None:
        """Takes out whoever held a slot: its process has ended (the launcher knows)."""
        self._ended_slots.add(slot)
        self._starters.pop(slot, None)
        self.is_finished = self.is_finished or is_finished
        for member in [*self._current, *(c.member for c in self._candidates.values())]:
            if member.slot == slot:
                self.leave(member.id)

    def slot_started(self, slot: int) -> None:
        """Notes that a process was started for a slot: the first generation waits for it."""
        self._started_slots.add(slot)
        self._ended_slots.discard(slot)

    def want(self, slot: int) -> None:
        """Has a member start a process for a slot: over MPI only members can.

        It hears of it with its next sign of life. The one that was asked last is asked last again,
        as it may have failed.
        """
        self.slot_started(slot)
        self._joined_slots.discard(slot)
        self._wanted.append(slot)

    def orphans(self) -> list[int]:
        """Returns the slots whose processes cannot come: who was asked to start them has gone."""
        return [slot for slot, starter in self._starters.items() if starter in self._gone]

    def has_joined(self, slot: int) -> bool:
        """Whether the process of a slot that was wanted last has asked to join."""
        return slot in self._joined_slots

    def reply(self, identity: bytes, now: float) -> pb.JoinReply | None:
        """Returns the answer to a worker that asked to join, None while there is none."""
        if self._is_unneeded(identity):
            return pb.JoinReply(is_finished=True)
        mine = self._candidates.get(identity)
        formed = next((m for m in self._current if m.id == identity), None)
        if mine is not None and formed is not None and formed.address == mine.member.address:
            return pb.JoinReply(generation=self._generation())
        if mine is not None and self._is_far_behind(mine.member):
            donors = [
                m
                for m in self._current
                if m.donor and m.id not in self._gone | self._suspects.keys()
            ]
            return pb.JoinReply(donors=donors) if donors else None
        if self._try_to_form(now):
            return self.reply(identity, now)
        return None

    def waiting_for(self, identity: bytes, now: float) -> str:
        """Returns what the next generation, or a worker that asks to be in it, waits for."""
        mine = self._candidates.get(identity)
        holder = mine and self._holder(mine, now)
        if holder:
            return f"slot {holder.slot} is held by {holder.description}, which may be alive"
        ready = len(self._ready(now))
        missing = self._missing(now)
        if missing:
            return "waiting for " + ", ".join(missing)
        if ready < self.min_workers:
            return f"{ready} workers are ready, {self.min_workers} are the least"
        return f"{ready} workers are ready"

    # -- forming -------------------------------------------------------------------------

    def _try_to_form(self, now: float) -> bool:
        ready = self._ready(now)
        # Some have come to the end: for what is left of the last step any number will do.
        least = 1 if self.is_finished else max(self.min_workers, 1)
        if len(ready) < least or self._missing(now):
            return False
        settling = self._is_rebuilding or (self.number == 0 and not self._started_slots)
        settling = settling and len(ready) < self.max_workers
        if settling and now - self._changed_at < self.settle_seconds:
            return False
        ranks = {member.id: rank for rank, member in enumerate(self._current)}
        ready.sort(key=lambda m: (not m.has_state, ranks.get(m.id, len(ranks)), m.slot, m.id))
        chosen = ready[: self.max_workers]
        if not any(m.has_state for m in chosen):
            return False
        self.number += 1
        # Ranks follow the old ones: the chief stays the chief while it lives.
        self._current = sorted(chosen, key=lambda m: (ranks.get(m.id, len(ranks)), m.slot, m.id))
        self._candidates = {m.id: self._candidates[m.id] for m in ready}
        self._positions = {m.id: m.position for m in chosen}
        self._suspects, self._late = {}, set()
        self._is_rebuilding = False
        for member in chosen:
            self._heard_at[member.id] = now
        return True

    def _ready(self, now: float) -> list[pb.Member]:
        """The candidates that still ask, are near enough, and are not in the generation yet."""
        in_current = {m.id: m.address for m in self._current}
        return [
            candidate.member
            for candidate in self._candidates.values()
            if now - candidate.heard_at < self.silence_seconds
            and not self._is_far_behind(candidate.member)
            and in_current.get(candidate.member.id) != candidate.member.address
            and self._holder(candidate, now) is None
        ]

    def _holder(self, second: _Candidate, now: float) -> pb.Member | None:
        """Returns who was there first in a worker's slot and may be alive."""
        for identity, candidate in self._candidates.items():
            if (
                candidate.member.slot == second.member.slot
                and candidate.since < second.since
                and identity not in self._gone
                and not self._is_given_up(identity, now)
                and now - self._heard_at[identity] < self.silence_seconds
            ):
                return candidate.member
        return None

    def _orders(self, identity: bytes) -> list[int]:
        """Returns the slots for which this member is to start processes."""
        asked = self._current or [candidate.member for candidate in self._candidates.values()]
        living = [m.id for m in asked if m.id not in self._gone | self._suspects.keys()]
        if not self._wanted or not living or living[self._num_orders % len(living)] != identity:
            return []
        self._num_orders += 1
        wanted, self._wanted = self._wanted, []
        self._starters.update(dict.fromkeys(wanted, identity))
        return wanted

    def _missing(self, now: float) -> list[str]:
        """Those the next generation must not go without, as they may be alive."""
        if self.number == 0:
            come = {m.slot for m in self._ready(now)}
            return [f"worker {slot}" for slot in self._started_slots - self._ended_slots - come]
        ready = {m.id for m in self._ready(now)}
        return [
            member.description or "a member"
            for member in self._current
            if member.id not in ready | self._gone | self._late
            and not self._is_given_up(member.id, now)
            and now - self._heard_at.setdefault(member.id, now) < self.silence_seconds
        ]

    def _is_given_up(self, identity: bytes, now: float) -> bool:
        """Whether a suspect is not waited for.

        A connection may break while both its ends live: one that was heard of a moment ago, or has
        beaten since, may be on its way here. The launcher knows at once of a process that ended.
        """
        since = self._suspects.get(identity)
        if since is None:
            return False
        if self._heard_at.get(identity, -math.inf) > since:
            return now - since > 2 * self.settle_seconds
        return now - self._heard_at.get(identity, -math.inf) > FRESH_SECONDS

    def _admissible(self, now: float) -> list[pb.Member]:
        """Newcomers that a new generation would let in."""
        current = {m.id for m in self._current}
        alive = len(current - self._gone - self._suspects.keys())
        if alive >= self.max_workers:
            return []
        return [m for m in self._ready(now) if m.id not in current]

    def _is_unneeded(self, identity: bytes) -> bool:
        return self.is_finished and all(m.id != identity for m in self._current)

    def _is_far_behind(self, member: pb.Member) -> bool:
        if any(m.id == member.id and m.address == member.address for m in self._current):
            return False
        if member.has_state and member.generation == self.number and self.number:
            return False  # a member of the generation that ends: at most one event behind
        # If all are gone, so is the state of the job: who comes begins anew.
        left = [m for m in self._current if m.id not in self._gone]
        front = max((self._positions.get(m.id, m.position) for m in left), default=0)
        return member.position + SLACK_EVENTS < front

    def _generation(self) -> pb.Generation:
        return pb.Generation(number=self.number, members=self._current)

    def _forget(self) -> None:
        """Forgets whoever has been silent for long, when there are too many."""
        most = 4 * self.max_workers + MAX_SPARES
        if len(self._candidates) < most and max(len(self._heard_at), len(self._gone)) < MAX_KNOWN:
            return
        current = {member.id for member in self._current}
        by_time = sorted(self._candidates, key=lambda i: self._candidates[i].heard_at)
        newest = set(by_time[-most // 2 :])
        asking = {
            identity: candidate
            for identity, candidate in self._candidates.items()
            if identity in current or identity in newest
        }
        known = current | asking.keys()
        self._candidates = asking
        self._gone &= known
        for table in (self._heard_at, self._positions, self._suspects):
            for identity in table.keys() - known:  # type: ignore[attr-defined]
                del table[identity]  # type: ignore[attr-defined]

    def _learn(self, number: int, known: Sequence[bytes]) -> None:
        """Takes over the generation that a member knows, after this coordinator was restarted."""
        self.number = number
        self._current = [pb.Member(id=identity) for identity in known]
        self._suspects, self._late = {}, set()
        self._is_rebuilding = True

    def _order(self, known: Sequence[bytes]) -> None:
        """Completes and orders what signs of life have told of the generation."""
        if self._is_rebuilding:
            present = {member.id: member for member in self._current}
            self._current = [present.get(identity, pb.Member(id=identity)) for identity in known]

    def _refuse_other_bits(self, member: pb.Member) -> None:
        if self._first is None:
            self._first = member
        if self._first.fingerprint != member.fingerprint:
            raise errors.NumericMismatchError(difference(self._first, member))

    def _refuse_second_of_slot(self, member: pb.Member, now: float) -> None:
        """Refuses who asks for a slot whose holder has been heard of since.

        One whose holder has not may be its successor: started again at once, it is here before
        anybody has noticed the loss, and waits until then.
        """
        second = self._candidates.get(member.id)
        other = second and self._holder(second, now)
        if second and other and self._heard_at[other.id] - second.since > FRESH_SECONDS:
            raise errors.AlreadyExistsError(
                errors.message(
                    "join",
                    f"slot {member.slot} is held by {other.description}",
                    f"a second one from {member.description}",
                    "Give every worker a DISTFLOW_RANK of its own.",
                )
            )


def _check(identity: bytes, generation: int, others: Sequence[bytes] = ()) -> None:
    sizes = [len(identity), *map(len, others)]
    if not all(0 < size <= MAX_ID_BYTES for size in sizes) or len(others) > 2 * MAX_KNOWN:
        raise errors.invalid(
            "membership", f"identities of 1 to {MAX_ID_BYTES} bytes", f"{sizes[:8]} bytes"
        )
    if generation >= MAX_GENERATION:
        raise errors.invalid("membership", f"a generation below {MAX_GENERATION}", str(generation))


def difference(one: pb.Member, other: pb.Member) -> str:
    """Returns the message for two workers that compute different bits: where first, and why."""
    return fingerprints.difference(
        one.description, one.fingerprint, other.description, other.fingerprint
    )
