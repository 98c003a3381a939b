"""Members of one generation of an elastic job, over an MPI that survives the loss of a rank (ULFM).

All generations share the ways between their members (`ulfm_ways`): MPI_COMM_WORLD, and for a
process that was spawned later a communicator with each. A set of them, with message tags of its
own, is what a shrunken or merged communicator would be. MPI_Comm_shrink itself is not called: it is
an agreement of all living ranks, which one that was stopped would hold up, while the coordinator's
generation goes on without it. MPI tells of ended processes at once (MPI_Comm_get_failed); signs of
life, sent from a thread, tell of stopped ones. Messages of former generations never match.

Processes end without MPI_Finalize, which would wait for all that mpirun has started.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from distflow.base import errors
from distflow.comm.transport import base, mpi
from distflow.comm.transport.ulfm_ways import Way, Ways

_BEAT, _DROPPED, _HEARD = b"B", b"X", b"H"
TICK_SECONDS = 0.05  # how often the thread looks for failed ranks
CLOSE_SECONDS = 2.0  # for what was sent to arrive
MAX_FORMER = 8  # generations whose late messages are still taken in

_lock = threading.RLock()  # one for all transports: MPI is one
_attempts = itertools.count()
_unfinished: list[tuple[Any, Any]] = []  # requests of former generations, and their memory
_former: list[_Members] = []


class UlfmMeeting:
    """This rank's place at which the members of the next generation meet it.

    Args:
      silence_seconds: a peer without a sign of life for so long is lost.

    Raises:
      MissingExtraError: if mpi4py, or the MPI library it needs, is not there.
      FailedPreconditionError: if the MPI cannot go on without a rank; says why.
    """

    def __init__(self, *, silence_seconds: float):
        self._ways = ways()
        self._silence_seconds = silence_seconds
        # Another one for each attempt: an answer to a former question is told by it.
        self.address = f"{self._ways.name}#{next(_attempts)}"

    def connect(
        self,
        rank: int,
        addresses: Sequence[str],
        *,
        connect_timeout_seconds: float,
        job: str,
        names: Sequence[str],
    ) -> UlfmTransport:
        """Returns this rank's transport when all members have come to the same generation.

        Args:
          rank: of this worker in the generation.
          addresses: of all members, by rank.
          connect_timeout_seconds: how long to wait for them.
          job: name of the job, "/", number of the generation.
          names: what errors call each rank.

        Raises:
          WorkerLostError, WorkerLateError: if a member does not come.
        """
        number = int(job.rpartition("/")[2])
        what = f"connect generation {number}"
        found = self._ways.reach(
            [address.rpartition("#")[0] for address in addresses], connect_timeout_seconds, what,
            names,
        )  # fmt: skip
        members = _Members(rank, found, number)
        transport = UlfmTransport(members, names=names, silence_seconds=self._silence_seconds)
        try:
            transport.meet(connect_timeout_seconds, what)
        except BaseException:
            transport.drop()
            raise
        return transport

    def close(self) -> None:
        """Nothing is to be given back."""


class UlfmTransport(mpi.MpiTransport):
    """One member's end of a generation.

    Args:
      members: the generation.
      names: what errors call each rank.
      silence_seconds: a peer without a sign of life for so long is lost.
    """

    def __init__(self, members: _Members, *, names: Sequence[str], silence_seconds: float):
        super().__init__(members)
        self._lock = _lock
        self._names, self._silence_seconds = list(names), silence_seconds
        self._lost: dict[int, str] = {}
        self._met: set[int] = set()
        self._confirmed: set[int] = set()  # peers that have read our goodbye
        self._heard_at = dict.fromkeys(self.peers, time.monotonic())
        self._is_over = False
        if self.world_size > 1:
            threading.Thread(target=self._watch, name="distflow-ulfm", daemon=True).start()

    def _hook_errors(self) -> None:
        """An error of this process is told by `abort`, and does not end the others."""

    def meet(self, timeout_seconds: float, what: str) -> None:
        """Waits for a sign of life of every peer in this generation."""
        self._signal(_BEAT)
        deadline = base.Deadline(timeout_seconds)
        while missing := [peer for peer in self.peers if peer not in self._met]:
            self.check(what)
            if not deadline.remaining:
                raise base.late(
                    what, self.rank, missing[0], deadline, place=self._names[missing[0]]
                )
            time.sleep(1e-3)

    def poll(self, from_rank: int) -> bool:
        """Whether a message is there."""
        try:
            return super().poll(from_rank)
        except self._mpi.Exception as error:
            self._mark_lost(from_rank, f"MPI says: {error}")
            return False

    def drop(self) -> None:
        """Disconnects without a goodbye: peers take this rank for lost."""
        self._signal(_DROPPED)
        self._end()

    def close(self) -> None:
        """Leaves in good order: waits a moment until all that was sent has arrived."""
        if self._closed:
            return
        self._signal(mpi._GOODBYE)
        over = time.monotonic() + CLOSE_SECONDS
        gone = (self._confirmed, self._left, self._lost)
        while any(all(peer not in group for group in gone) for peer in self.peers):
            with self._lock:
                self._read_control()
            if time.monotonic() > over:
                break
            time.sleep(1e-3)
        self._end()

    def _end(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            _unfinished.extend((request, buffer) for request, buffer, _ in self._sends)
            self._sends = []
            _former.append(self._comm)
            del _former[:-MAX_FORMER]
        atexit.unregister(self.close)

    # -- who is alive ----------------------------------------------------------------------

    def _watch(self) -> None:
        """Gives signs of life and looks for others', until the transport is closed.

        Goes on for a while then, as peers that close want to know that this rank has heard them.
        """
        last = beaten_at = time.monotonic()
        over = float("inf")
        while time.monotonic() < over:
            time.sleep(TICK_SECONDS)
            with self._lock:
                if self._mpi.Is_finalized():
                    return
                now = time.monotonic()
                if now - last > self._silence_seconds / 2:  # this process itself was stopped
                    self._heard_at = dict.fromkeys(self.peers, now)
                last = now
                if now - beaten_at >= self._silence_seconds / 10 and not self._closed:
                    beaten_at = now
                    self._signal(_BEAT)
                self._read_control()
                self._find_lost(now)
                _take_in_late(self._mpi)
                if self._closed:
                    over = min(over, now + CLOSE_SECONDS)

    def _find_lost(self, now: float) -> None:
        failed = self._comm.failed(self._mpi)
        for peer in self.peers:
            if peer in failed:
                self._mark_lost(peer, "its process has ended")
            elif now - self._heard_at[peer] > self._silence_seconds:
                self._mark_lost(peer, f"no sign of life for {self._silence_seconds:g} s")

    def _mark_lost(self, peer: int, cause: str) -> None:
        if peer not in self._left:
            self._lost.setdefault(peer, cause)

    def _raise_if_broken(self, what: str, needed: set[int], elapsed: float) -> None:
        if not self._closed:
            for peer, cause in sorted(self._lost.items()):
                raise base.lost(what, self.rank, peer, cause, elapsed, self._names[peer])
        super()._raise_if_broken(what, needed, elapsed)

    # -- messages, which may fail one by one -------------------------------------------------

    def _start(self, buffer: np.ndarray, to_rank: int, mpi_tag: int) -> None:
        try:
            super()._start(buffer, to_rank, mpi_tag)
        except self._mpi.Exception as error:
            self._mark_lost(to_rank, f"MPI says: {error}")

    def _sent(self) -> bool:
        with self._lock:
            left = []
            for request, buffer, peer in self._sends:
                try:
                    is_done = request.Test()
                except self._mpi.Exception as error:
                    self._mark_lost(peer, f"MPI says: {error}")
                    is_done = True
                if not is_done:
                    left.append((request, buffer, peer))
            self._sends = left
            return not left

    def _read_control(self) -> None:
        status = self._mpi.Status()
        for peer in self.peers:
            try:
                while (message := self._comm.Improbe(peer, mpi._CONTROL, status)) is not None:
                    text = np.empty(status.Get_count(self._mpi.BYTE), np.uint8)
                    message.Recv([text, text.size, self._mpi.BYTE])  # short: it is here already
                    self._heard_at[peer] = time.monotonic()
                    self._hear(peer, text.tobytes())
            except self._mpi.Exception as error:
                self._mark_lost(peer, f"MPI says: {error}")

    def _hear(self, source: int, data: bytes) -> None:
        self._met.add(source)
        kind = data[:1]
        if kind == _DROPPED:
            self._mark_lost(source, "it has gone on to another generation")
        elif kind == _HEARD:
            self._confirmed.add(source)
        elif kind != _BEAT:
            super()._hear(source, data)
        if kind == mpi._GOODBYE:
            self._start(np.frombuffer(_HEARD, np.uint8), source, mpi._CONTROL)


class _Members:
    """Some processes under numbers of their own: what a transport needs of a communicator.

    Args:
      rank: this process's number.
      ways: to all of them, by number.
      number: of the generation; messages of different ones never match.
    """

    def __init__(self, rank: int, ways: Sequence[Way], number: int):
        module = mpi.load()
        self._world, self._rank, self._ways = module.COMM_WORLD, rank, list(ways)
        self._first_tag = 4 * (number % (self._world.Get_attr(module.TAG_UB) // 4))

    def Dup(self) -> _Members:
        return self

    def Get_rank(self) -> int:
        return self._rank

    def Get_size(self) -> int:
        return len(self._ways)

    def Isend(self, buffer: Any, to_rank: int, tag: int) -> Any:
        comm, rank = self._ways[to_rank]
        return comm.Isend(buffer, rank, self._first_tag + tag)

    def Improbe(self, from_rank: int, tag: int, status: Any = None) -> Any:
        comm, rank = self._ways[from_rank]
        return comm.Improbe(rank, self._first_tag + tag, status)

    def Iprobe(self, from_rank: int, tag: int) -> Any:
        comm, rank = self._ways[from_rank]
        return comm.Iprobe(rank, self._first_tag + tag)

    def failed(self, module: Any) -> set[int]:
        """Returns the numbers of members in MPI_COMM_WORLD whose processes have ended.

        Of the others a look for their messages tells.
        """
        group = self._world.Get_failed()
        size = group.Get_size()
        if not size:
            return set()
        world = self._world.Get_group()
        there = module.Group.Translate_ranks(group, list(range(size)), world)
        world.Free()
        group.Free()
        return {
            number for number, (comm, rank) in enumerate(self._ways)
            if comm == self._world and rank in there
        }  # fmt: skip


def _take_in_late(module: Any) -> None:
    """Receives what members of former generations had sent, so that their sends complete."""
    status = module.Status()
    for members in _former:
        for number in range(members.Get_size()):
            for tag in (mpi._DATA, mpi._CONTROL):
                try:
                    while (late := members.Improbe(number, tag, status)) is not None:
                        scrap = np.empty(status.Get_count(module.BYTE), np.uint8)
                        _unfinished.append((late.Irecv([scrap, scrap.size, module.BYTE]), scrap))
                except module.Exception:
                    continue  # it has ended
    _unfinished[:] = [(request, memory) for request, memory in _unfinished if not _is_done(request)]


def _is_done(request: Any) -> bool:
    try:
        return bool(request.Test())
    except Exception:  # noqa: BLE001 - its peer has ended, which MPI tells in many ways
        return True


@functools.cache
def ways() -> Ways:
    """Returns this process's ways to others; raises as `load` does."""
    return Ways(load())


def load() -> Any:
    """Returns mpi4py's MPI, in a job that goes on when ranks are lost.

    Raises:
      MissingExtraError: if mpi4py, or the MPI library it needs, is not there.
      FailedPreconditionError: if the MPI has no ULFM, or was not started with it.
    """
    try:
        import mpi4py
    except ImportError as error:
        raise errors.missing_extra("mpi4py", "mpi", "the MPI transport") from error
    mpi4py.rc.finalize = False
    module = mpi.load()
    module.COMM_WORLD.Set_errhandler(module.ERRORS_RETURN)
    try:
        module.COMM_WORLD.Get_failed()
    except (NotImplementedError, module.Exception) as error:
        library = module.Get_library_version().splitlines()[0][:60]
        raise errors.FailedPreconditionError(
            errors.message(
                "elastic job over MPI",
                "an MPI that goes on without a lost rank (ULFM: Open MPI 5 and later, started with "
                "mpirun --with-ft ulfm)",
                f"{library}, which says: {error}",
                "`distflow run --backend mpi --elastic` starts such jobs again from their last "
                "checkpoint instead.",
            )
        ) from error
    return module
