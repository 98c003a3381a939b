"""One try to have a host for a job that runs: from the start of ssh to the last check.

What `preflight` does for all hosts at the start, without waiting: the job's loop hands on what the
host tells, and the job goes on meanwhile.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import preflight
from .hosts import Host
from .job import Job
from .preflight import Row
from .ssh import Session

# Agents close their ports when the first worker starts: a refusal shows that the host is reached.
REACHED = ("", os.strerror(errno.ECONNREFUSED))


@dataclass(frozen=True)
class Means:
    """How hosts are reached, and what workers run there.

    Attributes:
      ssh: the command.
      python: the interpreter on the hosts.
      folder, program: where and what the workers run; the program is "" for a module.
      address: of the launcher; None for the one to which ssh's connections lead.
      port: of the launcher.
    """

    ssh: str
    python: str
    folder: str
    program: str
    address: str | None
    port: int


class Approach:
    """A session that is being checked.

    Args:
      others: the sessions of the hosts that the job has.
      done: is called once, with what is wrong with the host, "" if all is well.

    Attributes:
      session: the connection, which is cut if anything is wrong.
    """

    def __init__(
        self, job: Job, host: Host, means: Means, others: Sequence[Session],
        done: Callable[[str], None],
    ):  # fmt: skip
        self._means, self._others, self._done = means, others, done
        self._row = Row(host.name)
        self._is_over = False
        self.session = Session(means.ssh, host, means.python)
        self.session.process.returncode = 0  # the job waits for all its children itself
        self.session.on_message = self._hear
        job.attach(self.session)
        job.call_at(time.monotonic() + preflight.DEADLINE_SECONDS, lambda: self.end("no answer"))
        preflight.order_look(self.session, means.folder, means.program, job.plan.job)

    def end(self, trouble: str) -> None:
        """Tells what came of it, unless that was told already."""
        if self._is_over:
            return
        self._is_over = True
        if trouble:
            trouble = self.session.complaint() or trouble
            self.session.cut()
        self._done(trouble)

    def _hear(self, rank: int, message: object) -> None:
        session, means = self.session, self._means
        if session.reached is not None:
            targets = [(o.host.name, o.info["address"]) for o in self._others if o.info]
            preflight.judge_reach(session, self._row, targets, REACHED)
            self.end(self._trouble())
        elif session.info is not None:
            preflight.judge_look(session, self._row, means.folder, means.program)
            if self._trouble():
                self.end(self._trouble())
                return
            places = [(o.info["address"], o.info["port"]) for o in self._others if o.info]
            launcher = session.launcher(means.address)
            session.order(do="reach", targets=[(launcher, means.port), *places])

    def _trouble(self) -> str:
        found = [f"{name}: {c}" for name, c in self._row.cells.items() if c not in ("ok", "-")]
        return "; ".join(found)
