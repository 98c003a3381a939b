"""The workers' output: cut into lines, prefixed with the rank, never mixed inside a line."""

from __future__ import annotations

import codecs
import os
import threading
import time
from collections import deque
from collections.abc import Callable

MAX_LINE_CHARACTERS = 64 * 1024  # longer lines are shown in pieces
QUEUE_BYTES = 4 * 1024 * 1024  # beyond this the workers are not read, and so wait
_COLOURS = (36, 33, 35, 32, 34, 31)


class LineAssembler:
    """Cuts a stream of bytes into lines of text.

    A line that is rewritten with carriage returns (a progress bar) counts in its final form.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, data: bytes) -> list[str]:
        """Takes bytes; returns the lines that are complete now, without their ends."""
        return self._cut(self._decoder.decode(data))

    def finish(self) -> list[str]:
        """Returns what is left at the end of the stream: at most one line without an end."""
        lines = self._cut(self._decoder.decode(b"", final=True))
        rest, self._rest = _final_form(self._rest), ""
        return [*lines, rest] if rest else lines

    @property
    def rewritten(self) -> str:
        """The present form of the line that is being rewritten; "" if none is."""
        return _final_form(self._rest) if "\r" in self._rest else ""

    def _cut(self, text: str) -> list[str]:
        *lines, rest = (self._rest + text).split("\n")
        shown = [_final_form(line) for line in lines]
        if "\r" in rest:
            # The older forms will never be shown; a last "\r" may yet turn out to be "\r\n".
            rest = "\r" + _final_form(rest) + ("\r" if rest.endswith("\r") else "")
        pieces = [p for line in shown for p in _pieces(line)]
        while len(rest) > MAX_LINE_CHARACTERS:
            pieces.append(rest[:MAX_LINE_CHARACTERS].lstrip("\r"))
            rest = rest[MAX_LINE_CHARACTERS:]
        self._rest = rest
        return pieces


def _final_form(line: str) -> str:
    return line.rstrip("\r").rpartition("\r")[2]


def _pieces(line: str) -> list[str]:
    step = MAX_LINE_CHARACTERS
    return [line[i : i + step] for i in range(0, len(line), step)] or [""]


class Printer:
    """Writes whole lines to stdout and stderr from a thread of its own.

    So a reader that is slow, or stopped, never keeps the launcher from handling signals.

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
        self._terminal = {fd for fd in (1, 2) if os.isatty(fd)}
        self._coloured = self._terminal if "NO_COLOR" not in os.environ else set()
        self._live = False
        self._thread = threading.Thread(target=self._run, name="distflow-output", daemon=True)
        self._thread.start()

    def line(self, fd: int, source: str, text: str) -> None:
        """Shows one line of a source ("rank 2") on stdout (1) or stderr (2)."""
        self._put(fd, f"{self._erased()}{self._prefix(fd, source)}{text}\n")

    def rewrite(self, fd: int, source: str, text: str) -> None:
        """Shows the present form of a line that is being rewritten, on a terminal only."""
        if fd in self._terminal:
            shown = f"[{source}] {text}"[: os.get_terminal_size(fd).columns - 1]
            self._put(fd, f"{self._erased()}{shown}")
            self._live = True

    def text(self, fd: int, text: str) -> None:
        """Shows text of the launcher itself."""
        self._put(fd, self._erased() + text)

    def has_room(self) -> bool:
        """Whether more may be put in; if not, `wake` is called when there is room."""
        with self._changed:
            self._was_full = self._queued_bytes > QUEUE_BYTES
            return not self._was_full

    def close(self, patience_seconds: float = float("inf")) -> None:
        """Returns when all is written, or when nothing could be for `patience_seconds`."""
        with self._changed:
            self._closing = True
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

    def _erased(self) -> str:
        if not self._live:
            return ""
        self._live = False
        return "\r\x1b[K"

    def _prefix(self, fd: int, source: str) -> str:
        if fd not in self._coloured:
            return f"[{source}] "
        colour = _COLOURS[sum(source.encode()) % len(_COLOURS)]
        return f"\x1b[{colour}m[{source}]\x1b[0m "

    def _put(self, fd: int, text: str) -> None:
        data = text.encode("utf-8", "replace")
        with self._changed:
            self._queue.append((fd, data))
            self._queued_bytes += len(data)
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue:
                    if self._closing:
                        return
                    self._changed.wait()
                batch, self._queue = self._queue, deque()
            for fd, data in _joined(batch):
                self._write(fd, data)
                with self._changed:
                    self._queued_bytes -= len(data)
                    wake = self._was_full and self._queued_bytes <= QUEUE_BYTES // 4
                    self._was_full = self._was_full and not wake
                if wake:
                    self._wake()

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
        if result and result[-1][0] == fd and size < 256 * 1024:
            result[-1][1].append(data)
            size += len(data)
        else:
            result.append((fd, [data]))
            size = len(data)
    return [(fd, b"".join(parts)) for fd, parts in result]
