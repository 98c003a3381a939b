"""The contract of a transport: byte frames between ranks, in order, every wait with a deadline."""

from __future__ import annotations

import abc
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from distflow.base import errors


class Frame(NamedTuple):
    """One message: a tag, a short head, and a body in memory that the receiver owns."""

    tag: int
    meta: bytes
    body: np.ndarray  # uint8, writable, contiguous


class Deadline:
    """A point in time that moves away whenever there is progress."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._start = self._last = time.monotonic()

    def progress(self) -> None:
        """Starts the allowance anew."""
        self._last = time.monotonic()

    @property
    def remaining(self) -> float:
        """Seconds left, at least 0."""
        return max(0.0, self._last + self.seconds - time.monotonic())

    @property
    def elapsed(self) -> float:
        """Seconds since the wait began."""
        return time.monotonic() - self._start


class Transport(abc.ABC):
    """Moves frames between `world_size` ranks. Used by one thread at a time.

    Frames from one rank to another arrive whole, once, and in the order they were sent. Sends never
    wait for the receiver, so any all-to-all pattern of any size is free of deadlocks if each rank
    sends first, then receives, then calls `flush`.

    Errors: WorkerLateError when a peer stays silent, WorkerLostError when it is gone, the peer's
    own error when it gave up (`abort`). After the first loss every wait fails, for any peer.
    """

    rank: int
    world_size: int

    @property
    def peers(self) -> list[int]:
        """All other ranks, beginning with the next one."""
        return [(self.rank + step) % self.world_size for step in range(1, self.world_size)]

    @abc.abstractmethod
    def send(
        self, to_rank: int, tag: int, meta: bytes = b"", parts: Sequence[np.ndarray] = ()
    ) -> None:
        """Starts sending a frame whose body is the parts' bytes, laid end to end.

        Returns at once. The parts (contiguous) must stay unchanged until `flush` has returned.
        """

    @abc.abstractmethod
    def recv(self, from_rank: int, *, timeout_seconds: float, what: str) -> Frame:
        """Waits for the next frame from a rank; `what` names the operation in errors.

        The deadline is for "no byte from this rank", not for the whole frame.
        """

    @abc.abstractmethod
    def poll(self, from_rank: int) -> bool:
        """Whether a frame from this rank has begun to arrive."""

    @abc.abstractmethod
    def flush(self, *, timeout_seconds: float, what: str) -> None:
        """Waits until the memory of everything sent may be reused."""

    @abc.abstractmethod
    def check(self, what: str) -> None:
        """Raises if a peer is lost, has left or has aborted: the group cannot go on."""

    @abc.abstractmethod
    def abort(self, error: BaseException) -> None:
        """Tells all peers, without waiting for them, that this rank gave up, and why."""

    @abc.abstractmethod
    def close(self) -> None:
        """Leaves in good order, so that peers do not take this rank for lost. Idempotent."""


# How an error travels to the peers: its kind by name, the rank that it names and whether another
# one had told of it, its message. Never an object.
_KINDS: dict[str, type[errors.OpError]] = {
    "late": errors.WorkerLateError,
    "lost": errors.WorkerLostError,
    "mismatch": errors.CollectiveMismatchError,
    "damaged": errors.DataLossError,
    "aborted": errors.AbortedError,
}
_MAX_MESSAGE = 4000
_TOLD = " told"


def encode_error(error: BaseException) -> bytes:
    """Returns an error as bytes: kind, rank and message in lines of text."""
    kinds = [kind for kind, cls in _KINDS.items() if isinstance(error, cls)]
    kind = kinds[0] if kinds else "aborted"
    rank = getattr(error, "rank", None)
    told = getattr(error, "told", None)
    text = told or (str(error) if kinds else f"{type(error).__name__}: {error}")
    how = "" if told is None else _TOLD
    return f"{kind}\n{'' if rank is None else rank}{how}\n{text[:_MAX_MESSAGE]}".encode()


def decode_error(data: bytes, source: int, what: str) -> errors.OpError:
    """Returns the error that another rank gave up with, as this rank shall raise it.

    One that the other rank had been told itself is still that of the first.
    """
    kind, _, rest = data.decode("utf-8", "replace").partition("\n")
    rank, _, text = rest.partition("\n")
    told = text[:_MAX_MESSAGE]
    if not rank.endswith(_TOLD):
        told = f"rank {source} gave up: {told}"
    rank = rank.removesuffix(_TOLD)
    error = rebuild(
        _KINDS.get(kind, errors.AbortedError), f"{what}: {told}",
        int(rank) if rank.isdigit() else None,
    )  # fmt: skip
    error.told = told
    return error


def rebuild(cls: type[errors.OpError], text: str, rank: int | None) -> errors.OpError:
    """Returns an error of this class with this text, with the rank where the class has one."""
    if issubclass(cls, errors.WorkerLostError | errors.WorkerLateError):
        return cls(text, rank)
    return cls(text)


# "Start me again somewhere": what schedulers retry (sysexits.h, EX_TEMPFAIL).
RETRYABLE_EXIT_CODE = 75


def exit_code(error: BaseException) -> int:
    """Returns the exit code of a worker that ends with an error nobody caught.

    75 if another worker is lost or late or cannot be reached, or another process still holds this
    worker's port, so that starting the job again may help, else 1.
    """
    lost = isinstance(error, errors.UnavailableError | errors.WorkerLateError)
    return RETRYABLE_EXIT_CODE if lost else 1


def called(rank: int, place: str = "") -> str:
    """Returns how errors call a rank: its number, and where it is (host, process) if known."""
    return f"rank {rank} ({place})" if place else f"rank {rank}"


def lost(
    what: str, rank: int, peer: int, cause: str, elapsed: float, place: str = ""
) -> errors.WorkerLostError:
    """Returns the error for a peer that is gone."""
    return errors.WorkerLostError(
        f"{what}: rank {rank} needs {called(peer, place)}, which is lost ({cause}), "
        f"after waiting {elapsed:.1f} s",
        peer,
    )


def left(
    what: str, rank: int, peer: int, elapsed: float, place: str = ""
) -> errors.WorkerLostError:
    """Returns the error for a peer that closed its transport while it was still needed."""
    return errors.WorkerLostError(
        f"{what}: rank {rank} needs {called(peer, place)}, which has finished and left early, "
        f"after waiting {elapsed:.1f} s.\n"
        "Do all workers run the same number of steps?",
        peer,
    )


def late(
    what: str, rank: int, peer: int, deadline: Deadline, stack: str = "", place: str = ""
) -> errors.WorkerLateError:
    """Returns the error for a peer that stays silent; `stack` says where its program is."""
    where = f"\nThe program of rank {peer} is at:\n{stack}" if stack else ""
    return errors.WorkerLateError(
        f"{what}: rank {rank} has waited {deadline.elapsed:.1f} s for {called(peer, place)}, which "
        f"is silent; the limit is {deadline.seconds:g} s.\n"
        f"Look at what rank {peer} is doing, or set DISTFLOW_TIMEOUT to more seconds.{where}",
        peer,
    )
