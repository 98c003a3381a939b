"""`distflow cancel`: the end of a submitted job."""

from __future__ import annotations

import argparse

from .. import systems

EXAMPLE = """example:
  distflow cancel digits-x7k2p

exit code: 0 when all of it is gone, 1 if there was nothing or its pods did not end in time."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the job and the system that has it."""
    parser.description = (
        "Ends a job: its workers get SIGTERM and their time, then all that is its own is deleted."
    )
    parser.epilog = EXAMPLE
    parser.add_argument("name", metavar="JOB", help="its name")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would end, and end nothing"
    )
    systems.add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Asks the system; returns the exit code."""
    return int(systems.load(options.system).cancel(options))
