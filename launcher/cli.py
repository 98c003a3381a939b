"""The command line of `distflow`: its sub-commands and their options."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from .job import Job, Starter
from .plan import BACKENDS, Plan, UsageError, make_plan, worker_command

# Loaded when they are wanted: what starts workers should not first load what it does not need.
_STARTERS = {
    "local": ("local", "LocalStarter"),
    "mpi": ("mpi", "MpiStarter"),
    "elastic": ("elastic", "ElasticStarter"),
}

USAGE_ERROR = 64  # as in sysexits.h; 1 is left to the user's own errors

RUN_EXAMPLES = """examples:
  distflow run -n 4 train.py --epochs 10
  distflow run -n 2 --backend grpc --replicas 8 --log-dir logs -m mypackage.train

exit code: 0 if all workers finish well; else that of the worker that failed first (128 + n for
signal n); 128 + n if distflow run itself was ended by signal n; 64 for a wrong command line."""

VERIFY_EXAMPLE = """example:
  distflow run -n 4 --env DISTFLOW_DIGEST_DIR=four train.py
  distflow run -n 1 --replicas 4 --env DISTFLOW_DIGEST_DIR=one train.py
  distflow verify one four"""

DOCTOR_EXAMPLE = """example:
  distflow doctor"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE_ERROR, f"{self.prog}: error: {message}\n")


def main(arguments: list[str] | None = None) -> int:
    """Runs the `distflow` command; returns its exit code."""
    parser = _build_parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help(sys.stderr)
        print("distflow: error: expected a COMMAND; received none.", file=sys.stderr)
        return USAGE_ERROR
    if options.command == "doctor":
        return int(_load("doctor").run())
    if options.command == "verify":
        return int(_load("verify").run(options.first, options.second))
    return _run(options)


def _run(options: argparse.Namespace) -> int:
    with contextlib.ExitStack() as folders:
        if options.tls == "auto" and not options.dry_run:
            try:
                options.tls = folders.enter_context(_certificates())
            except ImportError as error:
                print(f"distflow run: error: {error}", file=sys.stderr)
                return USAGE_ERROR
        return _run_with(options)


@contextlib.contextmanager
def _certificates() -> Iterator[str]:
    """Makes certificates for one job; the launcher's own server takes them as the workers do."""
    with tempfile.TemporaryDirectory(prefix="distflow-tls-") as folder:
        _load("tls").make(Path(folder))
        os.environ["DISTFLOW_TLS"] = folder
        try:
            yield folder
        finally:
            del os.environ["DISTFLOW_TLS"]


def _run_with(options: argparse.Namespace) -> int:
    try:
        plan = _plan_of(options)
        if options.dry_run:
            print(plan.describe())
            return 0
        if plan.log_dir is not None:
            _make_folder(plan.log_dir)
    except UsageError as error:
        print(f"distflow run: error: {error}", file=sys.stderr)
        return USAGE_ERROR
    if options.verbose:
        print(plan.describe(), file=sys.stderr)
    kind = "mpi" if plan.backend == "mpi" else "local"
    if plan.elastic is not None:
        kind = "elastic"
    module, name = _STARTERS[kind]
    starter: Starter = getattr(_load(module), name)()
    return Job(plan, starter, verbose=options.verbose).run()


def _load(module: str) -> Any:
    return importlib.import_module(f".{module}", __package__)


def _plan_of(options: argparse.Namespace) -> Plan:
    words = list(options.module or options.program)
    if words[:1] == ["--"]:
        words = words[1:]
    if not words:
        raise UsageError("expected a Python file, or -m and a module; received neither.")
    name, *arguments = words
    return make_plan(
        worker_command(name, arguments, is_module=options.module is not None),
        num_workers=options.workers,
        backend=options.backend,
        replicas=options.replicas,
        variables=dict(options.env),
        log_dir=options.log_dir,
        grace_seconds=options.grace,
        linger_seconds=options.linger,
        tls=None if options.tls is None else Path(options.tls),
        elastic=options.elastic,
        max_restarts=options.max_restarts,
        state_dir=options.state_dir,
    )


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / "rank-0.out").open("ab").close()
    except OSError as error:
        raise UsageError(f"--log-dir must be a folder to write to; {error}.") from error


def _build_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="distflow",
        description="Starts distributed training, and checks the machine for it.",
        epilog="`distflow COMMAND --help` tells more, with examples.",
    )
    parser.add_argument("--version", action="version", version=f"distflow {version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_run(
        commands.add_parser(
            "run",
            help="start the workers of a job on this machine",
            usage="distflow run -n N [options] (train.py | -m module) [arguments ...]",
            description="Starts N workers of a program on this machine, shows their output with\n"
            "the rank before each line, and ends them all when one fails.",
            epilog=RUN_EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    commands.add_parser(
        "doctor",
        help="say what this machine has: versions, MPI, memory, ports",
        description="Checks what a job needs on this machine. Exit code 1 if something is missing.",
        epilog=DOCTOR_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_verify(
        commands.add_parser(
            "verify",
            help="name the first step, variable and replica in which two runs differ",
            description="Compares the digests that two runs wrote to DISTFLOW_DIGEST_DIR. Exit "
            "code 0: equal; 1: different; 64: nothing to compare.",
            epilog=VERIFY_EXAMPLE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    return parser


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", metavar="RUN_A", help="folder of a run's digests")
    parser.add_argument("second", metavar="RUN_B", help="folder of another run's digests")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-n", "--workers", type=_positive, required=True, metavar="N", help="number of workers"
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="how the workers exchange gradients; auto: mpi if mpi4py and an mpirun are found "
        "(and N > 1), else grpc; then the memory of this host. mpi and grpc: that alone; shm: meet "
        "over grpc, then memory (default: auto)",
    )
    parser.add_argument(
        "--replicas",
        type=_positive,
        metavar="V",
        help="logical replicas, at least N: the same V gives the same bits in the weights for any "
        "number of workers (default: N)",
    )
    parser.add_argument(
        "--elastic",
        type=_bounds,
        metavar="MIN:MAX",
        help="workers may be lost, leave or come while the job runs: it goes on with MIN to MAX of "
        "them and ends with the same bits; over gRPC. SIGUSR1 to distflow run adds a worker",
    )
    parser.add_argument(
        "--tls",
        metavar="auto|DIR",
        help="encrypt what the workers send over gRPC: auto makes certificates for this job alone "
        "(extra tls), DIR holds ca.pem, worker.pem and worker.key",
    )
    parser.add_argument(
        "--max-restarts",
        type=_count,
        default=3,
        metavar="K",
        help="how many lost workers of an elastic job are replaced (default: 3)",
    )
    parser.add_argument(
        "--state-dir",
        type=Path,
        metavar="DIR",
        help="where an elastic job that must end (too few workers, SIGTERM) is kept; started again "
        "with the same DIR it goes on from there",
    )
    parser.add_argument(
        "--env",
        type=_assignment,
        action="append",
        default=[],
        metavar="K=V",
        help="set a variable for the workers; may be given several times",
    )
    parser.add_argument(
        "--log-dir",
        type=Path,
        metavar="DIR",
        help="keep each worker's output in DIR/rank-0.out, DIR/rank-0.err and so on as well",
    )
    parser.add_argument(
        "--grace",
        type=_seconds,
        default=25.0,
        metavar="SECONDS",
        help="from SIGTERM to SIGKILL when workers are ended (default: 25)",
    )
    parser.add_argument(
        "--linger",
        type=_seconds,
        default=5.0,
        metavar="SECONDS",
        help="how long the others may go on after the first failure, to report it themselves "
        "(default: 5)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan and start nothing")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="print the plan, and how each worker ended"
    )
    parser.add_argument(
        "-m",
        dest="module",
        nargs=argparse.REMAINDER,
        metavar="module ...",
        help="run a module, as python -m does; all that follows are its arguments",
    )
    parser.add_argument(
        "program",
        nargs=argparse.REMAINDER,
        metavar="train.py ...",
        help="the Python file that each worker runs; all that follows are its arguments",
    )


def version() -> str:
    """Returns the version of the installed package."""
    try:
        return importlib.metadata.version("distflow")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _positive(text: str) -> int:
    value = int(text) if text.isascii() and text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected an integer from 1; received {text!r}")
    return value


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"expected an integer from 0; received {text!r}")
    return int(text)


def _bounds(text: str) -> tuple[int, int]:
    low, _, high = text.partition(":")
    bounds = (_positive(low), _positive(high))
    if bounds[0] > bounds[1]:
        raise argparse.ArgumentTypeError(f"expected MIN:MAX with MIN <= MAX; received {text!r}")
    return bounds


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"expected a number of seconds; received {text!r}")
    return value


def _assignment(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"expected NAME=value; received {text!r}")
    return name, value
