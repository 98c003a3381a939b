"""Writes the workers' lines to the terminal: whole lines, and below them what is live."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable

QUEUE_BYTES = 4 * 1024 * 1024  # beyond this the workers are not read, and so wait
JOINED_BYTES = 256 * 1024
LEAST_COLUMNS = 20
_COLOURS = (36, 33, 35, 32, 34, 31)


class Printer:
    """Writes whole lines to stdout and stderr from a thread of its own.

    So a reader that is slow, or stopped, never keeps the launcher from handling signals. On a
    terminal the last lines may be live: a worker's progress bar, and the view of the job. They are
    erased before other lines come, and drawn again below them.

    Args:
      wake: called when there is room again after there was none.
    """

    def __init__(self, wake: Callable[[], None]):
        self._wake = wake
        self._queue: deque[tuple[int, bytes]] = deque()
        self._queued_bytes = 0
        self._was_full = False
        self._closing = False
        self._broken: set[int] = set()
        self._changed = threading.Condition()
        self._terminals = [fd for fd in (2, 1) if os.isatty(fd)]
        self._coloured = self._terminals if not os.environ.get("NO_COLOR") else []
        self._bar = ""  # the line that is being rewritten
        self._view = ""
        self._drawn = ""  # what the terminal shows of them; the thread's own
        self._thread = threading.Thread(target=self._run, name="distflow-output", daemon=True)
        self._thread.start()

    @property
    def is_terminal(self) -> bool:
        """Whether somebody looks at a terminal, on which lines can be live."""
        return bool(self._terminals) and os.environ.get("TERM") != "dumb"

    @property
    def is_coloured(self) -> bool:
        """Whether stderr may have colours."""
        return 2 in self._coloured

    @property
    def columns(self) -> int | None:
        """The width of the terminal that shows stderr; None if a file takes it."""
        return max(self.size.columns, LEAST_COLUMNS) if 2 in self._terminals else None

    @property
    def size(self) -> os.terminal_size:
        """The terminal's lines and columns, also where only one of the two outputs goes there."""
        for fd in self._terminals:
            with contextlib.suppress(OSError):
                found = os.get_terminal_size(fd)
                if found.columns > 0:
                    return found
        return shutil.get_terminal_size()

    def line(self, fd: int, tag: str, text: str, colour: int = 0) -> None:
        """Shows one line, with its tag before it, on stdout (1) or stderr (2)."""
        if fd in self._coloured and tag:
            tag = f"\x1b[{_COLOURS[colour % len(_COLOURS)]}m{tag}\x1b[0m"
        self._put(fd, f"{tag}{text}\n")

    def rewrite(self, fd: int, tag: str, text: str) -> None:
        """Shows the present form of a line that is being rewritten, on a terminal only."""
        if fd in self._terminals:
            with self._changed:
                self._bar = f"{tag}{text}"[: self.size.columns - 1]
                self._changed.notify_all()

    def text(self, fd: int, text: str) -> None:
        """Shows text of the launcher itself."""
        self._put(fd, text)

    def view(self, text: str) -> None:
        """Keeps lines below all others, on a terminal only; they must fit its width."""
        if self.is_terminal:
            with self._changed:
                self._view = text
                self._changed.notify_all()

    def has_room(self) -> bool:
        """Whether more may be put in; if not, `wake` is called when there is room."""
        with self._changed:
            self._was_full = self._queued_bytes > QUEUE_BYTES
            return not self._was_full

    def close(self, patience_seconds: float = float("inf")) -> None:
        """Returns when all is written, or when nothing could be for `patience_seconds`."""
        with self._changed:
            self._closing = True
            self._bar = self._view = ""
            self._changed.notify_all()
        before, over = -1, 0.0
        while self._thread.is_alive():
            with self._changed:
                left = self._queued_bytes
            if left != before:
                before, over = left, time.monotonic() + patience_seconds
            if time.monotonic() > over:
                return
            self._thread.join(0.1)  # short waits: signals are handled between them

    def _put(self, fd: int, text: str) -> None:
        data = text.encode("utf-8", "replace")
        with self._changed:
            if fd in self._terminals:
                self._bar = ""  # drawn again with its next form
            self._queue.append((fd, data))
            self._queued_bytes += len(data)
            self._changed.notify_all()

    def _live(self) -> str:
        return "\n".join(filter(None, (self._bar, self._view)))

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and self._live() == self._drawn:
                    if self._closing:
                        return
                    self._changed.wait()
                batch, self._queue = self._queue, deque()
                live = self._live()
            self._show(_joined(batch), live)

    def _show(self, pieces: list[tuple[int, bytes]], live: str) -> None:
        """Writes lines, with the live ones erased before and drawn again after them.

        What goes to a terminal goes in as few writes as can be, so that it does not flicker; both
        file descriptors are the same terminal, if both are one.
        """
        before = after = b""
        if live != self._drawn or any(fd in self._terminals for fd, _ in pieces):
            before, after = self._erasing(), live.encode("utf-8", "replace")
            self._drawn = live
        if before or after:
            if not any(fd in self._terminals for fd, _ in pieces):
                pieces = [*pieces, (self._terminals[0], b"")]
            on_terminal = [i for i, (fd, _) in enumerate(pieces) if fd in self._terminals]
        for index, (fd, data) in enumerate(pieces):
            shown = data
            if (before or after) and index == on_terminal[0]:
                shown = before + shown
            if (before or after) and index == on_terminal[-1]:
                shown += after
            self._write(fd, shown)
            with self._changed:
                self._queued_bytes -= len(data)
                wake = self._was_full and self._queued_bytes <= QUEUE_BYTES // 4
                self._was_full = self._was_full and not wake
            if wake:
                self._wake()

    def _erasing(self) -> bytes:
        """Returns what erases the lines that are drawn."""
        if not self._drawn:
            return b""
        rows = self._drawn.count("\n")
        return f"\r\x1b[{rows}A\x1b[J".encode() if rows else b"\r\x1b[J"

    def _write(self, fd: int, data: bytes) -> None:
        try:
            while data and fd not in self._broken:
                data = data[os.write(fd, data) :]
        except OSError:
            self._broken.add(fd)  # nobody reads any more (| head): the job goes on without


def _joined(batch: deque[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Joins neighbours that go to one place, so that a flood of lines costs few system calls."""
    result: list[tuple[int, list[bytes]]] = []
    size = 0
    for fd, data in batch:
        if result and result[-1][0] == fd and size < JOINED_BYTES:
            result[-1][1].append(data)
            size += len(data)
        else:
            result.append((fd, [data]))
            size = len(data)
    return [(fd, b"".join(parts)) for fd, parts in result]
