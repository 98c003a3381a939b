"""Starts the workers of a job on hosts over ssh; the launcher runs their rendezvous."""

from __future__ import annotations

import base64
import functools
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import hosts, light, rank
from .arguments import RETRYABLE
from .job import Job
from .preflight import Checked
from .ssh import Session
from .streams import Pipe, Sink


class SshStarter:
    """One agent for each host, and the server where the workers meet.

    Args:
      checked: the hosts' sessions.
      address: the launcher's address; None for what each host sees of it.
    """

    def __init__(self, checked: Checked, address: str | None):
        self._checked, self._address = checked, address
        self._server: Any = None
        self._lost: set[str] = set()
        self._is_finishing = False

    def start(self, job: Job) -> None:
        """Starts the server, then the workers."""
        plan = job.plan
        rendezvous = light.load("cluster.rendezvous")
        self._server = rendezvous.RendezvousServer(
            plan.num_workers, host="0.0.0.0", port=self._checked.port,
            token=plan.variables["DISTFLOW_TOKEN"],
        )  # fmt: skip
        sessions = {session.host.name: session for session in self._checked.sessions}
        for session in sessions.values():
            session.process.returncode = 0  # the job waits for all its children itself
            job.attach(session)
            adopt(job, session, functools.partial(self._ended, job))
        for place in hosts.place(plan.hosts, plan.num_workers):
            session = sessions[place.host.name]
            launcher = session.launcher(self._address)
            launch(job, session, place, launcher, self._checked.port)

    def _ended(self, job: Job, worker: rank.Rank, code: int) -> None:
        job.ended(worker.number, code)

    def on_exit(self, job: Job, process: int, code: int) -> None:
        """An ssh has ended: its workers are lost unless they had told their ends."""
        for session in self._checked.sessions:
            if session.process.pid == process:
                job.catch_up_with(session)
                self._lost.add(session.host.name)
                running = [w for w in job.ranks if w.host == session.host.name and w.code is None]
                if running:
                    job.say(f"host {session.host.name} is lost ({rank.ending(code)} of ssh)")
                for worker in running:
                    job.ended(worker.number, RETRYABLE)

    def on_failure(self, job: Job, failed: rank.Rank) -> None:
        """Tells workers that still wait for the failed one."""
        assert failed.code is not None
        if self._server is not None:
            self._server.mark_lost(failed.number, rank.ending(failed.code))

    def on_request(self, job: Job) -> None:
        """The number of workers is fixed."""
        job.say("SIGUSR1 adds a worker to jobs with --elastic only")

    def is_over(self, job: Job) -> bool:
        """Whether all workers have ended, and the hosts what those have left behind."""
        if any(worker.code is None for worker in job.ranks):
            return False
        if not self._is_finishing:
            self._is_finishing = True
            for session in self._checked.sessions:
                session.order(do="finish")
        return all(s.is_finished or s.host.name in self._lost for s in self._checked.sessions)

    def close(self) -> None:
        """Ends the connections and the server."""
        for session in self._checked.sessions:
            if not session.is_finished:
                session.cut()
        if self._server is not None:
            self._server.close(0.0)


def adopt(job: Job, session: Session, ended: Callable[[rank.Rank, int], None]) -> None:
    """Lets a job hear of what happens on a host that is ready.

    Args:
      ended: is called with a worker and its exit code.
    """
    session.on_message = functools.partial(_on_message, job, ended)
    session.on_file = functools.partial(_keep_file, job.plan.timeline_dir)
    label = functools.partial(str, f"[ssh {session.host.name}] ")
    job.attach(Pipe(os.dup(session.errors), Sink(label, 2)))


def launch(job: Job, session: Session, place: hosts.Place, launcher: str, port: int) -> None:
    """Starts a worker on a host.

    Args:
      place: its rank, and its number among the workers there.
      launcher, port: where workers meet, as the host reaches it.
    """
    plan, worker = job.plan, job.ranks[place.rank]
    assert session.info is not None
    worker.restart()
    worker.host = place.host.name
    worker.send = functools.partial(session.signal, place.rank)
    session.add_worker(place.rank, job.sink("out", worker), job.sink("err", worker))
    bracketed = f"[{launcher}]" if ":" in launcher else launcher
    environment = {
        **plan.variables,
        "DISTFLOW_COORDINATOR": f"{bracketed}:{port}",
        "DISTFLOW_LOCAL_WORLD_SIZE": str(place.local_size),
        "DISTFLOW_LOCAL_CORES": str(session.info["cores"]),
        "DISTFLOW_RANK": str(place.rank),
        "DISTFLOW_LOCAL_RANK": str(place.local_rank),
    }
    files = {}
    if plan.tls is not None:
        names = sorted(path.name for path in plan.tls.glob("*.*"))
        files = {n: base64.b64encode((plan.tls / n).read_bytes()).decode() for n in names}
    session.order(
        do="start", rank=place.rank, command=[plan.remote_python, *plan.command[1:]],
        environment=environment, folder=os.getcwd(), files=files,
    )  # fmt: skip


def _on_message(
    job: Job, ended: Callable[[rank.Rank, int], None], number: int, message: dict[str, Any]
) -> None:  # fmt: skip
    if "report" in message:
        job.hear(message["report"])
    if "ended" in message:
        worker = job.ranks[number]
        worker.memory = str(message.get("memory", ""))
        if message.get("why"):
            worker.keep(f"cannot start {shlex.join(job.plan.command)}: {message['why']}")
        ended(worker, int(message["ended"]))


def _keep_file(folder: Path | None, name: str, data: bytes) -> None:
    """Adds a piece to a file that a host sends."""
    if folder is not None:
        with (folder / name).open("ab") as file:
            file.write(data)
