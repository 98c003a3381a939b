"""Ways between the members of an elastic job over MPI, ranks of one mpirun and those spawned since.

The ranks that mpirun has started share MPI_COMM_WORLD. A process that was started later
(MPI_Comm_spawn) has a communicator with each of the others, of the two alone: with its starter by
the spawn, with the rest by MPI_Comm_accept and MPI_Comm_connect. All of these are calls over
one process: a merged communicator would need all members at once, and one that was stopped would
hold them up. None can be ended from outside, so each has a thread of its own, for which nobody
waits longer than he has patience, and a copy of MPI_COMM_SELF, of which MPI wants one at a time.

Each pair has a port of its own, the name of one that was opened with the other's behind it. To Open
MPI a port is a key under which two find each other; three under one key get in each other's way.
Its choice of an identifier for the new communicator lets the calls of a process wait for each
other, which over three processes would be a circle if each had an order of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from distflow.base import log
from distflow.comm.transport import base

_GREETING = 3  # MPI tag; generations begin with 4
_POLL_SECONDS = 2e-3
_RETRY_SECONDS = 0.1
_PAIR_SECONDS = 3.0  # for one member; then the next one is tried beside it
_MEET_SECONDS = 5.0  # for the process that has started this one to say who it is
# Names in MPI_COMM_WORLD, and those of processes that were spawned.
_WORLD, _PORT = "world ", "port "


class Way(NamedTuple):
    """How a process is reached: a communicator, and its rank there."""

    comm: Any
    rank: int


class Ways:
    """This process's ways to others, found as they are needed.

    Args:
      module: mpi4py's MPI.

    Attributes:
      name: of this process; others reach it by that.
    """

    def __init__(self, module: Any):
        self._mpi = module
        self._world = module.COMM_WORLD
        self._found: dict[str, Way] = {}
        self._under_way: set[str] = set()  # names that a thread looks for
        self._greetings: list[tuple[Any, Any]] = []  # requests, and their memory
        self._lock = threading.Lock()
        self._spawning = threading.Lock()
        parent = module.Comm.Get_parent()
        # A whole world that was spawned is somebody else's doing.
        if parent == module.COMM_NULL or self._world.Get_size() > 1:
            self.name = f"{_WORLD}{self._world.Get_rank()}"
            return
        port = module.Open_port()
        self.name = f"{_PORT}{port}"
        self._meet_parent(parent)

    def reach(
        self, names: Sequence[str], timeout_seconds: float, what: str, called: Sequence[str]
    ) -> list[Way]:
        """Returns the ways to processes, this one among them.

        Args:
          names: of the processes (their `name`), by rank.
          timeout_seconds: how long to wait for those that are not connected yet.
          what: for messages.
          called: what errors call each.

        Raises:
          WorkerLateError: if one is not connected in time.
        """
        deadline = base.Deadline(timeout_seconds)
        # All members take their pairs in the same order, so none waits for one that waits for it.
        for name in sorted(set(names), key=lambda other: sorted((self.name, other))):
            patience = base.Deadline(min(_PAIR_SECONDS, deadline.remaining))
            while self._way(name) is None and patience.remaining:
                time.sleep(_POLL_SECONDS)
        while True:
            ways = [self._way(name) for name in names]
            if None not in ways:
                return [way for way in ways if way is not None]
            if not deadline.remaining:
                missing = ways.index(None)
                own = names.index(self.name)
                raise base.late(what, own, missing, deadline, place=called[missing])
            time.sleep(_POLL_SECONDS)

    def spawn(self, command: Sequence[str], folder: str, what: str) -> None:
        """Has MPI start a process, which this one can reach once it is there; does not wait.

        Args:
          command: its words.
          folder: where it is started.
          what: for messages.
        """
        self._start("spawn", self._spawn, list(command), folder, what)

    def _way(self, name: str) -> Way | None:
        """Returns the way to a process, None while there is none: it is looked for."""
        if name == self.name:
            return Way(self._mpi.COMM_SELF, 0)
        if name.startswith(_WORLD) and self.name.startswith(_WORLD):
            return Way(self._world, int(name.removeprefix(_WORLD)))
        with self._lock:
            found = self._found.get(name)
            if found or name in self._under_way:
                return found
            self._under_way.add(name)
        self._start("look", self._look_for, name)
        return None

    def _look_for(self, name: str) -> None:
        own = self._own_copy()
        try:
            if _connects(self.name, name):
                comm = own.Connect(f"{name.removeprefix(_PORT)} {self.name}")
            else:
                comm = own.Accept(f"{self.name.removeprefix(_PORT)} {name}")
            comm.Set_errhandler(self._mpi.ERRORS_RETURN)
            self._note(name, comm)
        except self._mpi.Exception as error:
            log.get_logger().debug("no way to %s yet: %s", name, error)
            time.sleep(_RETRY_SECONDS)
        finally:
            own.Free()
            with self._lock:
                self._under_way.discard(name)

    def _spawn(self, command: list[str], folder: str, what: str) -> None:
        own = self._own_copy()
        info = self._mpi.Info.Create({"wdir": folder, "bind_to": "none"})
        try:
            with self._spawning:  # Open MPI confuses two of one process
                comm = own.Spawn(command[0], command[1:], 1, info)
            comm.Set_errhandler(self._mpi.ERRORS_RETURN)
            self._greet(comm)
            while (name := self._heard(comm)) is None:
                time.sleep(_POLL_SECONDS)
            self._note(name, comm)
        except self._mpi.Exception as error:
            log.get_logger().warning("%s: MPI_Comm_spawn fails: %s", what, error)
        finally:
            info.Free()
            own.Free()

    def _meet_parent(self, comm: Any) -> None:
        """Hears who has started this process, and answers; one that is silent is met by a port."""
        over = time.monotonic() + _MEET_SECONDS
        comm.Set_errhandler(self._mpi.ERRORS_RETURN)
        try:
            while (name := self._heard(comm)) is None:
                if time.monotonic() > over:
                    return
                time.sleep(_POLL_SECONDS)
            self._greet(comm)
            self._note(name, comm)
        except self._mpi.Exception as error:
            log.get_logger().debug("the process that has started this one has gone: %s", error)

    def _greet(self, comm: Any) -> None:
        text = np.frombuffer(self.name.encode(), np.uint8)
        self._greetings.append((comm.Isend([text, text.size, self._mpi.BYTE], 0, _GREETING), text))

    def _heard(self, comm: Any) -> str | None:
        status = self._mpi.Status()
        message = comm.Improbe(0, _GREETING, status)
        if message is None:
            return None
        text = np.empty(status.Get_count(self._mpi.BYTE), np.uint8)
        message.Recv([text, text.size, self._mpi.BYTE])  # short: it is here already
        return text.tobytes().decode()

    def _own_copy(self) -> Any:
        with self._lock:
            return self._mpi.COMM_SELF.Dup()

    def _note(self, name: str, comm: Any) -> None:
        with self._lock:
            self._found[name] = Way(comm, 0)

    def _start(self, name: str, function: Any, *arguments: Any) -> None:
        threading.Thread(
            target=function, args=arguments, name=f"distflow-ulfm-{name}", daemon=True
        ).start()


def _connects(own: str, other: str) -> bool:
    """Whether the process called `own` connects to the other, which accepts."""
    return other.startswith(_PORT) and (own.startswith(_WORLD) or own < other)
