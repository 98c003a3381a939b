"""`distflow debug DIR`: who waited for whom, from what the workers of a failed job have left.

Reads the flight recorders (`flight-<rank>-<process>.jsonl`) and the stacks (`stack-...txt`) that
`distflow run --log-dir DIR` keeps. `distflow debug --stacks` asks workers that still run where
their Python code is.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import light
from .arguments import USAGE_ERROR, positive

EXAMPLE = """examples:
  distflow debug logs               # after: distflow run --log-dir logs ...
  distflow debug --stacks           # where do the workers of this host hang?"""

_WIDTH = 150


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sets up the parser of `distflow debug`."""
    parser.description = (
        "Says who waited for whom when a job failed, from the last collective events that each "
        "worker wrote to --log-dir (DISTFLOW_FLIGHT_DIR)."
    )
    parser.epilog = EXAMPLE
    parser.add_argument("folder", metavar="DIR", nargs="?", type=Path, help="the log folder")
    parser.add_argument(
        "--events", type=positive, default=8, metavar="N", help="last events shown (default: 8)"
    )
    parser.add_argument(
        "--stacks", action="store_true", help="ask workers that run on this host where they are"
    )
    parser.add_argument(
        "--job", metavar="ID", help="with --stacks: only this job's (its beginning)"
    )


def run(options: argparse.Namespace) -> int:
    """Prints the report; returns the exit code."""
    if options.stacks:
        return _show_stacks(options.job)
    if options.folder is None or not options.folder.is_dir():
        print(
            "distflow debug: error: expected the folder of --log-dir, or --stacks; received "
            f"{options.folder or 'neither'}.",
            file=sys.stderr,
        )
        return USAGE_ERROR
    ranks = read(options.folder)
    if not ranks:
        print(
            f"distflow debug: {options.folder} has no flight-*.jsonl: no worker has seen a "
            "distributed error.\nSet --log-dir (or DISTFLOW_FLIGHT_DIR); a worker's own error is "
            "in its output.",
            file=sys.stderr,
        )
        return USAGE_ERROR
    print(report(ranks, options.events))
    return 0


@dataclass
class Recorded:
    """What one rank has left.

    Attributes:
      head: who it is.
      events: its last ones, oldest first.
      stack: its Python stacks when it was ended, "" if it ended otherwise.
    """

    rank: int
    head: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    stack: str = ""

    @property
    def error(self) -> dict[str, Any] | None:
        """The event that failed first."""
        return next((e for e in self.events if "error" in e), None)

    @property
    def last_done(self) -> dict[str, Any] | None:
        """The last event that came to a good end."""
        return next((e for e in reversed(self.events) if "seconds" in e and "error" not in e), None)


def read(folder: Path) -> dict[int, Recorded]:
    """Returns what each rank has left, by rank; a rank that was started again: its last."""
    found: dict[int, Recorded] = {}
    for path in sorted(folder.glob("flight-*.jsonl"), key=lambda p: p.stat().st_mtime):
        lines = []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue  # cut off
        head: dict[str, Any] = next((x for x in lines if "format" in x), {})
        rank = int(path.stem.split("-")[1])
        mine = [x for x in lines if "what" in x and x.get("rank", rank) == rank]
        found[rank] = Recorded(rank, head, mine)
    for path in sorted(folder.glob("stack-*.txt"), key=lambda p: p.stat().st_mtime):
        rank, text = int(path.stem.split("-")[1]), path.read_text(errors="replace").rstrip()
        if text:
            found.setdefault(rank, Recorded(rank)).stack = text
    return dict(sorted(found.items()))


def report(ranks: dict[int, Recorded], num_events: int = 8) -> str:
    """Returns the report: conclusion, each rank's last wait, the last events of all."""
    lines = [*_heading(ranks), "", *_conclusion(ranks), "", "who waited for whom:"]
    lines += [f"  {_of_rank(ranks[r]) if r in ranks else _silent(r)}" for r in _all_ranks(ranks)]
    lines += ["", f"the last events (seconds before the first error; of each rank {num_events}):"]
    lines += _events(ranks, num_events)
    for recorded in ranks.values():
        if recorded.stack:
            lines += ["", f"rank {recorded.rank} was ended by SIGTERM while it was at:"]
            lines += [f"  {line}" for line in recorded.stack.splitlines()]
    return "\n".join(lines)


def _heading(ranks: dict[int, Recorded]) -> list[str]:
    heads = [r.head for r in ranks.values() if r.head]
    job = next((h["job"] for h in heads if h.get("job")), "")
    hosts = sorted({h["host"] for h in heads})
    count = len([r for r in ranks.values() if r.events])
    return [
        f"{f'job {job}, ' if job else ''}{_size(ranks)} workers on {', '.join(hosts) or '?'}; "
        f"{count} wrote their last events"
    ]


def _size(ranks: dict[int, Recorded]) -> int:
    told = [r.head.get("world_size", 0) for r in ranks.values()]
    blamed = [e["blames"] for r in ranks.values() for e in r.events if e.get("blames") is not None]
    return max([*told, *(b + 1 for b in blamed), *(r + 1 for r in ranks)])


def _all_ranks(ranks: dict[int, Recorded]) -> range:
    return range(_size(ranks))


def _first_error(ranks: dict[int, Recorded]) -> tuple[Recorded, dict[str, Any]] | None:
    failed = [(r, r.error) for r in ranks.values() if r.error is not None]
    ended = [(r, e, e["time"] + e.get("seconds", 0.0)) for r, e in failed]
    return min(ended, key=lambda x: x[2])[:2] if ended else None


def _conclusion(ranks: dict[int, Recorded]) -> list[str]:
    first = _first_error(ranks)
    if first is None:
        return ["no worker has noted an error"]
    recorded, error = first
    text = error["error"].splitlines()[0]
    lines = [f"first error, on rank {recorded.rank}:\n  {text}"]
    if "CollectiveMismatchError" in error["error"]:
        return [*lines, "  the workers do different things: compare the two calls above"]
    # From the one that failed first along those who were waited for.
    chain = [recorded.rank]
    while (peer := _waited_for(ranks, chain[-1])) is not None and peer not in chain:
        chain.append(peer)
    if len(chain) > 1:
        lines.append("  " + " waited for ".join(f"rank {rank}" for rank in chain))
    root = chain[-1]
    others = [r for r in ranks.values() if r.rank != root and _waited_for(ranks, r.rank) == root]
    if len(chain) > 1 and root not in ranks:
        lines.append(f"  so rank {root} is where to look: {_silent(root).partition(': ')[2]}")
    elif len(chain) > 1:
        what = "it was not in a collective" if not _pending(ranks[root]) else "it was last to come"
        lines.append(f"  so rank {root} is where to look: {what}, {len(others)} waited for it")
    if len(chain) > 1:
        lines += _place_of(ranks, root)
    return lines


def _place_of(ranks: dict[int, Recorded], root: int) -> list[str]:
    """Returns where the program of a rank was, as those have heard who waited for it."""
    marker = f"The program of rank {root} is at:\n"
    for recorded in ranks.values():
        text = "" if recorded.error is None else recorded.error["error"]
        if marker in text:
            stack = text.partition(marker)[2].splitlines()
            return [f"  the program of rank {root} was at:", *(f"    {line}" for line in stack)]
    return []


def _waited_for(ranks: dict[int, Recorded], rank: int) -> int | None:
    recorded = ranks.get(rank)
    if recorded is None or recorded.error is None:
        return None
    error = recorded.error
    blamed = error.get("blames")
    return blamed if blamed is not None else error.get("waits")


def _pending(recorded: Recorded) -> dict[str, Any] | None:
    return next((e for e in recorded.events if "seconds" not in e), None)


def _of_rank(recorded: Recorded) -> str:
    error, done = recorded.error, recorded.last_done
    who = f"rank {recorded.rank}"
    if recorded.head:
        who += f" ({recorded.head['host']}, process {recorded.head['process']})"
    last = f"; before that it had done {done['what']}" if done is not None else ""
    if error is None:
        if not recorded.events:
            return f"{who}: no distributed error; it was ended from outside, see its stack below"
        return f"{who}: no error{last}"
    kind = error["error"].partition(":")[0]
    step = f", after step {error['step']}" if "step" in error else ""
    waits = error.get("waits", error.get("blames"))
    if waits is None:
        return f"{who}: {kind} in {error['what']}{step}{last}"
    return (
        f"{who}: waited {error.get('seconds', 0.0):.2f} s in {error['what']}{step} for rank "
        f"{waits}, then {kind}{last}"
    )


def _silent(rank: int) -> str:
    return (
        f"rank {rank}: wrote nothing: it was killed, or it failed outside of collectives (look at "
        f"rank-{rank}.err)"
    )


def _events(ranks: dict[int, Recorded], count: int) -> list[str]:
    first = _first_error(ranks)
    zero = max((e["time"] for r in ranks.values() for e in r.events), default=0.0)
    if first is not None:
        zero = first[1]["time"] + first[1].get("seconds", 0.0)
    rows = [(e["time"], r.rank, e) for r in ranks.values() for e in r.events[-count:]]
    lines = []
    for time, rank, event in sorted(rows, key=lambda row: row[:2]):
        took = f"{1e3 * event['seconds']:9.1f} ms" if "seconds" in event else "   under way"
        note = ""
        if "longest" in event and event["longest"][1] > 0.001:
            peer, seconds = event["longest"]
            note = f"  waited {1e3 * seconds:.1f} ms for rank {peer}"
        if "error" in event:
            note += f"  {event['error'].partition(':')[0]}"
        text = f"  {time - zero:10.3f}  rank {rank:<3} {took}  {event['what']}{note}"
        lines.append(text[:_WIDTH])
    return lines


def _show_stacks(job: str | None) -> int:
    stacks = light.load("telemetry.stacks")
    found = stacks.processes(job)
    if not found:
        which = "" if job is None else f" of job {job}"
        print(f"distflow debug: no worker{which} runs on this host, of this user.", file=sys.stderr)
        return 1
    for pid, environment in found:
        rank = environment.get("DISTFLOW_RANK") or environment.get("OMPI_COMM_WORLD_RANK", "?")
        print(f"rank {rank}, process {pid}, job {environment.get('DISTFLOW_JOB', '?')}:")
        print(stacks.of_process(pid) or "  (no answer: it is stopped, or has ended)", end="\n\n")
    return 0
