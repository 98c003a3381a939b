"""Elastic jobs over MPI: with an MPI that goes on without a lost rank (ULFM) the others do the step
again, as over gRPC; with any other mpirun is started again.

The launcher runs the coordinator of the job, as for gRPC; mpirun's ranks are the members of its
generations. More ranks than mpirun has started, or fewer than the least, need another mpirun: the
ranks leave, the last one keeps the job in a folder, and the new ones go on from there.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import tempfile
from pathlib import Path

from distflow.cluster.coordinator import Coordinator
from distflow.cluster.membership import Membership

from . import guardian, rank
from .elastic import LEFT, is_lost
from .job import Job
from .mpi import MpiStarter
from .mpi_elastic import MpiRestarter
from .mpirun import Mpirun

OPTIONS = ("--with-ft", "ulfm")
FIRST_VERSION = 5
SWITCH = "OMPI_MCA_mpi_ft_enable"  # Open MPI's own
PROBE_SECONDS = 20.0


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
            f"MPI goes on without a lost rank (ULFM) while {self._low} are left. To add a worker, "
            "or with fewer, mpirun is started again and goes on from the last completed step; over "
            "gRPC no restart would be needed."
        )
        self._kept = tempfile.TemporaryDirectory(prefix="distflow-kept-")
        job.guard_folder(Path(self._kept.name))
        options = (*job.plan.mpirun.options, *OPTIONS)
        mpirun = dataclasses.replace(job.plan.mpirun, options=options)
        job.plan = dataclasses.replace(job.plan, mpirun=mpirun)
        self._start_with(job, job.plan.num_workers)

    def ended(self, job: Job, number: int, code: int) -> None:
        """Notes how a rank ended: the others go on, unless it failed by its own error."""
        worker = job.ranks[number]
        if not self._survives or self._is_over or worker.code is not None:
            super().ended(job, number, code)
            return
        assert self._coordinator is not None
        self._coordinator.slot_ended(number, is_finished=code == 0)
        if code == 0:
            self._has_finished = True
            # One that was stopped would be waited for; awake it finds that all is done.
            guardian.signal_groups([g for g in _groups(job) if g != worker.group], signal.SIGCONT)
        if code == 0 or job.is_ending or not is_lost(code):
            job.ended(number, code)
            return
        worker.is_excused = True
        job.ended(number, code)
        if self._has_finished or self._is_stopping:
            return
        left = sum(other.code is None for other in job.ranks)
        if code != LEFT:
            self._told.append(worker)
            job.say(f"rank {number} is lost ({rank.ending(code)}); {left} go on")
        if left < self._low:
            self._told = self._told or [worker]
            self._is_stopping = True
            guardian.signal_groups(_groups(job), signal.SIGTERM)

    def on_exit(self, job: Job, process: int, code: int) -> None:
        """mpirun has ended: the job is over, or is started again."""
        if not self._survives:
            super().on_exit(job, process, code)
            return
        MpiStarter.on_exit(self, job, process, code)  # hears the last reports
        if process == self._mpirun and not self._has_finished:
            super().on_exit(job, process, code)

    def on_request(self, job: Job) -> None:
        """Starts again with one more worker, if there may be more."""
        self._is_stopping = self._is_stopping or len(job.ranks) < self._high
        super().on_request(job)

    def close(self) -> None:
        """Removes the pipes, ends the coordinator."""
        super().close()
        if self._coordinator is not None:
            self._coordinator.close(0.0)
            self._coordinator = None

    def _start_with(self, job: Job, size: int) -> None:
        if self._survives:
            assert self._kept is not None
            self._is_stopping = self._has_finished = False
            token = job.plan.variables["DISTFLOW_TOKEN"]
            self._coordinator = Coordinator(Membership(self._low, size), token=token)
            for number in range(size):
                self._coordinator.slot_started(number)
            variables = {
                **job.plan.variables,
                "DISTFLOW_ELASTIC": f"{self._low}:{size}",
                "DISTFLOW_COORDINATOR": self._coordinator.address,
                "DISTFLOW_GRACE": f"{max(job.plan.grace_seconds, 1.0):g}",
                "DISTFLOW_ELASTIC_DIR": self._kept.name,
            }
            variables.pop("DISTFLOW_LEAVE", None)  # there is no need of a backup
            job.plan = dataclasses.replace(job.plan, variables=variables)
        super()._start_with(job, size)


def _groups(job: Job) -> list[int]:
    return [worker.group for worker in job.ranks if worker.code is None and worker.group]
