"""Starts the workers of an elastic job, replaces lost ones, and runs the job's coordinator.

A worker that a signal killed, or that ended with the code that asks for another try, is lost: the
others go on, and it is replaced as long as restarts are left. One that ends with an error of the
program's own (any other code) would fail again: it ends the job.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from distflow.cluster.coordinator import Coordinator
from distflow.cluster.membership import Membership

from . import env, guardian, rank
from .job import Job

RETRYABLE = 75  # "start me again": sysexits.h, EX_TEMPFAIL
LEFT = 128 + signal.SIGTERM


class ElasticStarter:
    """A child for each worker, and their coordinator."""

    def __init__(self) -> None:
        self._coordinator: Coordinator | None = None
        self._ranks: dict[int, rank.Rank] = {}
        self._restarts = 0
        self._has_finished = False

    def start(self, job: Job) -> None:
        """Starts the coordinator, then the workers."""
        assert job.plan.elastic is not None
        low, high = job.plan.elastic
        self._coordinator = Coordinator(
            Membership(low, high), token=job.plan.variables["DISTFLOW_TOKEN"]
        )
        for worker in job.ranks:
            self._coordinator.slot_started(worker.number)
        for worker in job.ranks:
            self._launch(job, worker)

    def on_exit(self, job: Job, process: int, code: int) -> None:
        """A worker, or an orphan of one, has ended."""
        worker = self._ranks.pop(process, None)
        if worker is not None:
            self._ended(job, worker, code)

    def _ended(self, job: Job, worker: rank.Rank, code: int) -> None:
        assert self._coordinator is not None
        self._has_finished = self._has_finished or code == 0
        self._coordinator.slot_ended(worker.number, is_finished=code == 0)
        if code == 0:
            # A worker that was stopped would be waited for; awake it finds that all is done.
            _wake([other for other in job.ranks if other.code is None and other is not worker])
        if code == 0 or job.is_ending or not is_lost(code):
            job.ended(worker.number, code)
            return
        worker.is_excused = True
        job.ended(worker.number, code)
        if self._has_finished or code == LEFT:
            return
        where = f" (host {worker.host})" if worker.host else ""
        job.say(f"rank {worker.number}{where} is lost ({rank.ending(code)})")
        if self._coordinator.generation and not self._coordinator.slots:
            job.say(
                "all workers that had the state of the job are lost: it begins anew, or goes on "
                "from its last checkpoint (keras.callbacks.BackupAndRestore)"
            )
        if self._restarts < job.plan.max_restarts:
            self._restarts += 1
            say_again(job, worker, self._restarts)
            self._replace(job, worker)
            return
        self._end_if_too_few(job, worker)

    def _replace(self, job: Job, worker: rank.Rank) -> None:
        self._launch(job, worker)

    def on_failure(self, job: Job, failed: rank.Rank) -> None:
        """The others find out by themselves, or are ended."""

    def on_request(self, job: Job) -> None:
        """Starts one more worker, if there may be more."""
        assert job.plan.elastic is not None
        if job.is_ending or self._has_finished:
            return
        worker = rank_for_one_more(job, job.plan.elastic[1])
        if worker is not None:
            self._launch(job, worker)

    def is_over(self, job: Job) -> bool:
        """Whether all workers have ended."""
        return all(worker.code is not None for worker in job.ranks)

    def close(self) -> None:
        """Ends the coordinator."""
        if self._coordinator is not None:
            self._coordinator.close(0.0)

    def _launch(self, job: Job, worker: rank.Rank) -> None:
        assert self._coordinator is not None
        self._coordinator.slot_started(worker.number)
        environment = {
            **os.environ,
            **job.plan.variables,
            "DISTFLOW_COORDINATOR": self._coordinator.address,
            **env.rank_variables(worker.number),
        }
        self._ranks[job.launch(worker.number, environment)] = worker

    def _end_if_too_few(self, job: Job, worker: rank.Rank) -> None:
        """Ends a job that can never have enough workers again."""
        assert job.plan.elastic is not None
        left = sum(other.code is None for other in job.ranks)
        if left < job.plan.elastic[0]:
            job.say(
                f"{left} workers are left, --elastic needs {job.plan.elastic[0]}, and no restarts "
                "are left"
            )
            worker.is_excused = False
            job.fail(worker)


def _wake(workers: Sequence[rank.Rank]) -> None:
    for worker in workers:
        if worker.send is not None:
            worker.send(signal.SIGCONT)
        elif worker.group:
            guardian.signal_groups([worker.group], signal.SIGCONT)


def rank_for_one_more(job: Job, most: int) -> rank.Rank | None:
    """Returns that of a worker that has ended, or a new one; with the most says so: None."""
    free = next((worker for worker in job.ranks if worker.code is not None), None)
    if free is None and len(job.ranks) >= most:
        job.say(f"there are {len(job.ranks)} workers already, the most of --elastic")
    elif free is None:
        free = rank.Rank(len(job.ranks))
        job.ranks.append(free)
    return free


def say_again(job: Job, worker: rank.Rank, restarts: int) -> None:
    """Says that a lost worker is replaced."""
    job.say(
        f"rank {worker.number} is started again (restart {restarts} of {job.plan.max_restarts})"
    )


def is_lost(code: int) -> bool:
    """Whether a worker that ended so may be replaced by another one."""
    return code < 0 or code in (RETRYABLE, LEFT)
