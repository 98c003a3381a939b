"""`distflow scale`: the number of workers of an elastic job, changed while it runs."""

from __future__ import annotations

import argparse

from .. import systems
from ..arguments import positive

EXAMPLE = """examples:
  distflow scale digits-x7k2p 6
  distflow scale 6                 the only job there is"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the job and the system that has it."""
    parser.description = "Changes the number of workers of a job that was submitted with --elastic."
    parser.epilog = EXAMPLE
    parser.add_argument(
        "name", nargs="?", metavar="JOB", help="its name (default: the only job there is)"
    )
    parser.add_argument("workers", type=positive, metavar="N", help="how many workers")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would change, and change nothing"
    )
    systems.add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Asks the system; returns the exit code."""
    return int(systems.load(options.system).scale(options))
