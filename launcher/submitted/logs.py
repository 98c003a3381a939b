"""`distflow logs`: what the workers of a submitted job print."""

from __future__ import annotations

import argparse

from .. import systems
from ..arguments import count

EXAMPLE = """examples:
  distflow logs -f digits-x7k2p
  distflow logs --rank 0 --tail 20 digits-x7k2p"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the job and the system that has it."""
    parser.description = "Prints what the workers have printed, each line with its rank."
    parser.epilog = EXAMPLE
    parser.add_argument(
        "name", nargs="?", metavar="JOB", help="its name (default: the only job there is)"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the job has ended")
    parser.add_argument("--rank", type=count, metavar="R", help="of this worker only")
    parser.add_argument("--tail", type=count, metavar="N", help="begin N lines before the end")
    systems.add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Asks the system; returns the exit code."""
    return int(systems.load(options.system).logs(options))
