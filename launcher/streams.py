"""The outputs of workers on their way to the terminal, to files, and into the final report."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol

from .logs import LineAssembler
from .printer import Printer
from .reading import read_now

READ_BYTES = 64 * 1024


class Sink:
    """Where one output of one worker goes.

    Args:
      label: returns what stands before each line.
      target: 1 for stdout, 2 for stderr.
      colour: a number; equal ones have one colour.
      copy: a file that gets the bytes as they come, opened with `mode`.
      keep: is called with each line.
      is_muted: whether lines are dropped at the moment.
    """

    def __init__(
        self,
        label: Callable[[], str],
        target: int,
        *,
        colour: int = 0,
        copy: Path | None = None,
        mode: str = "wb",
        keep: Callable[[str], None] | None = None,
        is_muted: Callable[[], bool] = lambda: False,
    ):
        self._label, self._target = label, target
        self._colour, self._keep, self._is_muted = colour, keep, is_muted
        self._assembler = LineAssembler()
        self._copy: IO[Any] | None = copy.open(mode, buffering=0) if copy else None

    def feed(self, printer: Printer, data: bytes) -> None:
        """Shows what has come."""
        if self._copy is not None:
            try:
                self._copy.write(data)
            except OSError as error:  # a full disk must not end the training
                self._copy.close()
                self._copy = None
                printer.text(2, f"distflow run: --log-dir: cannot write any more; {error}\n")
        self._show(printer, self._assembler.feed(data))
        if self._assembler.rewritten:
            printer.rewrite(self._target, self._label(), self._assembler.rewritten)

    def close(self, printer: Printer) -> None:
        """Shows what is left and closes the file."""
        self._show(printer, self._assembler.finish())
        if self._copy is not None:
            self._copy.close()

    def _show(self, printer: Printer, lines: list[str]) -> None:
        if self._is_muted():
            return
        for line in lines:
            printer.line(self._target, self._label(), line, self._colour)
            if self._keep is not None:
                self._keep(line)


class Source(Protocol):
    """Something that brings output when its file descriptor can be read."""

    fd: int

    def read(self, printer: Printer) -> bool | None:
        """Shows what has come; True if there was something, None at the end."""

    def close(self, printer: Printer) -> None:
        """Shows what is left and closes everything."""


class Taker(Protocol):
    """Where the bytes of a pipe go."""

    def feed(self, printer: Printer, data: bytes) -> None:
        """Shows what has come."""

    def close(self, printer: Printer) -> None:
        """Shows what is left and closes everything."""


class Pipe:
    """One output of one worker of this host, or of mpirun."""

    def __init__(self, fd: int, sink: Taker):
        os.set_blocking(fd, False)
        self.fd, self._sink = fd, sink

    def read(self, printer: Printer) -> bool | None:
        """Shows what has come; True if there was something, None at the end."""
        data = read_now(self.fd, READ_BYTES)
        if data:
            self._sink.feed(printer, data)
        return None if data == b"" else bool(data)

    def close(self, printer: Printer) -> None:
        """Shows what is left and closes everything."""
        self._sink.close(printer)
        os.close(self.fd)
