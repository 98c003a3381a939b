"""The command line of `distflow`: a table of its commands.

Each command is a file of this folder with

    add_arguments(parser)     sets the description and the epilog (an example), adds the options
    run(options) -> int       does it, returns the exit code; UsageError: it cannot be

and is loaded when it is called, so that no command waits for what another one needs.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from dataclasses import dataclass
from typing import Any

from .arguments import USAGE_ERROR, Parser, UsageError


@dataclass(frozen=True)
class Command:
    """A row of the table: the module in this folder, and what `distflow --help` says of it."""

    module: str
    help: str


COMMANDS = {
    "run": Command("run", "start the workers of a job, here or on hosts over ssh"),
    "doctor": Command("doctor", "say what this machine has: versions, MPI, memory, ports"),
    "debug": Command("debug", "say who waited for whom when a job failed"),
    "timeline": Command("timeline", "make one file of the timelines that the workers wrote"),
    "submit": Command("submit", "start a job on a cluster"),
    "status": Command("submitted.status", "say what submitted jobs are doing"),
    "logs": Command("submitted.logs", "print what the workers of a submitted job print"),
    "scale": Command("submitted.scale", "change the number of workers of an elastic job"),
    "wait": Command("submitted.wait", "wait until a submitted job has ended"),
    "cancel": Command("submitted.cancel", "end a submitted job and delete what is its own"),
    "lint-k8s": Command("kubernetes.lint_command", "check the manifests of a job by named rules"),
    "bench-comm": Command("bench_comm", "measure the collectives of a job, by size"),
    "completion": Command("completion", "print the shell's completion of this command"),
    "verify": Command(
        "verify_command", "name the first step and variable in which two runs differ"
    ),
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the `distflow` command; returns its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    parser, module = build_parser(next((word for word in words if word[:1] != "-"), None))
    options = parser.parse_args(words)
    if options.command is None:
        parser.print_help(sys.stderr)
        print("distflow: error: expected a COMMAND; received none.", file=sys.stderr)
        return USAGE_ERROR
    try:
        return int(module.run(options))
    except UsageError as error:
        print(f"distflow {options.command}: error: {error}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def build_parser(chosen: str | None = None) -> tuple[Parser, Any]:
    """Returns the parser, which knows the options of the chosen command, and its module."""
    parser = Parser(
        prog="distflow",
        description="Starts distributed training, and checks the machine for it.",
        epilog="`distflow COMMAND --help` tells more, with examples.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and end")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    module = None
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.help)
        if name == chosen:
            module = load(name)
            module.add_arguments(sub)
    return parser, module


def load(name: str) -> Any:
    """Returns the module of a command."""
    return importlib.import_module(f".{COMMANDS[name].module}", __package__)


def version() -> str:
    """Returns the version of the installed package."""
    # A third of what `distflow run` would load before its workers start, and does not need.
    metadata = importlib.import_module("importlib.metadata")
    try:
        return str(metadata.version("distflow"))
    except metadata.PackageNotFoundError:
        return "(not installed)"


class _Version(argparse.Action):
    """Looks the version up only when somebody asks."""

    def __call__(self, parser: argparse.ArgumentParser, *args: Any) -> None:
        print(f"distflow {version()}")
        parser.exit()
