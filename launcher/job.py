"""Runs one job: shows its workers' output, hands on signals, ends all at the first failure.

One thread does everything but writing to the terminal. It sleeps until a worker writes, a process
ends, a signal comes or a deadline passes.
"""

from __future__ import annotations

import heapq
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from . import ending, guardian, memory, rank
from .arguments import RETRYABLE
from .orphans import adopt_orphans
from .plan import Plan
from .printer import Printer
from .reports import Reports
from .streams import Pipe, Sink, Source
from .view import View

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ADD_WORKER = signal.SIGUSR1
LEFTOVER_SECONDS = 1.0  # from SIGTERM to SIGKILL for what workers have left behind
PATIENCE_SECONDS = 1.0  # how long an interrupted job waits for a terminal that takes nothing
INTERNAL_ERROR = 70


class Starter(Protocol):
    """How the workers of a job are started: by the launcher itself or by mpirun."""

    def start(self, job: Job) -> None:
        """Starts all workers; registers their output with `job.watch`."""

    def on_exit(self, job: Job, process: int, code: int) -> None:
        """A child of the launcher has ended."""

    def on_failure(self, job: Job, failed: rank.Rank) -> None:
        """The first worker has failed."""

    def on_request(self, job: Job) -> None:
        """Somebody asks for one more worker (SIGUSR1)."""

    def is_over(self, job: Job) -> bool:
        """Whether all workers, and what started them, have ended."""

    def close(self) -> None:
        """Gives back what `start` took."""


class Job:
    """One run of a plan; `run()` returns the exit code."""

    def __init__(self, plan: Plan, starter: Starter, *, verbose: bool = False):
        self.plan = plan
        self.ranks = [rank.Rank(number) for number in range(plan.num_workers)]
        self._starter = starter
        self._verbose = verbose
        self._start = time.monotonic()
        self._first: rank.Rank | None = None
        self._stopped: set[int] = set()
        self._interrupted: int | None = None
        self._sent: int | None = None
        self._terminate_at = self._kill_at = float("inf")
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._sources: dict[int, Source] = {}
        self._errors: dict[int, int] = {}  # rank -> its stderr
        self._groups: list[int] = []
        self.is_mute = False  # whether the launcher says better what mpirun says
        self._copies: set[Path | None] = set()
        self._wake_in, self._wake_out = socket.socketpair()
        for end in (self._wake_in, self._wake_out):
            end.setblocking(False)
        self._control = selectors.DefaultSelector()
        self._outputs = selectors.DefaultSelector()
        self._control.register(self._wake_in, selectors.EVENT_READ)
        self._reading = False
        self._printer = Printer(self._wake)
        self._view = View(plan.view, self.ranks, self._printer)
        self._memory = memory.Watch.here()
        self._reports: Reports | None = None

    def run(self) -> int:
        """Runs the job to its end; nothing of it is left when this returns.

        Exit code: 0 if all workers finished well; 128 + n if the launcher was ended by signal n;
        else that of the worker which failed first.
        """
        adopt_orphans()
        handlers = _catch_signals()
        before = signal.set_wakeup_fd(self._wake_out.fileno(), warn_on_full_buffer=False)
        guard = _start_guardian(self.plan.job)
        self._guard = guard
        for folder in self.plan.scratch:
            self.guard_folder(folder)
        try:
            self._hear_workers()
            self._starter.start(self)
            while not self._starter.is_over(self):
                self._step()
            self._end_leftovers()
            self._drain()
        finally:
            guardian.kill_all(self.plan.job, [])  # finds nothing unless an error brought us here
            self._starter.close()
            if self._reports is not None:
                self._reports.close()
            self._tell_guardian("done")
            assert guard.stdin is not None
            guard.stdin.close()
            guard.wait(10)
            signal.set_wakeup_fd(before)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            self._finish_output()
            for open_one in (self._wake_in, self._wake_out, self._control, self._outputs):
                open_one.close()
        return self._exit_code()

    def spawn(
        self, command: list[str], environment: dict[str, str], *, stdout: int, stderr: int
    ) -> int:
        """Starts a child in a session of its own that dies with the launcher; returns its id."""
        wrapper = [sys.executable, "-I", "-S", str(Path(__file__).with_name("worker.py"))]
        process = subprocess.Popen(
            [*wrapper, "exec", str(os.getpid()), *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            stdout=stdout,
            stderr=stderr,
        )
        process.returncode = 0  # the loop waits for children itself, and for their orphans
        return process.pid

    def launch(self, number: int, environment: dict[str, str]) -> int:
        """Starts a worker, or one in the place of a lost one; returns its process."""
        out, err = os.pipe(), os.pipe()
        environment = {**environment, **self.report_variables()}
        process = self.spawn(self.plan.command, environment, stdout=out[1], stderr=err[1])
        os.close(out[1])
        os.close(err[1])
        worker = self.ranks[number]
        worker.restart()
        self.started(number, process)
        self.watch(out[0], "out", worker)
        self.watch(err[0], "err", worker)
        return process

    @property
    def is_ending(self) -> bool:
        """Whether the workers are being ended: after a failure, or by a signal."""
        return self._first is not None or self._interrupted is not None

    def guard(self, group: int) -> None:
        """Puts a process group under the guardian's eye."""
        self._groups.append(group)
        self._tell_guardian(str(group))

    def release(self, group: int) -> None:
        """Forgets a group whose leader has ended: its number may become somebody else's."""
        self._groups.remove(group)
        self._tell_guardian(f"-{group}")

    def guard_folder(self, folder: Path) -> None:
        """Has the guardian remove a folder if the launcher cannot."""
        self._tell_guardian(str(folder))

    def started(self, number: int, group: int) -> None:
        """Notes the process group of a worker; one that comes too late is told so."""
        self.ranks[number].group = group
        self.guard(group)
        if self._sent is not None:
            guardian.signal_groups([group], self._sent)

    def watch(self, fd: int, kind: str, owner: rank.Rank | None = None) -> None:
        """Shows what comes from `fd` ("out" or "err"), a worker's or mpirun's own."""
        self.attach(Pipe(fd, self.sink(kind, owner)))
        if owner is not None and kind == "err":
            self._errors[owner.number] = fd

    def attach(self, source: Source) -> None:
        """Reads a source whenever it has something and the terminal keeps up."""
        self._sources[source.fd] = source
        self._outputs.register(source.fd, selectors.EVENT_READ)

    def sink(self, kind: str, owner: rank.Rank | None = None) -> Sink:
        """Returns where the output ("out" or "err") of a worker, or of mpirun, goes."""
        target = 1 if kind == "out" else 2
        if owner is None:
            # Of failed ranks and of Ctrl-C it tells in ten lines; ours say it better.
            is_muted = lambda: self.is_ending or self.is_mute
            return Sink(lambda: "[mpirun] ", target, is_muted=is_muted)
        copy = None
        if self.plan.log_dir is not None:
            copy = self.plan.log_dir / f"rank-{owner.number}.{kind}"
        # A worker that was started again goes on with the file of the one before.
        mode = "ab" if copy in self._copies else "wb"
        self._copies.add(copy)
        label = self.plan.tag.label(owner.number, owner.host)
        keep = owner.keep if kind == "err" else None
        return Sink(label, target, colour=owner.number, copy=copy, mode=mode, keep=keep)

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        """Calls back once from the loop, at a time of `time.monotonic`."""
        heapq.heappush(self._timers, (when, id(callback), callback))

    def listen(self, fd: int, callback: Callable[[], None]) -> None:
        """Calls back from the loop when there is something to read at `fd`."""
        self._control.register(fd, selectors.EVENT_READ, callback)

    def unlisten(self, fd: int) -> None:
        """Calls back no more."""
        self._control.unregister(fd)

    def ended(self, number: int, code: int) -> None:
        """Notes how a worker ended; the first failure starts the end of the others."""
        self._on_reports()  # what it said of its end came before it
        worker = self.ranks[number]
        if worker.code is not None:
            return
        worker.code, worker.ended_at = code, time.monotonic() - self._start
        if worker.group is not None:
            self.release(worker.group)
        if self._verbose:
            self.say(f"rank {number} ended after {worker.ended_at:.1f} s: {rank.ending(code)}")
        if worker.has_failed:
            self.fail(worker)

    def fail(self, worker: rank.Rank) -> None:
        """Ends the job because of how this worker has ended, unless it is being ended."""
        if self._first is None and self._interrupted is None:
            self._first = worker
            self._starter.on_failure(self, worker)
            self._terminate_at = time.monotonic() + self.plan.linger_seconds

    def catch_up_with(self, source: Source) -> None:
        """Reads all that a source has, and closes it at its end."""
        while source.fd in self._sources:
            outcome = source.read(self._printer)
            if outcome is None:
                self._close_stream(source.fd)
            if not outcome:
                return

    def let_go(self, fd: int) -> None:
        """Shows what a source still has and closes it: for one that has no end of its own."""
        self._read_all(fd)
        if fd in self._sources:
            self._close_stream(fd)

    def catch_up(self, number: int) -> None:
        """Reads all that a worker which has ended wrote to its stderr."""
        self._read_all(self._errors[number])

    def _read_all(self, fd: int) -> None:
        source = self._sources.get(fd)
        while source is not None and source.read(self._printer):
            pass

    def _hear_workers(self) -> None:
        """Makes the socket where workers tell how far they are."""
        self._reports = Reports()
        self.guard_folder(self._reports.folder)
        self.listen(self._reports.fileno(), self._on_reports)

    def report_variables(self) -> dict[str, str]:
        """Returns what tells a worker of this host where its launcher listens."""
        return {} if self._reports is None else {"DISTFLOW_REPORT": self._reports.path}

    def _on_reports(self) -> None:
        for message in self._reports.read() if self._reports is not None else ():
            self.hear(message)

    def hear(self, message: dict[str, Any]) -> None:
        """Takes a message of a worker; those of processes it has started are passed over."""
        number = message["rank"]
        if 0 <= number < len(self.ranks):
            worker = self.ranks[number]
            if worker.send is not None or message.get("process") == worker.group:
                worker.hear(message, time.monotonic())

    def _step(self) -> None:
        self._set_reading(self._printer.has_room())
        now = time.monotonic()
        next_timer = self._timers[0][0] if self._timers else float("inf")
        deadline = min(self._terminate_at, self._kill_at, self._view.due_at, next_timer)
        timeout = None if deadline == float("inf") else max(deadline - now, 0.0)
        self._serve(timeout)
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
        if now >= self._view.due_at:
            self._view.show(now)
        if now >= self._terminate_at:
            self._terminate_at = float("inf")
            self._kill_at = now + self.plan.grace_seconds
            self._stop(signal.SIGTERM)
        if now >= self._kill_at:
            self._kill_at = now + 1.0  # again, for what was started meanwhile
            self._stop(signal.SIGKILL)

    def _serve(self, timeout: float | None) -> None:
        for key, _ in self._control.select(timeout):
            if key.fileobj is self._wake_in:
                self._on_wake()
            elif key.fileobj == self._outputs_fd():
                self._read_outputs()
            else:
                key.data()

    def _outputs_fd(self) -> int:
        return self._outputs.fileno()  # type: ignore[attr-defined,no-any-return]

    def _set_reading(self, wanted: bool) -> None:
        """Reads the workers, or lets them wait while the terminal is behind."""
        if wanted and not self._reading:
            self._control.register(self._outputs_fd(), selectors.EVENT_READ)
        if not wanted and self._reading:
            self._control.unregister(self._outputs_fd())
        self._reading = wanted

    def _read_outputs(self) -> bool:
        progress = False
        for key, _ in self._outputs.select(0):
            outcome = self._sources[key.fd].read(self._printer)
            if outcome is None:
                self._close_stream(key.fd)
            progress = progress or bool(outcome)
        return progress

    def _close_stream(self, fd: int) -> None:
        self._outputs.unregister(fd)
        self._sources.pop(fd).close(self._printer)

    def _wake(self) -> None:
        try:
            self._wake_out.send(b"\0")
        except OSError:
            pass  # it is awake, or the job is over

    def _on_wake(self) -> None:
        try:
            numbers = self._wake_in.recv(4096)
        except BlockingIOError:
            return
        for number in numbers:
            if number in FORWARDED:
                self._on_signal(number)
            elif number == ADD_WORKER:
                self._starter.on_request(self)
        self._reap()

    def _on_signal(self, number: int) -> None:
        if self._interrupted is not None:
            self.say("second signal: killing all workers")
            self._kill_at = 0.0
            return
        self._interrupted = number
        name = signal.Signals(number).name
        self.say(
            f"{name} handed on to the workers; they have {self.plan.grace_seconds:g} s to end "
            "(again: kill them now)"
        )
        self._terminate_at = float("inf")
        self._kill_at = time.monotonic() + self.plan.grace_seconds
        self._stop(number)

    def _reap(self) -> None:
        ended: list[tuple[int, int]] = []
        while True:
            try:
                process, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if process == 0:
                break
            code = os.waitstatus_to_exitcode(status)
            ended.append((process, code))
            if code == -signal.SIGKILL:
                self._explain_kill(process, usage.ru_maxrss * 1024)
        # Of those found together, one that a signal killed is the likelier cause.
        for process, code in sorted(ended, key=lambda pair: pair[1] >= 0):
            self._starter.on_exit(self, process, code)

    def _explain_kill(self, process: int, used_bytes: int) -> None:
        for worker in self.ranks:
            if worker.group == process:
                worker.memory = self._memory.explain(used_bytes)

    def _stop(self, number: int) -> None:
        """Signals every worker's group that is still there; SIGKILL goes to all of the job."""
        self._sent = number
        for worker in self.ranks:
            if worker.code is None and (worker.group is not None or worker.send is not None):
                if self._first is not None or number == signal.SIGKILL:
                    self._stopped.add(worker.number)
                if worker.send is not None:
                    worker.send(number)
                    continue
                assert worker.group is not None
                guardian.signal_groups([worker.group], number)
                # A stopped worker (SIGSTOP) would sit out the grace period and be killed.
                guardian.signal_groups([worker.group], signal.SIGCONT)
        if number == signal.SIGKILL:
            guardian.signal_groups(self._groups, number)
            guardian.signal_processes(guardian.processes_of(self.plan.job), number)

    def _end_leftovers(self) -> None:
        """Ends what the workers have started and not ended."""
        found = guardian.processes_of(self.plan.job)
        if not found:
            return
        if self._verbose:
            self.say(f"ending {len(found)} processes that the workers have left behind")
        guardian.signal_processes(found, signal.SIGTERM)
        over = time.monotonic() + LEFTOVER_SECONDS
        while found and time.monotonic() < over:
            time.sleep(0.02)
            self._reap()
            found = guardian.processes_of(self.plan.job)
        guardian.kill_all(self.plan.job, [])
        self._reap()

    def _drain(self) -> None:
        """Reads what the workers had written when they ended."""
        while self._sources:
            if not self._printer.has_room():
                self._set_reading(False)
                self._serve(1.0)
                if self._interrupted is not None:
                    break  # nobody reads, and somebody wants to go
                continue
            if not self._read_outputs():
                break
        for fd in list(self._sources):
            self._close_stream(fd)

    def _finish_output(self) -> None:
        self._view.clear()
        if self._first is not None:
            columns = self._printer.columns
            text = ending.report(self.ranks, self._first, self._stopped, columns)
            self._printer.text(2, text)
        # Somebody who has ended the job should not have to read its output first.
        self._printer.close(float("inf") if self._interrupted is None else PATIENCE_SECONDS)

    def _exit_code(self) -> int:
        if self._first is not None:
            assert self._first.code is not None
            return rank.exit_status(self._first.code)
        if self._interrupted is not None:
            return 128 + self._interrupted
        if not all(worker.code == 0 or worker.is_excused for worker in self.ranks):
            return INTERNAL_ERROR
        # Workers of an elastic job that have all left in good order have not finished it.
        return 0 if any(worker.code == 0 for worker in self.ranks) else RETRYABLE

    def say(self, text: str) -> None:
        """Shows a line of the launcher's own on stderr."""
        self._printer.text(2, f"distflow run: {text}\n")

    def _tell_guardian(self, line: str) -> None:
        assert self._guard.stdin is not None
        try:
            self._guard.stdin.write(f"{line}\n".encode())
            self._guard.stdin.flush()
        except BrokenPipeError:
            pass  # somebody has killed it; the job goes on


def _catch_signals() -> dict[int, Any]:
    """Lets the wake-up pipe tell the loop of signals; those ignored (nohup, &) stay so."""
    caught = (*FORWARDED, ADD_WORKER, signal.SIGCHLD)
    present: dict[int, Any] = {number: signal.getsignal(number) for number in caught}
    before: dict[int, Any] = {
        number: present[number] for number in caught if present[number] != signal.SIG_IGN
    }
    for number in {*before, signal.SIGCHLD}:
        signal.signal(number, lambda number, frame: None)
    return before


def _start_guardian(job: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(Path(__file__).with_name("guardian.py")), job],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={},
        cwd="/",
        start_new_session=True,
    )
