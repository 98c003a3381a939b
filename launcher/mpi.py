"""Starts the workers of an MPI job with mpirun; pipes in a private folder bring their output.

mpirun mixes its ranks' outputs and keeps their ends to itself, so each rank runs under a small
wrapper (worker.py) that sends both to the launcher directly. A job then looks as over gRPC.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import sys
import time
from pathlib import Path

from distflow.cluster.environments.mpi import PROCESS_MANAGERS

from . import rank
from .job import INTERNAL_ERROR, Job
from .reading import read_now
from .reports import private_folder

KINDS = ("out", "err")
# MPICH's words in MPI_Abort; it then exits with a code of its own, or waits to be killed.
ABORT = re.compile(r"Abort\((\d+)\) on node \d+")
# Where Open MPI 5, and 4, keep their session files, and 5 its shared memory: in the job's own
# folder, which the guardian removes when they are killed before they can.
SCRATCH = (
    "PRTE_MCA_prte_tmpdir_base",
    "OMPI_MCA_orte_tmpdir_base",
    "OMPI_MCA_btl_sm_backing_directory",
)
SETTLE_SECONDS = 2.0  # for the ranks' own reports after the end of mpirun


class MpiStarter:
    """One mpirun as the child of the launcher."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._mpirun: int | None = None
        self._is_over = False
        self._status = -1
        self._outputs: list[int] = []  # the ranks'; they have no end, see `_pipe`
        self._partial = b""
        self._swept: set[int] = set()  # ranks that were killed because mpirun ended

    def start(self, job: Job) -> None:
        """Makes the pipes and starts mpirun."""
        plan = job.plan
        assert plan.mpirun is not None
        self._folder = private_folder()
        job.guard_folder(self._folder)
        self._status = self._pipe("status")
        os.set_blocking(self._status, False)
        job.listen(self._status, lambda: self._read_status(job))
        self._outputs = []
        for worker in job.ranks:
            self._open_pipes(job, worker)
        command = plan.mpirun.command(plan.num_workers, self._worker_command(job))
        out, err = os.pipe(), os.pipe()
        scratch = {name: str(self._folder) for name in SCRATCH if name not in os.environ}
        environment = {
            **os.environ, **scratch, **plan.variables, **job.report_variables(),
            **self._more_variables(job),
        }  # fmt: skip
        self._mpirun = job.spawn(command, environment, stdout=out[1], stderr=err[1])
        job.guard(self._mpirun)
        os.close(out[1])
        os.close(err[1])
        job.watch(out[0], "out")
        job.watch(err[0], "err")

    def _worker_command(self, job: Job) -> list[str]:
        """Returns what mpirun runs on each rank: the plan's command under the wrapper."""
        names = ";".join(f"{v.rank},{v.size},{v.local_rank}" for v in PROCESS_MANAGERS)
        wrapper = [sys.executable, "-I", "-S", str(Path(__file__).with_name("worker.py"))]
        return [*wrapper, "report", str(self._folder), names, *job.plan.command]

    def _more_variables(self, job: Job) -> dict[str, str]:
        """Returns variables for all ranks beside those of the plan."""
        return {}

    def _open_pipes(self, job: Job, worker: rank.Rank) -> None:
        """Makes the pipes of a rank's output, and shows what comes."""
        for kind in KINDS:
            self._outputs.append(self._pipe(f"rank-{worker.number}.{kind}"))
            job.watch(self._outputs[-1], kind, worker)

    def on_exit(self, job: Job, process: int, code: int) -> None:
        """mpirun, or an orphan, has ended; a rank that has not told its end was killed by it."""
        if process != self._mpirun:
            return
        over = time.monotonic() + SETTLE_SECONDS
        while any(self._is_open(worker) for worker in job.ranks):
            left = over - time.monotonic()
            if left <= 0 or not select.select([self._status], [], [], left)[0]:
                break
            self._read_status(job)
        self._is_over = True
        for worker in job.ranks:
            aborted = self._abort_code(job, worker)
            if worker.code is None and aborted is not None:
                self.ended(job, worker.number, aborted)
        for worker in job.ranks:
            if worker.code is None and worker.group is not None:
                self.ended(job, worker.number, -signal.SIGKILL)
            elif worker.code is None:
                self.ended(job, worker.number, code or INTERNAL_ERROR)

    def started(self, job: Job, number: int, process: int) -> None:
        """Notes a rank's process."""
        job.started(number, process)

    def ended(self, job: Job, number: int, code: int) -> None:
        """Notes how a rank ended."""
        job.ended(number, code)

    def on_failure(self, job: Job, failed: rank.Rank) -> None:
        """mpirun ends the other ranks by itself."""

    def on_request(self, job: Job) -> None:
        """The number of workers is fixed."""
        job.say("SIGUSR1 adds a worker to jobs with --elastic only")

    def is_over(self, job: Job) -> bool:
        """Whether mpirun has ended."""
        return self._is_over

    def close(self) -> None:
        """Removes the pipes."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._status >= 0:
            os.close(self._status)

    def _pipe(self, name: str) -> int:
        """Opened for writing too, so that it has no end before the first worker opens it."""
        assert self._folder is not None
        path = self._folder / name
        os.mkfifo(path, 0o600)
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def _read_status(self, job: Job) -> None:
        data = read_now(self._status, 64 * 1024) or b""
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            word, number, value = line.decode().split()
            if word == "start":
                self.started(job, int(number), int(value))
            elif word == "swept":
                self._swept.add(int(number))
            elif int(value) == 0:
                self.ended(job, int(number), 0)
            else:
                aborted = self._abort_code(job, job.ranks[int(number)])
                self.ended(job, int(number), int(value) if aborted is None else aborted)

    def _is_open(self, worker: rank.Rank) -> bool:
        """Whether a started rank has not told its end yet."""
        started = worker.group is not None and worker.code is None
        return started and worker.number not in self._swept

    def _abort_code(self, job: Job, worker: rank.Rank) -> int | None:
        """Returns the code that a rank gave to MPI_Abort, if its MPI wrote that to its stderr."""
        job.catch_up(worker.number)
        for line in worker.tail:
            match = ABORT.match(line)
            if match:
                return int(match[1]) & 0xFF
        return None
