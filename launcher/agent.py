"""What `distflow run` starts on each other host, over ssh: starts its workers and watches them.

Orders come as lines of JSON on stdin; what happens goes back as frames on stdout (`frames`). At the
end of stdin, however it came, everything of the job on this host is killed: the connection or the
launcher has gone. Run as `python -m distflow_launcher.agent`; no secret is on a command line.

Orders: {"do": "look", "folder": ..., "program": ..., "mark": ...}      -> {"info": {...}}
        {"do": "reach", "targets": [[address, port], ...]}              -> {"reached": [...]}
        {"do": "start", "rank": ..., "command": [...], "environment": {...}, "files": {...}}
        {"do": "signal", "rank": ..., "number": ...}
        {"do": "finish"}      ends what workers have left behind, sends files, and ends
"""

from __future__ import annotations

import base64
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from . import frames, guardian, inventory, memory
from .orphans import adopt_orphans
from .reading import read_now
from .reports import Reports

READ_BYTES = 64 * 1024
PENDING_BYTES = 1024 * 1024  # beyond this the workers' outputs are not read, and so wait
KIND_OF = {"out": frames.OUT, "err": frames.ERR}
LEFTOVER_SECONDS = 1.0
MARK = "DISTFLOW_AGENT"
OWN = "DISTFLOW_AGENT_PROCESS"


class Agent:
    """One host's part of a job."""

    def __init__(self, orders: int, answers: int):
        self._orders, self._answers = orders, answers
        for fd in (orders, answers):
            os.set_blocking(fd, False)
        self._pending: deque[memoryview] = deque()
        self._pending_bytes = 0
        self._partial = b""
        self._mark = ""  # what all processes of this host's part of the job carry
        self._own = ""  # what those carry that this agent has started, and none before it
        self._listener: socket.socket | None = None
        self._workers: dict[int, int] = {}  # process -> rank, while it runs
        self._owners: dict[int, int] = {}  # process -> rank, always: for its last reports
        self._outputs: dict[int, tuple[bytes, int]] = {}
        self._memory = memory.Watch.here()
        self._reports = Reports()
        self._files = Path(self._reports.folder) / "files"
        self._ends = False
        self._select = selectors.DefaultSelector()
        self._wake, waker = socket.socketpair()
        waker.setblocking(False)
        self._wake.setblocking(False)
        self._waker = waker
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        for fd in (orders, self._wake.fileno(), self._reports.fileno()):
            self._select.register(fd, selectors.EVENT_READ)

    def run(self) -> None:
        """Serves until the end of the orders; nothing of the job is left then."""
        try:
            while not (self._ends and not self._pending):
                self._arrange()
                for key, _ in self._select.select():
                    if key.fd == self._orders and not self._take_orders():
                        return
                    self._serve(key.fd)
        finally:
            # Its own alone: an agent that was cut off may end after the one in its place began.
            if self._own:
                guardian.kill_all(self._own, list(self._workers), OWN)
            self._reports.close()

    def _serve(self, fd: int) -> None:
        if fd == self._answers:
            self._flush()
        elif fd == self._wake.fileno():
            self._wake.recv(4096)
            self._reap()
        elif fd == self._reports.fileno():
            self._hear()
        elif fd in self._outputs:
            self._read(fd)

    def _arrange(self) -> None:
        """Waits for what makes sense now: no more output while the connection is behind."""
        self._watch(self._answers, selectors.EVENT_WRITE, bool(self._pending))
        has_room = self._pending_bytes < PENDING_BYTES
        for fd in self._outputs:
            self._watch(fd, selectors.EVENT_READ, has_room)

    def _watch(self, fd: int, event: int, wanted: bool) -> None:
        is_watched = fd in self._select.get_map()
        if wanted and not is_watched:
            self._select.register(fd, event)
        if not wanted and is_watched:
            self._select.unregister(fd)

    # -- what goes back ------------------------------------------------------------------

    def _send(self, kind: bytes, rank: int, data: bytes) -> None:
        self._pending.append(memoryview(frames.encode(kind, rank, data)))
        self._pending_bytes += len(self._pending[-1])

    def _tell(self, **message: Any) -> None:
        self._send(frames.MESSAGE, message.get("rank", 0), json.dumps(message).encode())

    def _flush(self) -> None:
        while self._pending:
            try:
                written = os.write(self._answers, self._pending[0])
            except BlockingIOError:
                return
            self._pending_bytes -= written
            if written == len(self._pending[0]):
                self._pending.popleft()
            else:
                self._pending[0] = self._pending[0][written:]

    # -- orders --------------------------------------------------------------------------

    def _take_orders(self) -> bool:
        """Does what has come; False at the end of the orders."""
        data = read_now(self._orders, READ_BYTES)
        if not data:
            return data is None
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            getattr(self, f"_do_{order.pop('do')}")(**order)
        return True

    def _do_look(self, folder: str, program: str, mark: str) -> None:
        self._mark, self._own = mark, f"{mark}/{os.getpid()}"
        # A host that comes back may still run what an agent cut off has not heard of the end of.
        guardian.kill_all(mark, [], MARK)
        self._listener = socket.create_server(("", 0), backlog=1024)
        info = inventory.of_this_host(folder, program)
        self._tell(info={**info, "port": self._listener.getsockname()[1]})

    def _do_reach(self, targets: list[tuple[str, int]]) -> None:
        self._tell(reached=inventory.reach_all([(address, port) for address, port in targets]))

    def _do_start(
        self, rank: int, command: list[str], environment: dict[str, str], folder: str,
        files: dict[str, str],
    ) -> None:  # fmt: skip
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        own = {**os.environ, **environment, MARK: self._mark, OWN: self._own}
        own |= {"DISTFLOW_REPORT": self._reports.path, **self._unpacked(files)}
        if own.get("DISTFLOW_TIMELINE"):
            self._files.mkdir(exist_ok=True)
            own["DISTFLOW_TIMELINE"] = str(self._files)
        pipes = {kind: os.pipe() for kind in KIND_OF}
        wrapper = [sys.executable, "-I", "-S", str(Path(__file__).with_name("worker.py"))]
        try:
            process = subprocess.Popen(
                [*wrapper, "exec", str(os.getpid()), *command], env=own, cwd=folder,
                stdin=subprocess.DEVNULL, stdout=pipes["out"][1], stderr=pipes["err"][1],
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self._tell(rank=rank, ended=127, memory="", why=str(error))
            for read, write in pipes.values():
                os.close(read)
                os.close(write)
            return
        process.returncode = 0  # we wait for all children, and for their orphans
        self._workers[process.pid] = self._owners[process.pid] = rank
        for kind, (read, write) in pipes.items():
            os.close(write)
            os.set_blocking(read, False)
            self._outputs[read] = (KIND_OF[kind], rank)
        self._tell(rank=rank, started=process.pid)

    def _do_signal(self, rank: int, number: int) -> None:
        groups = [process for process, owner in self._workers.items() if owner == rank]
        guardian.signal_groups(groups, number)
        guardian.signal_groups(groups, signal.SIGCONT)
        if number == signal.SIGKILL and self._workers.keys() <= set(groups):
            guardian.kill_all(self._own, [], OWN)

    def _do_finish(self) -> None:
        found = guardian.processes_of(self._own, OWN)
        guardian.signal_processes(found, signal.SIGTERM)
        over = time.monotonic() + LEFTOVER_SECONDS
        while guardian.processes_of(self._own, OWN) and time.monotonic() < over:
            time.sleep(0.02)
            self._reap()
        guardian.kill_all(self._own, [], OWN)
        for path in sorted(self._files.glob("*")) if self._files.is_dir() else ():
            self._send_file(path)
        self._tell(finished=True)
        self._ends = True

    # -- workers -------------------------------------------------------------------------

    def _unpacked(self, files: dict[str, str]) -> dict[str, str]:
        """Writes the job's certificates where this user alone reads them."""
        if not files:
            return {}
        folder = Path(self._reports.folder) / "tls"
        folder.mkdir(mode=0o700, exist_ok=True)
        for name, data in files.items():
            path = folder / os.path.basename(name)
            if not path.exists():
                with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(base64.b64decode(data))
        return {"DISTFLOW_TLS": str(folder)}

    def _send_file(self, path: Path) -> None:
        name = path.name.encode()
        head = len(name).to_bytes(2, "big") + name
        with path.open("rb") as file:
            while data := file.read(frames.MAX_BYTES - len(head)):
                self._send(frames.FILE, 0, head + data)

    def _read(self, fd: int) -> bool:
        kind, rank = self._outputs[fd]
        data = read_now(fd, READ_BYTES)
        if data is None:
            return False
        if not data:
            self._watch(fd, selectors.EVENT_READ, False)
            del self._outputs[fd]
            os.close(fd)
            return False
        self._send(kind, rank, data)
        return True

    def _hear(self) -> None:
        for message in self._reports.read():
            if self._owners.get(message.get("process", -1)) == message["rank"]:
                self._tell(rank=message["rank"], report=message)

    def _reap(self) -> None:
        while True:
            try:
                process, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if process == 0:
                return
            rank = self._workers.pop(process, None)
            if rank is None:
                continue
            self._hear()
            for fd in [fd for fd, (_, owner) in self._outputs.items() if owner == rank]:
                while self._read(fd):
                    pass
            code = os.waitstatus_to_exitcode(status)
            why = self._memory.explain(usage.ru_maxrss * 1024) if code == -signal.SIGKILL else ""
            self._tell(rank=rank, ended=code, memory=why)


def main() -> None:
    """Serves one launcher."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # The end of stdin is what ends us; SIG_IGN would be handed on to the workers.
        signal.signal(number, lambda number, frame: None)
    adopt_orphans()
    answers = os.dup(1)
    os.dup2(2, 1)  # nobody else writes among the frames
    Agent(0, answers).run()


if __name__ == "__main__":
    main()
