"""ProgbarLogger: a bar on a terminal, one plain line an epoch in a log file."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from typing import Any

from distflow.keras.callbacks.base import Callback

WIDTH = 20
REDRAW_SECONDS = 0.05
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class ProgbarLogger(Callback):
    """Shows how far training is.

    verbose=1 on a terminal draws a bar that is rewritten in place; written to a file or a pipe it
    is one line an epoch, as verbose=2 always is. verbose=0 is silent.
    """

    def __init__(self) -> None:
        super().__init__()
        self._epochs = 1
        self._started = self._drawn = 0.0
        self._seen = 0
        self._steps: int | None = None
        self._ended: float | None = None
        self._mode = 0

    def set_params(self, params: Any) -> None:
        """Notes verbosity, epochs and steps."""
        super().set_params(params)
        verbose = params.get("verbose", 1)
        self._epochs = params.get("epochs", 1)
        self._steps = params.get("steps")
        self._mode = 1 if verbose in (1, "auto", True) and _is_terminal() else min(int(
            1 if verbose == "auto" else verbose), 2)  # fmt: skip
        if self._mode == 1 and not _is_terminal():
            self._mode = 2
        # Numbers for a bar that nobody sees need not be computed.
        self.needs_batches = self._mode == 1

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Announces the epoch."""
        self._begin()
        self._title = f"Epoch {epoch + 1}/{self._epochs}"
        if self._mode == 1:
            _write(self._title + "\n")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Moves the bar."""
        self._seen = batch + 1
        # Validation that follows is no part of the steps' time.
        self._ended = time.monotonic()
        self._draw(logs)

    def on_test_begin(self, logs: Any = None) -> None:
        """Starts a bar of its own when evaluate was called by itself."""
        if self.params.get("phase") != "fit":
            self._begin()
            self._title = ""

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Moves evaluate's bar."""
        if self.params.get("phase") != "fit":
            self._seen = batch + 1
            self._draw(logs)

    def on_test_end(self, logs: Any = None) -> None:
        """Ends evaluate's bar."""
        if self.params.get("phase") != "fit":
            self._end(logs)

    def on_predict_begin(self, logs: Any = None) -> None:
        """Starts a bar."""
        self._begin()
        self._title = ""

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        """Moves the bar."""
        self._seen = batch + 1
        self._draw(None)

    def on_predict_end(self, logs: Any = None) -> None:
        """Ends the bar."""
        self._end(None)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes the epoch's results."""
        if self._steps is None:
            self._steps = self._seen
        self._end(logs)

    def _begin(self) -> None:
        self._started, self._drawn, self._seen = time.monotonic(), 0.0, 0
        self._ended = None

    def _draw(self, logs: Any) -> None:
        now = time.monotonic()
        if self._mode != 1 or now - self._drawn < REDRAW_SECONDS:
            return
        self._drawn = now
        _write(f"\r{self._line(logs, final=False)}\x1b[K")

    def _end(self, logs: Any) -> None:
        if self._mode == 1:
            _write(f"\r{self._line(logs, final=True)}\x1b[K\n")
        elif self._mode == 2:
            title = f"{self._title} - " if self._title else ""
            _write(f"{title}{self._line(logs, final=True, bar=False)}\n")

    def _line(self, logs: Any, final: bool, bar: bool = True) -> str:
        elapsed = (self._ended or time.monotonic()) - self._started
        per_step = elapsed / max(self._seen, 1)
        total = str(self._steps) if self._steps else "?"
        parts = [f"{self._seen:>{len(total)}}/{total}"]
        if bar:
            parts.append(_bar(self._seen, self._steps))
        if final or not self._steps:
            parts.append(f"{_duration(elapsed)} {_short(per_step)}/step")
        else:
            parts.append(f"{_duration(per_step * (self._steps - self._seen))} left "
                         f"{_short(per_step)}/step")  # fmt: skip
        numbers = [f"{name}: {_number(value)}" for name, value in (logs or {}).items()]
        if not final:
            numbers = _that_fit(numbers, parts)
        return " - ".join([" ".join(parts), *numbers])


def _that_fit(numbers: list[str], parts: list[str]) -> list[str]:
    """Returns the numbers that fit beside the bar: a wrapped line could not be rewritten."""
    room = shutil.get_terminal_size().columns - len(_COLOUR.sub("", " ".join(parts))) - 1
    fitting = []
    for text in numbers:
        room -= len(text) + 3
        if room < 0:
            break
        fitting.append(text)
    return fitting


def _bar(seen: int, steps: int | None) -> str:
    if not steps:
        return (
            "\x1b[36m" + "━" * (seen % (WIDTH + 1)) + "\x1b[0m" + " " * (WIDTH - seen % (WIDTH + 1))
        )
    done = min(WIDTH, WIDTH * seen // steps)
    return "\x1b[32m" + "━" * done + "\x1b[37m" + "─" * (WIDTH - done) + "\x1b[0m"


def _number(value: Any) -> str:
    try:
        value = float(value)
    except (TypeError, ValueError):
        return str(value)
    return f"{value:.4f}" if abs(value) >= 1e-3 or value == 0 else f"{value:.4e}"


def _duration(seconds: float) -> str:
    if seconds >= 3600:
        return f"{int(seconds // 3600)}:{int(seconds // 60 % 60):02d}:{int(seconds % 60):02d}"
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}" if seconds >= 60 else f"{seconds:.0f}s"


def _short(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.1f}s"
    return f"{seconds * 1e3:.0f}ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f}us"


def _is_terminal() -> bool:
    # Open MPI gives rank 0 a terminal of its own, whatever mpirun's output goes to.
    if "OMPI_COMM_WORLD_RANK" in os.environ:
        return False
    return hasattr(sys.stdout, "isatty") and sys.stdout.isatty()


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
