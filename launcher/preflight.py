"""Looks at all hosts before a job is started on them, and makes one table of what was found.

Each host is reached over ssh, tells what it has, and then tries to reach the launcher and all other
hosts by the addresses that the workers will use.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from . import inventory
from .arguments import UnreachableError, UsageError
from .hosts import Host
from .ssh import Session

DEADLINE_SECONDS = 30.0
COLUMNS = ("host", "ssh", "versions", "program", "to launcher", "to others")


@dataclass
class Row:
    """What was found of one host: "ok" or what is wrong, by column."""

    host: str
    cells: dict[str, str] = field(default_factory=lambda: dict.fromkeys(COLUMNS[1:], "-"))

    @property
    def is_good(self) -> bool:
        """Whether all is well."""
        return all(cell == "ok" for cell in self.cells.values())


@dataclass
class Checked:
    """Hosts that are ready.

    Attributes:
      sessions: one for each host.
      port: of the launcher, which all hosts reach.
      rows: what was found.
    """

    sessions: list[Session]
    port: int
    rows: list[Row]


def check(
    hosts: Sequence[Host], *, ssh: str, python: str, folder: str, program: str, job: str,
    address: str | None = None, least_slots: int | None = None,
) -> Checked:  # fmt: skip
    """Returns the sessions of hosts that are ready for a job: of all of them.

    Args:
      ssh: the command for it.
      python: the interpreter's path on the hosts.
      folder, program: where and what the workers run.
      job: the id of the job.
      address: the launcher's address; None for the one to which ssh's connections lead.
      least_slots: so many slots on hosts that are ready will do.

    Raises:
      UnreachableError: if a host cannot be reached or cannot reach the others; has the table.
      UsageError: if hosts differ in what must be the same, or lack the program.
    """
    sessions = [Session(ssh, host, python) for host in hosts]
    rows = [Row(host.name) for host in hosts]
    try:
        with socket.create_server(("", 0), backlog=1024) as listener:
            port = listener.getsockname()[1]
            _look(sessions, rows, folder, program, job)
            there = [pair for pair in zip(sessions, rows) if pair[0].info is not None]
            if len(there) == len(sessions) or (there and least_slots is not None):
                _reach([pair[0] for pair in there], [pair[1] for pair in there], port, address)
        ready = [session for session, row in zip(sessions, rows) if row.is_good]
        slots = sum(session.host.slots for session in ready)
        if len(ready) < len(rows) and (least_slots is None or slots < least_slots):
            raise _error(rows)
        for session in sessions:
            if session not in ready:
                session.cut()
                session.close()
    except BaseException:
        for session in sessions:
            session.cut()
            session.close()
        raise
    return Checked(ready, port, rows)


def table(rows: Sequence[Row]) -> str:
    """Returns the rows with a head, for people."""
    lines = [COLUMNS, *((row.host, *row.cells.values()) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines
    )


def _look(
    sessions: list[Session], rows: list[Row], folder: str, program: str, job: str
) -> None:  # fmt: skip
    for session in sessions:
        order_look(session, folder, program, job)
    _wait(sessions, lambda session: session.info is not None)
    for session, row in zip(sessions, rows):
        judge_look(session, row, folder, program)


def order_look(session: Session, folder: str, program: str, job: str) -> None:
    """Asks a host what it has, and to end what is left there of an earlier part of the job."""
    mark = f"{job}/{session.host.name}"
    session.order(do="look", folder=folder, program=program, mark=mark)


def judge_look(session: Session, row: Row, folder: str, program: str) -> None:
    """Enters what a host has told of itself."""
    if session.info is None:
        row.cells["ssh"] = session.complaint() or "no answer"
        return
    info = session.info
    row.cells["ssh"] = "ok"
    mine = {"python": _minor(inventory.platform.python_version()), **inventory.versions()}
    theirs = {"python": _minor(info["python"]), **info["versions"]}
    other = [
        f"{name} {theirs.get(name) or 'missing'} (here {mine[name] or 'missing'})"
        for name in mine
        if theirs.get(name) != mine[name]
    ]
    row.cells["versions"] = ", ".join(other) or "ok"
    if not info["has_folder"]:
        row.cells["program"] = f"no folder {folder}"
    else:
        row.cells["program"] = "ok" if info["has_program"] else f"no {program} in {folder}"


def _reach(sessions: list[Session], rows: list[Row], port: int, address: str | None) -> None:
    places = [(s.info["address"], s.info["port"]) for s in sessions if s.info is not None]
    for session in sessions:
        session.order(do="reach", targets=[(session.launcher(address), port), *places])
    _wait(sessions, lambda session: session.reached is not None)
    for session, row in zip(sessions, rows):
        judge_reach(session, row, [(other.host, place[0]) for other, place in zip(rows, places)])


def judge_reach(
    session: Session, row: Row, others: Sequence[tuple[str, str]], fine: Sequence[str] = ("",)
) -> None:
    """Enters whom a host has reached.

    Args:
      others: name and address of the targets behind the launcher.
      fine: what the answers of those may be.
    """
    if session.reached is None:
        row.cells["to launcher"] = row.cells["to others"] = "no answer"
        return
    to_launcher, *to_others = session.reached
    row.cells["to launcher"] = to_launcher or "ok"
    bad = [
        f"{name} ({address}): {trouble}"
        for (name, address), trouble in zip(others, to_others)
        if trouble not in fine
    ]
    row.cells["to others"] = "; ".join(bad) or "ok"


def _wait(sessions: list[Session], is_ready: Callable[[Session], bool]) -> None:
    """Takes what the hosts send until all are ready, have gone, or the time is over."""
    over = time.monotonic() + DEADLINE_SECONDS
    with selectors.DefaultSelector() as selector:
        for session in sessions:
            if not is_ready(session):
                selector.register(session.fd, selectors.EVENT_READ, session)
        while selector.get_map() and time.monotonic() < over:
            for key, _ in selector.select(over - time.monotonic()):
                if not key.data.take_early() or is_ready(key.data):
                    selector.unregister(key.fd)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _error(rows: list[Row]) -> UsageError:
    kind = UsageError
    if any(
        row.cells[name] not in ("ok", "-") for row in rows for name in COLUMNS[1:2] + COLUMNS[4:]
    ):
        kind = UnreachableError
    count = sum(not set(row.cells.values()) <= {"ok", "-"} for row in rows)
    return kind(
        f"{count} of {len(rows)} hosts are not ready; nothing was started.\n{table(rows)}\n"
        "Each host needs: ssh with a key and no question (BatchMode), the same Python and packages "
        "(--remote-python), the program in the same folder, and open ports to this host "
        "(--interface) and to the others."
    )
