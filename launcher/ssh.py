"""A host's session: one ssh process, over which its agent gets orders and sends what happens.

One connection carries a host's workers, their output and their ends, so there is one handshake and
no limit of sessions (MaxSessions) to run into; a ControlMaster of the user's own is used where
ssh's configuration has one. The environment goes through the connection, never through a shell.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import frames
from .hosts import Host
from .printer import Printer
from .reading import read_now
from .streams import Sink

OPTIONS = (
    "-T", "-x", "-a",
    "-o", "BatchMode=yes",  # nobody can type a password for many hosts
    "-o", "ConnectTimeout=10",
    "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3",  # a silent host is lost in 15 s
    "-o", "ClearAllForwardings=yes",
    "-o", "LogLevel=ERROR",
)  # fmt: skip
READ_BYTES = 256 * 1024
GONE_SECONDS = 3.0


def command(ssh: str, host: Host, python: str) -> list[str]:
    """Returns the command that starts the agent of a host."""
    remote = shlex.join([python, "-m", "distflow_launcher.agent"])
    return [*shlex.split(ssh), *OPTIONS, "--", host.destination, remote]


class Session:
    """The connection to the agent of one host; also a `Source` of its workers' output.

    Attributes:
      info: what the host has (`inventory`), None before it has told.
      reached: what it said of the targets it was to reach.
      is_finished: whether it has ended what workers left behind; nothing comes after that.
      on_message: gets (rank, message) of a worker's start, reports and end.
      on_file: gets (name, data) of the pieces of files that the host sends.
    """

    def __init__(self, ssh: str, host: Host, python: str):
        self.host = host
        wrapper = [sys.executable, "-I", "-S", str(Path(__file__).with_name("worker.py"))]
        self.process = subprocess.Popen(
            [*wrapper, "exec", str(os.getpid()), *command(ssh, host, python)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True, bufsize=0,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.fd, self.errors = self.process.stdout.fileno(), self.process.stderr.fileno()
        for fd in (self.fd, self.errors):
            os.set_blocking(fd, False)
        self.info: dict[str, Any] | None = None
        self.reached: list[str] | None = None
        self.is_finished = False
        self.on_message: Callable[[int, dict[str, Any]], None] = lambda rank, message: None
        self.on_file: Callable[[str, bytes], None] = lambda name, data: None
        self._sinks: dict[tuple[int, bytes], Sink] = {}
        self._replaced: list[Sink] = []
        self._decoder = frames.Decoder()
        self._killed: set[int] = set()
        self._said = b""
        self._is_closed = False

    def launcher(self, override: str | None) -> str:
        """Returns the launcher's address as the host sees it, unless another one was asked for."""
        assert self.info is not None
        return override or str(self.info["launcher"])

    def add_worker(self, rank: int, out: Sink, err: Sink) -> None:
        """Says where the output of a rank goes; what a worker before it has left is shown first."""
        self._replaced += [s for key, s in self._sinks.items() if key[0] == rank]
        self._killed.discard(rank)
        self._sinks |= {(rank, frames.OUT): out, (rank, frames.ERR): err}

    def order(self, **words: Any) -> None:
        """Sends an order; one to a host that has gone is lost."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # broken, or closed
            self.process.stdin.write(json.dumps(words).encode() + b"\n")

    def signal(self, rank: int, number: int) -> None:
        """Hands a signal on to a rank; where a second SIGKILL is needed the connection is cut."""
        if number == signal.SIGKILL and rank in self._killed:
            self.cut()
        if number == signal.SIGKILL:
            self._killed.add(rank)
        self.order(do="signal", rank=rank, number=int(number))

    def cut(self) -> None:
        """Ends the connection; the agent then kills what is left on its host."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def read(self, printer: Printer) -> bool | None:
        """Shows what has come; True if there was something, None at the end."""
        data = read_now(self.fd, READ_BYTES)
        if not data:
            return None if data == b"" else False
        while self._replaced:
            self._replaced.pop(0).close(printer)
        try:
            for kind, rank, body in self._decoder.feed(data):
                self._take(printer, kind, rank, body)
        except (frames.BadFrame, ValueError, KeyError) as error:
            printer.text(2, f"distflow run: host {self.host.name} sent nonsense: {error}\n")
            self.cut()
            return None
        return True

    def take_early(self) -> bool:
        """Takes what comes before there are workers; False at the end of the stream."""
        return self.read(_Nobody()) is not None  # type: ignore[arg-type]

    def complaint(self) -> str:
        """Returns the last line that ssh itself, or the host's shell, has said; "" if none."""
        with contextlib.suppress(OSError, ValueError):
            while not self._is_closed and (data := os.read(self.errors, READ_BYTES)):
                self._said = (self._said + data)[-READ_BYTES:]
        lines = [line.strip() for line in self._said.decode("utf-8", "replace").splitlines()]
        return next((line for line in reversed(lines) if line), "")

    def close(self, printer: Printer | None = None) -> None:
        """Ends the connection, at once if it does not end by itself."""
        self.complaint()  # the last chance to read what ssh has said
        self._is_closed = True
        for sink in [*self._replaced, *self._sinks.values()]:
            if printer is not None:
                sink.close(printer)
        self._sinks, self._replaced = {}, []
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            self.process.wait(GONE_SECONDS)
        except subprocess.TimeoutExpired:
            self.cut()
            self.process.wait()

    def _take(self, printer: Printer, kind: bytes, rank: int, body: bytes) -> None:
        if kind == frames.MESSAGE:
            message = json.loads(body)
            self.info = message.get("info", self.info)
            self.reached = message.get("reached", self.reached)
            self.is_finished = self.is_finished or message.get("finished", False)
            self.on_message(rank, message)
        elif kind == frames.FILE:
            size = 2 + int.from_bytes(body[:2], "big")
            self.on_file(os.path.basename(body[2:size].decode()), body[size:])
        elif (rank, kind) in self._sinks:
            self._sinks[rank, kind].feed(printer, body)


class _Nobody:
    """Stands for the printer before there is one."""

    def text(self, fd: int, text: str) -> None:
        """Drops it: the preflight check tells what came of the host."""
