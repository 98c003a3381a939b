"""Which hosts there are now, asked again and again: a program prints them, or a file lists them.

The form is that of Horovod's host discovery scripts, which Kubeflow's MPI operator writes as
/etc/mpi/discover_hosts.sh: a host a line, `name` or `name:slots`.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from . import hosts
from .arguments import UsageError
from .hosts import Host
from .reading import read_now

POLL_SECONDS = 1.0
ANSWER_SECONDS = 20.0


class Discovery(Protocol):
    """Says which hosts there are."""

    def look(self) -> list[Host]:
        """Returns the hosts of now, maybe none; UsageError if they cannot be known."""

    def describe(self) -> str:
        """Returns where the hosts come from, for the plan."""


class Listed:
    """Hosts of a file, which may change."""

    def __init__(self, path: Path):
        self._path = path

    def look(self) -> list[Host]:
        """Returns the hosts that stand there now."""
        return hosts.read(self._path)

    def describe(self) -> str:
        """Returns the file's name."""
        return f"those in {self._path}"


class Printed:
    """Hosts that a program prints; one that may not be executed is run by sh."""

    def __init__(self, path: Path):
        self._path = path

    def look(self) -> list[Host]:
        """Runs the program.

        Raises:
          UsageError: if it cannot be run, does not end, or prints something else than hosts.
        """
        where = f"--host-discovery-script {self._path}"
        if not self._path.is_file():
            raise UsageError(f"{where}: expected a program that prints hosts; there is none.")
        is_program = os.access(self._path, os.X_OK)
        command = [str(self._path.absolute())] if is_program else ["sh", str(self._path)]
        try:
            done = subprocess.run(
                command, capture_output=True, stdin=subprocess.DEVNULL, timeout=ANSWER_SECONDS,
                text=True, errors="replace",
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise UsageError(
                f"{where}: expected hosts within {ANSWER_SECONDS:g} s; received nothing."
            ) from error
        except OSError as error:
            raise UsageError(f"{where}: expected a program; {error}.") from error
        if done.returncode != 0:
            said = done.stderr.strip()[-500:] or "nothing on stderr"
            raise UsageError(
                f"{where}: expected exit code 0; received {done.returncode} and {said!r}."
            )
        return hosts.parse_lines(done.stdout, where)

    def describe(self) -> str:
        """Returns the program's name."""
        return f"those that {self._path} prints"


class Poller:
    """Looks for hosts from a thread, and tells the loop of a job each time.

    Args:
      complain: is called with what is wrong, once, when hosts cannot be known.
      known: the hosts until the first answer.

    Attributes:
      fd: becomes readable with each answer; `take` returns the newest.
    """

    def __init__(
        self, discovery: Discovery, complain: Callable[[str], None], known: Sequence[Host] = ()
    ):
        self._discovery, self._complain = discovery, complain
        self._newest: tuple[list[Host], float] = (list(known), time.monotonic())
        self.fd, self._tell = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._tell, False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="host discovery", daemon=True)
        self._thread.start()

    def take(self) -> tuple[list[Host], float]:
        """Returns the newest answer, and since when it has been the same."""
        read_now(self.fd, 4096)
        return self._newest

    def close(self) -> None:
        """Ends the thread, after the answer under way."""
        self._stop.set()
        self._thread.join(ANSWER_SECONDS)
        if not self._thread.is_alive():
            os.close(self.fd)
            os.close(self._tell)

    def _run(self) -> None:
        said = ""
        while not self._stop.wait(POLL_SECONDS):
            found, since = self._newest
            try:
                now = self._discovery.look()
            except UsageError as error:
                if str(error) != said:  # once, and the hosts stay those that were known
                    said = str(error)
                    self._complain(said)
                now = found
            else:
                said = ""
            self._newest = (now, since if now == found else time.monotonic())
            with contextlib.suppress(BlockingIOError):
                os.write(self._tell, b"\0")


def first_slots(found: Sequence[Host], most: int) -> list[Host]:
    """Returns the hosts, in their order, that the first `most` workers have; slots cut to that."""
    taken: list[Host] = []
    left = most
    for host in found:
        if left <= 0:
            break
        taken.append(Host(host.name, min(host.slots, left)))
        left -= host.slots
    return taken


def slots_of(found: Sequence[Host]) -> int:
    """Returns how many workers the hosts can have."""
    return sum(host.slots for host in found)
