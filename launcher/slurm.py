"""The Slurm part of `distflow submit`, `status`, `logs`, `cancel` and `wait`."""

from __future__ import annotations

import argparse
import re
import secrets
import string
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import slurm_queue as queue
from .arguments import RETRYABLE, UsageError, positive
from .slurm_script import Script
from .submit import job_name

FAILED = 1
POLL_SECONDS = 0.5
CANCEL_SECONDS = 180.0  # Slurm's KillWait is 30 s, and an epilog may take its time
TAIL_LINES = 20
_LABEL = re.compile(r"^\s*(\d+): ?")  # srun --label


def add_options(group: Any) -> None:
    """Slurm's programs know how to reach it."""


def add_submit_options(group: Any) -> None:
    """Adds what a job on Slurm may have."""
    group.add_argument("--partition", help="where to wait for nodes")
    group.add_argument("--account", help="who pays")
    group.add_argument("--time", metavar="LIMIT", help="as sbatch takes it, as 1-12:00:00")
    group.add_argument("--nodes", type=positive, metavar="N", help="on so many (default: any)")
    group.add_argument(
        "--cpus-per-task", type=positive, default=1, metavar="N", help="of each worker (default: 1)"
    )
    group.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="OPTION",
        help="any other option of sbatch, as --sbatch=--mem-per-cpu=4G; may be given several times",
    )
    group.add_argument(
        "--setup",
        action="append",
        default=[],
        metavar="LINE",
        help="a line of shell before the program, as --setup='module load python'; may be given "
        "several times",
    )
    group.add_argument(
        "--python",
        default=sys.executable,
        metavar="FILE",
        help="the Python of the workers (default: the one that runs this)",
    )


def submit(options: argparse.Namespace) -> int:
    """Hands the script to sbatch, or prints it."""
    script = _script(options)
    if options.dry_run:
        print(script.text(), end="")
        return 0
    number = queue.submit(script.text())
    print(f"job {number} ({script.name}) submitted: {script.workers} workers, {script.replicas} "
          "replicas")  # fmt: skip
    print(f"  distflow logs --slurm -f {number}\n  distflow status --slurm {number}")
    return 0


def _script(options: argparse.Namespace) -> Script:
    words = list(options.module or options.program)
    if words[:1] == ["--"]:
        words = words[1:]
    if not words:
        raise UsageError("expected a Python file, or -m and a module; received neither.")
    if options.module is None and not Path(words[0]).is_file():
        raise UsageError(f"expected a Python file; received {words[0]!r}, which is not there.")
    if options.elastic is not None:
        raise UsageError(
            "--elastic needs somebody who starts lost workers again, which srun does not: use "
            "--k8s, or distflow run --elastic."
        )
    if options.replicas is not None and options.replicas < options.workers:
        raise UsageError(
            f"--replicas must be {options.workers} (-n) at least; received {options.replicas}."
        )
    suffix = "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(5))
    return Script(
        name=options.name or job_name(words[0], suffix),
        command=[options.python, *(["-m"] if options.module else []), *words],
        workers=options.workers,
        replicas=options.replicas or options.workers,
        cpus=options.cpus_per_task,
        settings={
            "partition": options.partition,
            "account": options.account,
            "time": options.time,
            "nodes": None if options.nodes is None else str(options.nodes),
        },
        more=options.sbatch,
        setup=options.setup,
        variables=dict(options.env),
    )


def status(options: argparse.Namespace) -> int:
    """Lists the jobs, or shows one and the end of its output if it has failed."""
    if options.name is None:
        jobs = queue.entries()
        if not jobs:
            print("no jobs of yours")
            return 0
        rows = [(j.id, j.name, j.state, j.used, j.reason) for j in jobs]
        head = ("JOB", "NAME", "STATE", "TIME", "WHERE OR WHY")
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        for row in [head, *rows]:
            print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())
        return 0
    job = queue.find(options.name)
    print(f"job {job.id} ({job.name}): {job.state}")
    where = f" on {job.nodes}" if job.nodes else f", {job.reason}"
    print(f"{job.workers} CPUs{where}; {job.used} so far")
    if not _failed(job):
        return 0
    how, path = f"exit code {queue.exit_code(job)} (code:signal)", Path(queue.output_file(job))
    if not path.is_file():
        print(f"{how}; it has written no output")
        return FAILED
    print(f"{how}; the end of its output:")
    for line in _lines(path, None, TAIL_LINES):
        sys.stdout.write(line)
    return FAILED


def logs(options: argparse.Namespace) -> int:
    """Prints the output of the workers."""
    job = queue.find(options.name)
    path = Path(queue.output_file(job))
    if options.follow:
        for line in _followed(job, path, options.rank):
            sys.stdout.write(line)
            sys.stdout.flush()
        return 0
    if not path.exists():
        raise UsageError(f"expected output; {job.name} has not started ({job.state}).")
    for line in _lines(path, options.rank, options.tail):
        sys.stdout.write(line)
    return 0


def scale(options: argparse.Namespace) -> int:
    """Slurm's jobs keep their size."""
    raise UsageError(
        "a job on Slurm cannot change its number of workers.\nCancel it and submit it with "
        "another -n and the same --replicas: the result has the same bits."
    )


def cancel(options: argparse.Namespace) -> int:
    """Ends a job: SIGTERM, then, after Slurm's KillWait, SIGKILL."""
    job = queue.find(options.name)
    if job.is_over:
        print(f"job {job.id} ({job.name}) has ended already: {job.state}")
        return FAILED
    if options.dry_run:
        print(f"job {job.id} ({job.name}), {job.state}, would be ended: scancel {job.id}")
        return 0
    queue.call(["scancel", job.id])
    over = time.monotonic() + CANCEL_SECONDS
    while not (job := queue.find(job.id)).is_over:
        if time.monotonic() > over:
            print(f"job {job.id} ({job.name}), {job.state}, has not ended after "
                  f"{CANCEL_SECONDS:g} s", file=sys.stderr)  # fmt: skip
            return FAILED
        time.sleep(POLL_SECONDS)
    print(f"job {job.id} ({job.name}): {job.state}")
    return 0


def wait(options: argparse.Namespace) -> int:
    """Waits until a job has ended."""
    job = queue.find(options.name)
    end = None if options.timeout is None else time.monotonic() + options.timeout
    said = ""
    while True:
        if job.state != said:
            print(f"job {job.id} ({job.name}): {job.state}", flush=True)
            said = job.state
        if job.is_over:
            return FAILED if _failed(job) else 0
        if end is not None and time.monotonic() > end:
            print(f"job {job.id} has not ended after {options.timeout:g} s", file=sys.stderr)
            return RETRYABLE
        time.sleep(POLL_SECONDS)
        job = queue.find(job.id)


def _failed(job: queue.Entry) -> bool:
    return job.is_over and job.state != queue.COMPLETED


def _lines(path: Path, rank: int | None, tail: int | None) -> list[str]:
    with path.open(errors="replace") as file:
        found = [line for line in map(_labelled, file) if _is_of(line, rank)]
    return found if tail is None else found[len(found) - min(tail, len(found)) :]


def _followed(job: queue.Entry, path: Path, rank: int | None) -> Iterator[str]:
    """The output's lines as they come, until the job has ended."""
    position, partial = 0, ""
    while True:
        job = queue.find(job.id)
        if path.exists():
            with path.open(errors="replace") as file:
                file.seek(position)
                partial += file.read()
                position = file.tell()
            *whole, partial = partial.split("\n")
            yield from (t for t in (_labelled(f"{w}\n") for w in whole) if _is_of(t, rank))
        if job.is_over:
            if partial and _is_of(_labelled(partial), rank):
                yield _labelled(partial) + "\n"
            return
        time.sleep(POLL_SECONDS)


def _labelled(line: str) -> str:
    """A line with srun's label as `distflow run` writes ranks."""
    return _LABEL.sub(r"[rank \1] ", line)


def _is_of(line: str, rank: int | None) -> bool:
    return rank is None or line.startswith(f"[rank {rank}] ")
