"""Workers of an elastic job that are to leave: each is asked when the job can do without it."""

from __future__ import annotations

import functools
import signal
import time
from collections.abc import Sequence

from distflow.cluster.coordinator import Coordinator

from .job import Job
from .rank import Rank

ASK_SECONDS = 0.25


class Leavers:
    """Those who are to leave, in the order in which they were named.

    Args:
      coordinator: knows who is a member: who has the state of the job.
      least: of the workers that --elastic wants.
    """

    def __init__(self, coordinator: Coordinator, least: int):
        self._coordinator, self._least = coordinator, least
        self._numbers: list[int] = []
        self._asked: set[int] = set()

    def __contains__(self, worker: Rank) -> bool:
        return worker.number in self._numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, job: Job, workers: Sequence[Rank]) -> None:
        """Has workers leave, as soon as the job can do without them."""
        before = len(self._numbers)
        self._numbers += [worker.number for worker in workers if worker not in self]
        if not before and self._numbers:
            self._ask(job)

    def ended(self, worker: Rank) -> None:
        """Forgets one that has gone."""
        if worker in self:
            self._numbers.remove(worker.number)
        self._asked.discard(worker.number)

    def _ask(self, job: Job) -> None:
        """Asks those who may go to leave after the step under way; looks again soon."""
        for number in self._numbers:
            worker = job.ranks[number]
            if number not in self._asked and worker.send is not None and self._may_go(job, number):
                self._asked.add(number)
                worker.send(signal.SIGTERM)
                end = time.monotonic() + job.plan.grace_seconds
                job.call_at(end, functools.partial(self._kill, worker, worker.pulse))
        if self._numbers and not job.is_ending:
            job.call_at(time.monotonic() + ASK_SECONDS, functools.partial(self._ask, job))

    def _may_go(self, job: Job, number: int) -> bool:
        """Whether the state of the job, and enough workers, stay without a worker.

        Newcomers count when they are members: they have got the state then. Where fewer than the
        least would stay, one after the other goes when all that were started are members.
        """
        members = self._coordinator.slots
        if number not in members:
            return True
        others = members - self._asked - {number}
        if len(others - set(self._numbers)) >= self._least:
            return True
        running = {worker.number for worker in job.ranks if worker.code is None}
        return bool(others) and not self._asked and running <= members

    def _kill(self, worker: Rank, pulse: object) -> None:
        is_same = worker.number in self._asked and worker.code is None and worker.pulse is pulse
        if is_same and worker.send is not None:
            worker.send(signal.SIGKILL)
