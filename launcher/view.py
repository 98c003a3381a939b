"""The live view of a running job: one row for each worker, below its output.

On a terminal a table is drawn anew twice a second; elsewhere a line now and then says the same in
short. There is none before a worker tells of a step: programs that do not train have no view.
"""

from __future__ import annotations

import importlib
import io
import os
import statistics
import time

from . import ending
from .printer import Printer
from .rank import Rank
from .rank import ending as words_of

MODES = ("auto", "live", "plain", "off")
TABLE_SECONDS = 0.5
FIRST_LINE_SECONDS, LINE_SECONDS = 10.0, 60.0
SILENT_SECONDS = 2.0  # a worker says something four times a second
STUCK_SECONDS = 5.0  # and ten usual steps: then a step is called late
NARROW_COLUMNS = 60  # below that the table is left out
HOST_CHARACTERS = 20
_COLUMNS = ("rank", "host", "step", "steps/s", "loss", "waits", "heard", "")


class View:
    """Shows how far the workers are.

    Args:
      mode: "live", "plain" or "off"; "auto": live on a terminal, else plain.
      ranks: the workers, which the job keeps up to date.
    """

    def __init__(self, mode: str, ranks: list[Rank], printer: Printer):
        if mode == "auto":
            mode = "live" if printer.is_terminal else "plain"
        self._mode = mode if mode != "live" or printer.is_terminal else "plain"
        self._ranks, self._printer = ranks, printer
        self._start = time.monotonic()
        first = TABLE_SECONDS if self._mode == "live" else FIRST_LINE_SECONDS
        self.due_at = float("inf") if mode == "off" else self._start + first

    def show(self, now: float) -> None:
        """Shows the present state, and says when it wants to be called again (`due_at`)."""
        is_live = self._mode == "live"
        self.due_at = now + (TABLE_SECONDS if is_live else LINE_SECONDS)
        if not any(rank.pulse is not None and rank.pulse.step > 0 for rank in self._ranks):
            return
        if is_live:
            size, colour = self._printer.size, self._printer.is_coloured
            self._printer.view(table(self._ranks, now, now - self._start, size, colour))
        else:
            self._printer.text(2, f"distflow run: {summary(self._ranks, now)}\n")

    def clear(self) -> None:
        """Takes the table away."""
        self._printer.view("")


def table(
    ranks: list[Rank], now: float, elapsed: float, size: os.terminal_size, colour: bool
) -> str:
    """Returns the table as text that fits the terminal; at most half of its lines."""
    if size.columns < NARROW_COLUMNS:
        return f"── {_clock(elapsed)} · {summary(ranks, now)}"[: size.columns - 1]
    rich = {name: importlib.import_module(f"rich.{name}") for name in ("console", "table", "text")}
    shown, left_out = _worth_showing(ranks, now, max(size.lines // 2 - 2, 1))
    has_hosts = any(rank.host for rank in ranks)
    grid = rich["table"].Table(box=None, pad_edge=False, header_style="dim")
    for name in _COLUMNS:
        if name != "host" or has_hosts:
            grid.add_column(name, justify="left" if name in ("host", "") else "right", no_wrap=True)
    for rank in shown:
        cells = _cells(rank, now)
        style = "bold red" if cells[-1].startswith(("SILENT", "STUCK")) else ""
        kept = [c for name, c in zip(_COLUMNS, cells, strict=True) if name != "host" or has_hosts]
        grid.add_row(*(rich["text"].Text(cell) for cell in kept), style=style)
    file = io.StringIO()
    console = rich["console"].Console(
        file=file, width=max(size.columns - 1, 1), height=size.lines, legacy_windows=False,
        force_terminal=colour, color_system="standard" if colour else None, highlight=False,
        no_color=not colour,
    )  # fmt: skip
    console.print(rich["text"].Text(f"── {_clock(elapsed)} · {summary(ranks, now)}"), style="dim",
                  no_wrap=True, overflow="ellipsis")  # fmt: skip
    console.print(grid)
    if left_out:
        console.print(f"and {left_out} more", style="dim")
    return file.getvalue().rstrip("\n")


def summary(ranks: list[Rank], now: float) -> str:
    """Returns one line: the step, the rate, the loss, who waits and who is late."""
    pulses = [rank.pulse for rank in ranks if rank.pulse is not None and rank.code is None]
    if not pulses:
        return "no worker runs"
    step = max(pulse.step for pulse in pulses)
    rates = [p.steps_per_second for p in pulses if p.steps_per_second is not None]
    losses = [p.loss for p in pulses if p.loss is not None]
    waits = [p.exposed_share for p in pulses if p.exposed_share is not None]
    parts = [f"step {step}"]
    if rates:
        parts.append(f"{statistics.median(rates):.3g} steps/s")
    if losses:
        parts.append(f"loss {_number(statistics.fmean(losses))}")
    if waits and max(waits) >= 0.005:
        parts.append(f"{max(waits):.0%} of the time waiting for gradients")
    late = [rank.number for rank in ranks if _trouble(rank, now)]
    if late:
        parts.append(f"{ending.numbers(late)} late")
    return ", ".join(parts)


def _worth_showing(ranks: list[Rank], now: float, most: int) -> tuple[list[Rank], int]:
    """Returns the rows to show, in the order of ranks, and how many others there are."""
    if len(ranks) <= most:
        return ranks, 0

    def importance(rank: Rank) -> tuple[bool, int]:
        step = rank.pulse.step if rank.pulse is not None else 0
        return (not _trouble(rank, now), step)

    chosen = sorted(ranks, key=importance)[: most - 1]
    return sorted(chosen, key=lambda rank: rank.number), len(ranks) - len(chosen)


def _cells(rank: Rank, now: float) -> tuple[str, ...]:
    pulse = rank.pulse
    host = rank.host
    if len(host) > HOST_CHARACTERS:
        host = host[: HOST_CHARACTERS - 1] + "…"
    if pulse is None:
        return (str(rank.number), host, "", "", "", "", "", _state(rank, now) or "starting")
    rate, share = pulse.steps_per_second, pulse.exposed_share
    is_over = rank.code is not None
    return (
        str(rank.number),
        host,
        str(pulse.step),
        "" if rate is None or is_over else f"{rate:.3g}",
        "" if pulse.loss is None else _number(pulse.loss),
        "" if share is None or is_over else f"{share:.0%}",
        "" if is_over else f"{now - pulse.heard_at:.1f} s",
        _state(rank, now),
    )


def _state(rank: Rank, now: float) -> str:
    if rank.code is not None:
        return words_of(rank.code) if rank.code else "done"
    return _trouble(rank, now)


def _trouble(rank: Rank, now: float) -> str:
    """Returns what is wrong with a worker that runs; "" if nothing is."""
    pulse = rank.pulse
    if pulse is None or rank.code is not None:
        return ""
    if now - pulse.heard_at > SILENT_SECONDS:
        return f"SILENT for {now - pulse.heard_at:.0f} s"
    still = now - pulse.moved_at
    if pulse.step > 0 and still > max(STUCK_SECONDS, 10 * pulse.usual_step_seconds):
        return f"STUCK in a step for {still:.0f} s"
    return ""


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.3e}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
