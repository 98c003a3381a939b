"""Elastic jobs over MPI: with an MPI that goes on without a lost rank (ULFM) the others do the step
again, as over gRPC; with any other mpirun is started again.

The launcher runs the coordinator of the job, as for gRPC; mpirun's ranks are the members of its
generations. Another one, for more or in the place of a lost one, is started by a member that the
coordinator asks (MPI_Comm_spawn). If that fails, or with fewer than the least, it takes another
mpirun: the ranks leave, the last one keeps the job in a folder, and the new ones go on from there.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from distflow.cluster.coordinator import Coordinator
from distflow.cluster.membership import Membership

from . import guardian, rank
from .elastic import LEFT, is_lost, rank_for_one_more, say_again
from .job import Job
from .mpi import MpiStarter
from .mpi_elastic import MpiRestarter, living_groups
from .mpirun import Mpirun

OPTIONS = ("--with-ft", "ulfm")
FIRST_VERSION = 5
SWITCH = "OMPI_MCA_mpi_ft_enable"  # Open MPI's own
PROBE_SECONDS = 20.0
SPAWN_SECONDS = 10.0  # until a worker that a member was asked for must have started


def obstacle(mpirun: Mpirun) -> str:
    """Returns why this MPI cannot go on without a lost rank, "" if it can."""
    name = f"{mpirun.name} {mpirun.version}"
    if mpirun.name != "Open MPI":
        return f"{name} has no ULFM"
    major = mpirun.version.partition(".")[0]
    if not major.isdigit() or int(major) < FIRST_VERSION:
        return f"{name} has no ULFM, which came with Open MPI {FIRST_VERSION}"
    if os.environ.get(SWITCH, "1").lower() in ("0", "false", "no"):
        return f"{name} is told to do without ULFM by {SWITCH}"
    info = Path(mpirun.path).with_name("ompi_info")
    try:
        said = subprocess.run(
            [info, "--parsable"], capture_output=True, text=True, errors="replace",
            timeout=PROBE_SECONDS, stdin=subprocess.DEVNULL,
        ).stdout  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{name} cannot be asked for ULFM ({error})"
    if "ft_mpi_support:yes" not in said:
        return f"this {name} was built without ULFM (ompi_info: no ft_mpi_support)"
    return ""


class MpiElasticStarter(MpiRestarter):
    """mpirun with ULFM where there is that; else one mpirun after the other."""

    def __init__(self) -> None:
        super().__init__()
        self._survives = False
        self._coordinator: Coordinator | None = None
        self._is_stopping = self._has_finished = False
        # Where ranks leave the job to those of the next mpirun; ends with this process.
        self._kept: tempfile.TemporaryDirectory[str] | None = None
        self._asked: dict[int, object] = {}  # by slot: the newest request for a process
        self._stranded: set[int] = set()  # slots whose processes cannot come to the job

    def start(self, job: Job) -> None:
        """Says what losing a rank costs, and starts mpirun."""
        assert job.plan.mpirun is not None
        assert job.plan.elastic is not None
        why = obstacle(job.plan.mpirun)
        if why:
            job.say(f"no job over MPI goes on without a lost rank here: {why}")
            super().start(job)
            return
        self._survives = True
        self._low, self._high = job.plan.elastic
        job.say(
            f"MPI goes on without a lost rank (ULFM) while {self._low} are left, and starts others "
            "(MPI_Comm_spawn). With fewer mpirun is started again and goes on from the last "
            "completed step; over gRPC no restart would be needed."
        )
        self._kept = tempfile.TemporaryDirectory(prefix="distflow-kept-")
        job.guard_folder(Path(self._kept.name))
        options = (*job.plan.mpirun.options, *OPTIONS)
        mpirun = dataclasses.replace(job.plan.mpirun, options=options)
        job.plan = dataclasses.replace(job.plan, mpirun=mpirun)
        self._start_with(job, job.plan.num_workers)

    def started(self, job: Job, number: int, process: int) -> None:
        """Notes a rank's process; one that comes when all are to leave leaves, too."""
        job.started(number, process)
        if self._survives:
            self._end_stranded(job)
        if self._is_stopping:
            guardian.signal_groups([process], signal.SIGTERM)

    def ended(self, job: Job, number: int, code: int) -> None:
        """Notes how a rank ended: the others go on, unless it failed by its own error."""
        worker = job.ranks[number]
        if not self._survives or self._is_over or worker.code is not None:
            super().ended(job, number, code)
            return
        assert self._coordinator is not None
        job.is_mute = True  # mpirun counts the processes of each spawn from 0
        self._coordinator.slot_ended(number, is_finished=code == 0)
        if code == 0:
            self._has_finished = True
            # One that was stopped would be waited for; awake it finds that all is done.
            guardian.signal_groups(
                [g for g in living_groups(job) if g != worker.group], signal.SIGCONT
            )
        self._end_stranded(job)
        # MPI ends a process that it has just started if the one that asked for it has gone.
        is_early = number in self._asked and not self._coordinator.has_joined(number)
        if code == 0 or job.is_ending or not (is_lost(code) or is_early):
            job.ended(number, code)
            return
        worker.is_excused = True
        job.ended(number, code)
        if self._has_finished or self._is_stopping:
            return
        if number in self._stranded:
            self._start_one(job, worker)
            return
        left = len(living_groups(job))
        if code != LEFT:
            self._told.append(worker)
            job.say(f"rank {number} is lost ({rank.ending(code)}); {left} go on")
            if left and self._restarts < job.plan.max_restarts:
                self._restarts += 1
                say_again(job, worker, self._restarts)
                self._start_one(job, worker)
                return
        if left < self._low:
            self._told = self._told or [worker]
            self._is_stopping = True
            guardian.signal_groups(living_groups(job), signal.SIGTERM)

    def on_exit(self, job: Job, process: int, code: int) -> None:
        """mpirun has ended: the job is over, or is started again."""
        if not self._survives:
            super().on_exit(job, process, code)
            return
        if process == self._mpirun:
            self._read_status(job)
            for worker in filter(self._is_awaited, job.ranks):  # nobody has started them
                worker.is_excused = True
                job.ended(worker.number, LEFT)
        MpiStarter.on_exit(self, job, process, code)  # hears the last reports
        if process == self._mpirun and not self._has_finished:
            super().on_exit(job, process, code)

    def on_request(self, job: Job) -> None:
        """Has a member start one more worker, if there may be more."""
        if not self._survives:
            super().on_request(job)
            return
        if job.is_ending or self._has_finished or self._is_stopping:
            return
        count = len(job.ranks)
        worker = rank_for_one_more(job, self._high)
        if worker is None:
            return
        if worker.number == count:
            self._open_pipes(job, worker)
        self._start_one(job, worker)

    def _start_one(self, job: Job, worker: rank.Rank) -> None:
        """Has a member start a process for a rank; without one in time takes another mpirun."""
        assert self._coordinator is not None
        worker.restart()
        worker.group = None
        self._stranded.discard(worker.number)
        request = self._asked[worker.number] = object()
        self._coordinator.want(worker.number)
        job.call_at(
            time.monotonic() + SPAWN_SECONDS,
            functools.partial(self._look_for, job, worker, request),
        )

    def _end_stranded(self, job: Job) -> None:
        """Kills processes that would wait in MPI_Init for ever.

        They have not come to the job, and the member that has started them has gone, or the job has
        come to its end.
        """
        assert self._coordinator is not None
        found = set(self._coordinator.orphans())
        if self._has_finished:
            found |= {n for n in self._asked if not self._coordinator.has_joined(n)}
        for worker in job.ranks:
            if worker.number in found and worker.group is not None and worker.code is None:
                self._stranded.add(worker.number)
                guardian.signal_groups([worker.group], signal.SIGKILL)

    def _is_awaited(self, worker: rank.Rank) -> bool:
        return worker.number in self._asked and worker.group is None and worker.code is None

    def _look_for(self, job: Job, worker: rank.Rank, request: object) -> None:
        is_over = job.is_ending or self._has_finished or self._is_stopping
        is_newest = self._asked.get(worker.number) is request
        if is_over or not is_newest or not self._is_awaited(worker):
            return
        job.say(f"rank {worker.number} has not been started for {SPAWN_SECONDS:g} s")
        self._is_stopping = True
        self._grow(job, len(living_groups(job)))

    def close(self) -> None:
        """Removes the pipes, ends the coordinator."""
        super().close()
        if self._coordinator is not None:
            self._coordinator.close(0.0)
            self._coordinator = None

    def _more_variables(self, job: Job) -> dict[str, str]:
        """Returns how members start others, and how many there may be, where they can."""
        if not self._survives:
            return {}
        how = {"command": self._worker_command(job), "folder": os.getcwd()}
        return {"DISTFLOW_SPAWN": json.dumps(how), "DISTFLOW_WORLD_SIZE": str(self._high)}

    def _start_with(self, job: Job, size: int) -> None:
        if self._survives:
            assert self._kept is not None
            self._is_stopping = self._has_finished = job.is_mute = False
            self._asked, self._stranded = {}, set()
            token = job.plan.variables["DISTFLOW_TOKEN"]
            self._coordinator = Coordinator(Membership(self._low, self._high), token=token)
            for number in range(size):
                self._coordinator.slot_started(number)
            variables = {
                **job.plan.variables,
                "DISTFLOW_ELASTIC": f"{self._low}:{self._high}",
                "DISTFLOW_COORDINATOR": self._coordinator.address,
                "DISTFLOW_GRACE": f"{max(job.plan.grace_seconds, 1.0):g}",
                "DISTFLOW_ELASTIC_DIR": self._kept.name,
            }
            variables.pop("DISTFLOW_LEAVE", None)  # there is no need of a backup
            job.plan = dataclasses.replace(job.plan, variables=variables)
        super()._start_with(job, size)
