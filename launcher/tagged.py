"""The output of an mpirun that marks each line with its rank, taken apart again."""

from __future__ import annotations

import re
from collections.abc import Callable

from .printer import Printer
from .streams import Sink

# Open MPI 4 writes `[1,0]<stdout>:text`, 5 `[prterun-host-17@1,0]<stdout>: text`.
_TAG = re.compile(rb"\[(?:[^\]\s]*@)?\d+,(\d+)\]<std(?:out|err)>: ?")


class Tagged:
    """Where one output of mpirun goes.

    Args:
      sink_of: returns where the lines of a rank go; called once for each.
      own: where mpirun's own lines go.
      hear: is called with each line of mpirun's own.
    """

    def __init__(self, sink_of: Callable[[int], Sink], own: Sink, hear: Callable[[str], None]):
        self._sink_of, self._own, self._hear = sink_of, own, hear
        self._sinks: dict[int, Sink] = {}
        self._partial = b""

    def feed(self, printer: Printer, data: bytes) -> None:
        """Shows what has come."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._show(printer, line)

    def close(self, printer: Printer) -> None:
        """Shows what is left and closes everything."""
        if self._partial:
            self._show(printer, self._partial)
        for sink in (*self._sinks.values(), self._own):
            sink.close(printer)

    def _show(self, printer: Printer, line: bytes) -> None:
        match = _TAG.match(line)
        if match is None:
            self._hear(line.decode(errors="replace"))
            self._own.feed(printer, line + b"\n")
            return
        number = int(match[1])
        if number not in self._sinks:
            self._sinks[number] = self._sink_of(number)
        self._sinks[number].feed(printer, line[match.end() :] + b"\n")
