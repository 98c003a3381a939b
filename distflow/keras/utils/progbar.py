"""Progbar: a bar for loops of the user's own."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from distflow.base import errors

_WIDTH = 20


class Progbar:
    """Shows how far a loop is, with means of the values handed in.

    Args:
      target: number of steps, or None if unknown.
      width: of the bar, in characters.
      verbose: 0 silent, 1 a bar that is rewritten, 2 one line at the end.
      interval: seconds between two drawings.
      stateful_metrics: names of values shown as they are, not as means.
      unit_name: what a step is called.
    """

    def __init__(
        self, target: int | None, width: int = _WIDTH, verbose: int = 1, interval: float = 0.05,
        stateful_metrics: Any = None, unit_name: str = "step",
    ):  # fmt: skip
        if target is not None and target < 0:
            raise errors.invalid("Progbar", "target must be None or >= 0", str(target))
        self.target, self.width, self.verbose, self.interval = target, width, verbose, interval
        self.unit_name = unit_name
        self.stateful_metrics = set(stateful_metrics or ())
        self._sums: dict[str, tuple[float, float]] = {}
        self._seen = 0
        self._start = time.monotonic()
        self._drawn = float("-inf")
        self._last_length = 0

    def update(self, current: int, values: Any = None, finalize: bool | None = None) -> None:
        """Notes that `current` steps are done, with (name, value) pairs, and draws."""
        if finalize is None:
            finalize = self.target is not None and current >= self.target
        for name, value in values or ():
            number = float(np.mean(np.asarray(value, np.float64)))
            steps = max(current - self._seen, 1)
            if name in self.stateful_metrics:
                self._sums[name] = (number, 1.0)
            else:
                total, count = self._sums.get(name, (0.0, 0.0))
                self._sums[name] = (total + number * steps, count + steps)
        self._seen = current
        now = time.monotonic()
        if self.verbose == 1 and (finalize or now - self._drawn >= self.interval):
            self._drawn = now
            self._write(self._line(current, now), end="\n" if finalize else "")
        elif self.verbose == 2 and finalize:
            self._write(self._line(current, now), end="\n")

    def add(self, n: int, values: Any = None) -> None:
        """Notes that n more steps are done."""
        self.update(self._seen + n, values)

    def _line(self, current: int, now: float) -> str:
        line = f"{current}"
        if self.target is not None:
            line = f"{current:>{len(str(self.target))}}/{self.target}"
            if self.verbose == 1:
                full = min(self.width, int(self.width * current / max(self.target, 1)))
                line += " " + "━" * full + " " * (self.width - full)
        elapsed = now - self._start
        per_step = elapsed / current if current else 0.0
        line += f" {elapsed:.0f}s {_time(per_step)}/{self.unit_name}"
        for name, (total, count) in self._sums.items():
            line += f" - {name}: {_number(total / max(count, 1e-12))}"
        return line

    def _write(self, line: str, end: str) -> None:
        blank = " " * max(self._last_length - len(line), 0)
        self._last_length = len(line)
        sys.stdout.write(("\r" if self.verbose == 1 else "") + line + blank + end)
        sys.stdout.flush()


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.0f}s"
    return f"{seconds * 1e3:.0f}ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f}us"


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) > 1e-3 or value == 0 else f"{value:.4e}"
