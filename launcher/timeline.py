"""`distflow timeline DIR`: one file of all workers' timelines, their clocks aligned."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .arguments import USAGE_ERROR

EXAMPLE = """example:
  distflow run -n 4 --env DISTFLOW_TIMELINE=$PWD/run1 train.py
  distflow timeline run1 -o run1.json        # open it at ui.perfetto.dev

A worker stops recording on SIGUSR1, and starts again on the next one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sets up the parser of `distflow timeline`."""
    parser.description = (
        "Merges the timelines that workers wrote to DISTFLOW_TIMELINE=DIR: a row of processes, one "
        "for each worker, on one clock. Workers may still run, or have been killed."
    )
    parser.epilog = EXAMPLE
    parser.add_argument("folder", metavar="DIR", type=Path, help="what DISTFLOW_TIMELINE named")
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="default: DIR/timeline.json"
    )


def run(options: argparse.Namespace) -> int:
    """Merges; returns the exit code."""
    output = options.output or options.folder / "timeline.json"
    try:
        workers, events = merge(options.folder, output)
    except OSError as error:
        print(f"distflow timeline: error: {error}", file=sys.stderr)
        return USAGE_ERROR
    if not workers:
        print(
            f"distflow timeline: error: expected files timeline-*.json in {options.folder}; "
            "received none.\nSet DISTFLOW_TIMELINE to that folder for the workers.",
            file=sys.stderr,
        )
        return USAGE_ERROR
    print(f"{output}: {events:,} events of {workers} workers; open it at https://ui.perfetto.dev")
    return 0


def merge(folder: Path, output: Path) -> tuple[int, int]:
    """Writes the events of all files in the folder; returns how many workers and events.

    Processes are numbered by rank, times begin at 0. Appears by rename; without any worker nothing
    is written.
    """
    workers = [w for w in map(_read, sorted(folder.glob("timeline-*.json"))) if w is not None]
    if not workers:
        return 0, 0
    shifts = _shifts([clock for clock, _ in workers])
    start = min(
        (
            e["ts"] + shift
            for (_, events), shift in zip(workers, shifts)
            for e in events
            if "ts" in e
        ),
        default=0.0,
    )
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    count = 0
    with temporary.open("w", encoding="utf-8") as file:
        file.write('{"displayTimeUnit":"ms","traceEvents":[\n')
        for (clock, events), shift, number in zip(workers, shifts, _numbers(workers)):
            for event in _placed(events, number, clock, shift - start):
                file.write((",\n" if count else "") + json.dumps(event))
                count += 1
        file.write("\n]}\n")
    temporary.replace(output)
    return len(workers), count


def _read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """Returns what is known of a worker's clock, and its events."""
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        events = json.loads(text)
    except ValueError:
        events = list(_whole_lines(text))  # killed in the midst of a write
    clock: dict[str, Any] = {}
    for event in events:
        if event.get("name") == "clock" and event.get("ph") == "M":
            clock = {**event["args"], "pid": event["pid"]}
    return (clock, events) if clock else None


def _whole_lines(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            event = json.loads(line.rstrip().rstrip(","))
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


def _shifts(clocks: list[dict[str, Any]]) -> list[float]:
    """Returns what to add to each worker's times, in microseconds, to have the first one's clock.

    Workers of one boot share a clock. Others have measured how far theirs is from rank 0's; where
    nobody has, the wall clocks of the hosts must do.
    """
    first = next((clock for clock in clocks if clock["rank"] == 0), clocks[0])

    def wall(clock: dict[str, Any]) -> int:
        return int(clock["unix_ns"]) - int(clock["monotonic_ns"])

    found = []
    for clock in clocks:
        if clock["boot"] == first["boot"]:
            shift = 0
        elif clock["offset_ns"] is not None and first["rank"] == 0:
            shift = int(clock["offset_ns"])
        else:
            shift = wall(clock) - wall(first)
        found.append(shift / 1e3)
    return found


def _numbers(workers: list[tuple[dict[str, Any], Any]]) -> list[int]:
    """Returns a process number for each worker: its rank, unless another one had it before."""
    taken: set[int] = set()
    found = []
    for clock, _ in workers:
        number = clock["rank"]
        if number is None or number in taken:
            number = 1000 + clock["pid"]
        taken.add(number)
        found.append(number)
    return found


def _placed(
    events: list[dict[str, Any]], number: int, clock: dict[str, Any], shift: float
) -> Iterator[dict[str, Any]]:
    rank = "worker" if clock["rank"] is None else f"rank {clock['rank']}"
    title = f"{rank} ({clock['host']}, process {clock['process']})"
    for name, args in (
        ("process_name", {"name": title}),
        ("process_sort_index", {"sort_index": number}),
    ):
        yield {"ph": "M", "name": name, "pid": number, "tid": 0, "args": args}
    for event in events:
        if event["name"] in ("process_name", "clock") and event["ph"] == "M":
            continue
        placed = {**event, "pid": number}
        if "ts" in event:
            placed["ts"] = round(event["ts"] + shift, 3)
        yield placed
