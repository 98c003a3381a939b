"""What the launcher knows of one worker: its process, its output, and how it ended."""

from __future__ import annotations

import signal
from collections import deque
from dataclasses import dataclass, field

TAIL_LINES = 30
TAIL_CHARACTERS = 500


@dataclass
class Rank:
    """One worker.

    Attributes:
      number: its rank.
      group: its process group, None before it has started.
      code: how it ended: an exit code, or minus the number of a signal; None while it runs.
      ended_at: when, in seconds since the start of the job.
      is_excused: the job goes on without it: its end is no failure.
      tail: the last lines of its stderr.
    """

    number: int
    group: int | None = None
    code: int | None = None
    ended_at: float = 0.0
    is_excused: bool = False
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))

    @property
    def has_failed(self) -> bool:
        """Whether it has ended otherwise than well."""
        return self.code is not None and self.code != 0 and not self.is_excused

    def keep(self, line: str) -> None:
        """Keeps a line of its stderr for the report."""
        if line.strip():
            self.tail.append(line[:TAIL_CHARACTERS])


def exit_status(code: int) -> int:
    """Returns what a shell reports: the exit code, or 128 + the number of the signal."""
    return code if code >= 0 else 128 - code


def ending(code: int) -> str:
    """Returns how a process ended, in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    return f"killed by signal {-code} ({name})"


def report(ranks: list[Rank], first: Rank, stopped: set[int]) -> str:
    """Returns the text that says who failed first, how, and what it said last.

    Args:
      stopped: ranks that the launcher itself ended, after the first failure.
    """
    assert first.code is not None
    text = f"distflow run: rank {first.number} failed first, after {first.ended_at:.1f} s: "
    text += ending(first.code) + "\n"
    if first.code == -signal.SIGKILL:
        text += "  Not sent by distflow run; the kernel sends it when memory runs out.\n"
    if first.tail:
        text += f"  The last lines of rank {first.number}'s stderr:\n"
        text += "".join(f"    {line}\n" for line in first.tail)
    later = [
        f"rank {rank.number} "
        + ("stopped by the launcher" if rank.number in stopped else ending(rank.code))
        for rank in ranks
        if rank is not first and rank.code
    ]
    if later:
        text += f"  After that: {'; '.join(later)}.\n"
    return text
