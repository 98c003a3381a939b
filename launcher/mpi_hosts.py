"""An MPI job over hosts: one mpirun, started again when the hosts change or one is lost.

MPI cannot shrink or grow a job that runs. So the ranks are asked to end after the step under way
(SIGUSR1, which mpirun hands on), keep a backup where all hosts see it (BackupAndRestore), and the
next mpirun goes on from there. What is lost without being asked goes on from its last backup. The
bits stay the same, as the number of logical replicas does.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import guardian, light, rank
from .arguments import RETRYABLE
from .discovery import Discovery, Poller, first_slots, slots_of
from .elastic import LEFT, is_lost
from .hosts import Host
from .job import Job
from .reports import private_folder
from .streams import Pipe, Sink
from .tagged import Tagged

SETTLE_SECONDS = 3.0  # hosts come and go one after the other, and a restart is for all of them
MOST_SETTLE_SECONDS = 60.0  # a kubelet may show a changed ConfigMap a minute later
KILL_SECONDS = 10.0  # from SIGTERM to SIGKILL of an mpirun
# Open MPI 5.0.11's mpirun says the first, ends the job and exits with 0.
_LOST = re.compile(
    "has lost communication with a remote daemon"
    "|daemon has unexpectedly failed"
    "|not able to (?:reliably )?confirm that the following (?:hosts|nodes)"
    "|Could not resolve hostname|Connection (?:refused|reset|timed out|closed)"
)
_RANK = re.compile(
    r"Process name: \[\S*,(\d+)\]|process rank (\d+) with PID|MPI_ABORT was invoked on rank (\d+)"
)
_KEPT = re.compile(r"asked to end: all is kept after step (\d+)")
# Said of the launcher's own host, or read there; ranks get theirs from MPI.
_OF_THIS_HOST = re.compile(
    "DISTFLOW_(TOKEN|LOCAL_.*|FLIGHT_DIR|TIMELINE|REPORT|RANK|WORLD_SIZE|COORDINATOR|METRICS_PORT)"
)
_HANDED_ON = re.compile("DISTFLOW_.*|.*_NUM_THREADS|PYTHON(UNBUFFERED|DONTWRITEBYTECODE)")


class MpiHosts:
    """One mpirun after the other over the hosts of now, until all ranks of one have finished.

    Args:
      discovery: says which hosts there are.
    """

    def __init__(self, discovery: Discovery):
        self._discovery = discovery
        self._poller: Poller | None = None
        self._folder: Path | None = None
        self._low = self._high = 0
        self._hosts: list[Host] = []  # those of the mpirun that runs, or ran last
        self._found: list[Host] = []
        self._found_at = 0.0
        self._mpirun: int | None = None
        self._outputs: list[Pipe] = []
        self._is_over = False
        self._is_asked = False
        self._has_lost_host = False
        self._failed_rank = 0
        self._kept_step: int | None = None
        self._ended_at = 0.0  # when the last mpirun did
        self._says_waiting = False
        self._restarts = 0  # in a row, on the same hosts
        self._patience_seconds = float(light.load("base.flags").get("DISTFLOW_ELASTIC_TIMEOUT"))

    def start(self, job: Job) -> None:
        """Looks for hosts and starts mpirun on them, or waits for enough."""
        assert job.plan.elastic is not None
        self._low, self._high = job.plan.elastic
        self._folder = private_folder()
        job.guard_folder(self._folder)
        self._found = self._discovery.look()
        self._poller = Poller(self._discovery, job.say, self._found)
        job.listen(self._poller.fd, lambda: self._look(job))
        self._ended_at = time.monotonic()
        self._go_on(job)

    def on_exit(self, job: Job, process: int, code: int) -> None:
        """mpirun has ended: the job is over, or waits for hosts to go on."""
        if process != self._mpirun:
            return
        for output in self._outputs:
            job.catch_up_with(output)
        guardian.signal_groups([process], signal.SIGKILL)  # what it may have left
        job.release(process)
        self._mpirun, self._outputs = None, []
        if code > 128:
            code = 128 - code if code != LEFT else LEFT
        if code == 0 and not self._has_lost_host:
            self._is_over = True
            self._end_all(job, 0)
        elif job.is_ending:
            self._is_over = True
            self._end_all(job, code or RETRYABLE)
        elif self._is_asked or self._has_lost_host or is_lost(code):
            self._wait(job, code)
        else:
            self._end_with(job, self._failed_rank, code)

    def on_failure(self, job: Job, failed: rank.Rank) -> None:
        """mpirun has ended already, and all ranks with it."""

    def on_request(self, job: Job) -> None:
        """The hosts decide on the number of workers."""
        job.say("SIGUSR1 adds no worker where the hosts are discovered: add a host")

    def is_over(self, job: Job) -> bool:
        """Whether the last mpirun has ended."""
        return self._is_over or (job.is_ending and self._mpirun is None)

    def close(self) -> None:
        """Ends the looking for hosts."""
        if self._poller is not None:
            self._poller.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    # -- one mpirun ------------------------------------------------------------------------

    def _launch(self, job: Job, now: list[Host]) -> None:
        size = slots_of(now)
        self._hosts, self._is_asked, self._has_lost_host = now, False, False
        self._failed_rank = 0
        del job.ranks[size:]
        for number in range(len(job.ranks), size):
            job.ranks.append(rank.Rank(number))
        places = [host.name for host in now for _ in range(host.slots)]
        for worker, name in zip(job.ranks, places):
            worker.restart()
            worker.host, worker.send = name, lambda number: self._ask(number)
        variables = {**job.plan.variables, "DISTFLOW_WORLD_SIZE": str(size)}
        job.plan = dataclasses.replace(job.plan, num_workers=size, variables=variables)
        assert self._folder is not None
        file = self._folder / "hosts"
        file.write_text("".join(f"{host.name} slots={host.slots}\n" for host in now))
        assert job.plan.mpirun is not None
        command = [job.plan.remote_python, *job.plan.command[1:]]
        names = handed_on(variables, os.environ)
        words = job.plan.mpirun.over_hosts(size, file, names, command)
        environment = {**os.environ, **variables}
        out, err = os.pipe(), os.pipe()
        self._mpirun = job.spawn(words, environment, stdout=out[1], stderr=err[1])
        job.guard(self._mpirun)
        os.close(out[1])
        os.close(err[1])
        self._outputs = [
            self._attach(job, fd, kind) for fd, kind in ((out[0], "out"), (err[0], "err"))
        ]

    def _attach(self, job: Job, fd: int, kind: str) -> Pipe:
        # What mpirun says of an end that was asked for says nothing.
        own = Sink(lambda: "[mpirun] ", 2, is_muted=lambda: job.is_ending or self._is_asked)

        def sink_of(number: int) -> Sink:
            known = number < len(job.ranks)
            return job.sink(kind, job.ranks[number] if known else rank.Rank(number))

        output = Pipe(fd, Tagged(sink_of, own, self._hear))
        job.attach(output)
        return output

    def _hear(self, line: str) -> None:
        """Takes what mpirun says of hosts and of the rank that failed first."""
        self._has_lost_host = self._has_lost_host or is_of_lost_host(line)
        match = _RANK.search(line)
        if match is not None:
            self._failed_rank = int(next(group for group in match.groups() if group))

    def _ask(self, number: int) -> None:
        """Hands a signal on to all ranks, the first time as the request to end."""
        if self._mpirun is None:
            return
        if number == signal.SIGKILL:
            _signal(self._mpirun, number)
        elif not self._is_asked:
            self._is_asked = True
            _signal(self._mpirun, signal.SIGUSR1)

    # -- between two -----------------------------------------------------------------------

    def _look(self, job: Job) -> None:
        """Hears of the hosts, once a second."""
        assert self._poller is not None
        self._found, self._found_at = self._poller.take()
        if job.is_ending or self._is_over:
            return
        if self._mpirun is None:
            self._go_on(job)
        elif not self._is_asked and self._is_settled() and self._wanted() != self._hosts:
            job.say(
                f"{change(self._hosts, self._wanted())}: the workers are asked to end after the "
                "step under way"
            )
            self._ask(signal.SIGTERM)
            end = functools.partial(self._end_now, job, self._mpirun)
            job.call_at(time.monotonic() + job.plan.grace_seconds, end)

    def _end_now(self, job: Job, mpirun: int) -> None:
        """Ends an mpirun whose ranks were asked to end and have not."""
        if mpirun != self._mpirun or job.is_ending:
            return
        job.say(f"not ended after {job.plan.grace_seconds:g} s: mpirun is ended")
        _signal(mpirun, signal.SIGTERM)
        job.call_at(time.monotonic() + KILL_SECONDS, functools.partial(self._kill, mpirun))

    def _kill(self, mpirun: int) -> None:
        if mpirun == self._mpirun:
            _signal(mpirun, signal.SIGKILL)

    def _wait(self, job: Job, code: int) -> None:
        """Notes why mpirun ended, and waits until the hosts are known."""
        self._kept_step = None
        for worker in job.ranks:
            for line in worker.tail:
                match = _KEPT.search(line)
                if match is not None:
                    self._kept_step = max(self._kept_step or 0, int(match[1]))
            worker.tail.clear()
        if not self._is_asked:
            what = "a host is lost" if self._has_lost_host else f"rank {self._failed_rank} is lost"
            how = f" ({rank.ending(code)})" if code else ""
            job.say("workers were asked to end" if code == LEFT else f"{what}{how}")
        self._ended_at, self._says_waiting = time.monotonic(), False

    def _go_on(self, job: Job) -> None:
        """Starts mpirun if there are enough hosts, and gives up if there have not been for long."""
        wanted, waited = self._wanted(), time.monotonic() - self._ended_at
        if slots_of(wanted) >= self._low:
            if not self._hosts:
                self._launch(job, wanted)
            elif self._is_settled() and self._may_restart(job, wanted):
                self._launch(job, wanted)
        elif not self._says_waiting:
            self._says_waiting = True
            job.say(
                f"hosts for {slots_of(wanted)} of at least {self._low} workers: waiting for more, "
                f"{self._patience_seconds:g} s at most"
            )
        elif waited > self._patience_seconds:
            job.say(f"there are not enough hosts after {waited:.0f} s; start it again to go on")
            self._end_with(job, 0, RETRYABLE)

    def _may_restart(self, job: Job, wanted: list[Host]) -> bool:
        """Says what happens; False if the same hosts have failed too often."""
        where = "its last backup" if self._kept_step is None else f"step {self._kept_step}"
        count = ""
        if wanted != self._hosts or self._kept_step is not None:
            self._restarts = 0
        elif self._restarts == job.plan.max_restarts:
            job.say("no restarts are left")
            self._end_with(job, self._failed_rank, RETRYABLE)
            return False
        else:
            self._restarts += 1
            count = f" (restart {self._restarts} of {job.plan.max_restarts})"
        job.say(f"{change(self._hosts, wanted)}: started again from {where}{count}")
        return True

    def _wanted(self) -> list[Host]:
        return first_slots(self._found, self._high)

    def _is_settled(self) -> bool:
        """Whether the hosts have been the same for a while; longer each time they failed."""
        wait = min(SETTLE_SECONDS * 2**self._restarts, MOST_SETTLE_SECONDS)
        if self._wanted() != self._hosts:
            wait = SETTLE_SECONDS
        return time.monotonic() - max(self._found_at, self._ended_at) >= wait

    def _end_all(self, job: Job, code: int) -> None:
        for worker in job.ranks:
            job.ended(worker.number, code)

    def _end_with(self, job: Job, number: int, code: int) -> None:
        """Ends the job because of how a rank has ended."""
        self._is_over = True
        job.ended(min(number, len(job.ranks) - 1), code)


def is_of_lost_host(line: str) -> bool:
    """Whether mpirun or ssh says that a host cannot be reached, or no more."""
    return _LOST.search(line) is not None


def handed_on(variables: Mapping[str, str], environment: Mapping[str, str]) -> list[str]:
    """Returns the variables that ranks on other hosts get: sshd hands on none of its own.

    Args:
      variables: those of the plan, --env among them.
      environment: the launcher's.
    """
    chosen = {name for name in environment if _HANDED_ON.fullmatch(name)} | set(variables)
    return sorted(name for name in chosen if not _OF_THIS_HOST.fullmatch(name))


def _signal(process: int, number: int) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        pass  # it has ended; the loop hears of that


def change(before: Sequence[Host], after: Sequence[Host]) -> str:
    """Returns in words how many hosts there were, and are."""
    if any(host.slots != 1 for host in (*before, *after)):
        hosts = f" on {len(after)} host{'' if len(after) == 1 else 's'}"
        return f"{slots_of(before)} -> {slots_of(after)} workers{hosts}"
    same = [host for host in after if host in before]
    others = "" if len(same) == min(len(before), len(after)) else ", others"
    return f"{len(before)} -> {len(after)} hosts{others}"
