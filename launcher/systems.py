"""Where `distflow submit` sends jobs: one row per system, with one module that does it all.

The module of a system has

    add_submit_options(parser)   its options of `distflow submit`
    submit(options) -> int
    add_options(parser)          how to reach it, for all other commands
    status, logs, scale, cancel, wait (options) -> int

Each returns the exit code, or raises `arguments.UsageError`; what a system cannot do it refuses
that way. `add_*` are called for every help text, so they must load nothing that takes time.
"""

from __future__ import annotations

import argparse
import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class System:
    """A row: the module in this folder, and what help texts call it."""

    module: str
    title: str


SYSTEMS = {
    "k8s": System("kubernetes.commands", "Kubernetes"),
    "slurm": System("slurm", "Slurm"),
}


def load(name: str) -> Any:
    """Returns the module of a system."""
    return importlib.import_module(f".{SYSTEMS[name].module}", __package__)


def add_choice(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """Adds the option that chooses the system, and each system's own ones."""
    chosen = parser.add_mutually_exclusive_group(required=required)
    for name, system in SYSTEMS.items():
        chosen.add_argument(
            f"--{name}",
            dest="system",
            action="store_const",
            const=name,
            default=None if required else next(iter(SYSTEMS)),
            help=f"a job on {system.title}"
            + ("" if required or len(SYSTEMS) == 1 else _default(name)),
        )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the choice of the system and how to reach each."""
    add_choice(parser)
    for name, system in SYSTEMS.items():
        load(name).add_options(parser.add_argument_group(system.title))


def _default(name: str) -> str:
    return " (default)" if name == next(iter(SYSTEMS)) else ""
