"""The last words of a job that failed: who failed first, why, and what followed from it."""

from __future__ import annotations

import signal
import textwrap
from collections.abc import Sequence
from itertools import groupby

from .rank import Rank, ending

MAX_TRACEBACK_LINES = 60
PROSE_INDENT = 4  # what stands deeper is code, which is not broken


def report(ranks: list[Rank], first: Rank, stopped: set[int], columns: int | None = None) -> str:
    """Returns the text that says who failed first, how, and what it said last.

    Args:
      stopped: ranks that the launcher itself ended, after the first failure.
      columns: of the terminal, at whose edge prose is broken between words; None for a file.
    """
    assert first.code is not None
    where = f" (host {first.host})" if first.host else ""
    text = f"distflow run: rank {first.number}{where} failed first, after {first.ended_at:.1f} s"
    step = _step(first)
    text += f"{step}: {_named(first)}{ending(first.code)}\n"
    if first.code == -signal.SIGKILL:
        text += f"  {_kill(first)}\n"
    text += _evidence(first)
    later = _folded([rank for rank in ranks if rank is not first and rank.code], stopped)
    if later:
        text += f"  After that: {'; '.join(later)}.\n"
    return text if columns is None else _broken(text, columns)


def _step(first: Rank) -> str:
    if first.error is not None and isinstance(first.error.get("step"), int):
        step = first.error["step"]
    else:
        step = first.pulse.step if first.pulse is not None else 0
    return f", {step} steps done" if step > 0 else ""


def _kill(first: Rank) -> str:
    if first.memory.startswith("out of memory"):
        return first.memory[0].upper() + first.memory[1:] + "."
    known = f"; {first.memory}" if first.memory else ""
    return f"Not sent by distflow run; the kernel sends it when memory runs out{known}."


def _evidence(first: Rank) -> str:
    """The traceback that the worker sent, else the end of what it wrote."""
    if first.error is not None:
        lines = str(first.error.get("traceback", "")).rstrip().splitlines()
        if len(lines) > MAX_TRACEBACK_LINES:
            half = MAX_TRACEBACK_LINES // 2
            left_out = len(lines) - 2 * half
            lines = [*lines[:half], f"  ... {left_out} lines left out ...", *lines[-half:]]
        return f"  The error of rank {first.number}:\n" + _indented(lines)
    if first.tail:
        lines = _without_other_threads(first.tail)
        return f"  The last lines of rank {first.number}'s stderr:\n" + _indented(lines)
    return ""


def _without_other_threads(tail: Sequence[str]) -> list[str]:
    """Leaves out of a fatal error's stacks those of the threads that had no part in it."""
    lines, kept = [], True
    for line in tail:
        if line.startswith(("Thread 0x", "Extension modules:")):
            kept = False
        elif line.startswith(("Fatal Python error", "Current thread 0x")):
            kept = True
        if kept:
            lines.append(line)
    return lines


def _broken(text: str, columns: int) -> str:
    """Breaks lines of prose that are too wide between words."""
    lines = []
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if len(line) < columns or indent > PROSE_INDENT:
            lines.append(line)
            continue
        lines += textwrap.wrap(
            line, columns - 1, subsequent_indent=" " * (indent + 2), drop_whitespace=True,
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
    return "".join(f"{line}\n" for line in lines)


def _named(rank: Rank) -> str:
    """The name of the error a worker told of, to stand before how it ended."""
    return f"{rank.error['error']}, " if rank.error is not None else ""


def _indented(lines: list[str]) -> str:
    return "".join(f"    {line}\n" for line in lines)


def _folded(ranks: list[Rank], stopped: set[int]) -> list[str]:
    """Returns how the others ended, ranks that ended alike in one entry."""

    def how(rank: Rank) -> str:
        if rank.number in stopped:
            return f"{_named(rank)}stopped by the launcher"
        assert rank.code is not None
        return _named(rank) + ending(rank.code)

    rows = sorted(ranks, key=lambda rank: (how(rank), rank.number))
    groups = [(list(group), words) for words, group in groupby(rows, how)]
    groups.sort(key=lambda pair: pair[0][0].number)
    return [f"{numbers([rank.number for rank in group])} {words}" for group, words in groups]


def numbers(ranks: list[int]) -> str:
    """Returns sorted ranks for people: "rank 3", "ranks 0, 2-5"."""
    spans: list[list[int]] = []
    for rank in ranks:
        if spans and rank == spans[-1][-1] + 1:
            spans[-1].append(rank)
        else:
            spans.append([rank])
    shown = [
        str(s[0]) if len(s) == 1 else f"{s[0]}{'-' if len(s) > 2 else ', '}{s[-1]}" for s in spans
    ]
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(shown)}"
