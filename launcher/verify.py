"""`distflow verify`: the first step, variable and replica in which two runs differ.

It reads what workers wrote to DISTFLOW_DIGEST_DIR (`digests-rank-<r>.jsonl`). The runs may have had
other numbers of workers, other transports, and may have been interrupted and resumed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FORMAT = "distflow digests 1"
DIFFERENT, UNUSABLE = 1, 64


class UnusableRun(Exception):
    """A folder without digests, or with ones that cannot be read."""


@dataclass
class Run:
    """The digests of a run.

    Args:
      name: as the user called it.
      variables: names, by their number.
      replicas: V.
      workers: numbers of workers it ran on.
      steps: digests of the variables by step.
      given: digests of what each replica gave to the sums, by step and replica.
    """

    name: str
    variables: list[str] = field(default_factory=list)
    replicas: int = 0
    workers: set[int] = field(default_factory=set)
    steps: dict[int, list[str]] = field(default_factory=dict)
    given: dict[int, dict[int, str]] = field(default_factory=dict)
    # What workers of the run, or a run and its continuation, disagree in.
    conflict: tuple[int, str] | None = None


def run(first: str, second: str) -> int:
    """Prints what two runs differ in; returns 0 if they do not, 1 if they do, 64 if unusable."""
    try:
        runs = read(first), read(second)
        text, equal = compare(*runs)
    except UnusableRun as error:
        print(f"distflow verify: error: {error}")
        return UNUSABLE
    print(text)
    return 0 if equal else DIFFERENT


def read(folder: str) -> Run:
    """Returns the digests of a run from its folder, or from one worker's file."""
    path = Path(folder)
    files = [path] if path.is_file() else sorted(path.glob("digests-rank-*.jsonl"))
    if not files:
        raise UnusableRun(
            f"expected digests-rank-*.jsonl in {folder}; received none. Run with "
            "DISTFLOW_DIGEST_DIR set: distflow run --env DISTFLOW_DIGEST_DIR=... -n 2 train.py"
        )
    found = Run(folder)
    for file in files:
        _read_file(file, found)
    if not found.steps:
        raise UnusableRun(f"expected at least one step in {folder}; received none.")
    return found


def compare(a: Run, b: Run) -> tuple[str, bool]:
    """Returns what to say, and whether the runs are equal in all steps that both have."""
    for one in (a, b):
        if one.conflict is not None:
            step, text = one.conflict
            return f"{one.name} disagrees with itself at step {step}: {text}", False
    if a.replicas != b.replicas:
        return (
            f"not comparable: {a.name} has {a.replicas} logical replicas, {b.name} {b.replicas}: "
            "other replicas, other bits.",
            False,
        )
    common = sorted(a.steps.keys() & b.steps.keys())
    if not common:
        raise UnusableRun(
            f"the runs have no step in common: {_span(a.steps)} and {_span(b.steps)}."
        )
    before = None
    for step in common:
        if a.steps[step] != b.steps[step]:
            return _difference(a, b, step, before), False
        before = step
    workers = " and ".join(
        "/".join(map(str, sorted(one.workers))) + (" worker" if one.workers == {1} else " workers")
        for one in (a, b)
    )
    return (
        f"equal: {len(common)} steps ({_span(a.steps.keys() & b.steps.keys())}), "
        f"{len(a.variables)} variables, {a.replicas} replicas, on {workers}.",
        True,
    )


def _difference(a: Run, b: Run, step: int, before: int | None) -> str:
    rows = a.steps[step], b.steps[step]
    if len(rows[0]) != len(rows[1]):
        return f"step {step}: {len(rows[0])} variables and {len(rows[1])}."
    differing = [i for i, (x, y) in enumerate(zip(*rows)) if x != y]
    first = differing[0]
    name = a.variables[first] if first < len(a.variables) else "?"
    lines = [
        f"first difference: step {step}, variable {first} ({name})",
        f"  {a.name}: {rows[0][first]}",
        f"  {b.name}: {rows[1][first]}",
        f"  {len(differing)} of {len(rows[0])} variables differ in this step"
        + (f"; all are equal in step {before}." if before is not None else ", the first of all."),
        f"  {_replicas(a, b, step)}",
    ]
    return "\n".join(lines)


def _replicas(a: Run, b: Run, step: int) -> str:
    mine, other = a.given.get(step, {}), b.given.get(step, {})
    known = sorted(mine.keys() & other.keys())
    differing = [replica for replica in known if mine[replica] != other[replica]]
    if not known:
        return "What the replicas computed was not recorded for this step."
    if not differing:
        return "All replicas computed the same: the sum, or what the update made of it, differs."
    if len(differing) == len(known) and len(known) > 1:
        return f"replicas {_listed(differing)}, all of them, computed other gradients."
    what = "replica" if len(differing) == 1 else "replicas"
    return f"{what} {_listed(differing)} computed other gradients; the others the same."


def _read_file(path: Path, run: Run) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            if "format" in row:
                _describe(path, row, run)
            else:
                _step(path, row, run)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if number == len(lines) and not isinstance(error, UnusableRun):
                continue  # cut off by the death of the worker
            raise UnusableRun(f"{path}:{number} cannot be read: {error}") from error


def _describe(path: Path, row: dict[str, Any], run: Run) -> None:
    if row["format"] != FORMAT:
        raise UnusableRun(f"{path}: expected {FORMAT!r}; received {row['format']!r}.")
    if run.replicas not in (0, row["replicas"]):
        raise UnusableRun(
            f"{path}: expected {run.replicas} replicas, as in the rest of the run; received "
            f"{row['replicas']}. Is it a folder of two runs?"
        )
    run.replicas = row["replicas"]
    run.workers.add(row["workers"])
    if len(row["variables"]) > len(run.variables):
        run.variables = list(row["variables"])


def _step(path: Path, row: dict[str, Any], run: Run) -> None:
    step, digests = int(row["step"]), list(row["variables"])
    known = run.steps.setdefault(step, digests)
    if known != digests and (run.conflict is None or step < run.conflict[0]):
        at = next((i for i, (x, y) in enumerate(zip(known, digests)) if x != y), 0)
        name = run.variables[at] if at < len(run.variables) else "?"
        run.conflict = (step, f"{path.name} has other bits of variable {at} ({name}).")
    for replica, digest in row["replicas"].items():
        run.given.setdefault(step, {})[int(replica)] = digest


def _span(steps: Any) -> str:
    steps = sorted(steps)
    return f"{steps[0]} to {steps[-1]}" if steps else "none"


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
