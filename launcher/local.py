"""Starts the workers of a gRPC job as children of the launcher, which runs their rendezvous."""

from __future__ import annotations

import os
import socket
from typing import Any

from . import env, light, rank
from .job import Job

_HOST = "127.0.0.1"


class LocalStarter:
    """One child for each rank, and the server where they meet."""

    def __init__(self) -> None:
        self._server: Any = None
        self._ranks: dict[int, rank.Rank] = {}

    def start(self, job: Job) -> None:
        """Starts the workers, then the server: while they load their modules, it loads its own."""
        plan = job.plan
        with _reserved_port() as place:
            port = place.getsockname()[1]
            self._start_workers(job, f"{_HOST}:{port}")
            rendezvous = light.load("cluster.rendezvous")
            self._server = rendezvous.RendezvousServer(
                plan.num_workers, host=_HOST, port=port, token=plan.variables["DISTFLOW_TOKEN"]
            )

    def _start_workers(self, job: Job, coordinator: str) -> None:
        plan = job.plan
        common = {**os.environ, **plan.variables, "DISTFLOW_COORDINATOR": coordinator}
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


def _reserved_port() -> socket.socket:
    """Returns a socket that keeps a free port from others until a server listens on it.

    It never listens itself: a worker that comes too early is refused, and asks again.
    """
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.bind((_HOST, 0))
    return place
