"""`distflow bench-comm`: how fast the collectives of a job are, by size.

Starts workers as `distflow run` does, here or on hosts, and has them measure (`bench_worker`).
"""

from __future__ import annotations

import argparse
import re

from . import run as run_command
from .arguments import UsageError
from .bench_worker import OPERATIONS

EXAMPLE = """examples:
  distflow bench-comm                                 two workers of this host
  distflow bench-comm -n 4 --backend grpc --op all_gather --sizes 1K:16M
  distflow bench-comm --hosts node1,node2 --sizes 64K:64M

algbw is bytes divided by seconds; busbw counts the bytes that each worker must send at least, so
that it can be compared with the network's speed on any number of workers (all_reduce: times
2 (n-1) / n). The last line fits seconds = alpha + beta * bytes. Exit code: as of distflow run."""

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
MAX_BYTES = 1 << 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what is measured; where is said as to `distflow run`."""
    parser.description = "Measures the collectives that training uses, over the same transports."
    parser.epilog = EXAMPLE
    parser.add_argument(
        "--op", choices=OPERATIONS, default="all_reduce", metavar="OP",
        help=f"what is measured: {', '.join(OPERATIONS)} (default: all_reduce)",
    )  # fmt: skip
    parser.add_argument(
        "--sizes",
        default="1K:64M",
        metavar="MIN:MAX",
        help="bytes of each worker's array, times 4 from MIN to MAX (default: 1K:64M)",
    )
    parser.add_argument(
        "--seconds", type=float, default=0.5, help="how long each size is measured (default: 0.5)"
    )
    for name in ("-n", "--hosts", "--hostfile", "--ssh", "--backend", "--tls", "--remote-python"):
        parser.add_argument(name, metavar="..." if name != "-n" else "N", help="as distflow run")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and start nothing")


def run(options: argparse.Namespace) -> int:
    """Measures; returns the exit code of the job."""
    sizes = sizes_of(options.sizes)
    if not 0 < options.seconds <= 60:
        raise UsageError(f"--seconds must be above 0 and at most 60; received {options.seconds:g}.")
    words = ["--tag", "", "--view", "off"]
    if options.dry_run:
        words.append("--dry-run")
    if options.n is None and options.hosts is None and options.hostfile is None:
        options.n = "2"
    for name in ("n", "hosts", "hostfile", "ssh", "backend", "tls", "remote_python"):
        value = getattr(options, name)
        if value is not None:
            words += [f"-{name}" if name == "n" else f"--{name.replace('_', '-')}", value]
    words += ["-m", "distflow_launcher.bench_worker", options.op, str(options.seconds)]
    parser = argparse.ArgumentParser(prog="distflow bench-comm", add_help=False)
    run_command.add_arguments(parser)
    return run_command.run(parser.parse_args([*words, *map(str, sizes)]))


def sizes_of(text: str) -> list[int]:
    """Returns the sizes of "1K:64M": from the first one, times 4, to the last one."""
    match = re.fullmatch(r"(\d+)([KMG]?)(?::(\d+)([KMG]?))?", text)
    if match is None:
        raise UsageError(f"--sizes must be MIN:MAX, as in 1K:64M; received {text!r}.")
    low = int(match[1]) * _UNITS[match[2]]
    high = low if match[3] is None else int(match[3]) * _UNITS[match[4]]
    if not 4 <= low <= high <= MAX_BYTES:
        raise UsageError(f"--sizes must rise, from 4 bytes to 1G at most; received {text!r}.")
    found = [low]
    while found[-1] * 4 <= high:
        found.append(found[-1] * 4)
    return found
