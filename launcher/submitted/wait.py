"""`distflow wait`: until a submitted job has ended."""

from __future__ import annotations

import argparse

from .. import systems
from ..arguments import seconds

EXAMPLE = """examples:
  distflow wait digits-x7k2p && distflow status digits-x7k2p
  distflow wait --timeout 3600

exit code: 0 if the job finished, 1 if it failed, 75 if it has not ended in time."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the job and the system that has it."""
    parser.description = "Waits until a job has ended, and says how it changes."
    parser.epilog = EXAMPLE
    parser.add_argument(
        "name", nargs="?", metavar="JOB", help="its name (default: the only job there is)"
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="wait so long at most (default: for ever)",
    )
    systems.add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Asks the system; returns the exit code."""
    return int(systems.load(options.system).wait(options))
