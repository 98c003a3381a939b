"""Elastic jobs over MPI: when a rank is lost, mpirun is started again and the program goes on from
its last checkpoint.

An MPI that loses a rank ends them all (a shrunken communicator, ULFM, needs an MPI built and
started for it), so unlike over gRPC the steps since that checkpoint are done again: with the same
bits, as the number of logical replicas stays the same, on any number of ranks.
"""

from __future__ import annotations

import dataclasses
import signal

from . import guardian, rank
from .elastic import is_lost
from .job import Job
from .mpi import MpiStarter


class MpiRestarter(MpiStarter):
    """One mpirun after the other, until all ranks of one have finished."""

    def __init__(self) -> None:
        super().__init__()
        self._low = self._high = 0
        self._restarts = 0
        self._told: list[rank.Rank] = []  # the ranks that failed, in the order of their reports
        self._is_growing = False
        self._size = 0  # the ranks there were when one more was asked for

    def start(self, job: Job) -> None:
        """Says what losing a rank costs, and starts mpirun."""
        assert job.plan.elastic is not None
        self._low, self._high = job.plan.elastic
        job.say(
            "MPI ends all ranks when one is lost: the job is then started again, and goes on from "
            "its last checkpoint (keras.callbacks.BackupAndRestore, train.CheckpointManager). Over "
            "gRPC it would go on without a restart."
        )
        self._start_with(job, job.plan.num_workers)

    def ended(self, job: Job, number: int, code: int) -> None:
        """Notes how a rank ended; what it means is decided when mpirun has ended."""
        worker = job.ranks[number]
        if worker.code is None and code != 0 and not job.is_ending:
            worker.is_excused = True
            if not self._is_over:  # else mpirun has killed it
                self._told.append(worker)
        job.ended(number, code)

    def on_exit(self, job: Job, process: int, code: int) -> None:
        """Starts the next mpirun if this one has lost a rank."""
        super().on_exit(job, process, code)
        failed = [worker for worker in job.ranks if worker.code]
        if process != self._mpirun or not failed or job.is_ending:
            return
        cause = _cause(self._told or failed)
        assert cause.code is not None
        size = len(job.ranks)
        if not is_lost(cause.code):
            size = 0
        elif self._is_growing:
            size = min(self._size + 1, self._high)
        elif self._restarts < job.plan.max_restarts:
            self._restarts += 1
        else:
            size -= 1
        if size < self._low:
            cause.is_excused = False
            job.fail(cause)
            return
        what = "for one more" if self._is_growing else f"as rank {cause.number} is lost"
        how = "" if self._is_growing else f" ({rank.ending(cause.code)})"
        job.say(
            f"mpirun is started again with {size} workers, {what}{how}; restart {self._restarts} "
            f"of {job.plan.max_restarts}"
        )
        job.unlisten(self._status)
        job.release(process)
        for output in self._outputs:
            job.let_go(output)
        self.close()
        self._start_with(job, size)

    def on_request(self, job: Job) -> None:
        """Starts again with one more worker, if there may be more."""
        if len(job.ranks) >= self._high:
            job.say(f"there are {len(job.ranks)} workers already, the most of --elastic")
        elif self._mpirun is not None and not job.is_ending:
            self._grow(job, len(job.ranks))

    def _grow(self, job: Job, size: int) -> None:
        """Lets the ranks leave; then one more than `size` are started."""
        self._is_growing, self._size = True, size
        # Each by itself: mpirun would give them a second, and a step may take longer.
        guardian.signal_groups(living_groups(job), signal.SIGTERM)

    def _start_with(self, job: Job, size: int) -> None:
        self._told, self._swept = [], set()
        self._is_over = self._is_growing = False
        self._partial = b""
        for number in range(len(job.ranks), size):
            job.ranks.append(rank.Rank(number))
        del job.ranks[size:]
        for worker in job.ranks:
            worker.restart()
            worker.group = None
        variables = {**job.plan.variables, "DISTFLOW_WORLD_SIZE": str(size)}
        job.plan = dataclasses.replace(job.plan, num_workers=size, variables=variables)
        super().start(job)


def living_groups(job: Job) -> list[int]:
    """Returns the process groups of the ranks that have started and not ended."""
    return [w.group for w in job.ranks if w.code is None and w.group is not None]


def _cause(failed: list[rank.Rank]) -> rank.Rank:
    """Returns the rank whose end made mpirun end the others, which it does with SIGTERM."""
    by_signal = [w for w in failed if (w.code or 0) < 0 and w.code != -signal.SIGTERM]
    by_itself = [w for w in failed if not is_lost(w.code or 0)]
    return (by_signal or by_itself or failed)[0]
