"""Cuts the workers' output into lines of text."""

from __future__ import annotations

import codecs

MAX_LINE_CHARACTERS = 64 * 1024  # longer lines are shown in pieces


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
