"""Elastic jobs on hosts over ssh: hosts may be lost, come back, be added and be taken away.

A lost host (its ssh ends) takes its workers with it: the job goes on with the others, workers are
started where slots are free, and the host is tried again until it is back. With --hostfile the file
is looked at every second: hosts that were added get workers, workers of hosts that were taken away
leave after the step under way.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distflow.cluster.coordinator import Coordinator
from distflow.cluster.membership import Membership

from . import hosts, over_ssh, rank
from .approach import Approach, Means
from .arguments import RETRYABLE, UsageError
from .elastic import LEFT, ElasticStarter, is_lost
from .ending import numbers
from .hosts import Host, Place
from .job import Job
from .leavers import Leavers
from .ssh import Session

RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)  # until a host that is away is tried again
WATCH_SECONDS = 1.0


@dataclass
class Part:
    """One host of the job.

    Attributes:
      host: its name and slots.
      session: its connection, while it is ready.
      approach: the try to have it that is under way.
      tries: how often that went wrong since it was ready.
      trouble: what was told of it last.
      is_unwanted: it was taken away: no worker is started there any more.
    """

    host: Host
    session: Session | None = None
    approach: Approach | None = None
    tries: int = 0
    trouble: str = ""
    is_unwanted: bool = False


class ElasticSshStarter(ElasticStarter):
    """A session for each host, the workers' coordinator, and an eye on the file of hosts.

    Args:
      ready: the sessions of hosts that are ready.
      listed: all hosts.
      means: how hosts are reached.
      hostfile: is read again when it changes.
    """

    def __init__(
        self, ready: Sequence[Session], listed: Sequence[Host], means: Means, hostfile: Path | None
    ):  # fmt: skip
        super().__init__()
        self._listed = {host.name: host for host in listed}  # as the file says
        self._parts = {host.name: Part(host) for host in listed}
        for session in ready:
            self._parts[session.host.name].session = session
        self._means, self._hostfile = means, hostfile
        self._stamp: tuple[int, int, int] | None = None  # of the file when it was last read
        self._low = self._high = self._wanted = 0
        self._leavers: Any = None
        self._is_finishing = False

    def start(self, job: Job) -> None:
        """Starts the coordinator, then workers on the hosts that are ready."""
        plan = job.plan
        assert plan.elastic is not None
        self._low, self._high = plan.elastic
        self._wanted = plan.num_workers
        self._coordinator = Coordinator(
            Membership(self._low, self._high), host="0.0.0.0", port=self._means.port,
            token=plan.variables["DISTFLOW_TOKEN"],
        )  # fmt: skip
        self._leavers = Leavers(self._coordinator, self._low)
        del job.ranks[:]  # they come with their workers
        for part in self._parts.values():
            if part.session is not None:
                part.session.process.returncode = 0  # the job waits for all its children itself
                job.attach(part.session)
                over_ssh.adopt(job, part.session, functools.partial(self._ended, job))
        self._fill(job)
        for part in self._parts.values():
            if part.session is None:
                job.say(f"host {part.host.name} is not ready; it is tried again")
                self._try_later(job, part)
        if self._hostfile is not None:
            self._after(job, WATCH_SECONDS, functools.partial(self._watch, job))

    def on_exit(self, job: Job, process: int, code: int) -> None:
        """An ssh has ended: that of a host that is lost, or not reached, or not needed any more."""
        for part in list(self._parts.values()):
            if part.approach is not None and part.approach.session.process.pid == process:
                part.approach.end(f"{rank.ending(code)} of ssh")
            if part.session is not None and part.session.process.pid == process:
                job.catch_up_with(part.session)
                self._gone(job, part, code)

    def on_request(self, job: Job) -> None:
        """Starts one more worker, if there may be more and a host has room for it."""
        if job.is_ending or self._has_finished:
            return
        if len(_running(job)) >= self._high:
            job.say(f"there are {self._high} workers already, the most of --elastic")
            return
        self._wanted = min(len(_running(job)) + 1, self._high)
        if not self._fill(job):
            job.say("no host has a free slot: one more worker is started when one has")

    def is_over(self, job: Job) -> bool:
        """Whether all workers have ended, and the hosts what those have left behind."""
        if _running(job):
            return False
        if not self._is_finishing:
            self._is_finishing = True
            for part in self._parts.values():
                if part.session is not None:
                    part.session.order(do="finish")
                if part.approach is not None:
                    part.approach.end("the job is over")
        return all(p.session is None or p.session.is_finished for p in self._parts.values())

    def close(self) -> None:
        """Ends the connections and the coordinator."""
        for part in self._parts.values():
            if part.session is not None and not part.session.is_finished:
                part.session.cut()
            if part.approach is not None:
                part.approach.session.cut()
        super().close()

    # -- workers -------------------------------------------------------------------------

    def _ended(self, job: Job, worker: rank.Rank, code: int) -> None:
        was_to_go = worker in self._leavers
        if was_to_go and is_lost(code):
            code = LEFT  # it was to go, and is not replaced, however it went
        restarts = self._restarts
        super()._ended(job, worker, code)
        if worker.code is None:
            return  # another one is in its place
        if was_to_go:
            self._leavers.ended(worker)
            _tell_started(job, self._fill(job), "in the place of one that has left")
        elif is_lost(code) and self._restarts == restarts:
            self._wanted -= 1  # it left by itself, or no restarts are left
        part = self._parts.get(worker.host)
        if part is not None and part.is_unwanted and part.session is not None:
            if not _running(job, part):
                part.session.order(do="finish")

    def _replace(self, job: Job, worker: rank.Rank) -> None:
        part = self._parts.get(worker.host)
        if part is not None and self._has_room(job, part):
            self._start_on(job, part, worker)
        else:
            self._fill(job)

    def _fill(self, job: Job) -> list[rank.Rank]:
        """Starts workers where slots are free, up to as many as are wanted; returns them."""
        started: list[rank.Rank] = []
        while self._lacks_workers(job):
            part = next((p for p in self._parts.values() if self._has_room(job, p)), None)
            free = [worker for worker in job.ranks if worker.code is not None]
            if part is None:
                break
            free.sort(key=lambda worker: (worker.host != part.host.name, worker.number))
            if not free:
                job.ranks.append(rank.Rank(len(job.ranks)))
            self._start_on(job, part, (free or job.ranks[-1:])[0])
            started.append((free or job.ranks[-1:])[0])
        return started

    def _lacks_workers(self, job: Job) -> bool:
        running = len(_running(job))
        wanted = running - len(self._leavers) < self._wanted and running < self._high
        return wanted and not self._is_ending(job)

    def _has_room(self, job: Job, part: Part) -> bool:
        is_ready = part.session is not None and not part.is_unwanted
        return is_ready and len(_running(job, part)) < part.host.slots

    def _start_on(self, job: Job, part: Part, worker: rank.Rank) -> None:
        session = part.session
        assert self._coordinator is not None
        assert session is not None
        self._coordinator.slot_started(worker.number)
        taken = {other.local_number for other in _running(job, part) if other is not worker}
        worker.local_number = next(n for n in range(part.host.slots) if n not in taken)
        place = Place(worker.number, part.host, worker.local_number, part.host.slots)
        launcher = session.launcher(self._means.address)
        over_ssh.launch(job, session, place, launcher, self._means.port)

    # -- hosts ---------------------------------------------------------------------------

    def _gone(self, job: Job, part: Part, code: int) -> None:
        """Takes a host out whose ssh has ended, and its workers with it."""
        assert part.session is not None
        is_well, part.session = part.session.is_finished, None
        running = _running(job, part)
        name = part.host.name
        if self._is_finishing or (is_well and not running):
            if part.is_unwanted:
                self._forget(job, name)
            return
        those = f", and with it {numbers([w.number for w in running])}" if running else ""
        job.say(f"host {name} is lost ({rank.ending(code)} of ssh){those}")
        assert self._coordinator is not None
        for worker in running:
            self._leavers.ended(worker)
            self._coordinator.slot_ended(worker.number)
            worker.is_excused = True
            job.ended(worker.number, RETRYABLE)
        if running and not _running(job) and not self._has_finished:
            job.say("no worker is left, so nobody has the state of the job")
            running[0].is_excused = False
            job.fail(running[0])
        if part.is_unwanted:
            self._forget(job, name)
            return
        _tell_started(job, self._fill(job), "in place of those lost")
        self._try_later(job, part)

    def _forget(self, job: Job, name: str) -> None:
        """Takes a host out that was taken away; it may have been listed again meanwhile."""
        del self._parts[name]
        if name in self._listed and not self._is_ending(job):
            self._parts[name] = Part(self._listed[name])
            self._try(job, self._parts[name])

    def _try_later(self, job: Job, part: Part) -> None:
        delay = RETRY_SECONDS[min(part.tries, len(RETRY_SECONDS) - 1)]
        part.tries += 1
        self._after(job, delay, functools.partial(self._try, job, part))

    def _try(self, job: Job, part: Part) -> None:
        is_listed = self._parts.get(part.host.name) is part and not part.is_unwanted
        if (
            is_listed
            and part.session is None
            and part.approach is None
            and not self._is_ending(job)
        ):
            others = [p.session for p in self._parts.values() if p.session is not None]
            done = functools.partial(self._tried, job, part)
            part.approach = Approach(job, part.host, self._means, others, done)

    def _tried(self, job: Job, part: Part, trouble: str) -> None:
        assert part.approach is not None
        session, part.approach = part.approach.session, None
        if self._is_ending(job) or part.is_unwanted:
            session.cut()
            return
        if trouble:
            if trouble != part.trouble:
                job.say(f"host {part.host.name} is not ready: {trouble}; it is tried again")
            part.trouble = trouble
            self._try_later(job, part)
            return
        part.session, part.tries, part.trouble = session, 0, ""
        over_ssh.adopt(job, session, functools.partial(self._ended, job))
        started = self._fill(job)
        job.say(f"host {part.host.name} is ready" + ("" if started else "; no worker is wanted"))
        _tell_started(job, started, "there")

    def _watch(self, job: Job) -> None:
        stamp = _stamp(self._hostfile)
        if stamp is not None and stamp != self._stamp:
            is_first, self._stamp = self._stamp is None, stamp
            self._read_again(job, is_first)
        if not self._is_ending(job):
            self._after(job, WATCH_SECONDS, functools.partial(self._watch, job))

    def _read_again(self, job: Job, is_first: bool = False) -> None:
        """Makes the hosts of the job those of the file.

        Args:
          is_first: whether the file may still be as it was before the job.
        """
        if self._hostfile is None or self._is_ending(job):
            return
        try:
            listed = {host.name: host for host in hosts.read(self._hostfile)}
        except UsageError as error:
            job.say(f"{error} The hosts stay as they were.")
            return
        if is_first and listed == self._listed:
            return
        slots = sum(host.slots for host in listed.values())
        if slots < self._low:
            job.say(
                f"{self._hostfile} has {slots} slots, --elastic needs {self._low}: the hosts stay "
                "as they were"
            )
            return
        self._listed, self._wanted = listed, min(slots, self._high)
        job.say(f"{self._hostfile} has {len(listed)} hosts now, with {slots} slots")
        for name, part in list(self._parts.items()):
            if name not in listed:
                self._take_away(job, part)
        for name, host in listed.items():
            part = self._parts.setdefault(name, Part(host))
            part.host = host if not part.is_unwanted else part.host
            self._leavers.add(job, _running(job, part)[host.slots :])
            if part.session is None:
                part.tries = 0
                self._try(job, part)
        staying = [worker for worker in _running(job) if worker not in self._leavers]
        self._leavers.add(job, staying[self._wanted :])
        _tell_started(job, self._fill(job), "on slots that are free")

    def _take_away(self, job: Job, part: Part) -> None:
        if part.is_unwanted:
            return
        part.is_unwanted = True
        running = _running(job, part)
        verb = "leaves" if len(running) == 1 else "leave"
        those = f": {numbers([w.number for w in running])} {verb}" if running else ""
        job.say(f"host {part.host.name} is taken away{those}")
        if part.session is None:
            del self._parts[part.host.name]
        elif running:
            self._leavers.add(job, running)
        else:
            part.session.order(do="finish")

    def _is_ending(self, job: Job) -> bool:
        return job.is_ending or self._has_finished or self._is_finishing

    def _after(self, job: Job, seconds: float, act: Callable[[], None]) -> None:
        job.call_at(time.monotonic() + seconds, act)


def _running(job: Job, part: Part | None = None) -> list[rank.Rank]:
    """The workers that run, on one host or on all, by rank."""
    found = [worker for worker in job.ranks if worker.code is None]
    return [w for w in found if part is None or w.host == part.host.name]


def _tell_started(job: Job, started: Sequence[rank.Rank], where: str) -> None:
    if started:
        job.say(f"{numbers(sorted(w.number for w in started))} started {where}")


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """What changes when a file is written again."""
    try:
        found = os.stat(path) if path is not None else None
    except OSError:
        return None  # being replaced
    return found and (found.st_mtime_ns, found.st_size, found.st_ino)
