"""The options of `distflow verify`; what it does is in verify.py."""

from __future__ import annotations

import argparse

from . import verify

EXAMPLE = """example:
  distflow run -n 4 --env DISTFLOW_DIGEST_DIR=four train.py
  distflow run -n 1 --replicas 4 --env DISTFLOW_DIGEST_DIR=one train.py
  distflow verify one four"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the two folders."""
    parser.description = (
        "Compares the digests that two runs wrote to DISTFLOW_DIGEST_DIR. Exit code 0: equal;\n"
        "1: different; 64: nothing to compare."
    )
    parser.epilog = EXAMPLE
    parser.add_argument("first", metavar="RUN_A", help="folder of a run's digests")
    parser.add_argument("second", metavar="RUN_B", help="folder of another run's digests")


def run(options: argparse.Namespace) -> int:
    """Compares the runs; returns the exit code."""
    return verify.run(options.first, options.second)
