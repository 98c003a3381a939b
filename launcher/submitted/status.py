"""`distflow status`: what a submitted job is doing, and what it failed of."""

from __future__ import annotations

import argparse

from .. import systems

EXAMPLE = """examples:
  distflow status                 all jobs
  distflow status digits-x7k2p    one, with its workers"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the job and the system that has it."""
    parser.description = (
        "Shows what submitted jobs are doing: state and workers, and what failed first in a failed "
        "one."
    )
    parser.epilog = EXAMPLE
    parser.add_argument("name", nargs="?", metavar="JOB", help="its name (default: list all jobs)")
    systems.add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Asks the system; returns the exit code."""
    return int(systems.load(options.system).status(options))
