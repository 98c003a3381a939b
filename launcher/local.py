"""Starts the workers of a gRPC job as children of the launcher, which runs their rendezvous."""

from __future__ import annotations

import os

from distflow.cluster.rendezvous import RendezvousServer

from . import env, rank
from .job import Job


class LocalStarter:
    """One child for each rank, and the server where they meet."""

    def __init__(self) -> None:
        self._server: RendezvousServer | None = None
        self._ranks: dict[int, rank.Rank] = {}

    def start(self, job: Job) -> None:
        """Starts the server, then the workers."""
        plan = job.plan
        self._server = RendezvousServer(plan.num_workers, token=plan.variables["DISTFLOW_TOKEN"])
        common = {
            **os.environ,
            **plan.variables,
            "DISTFLOW_COORDINATOR": self._server.address,
        }
        for worker in job.ranks:
            process = job.launch(worker.number, {**common, **env.rank_variables(worker.number)})
            self._ranks[process] = worker

    def on_exit(self, job: Job, process: int, code: int) -> None:
        """A worker, or an orphan of one, has ended."""
        worker = self._ranks.get(process)
        if worker is not None:
            job.ended(worker.number, code)

    def on_failure(self, job: Job, failed: rank.Rank) -> None:
        """Tells workers that still wait for the failed one."""
        assert self._server is not None
        assert failed.code is not None
        self._server.mark_lost(failed.number, rank.ending(failed.code))

    def on_request(self, job: Job) -> None:
        """The number of workers is fixed."""
        job.say("SIGUSR1 adds a worker to jobs with --elastic only")

    def is_over(self, job: Job) -> bool:
        """Whether all workers have ended."""
        return all(worker.code is not None for worker in job.ranks)

    def close(self) -> None:
        """Ends the server."""
        if self._server is not None:
            self._server.close(0.0)
