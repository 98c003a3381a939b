"""What the launcher knows of one worker: its process, its output, and how it ended."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .pulse import Pulse

TAIL_LINES = 60
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
      host: where it runs; "" for this host.
      local_number: its number among the workers there, in elastic jobs on hosts.
      pulse: how far it is, as it last said; None before it has.
      error: what it told of the error that ended it, if it did.
      memory: what is known of its memory, where that may be why it was killed.
      send: hands a signal on to a worker of another host; None for those of this one.
    """

    number: int
    group: int | None = None
    code: int | None = None
    ended_at: float = 0.0
    is_excused: bool = False
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    host: str = ""
    local_number: int = 0
    pulse: Pulse | None = None
    error: dict[str, Any] | None = None
    memory: str = ""
    send: Callable[[int], None] | None = None

    @property
    def has_failed(self) -> bool:
        """Whether it has ended otherwise than well."""
        return self.code is not None and self.code != 0 and not self.is_excused

    def hear(self, message: dict[str, Any], now: float) -> None:
        """Takes a message of the worker's own: a pulse, or the error that ends it."""
        if isinstance(message.get("error"), str):
            self.error = message
        elif self.pulse is None:
            self.pulse = Pulse(message, now)
        else:
            self.pulse.update(message, now)

    def restart(self) -> None:
        """Forgets how the process before this one ended, and what it said."""
        self.code, self.is_excused, self.error, self.memory = None, False, None, ""
        self.pulse = None
        self.tail.clear()

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
