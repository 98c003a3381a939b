"""The command line of `distflow`: its sub-commands and their options."""

from __future__ import annotations

import argparse
import importlib.metadata


def main(arguments: list[str] | None = None) -> int:
    """Runs the `distflow` command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="distflow", description=__doc__)
    parser.add_argument(
        "--version", action="version", version=f"distflow {importlib.metadata.version('distflow')}"
    )
    parser.parse_args(arguments)
    return 0
