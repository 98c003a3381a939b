"""One collective in flight: its headers are compared, its parts exchanged.

Every collective begins with a frame from every rank to every other rank, even where there is
nothing to send. Its header says what the sender is doing (call number, kind, name, op, shapes), so
each rank finds a disagreement by itself, before it touches any data. Headers are JSON of known
keys; the list of shapes travels once and is named by its digest afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from distflow.base import errors
from distflow.comm import buckets, flight
from distflow.comm.buckets import Spec
from distflow.comm.transport.base import Frame, Transport
from distflow.comm.watch import Links
from distflow.telemetry import timeline

_MAX_NAME = 256
_MAX_REMEMBERED = 256  # spec lists per sender; both sides count the same way


@dataclass(frozen=True)
class Call:
    """What all ranks must say alike. An empty algorithm means: whatever the others use."""

    sequence: int
    kind: str
    name: str = ""
    op: str = ""
    algorithm: str = ""
    placement: str = ""
    root: int = -1

    def __str__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"{self.kind}{name} (call {self.sequence})"

    def describe(self, specs: Sequence[Spec] | None) -> str:
        """The call with its operation and arrays, for an error message."""
        settings = [f"op {self.op}"] * bool(self.op) + [f"root {self.root}"] * (self.root >= 0)
        if self.algorithm:
            settings.append(f"algorithm {self.algorithm}")
        settings.append(f"placement {self.placement}")
        if specs is not None:
            settings.append(buckets.describe(specs))
        return f"{self} with {', '.join(settings)}"


class Arrival(NamedTuple):
    """What came from one rank in one phase."""

    extra: Any
    body: np.ndarray


class SpecMemory:
    """Which spec lists have travelled already, so that steps do not repeat them."""

    def __init__(self) -> None:
        self._sent: set[str] = set()
        self._known: dict[tuple[int, str], tuple[Spec, ...]] = {}
        self._counts: dict[int, int] = {}

    def is_news(self, digest: str) -> bool:
        """Whether the list must travel; remembers that it now does."""
        if digest in self._sent:
            return False
        if len(self._sent) < _MAX_REMEMBERED:
            self._sent.add(digest)
        return True

    def learn(self, rank: int, digest: str, specs: tuple[Spec, ...]) -> None:
        """Remembers a list that a rank has sent."""
        if (rank, digest) not in self._known and self._counts.get(rank, 0) < _MAX_REMEMBERED:
            self._counts[rank] = self._counts.get(rank, 0) + 1
            self._known[(rank, digest)] = specs

    def recall(self, rank: int, digest: str) -> tuple[Spec, ...] | None:
        """The list that a rank means, or None."""
        return self._known.get((rank, digest))


class Round:
    """Runs the phases of one collective over a transport."""

    def __init__(
        self,
        transport: Transport,
        call: Call,
        specs: tuple[Spec, ...] | None,
        memory: SpecMemory,
        timeout_seconds: float,
        links: Links,
    ):
        self.rank = transport.rank
        self.world_size = transport.world_size
        self.peers = transport.peers
        self.call = call
        self.specs = specs  # None until a peer's header tells
        self.algorithm = call.algorithm
        self._transport = transport
        self._memory = memory
        self._timeout = timeout_seconds
        self.links = links
        self._phase = 0
        self._introduced: dict[int, Arrival] | None = None

    def introduce(self, extra: Any = None) -> None:
        """Does the first exchange without parts, to learn what the others are doing.

        The algorithm's own first exchange then sends nothing more.
        """
        self._introduced = self.exchange(lambda peer: [], extra)

    def exchange(
        self, parts_for: Callable[[int], Sequence[np.ndarray]], extra: Any = None
    ) -> dict[int, Arrival]:
        """Sends each peer its parts and returns what came from each.

        Args:
          parts_for: gives the contiguous arrays for a rank, unchanged until `finish`.
          extra: JSON value for all ranks, in the first exchange only.
        """
        if self._introduced is not None:
            arrivals, self._introduced = self._introduced, None
            return arrivals
        phase = self._phase
        self._phase += 1
        what = f"{self.call}, phase {phase}"
        tag = self.call.sequence << 8 | phase
        meta = self._header(extra) if phase == 0 else b""
        links = self.links
        with flight.Event(links.name(self.rank), what) as event:
            for peer in self.peers:
                parts, start = parts_for(peer), timeline.now()
                self._transport.send(peer, tag, meta, parts)
                links.sent(peer, tag, start, parts)
            found: dict[int, Arrival] = {}
            for peer in self.peers:
                event.waits_for(links.name(peer))
                start = timeline.now()
                frame = self._receive(peer, what, [p for p in self.peers if p not in found])
                links.received(peer, tag, start, frame.body.size)
                if frame.tag != tag and (frame.tag & 0xFF or phase):
                    raise self._out_of_step(peer, frame)
                found[peer] = Arrival(
                    self._compare(peer, frame.meta) if phase == 0 else None, frame.body
                )
        return found

    def finish(self) -> None:
        """Waits until the memory of all sent parts is free."""
        self._transport.flush(timeout_seconds=self._timeout, what=f"{self.call}, end")

    def damaged(self, peer: int, detail: str) -> errors.DataLossError:
        """Returns the error for a message that makes no sense."""
        return errors.DataLossError(
            f"{self.call}: rank {self.rank} cannot read a message from rank {peer}: {detail}"
        )

    def mismatch(self, peer: int, mine: str, theirs: str) -> errors.CollectiveMismatchError:
        """Returns the error for two ranks that do different things."""
        return errors.CollectiveMismatchError(
            f"{self.call}: rank {self.rank} and rank {peer} disagree.\n"
            f"rank {self.rank}: {mine}\nrank {peer}: {theirs}\n"
            "All workers must make the same calls in the same order, with the same shapes."
        )

    def _receive(self, peer: int, what: str, waiting: list[int]) -> Frame:
        try:
            return self._transport.recv(peer, timeout_seconds=self._timeout, what=what)
        except errors.WorkerLateError as error:
            others = [p for p in waiting if p != peer and not self._transport.poll(p)]
            if error.rank != peer or not others:
                raise
            text = f"{error}\nNothing has come from ranks {others} either."
            raise errors.WorkerLateError(text, peer) from error

    def _header(self, extra: Any) -> bytes:
        call = self.call
        header: dict[str, Any] = {
            "s": call.sequence,
            "k": call.kind,
            "n": call.name[:_MAX_NAME],
            "o": call.op,
            "a": call.algorithm,
            "p": call.placement,
            "r": call.root,
            "x": extra,
        }
        if self.specs is not None:
            header["d"] = buckets.digest(self.specs)
            if self._memory.is_news(header["d"]):
                header["l"] = buckets.encode(self.specs)
        return json.dumps(header, separators=(",", ":")).encode()

    def _compare(self, peer: int, meta: bytes) -> Any:
        try:
            header = json.loads(meta)
            theirs = Call(*(header[key] for key in "sknoapr"))
            specs = self._specs_of(peer, header)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise self.damaged(peer, f"bad header: {error}") from error
        mine = self.call
        agree = mine == theirs or (
            not (mine.algorithm and theirs.algorithm)
            and (mine.sequence, mine.kind, mine.name, mine.op, mine.placement, mine.root)
            == (theirs.sequence, theirs.kind, theirs.name, theirs.op, theirs.placement, theirs.root)
        )
        if not agree or (specs is not None and self.specs is not None and specs != self.specs):
            raise self.mismatch(
                peer,
                mine.describe(self.specs) + _first_difference(self.specs, specs),
                theirs.describe(specs) + _first_difference(specs, self.specs),
            )
        if self.specs is None:
            self.specs = specs
        self.algorithm = self.algorithm or theirs.algorithm
        return header.get("x")

    def _specs_of(self, peer: int, header: dict[str, Any]) -> tuple[Spec, ...] | None:
        digest = header.get("d")
        if digest is None:
            return None
        if "l" in header:
            specs = buckets.decode(header["l"])
            self._memory.learn(peer, digest, specs)
            return specs
        known = self._memory.recall(peer, digest)
        if known is None:
            raise ValueError(f"unknown shapes {digest!r}")
        return known

    def _out_of_step(self, peer: int, frame: Frame) -> errors.CollectiveMismatchError:
        return self.mismatch(
            peer,
            f"call {self.call.sequence}, phase {self._phase - 1}",
            f"call {frame.tag >> 8}, phase {frame.tag & 0xFF}",
        )


def _first_difference(mine: Sequence[Spec] | None, other: Sequence[Spec] | None) -> str:
    if mine is None or other is None or len(mine) != len(other):
        return ""
    for i, (a, b) in enumerate(zip(mine, other, strict=True)):
        if a != b:
            return f"; first difference: array {i} is {a}"
    return ""
