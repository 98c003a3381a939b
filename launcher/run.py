"""`distflow run`: its options, and the job they make."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import arguments, hosts, interface
from .arguments import UsageError
from .discovery import Discovery, Listed, Printed, slots_of
from .hosts import Host
from .job import Job, Starter
from .plan import BACKENDS, Plan, make_plan, worker_command
from .tag import DEFAULT as DEFAULT_TAG
from .tag import Tag
from .view import MODES as VIEWS

# Loaded when they are wanted: what starts workers should not first load what it does not need.
_STARTERS = {
    "local": ("local", "LocalStarter"),
    "mpi": ("mpi", "MpiStarter"),
    "elastic": ("elastic", "ElasticStarter"),
    "elastic mpi": ("mpi_ulfm", "MpiElasticStarter"),
}

EXAMPLES = """examples:
  distflow run -n 4 train.py --epochs 10
  distflow run -n 2 --replicas 8 --log-dir logs -m mypackage.train
  distflow run --hosts node1:4,node2:4 train.py
  distflow run --hostfile hosts --elastic 2:8 train.py  # hosts may come and go

exit code: 0 if all workers finish well; else that of the worker that failed first (128 + n for
signal n); 128 + n if distflow run itself was ended by signal n; 64 for a wrong command line."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `distflow run`."""
    parser.usage = "distflow run -n N [options] (train.py | -m module) [arguments ...]"
    parser.description = (
        "Starts N workers of a program, shows their output with the rank before each line, and\n"
        "ends them all when one fails."
    )
    parser.epilog = EXAMPLES
    parser.add_argument(
        "-n",
        "--workers",
        type=arguments.positive,
        metavar="N",
        help="number of workers; with hosts, all their slots if it is not given",
    )
    parser.add_argument(
        "--hosts",
        metavar="A:2,B:2",
        help="start the workers on these hosts over ssh, so many on each",
    )
    parser.add_argument(
        "--hostfile",
        type=Path,
        metavar="FILE",
        help="the same from a file: a line each, `a:2` or `a slots=2`",
    )
    parser.add_argument(
        "--host-discovery-script",
        type=Path,
        metavar="PROGRAM",
        help="with --backend mpi: a program that prints the hosts of now, `a` or `a:2` a line; "
        "mpirun is started again when they change, also those of a --hostfile",
    )
    parser.add_argument(
        "--ssh", default="ssh", metavar="COMMAND", help="with options, if any (default: ssh)"
    )
    parser.add_argument(
        "--remote-python",
        metavar="PATH",
        help="the Python of the hosts, which must have distflow (default: the path of this one)",
    )
    parser.add_argument(
        "--interface",
        metavar="NAME",
        help="network interface, or address, at which workers of other hosts reach this one "
        "(default: where ssh's connections come from)",
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="how the workers exchange gradients; auto: through the memory that workers of a host "
        "share, and over grpc between hosts; without /dev/shm over mpi if mpi4py and an mpirun are "
        "found, else grpc. shm, mpi and grpc: that alone (default: auto)",
    )
    parser.add_argument(
        "--replicas",
        type=arguments.positive,
        metavar="V",
        help="logical replicas, at least N: the same V gives the same bits in the weights for any "
        "number of workers (default: N)",
    )
    parser.add_argument(
        "--elastic",
        type=arguments.bounds,
        metavar="MIN:MAX",
        help="workers may be lost, leave or come while the job runs: it goes on with MIN to MAX of "
        "them and ends with the same bits; over gRPC without a restart, with --backend mpi from "
        "its last checkpoint. SIGUSR1 to distflow run adds a worker",
    )
    parser.add_argument(
        "--tls",
        metavar="auto|DIR",
        help="encrypt what the workers send over gRPC: auto makes certificates for this job alone "
        "(extra tls), DIR holds ca.pem, worker.pem and worker.key",
    )
    parser.add_argument(
        "--max-restarts",
        type=arguments.count,
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
        type=arguments.assignment,
        action="append",
        default=[],
        metavar="K=V",
        help="set a variable for the workers; may be given several times, and as K alone for the "
        "value that it has here",
    )
    parser.add_argument(
        "--log-dir",
        type=Path,
        metavar="DIR",
        help="keep each worker's output in DIR/rank-0.out, DIR/rank-0.err and so on as well",
    )
    parser.add_argument(
        "--tag",
        metavar="TEXT",
        help="what stands before each line, with {rank}, {host} and {time}; '' for nothing "
        "(default: '[rank {rank}] ')",
    )
    parser.add_argument(
        "--view",
        choices=VIEWS,
        default="auto",
        help="show how far the workers are: in a table below their output (live), in a line each "
        "minute (plain), or not; auto: live on a terminal, else plain (default: auto)",
    )
    parser.add_argument(
        "--timeline",
        type=Path,
        metavar="FILE",
        help="write what all workers did when, as Chrome's trace events (ui.perfetto.dev shows it)",
    )
    parser.add_argument(
        "--metrics-port",
        type=arguments.port,
        metavar="PORT",
        help="the first worker of a host serves Prometheus's metrics at this port of 127.0.0.1, "
        "the next ones at those that follow",
    )
    parser.add_argument(
        "--grace",
        type=arguments.seconds,
        default=25.0,
        metavar="SECONDS",
        help="from SIGTERM to SIGKILL when workers are ended (default: 25)",
    )
    parser.add_argument(
        "--linger",
        type=arguments.seconds,
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


def run(options: argparse.Namespace) -> int:
    """Runs the job; returns its exit code."""
    options.timeline_dir, options.makes_tls = None, False
    with contextlib.ExitStack() as folders:
        if options.tls == "auto" and not options.dry_run:
            try:
                options.tls, options.makes_tls = folders.enter_context(_certificates()), True
            except ImportError as error:
                raise UsageError(str(error)) from error
        if options.timeline is not None and not options.dry_run:
            options.timeline_dir = folders.enter_context(_timeline_folder(options.timeline))
        return _run_job(options)


@contextlib.contextmanager
def _timeline_folder(output: Path) -> Iterator[Path]:
    """Makes the folder where workers write their timelines; makes one file of them at the end."""
    if not output.parent.is_dir() or not os.access(output.parent, os.W_OK):
        raise UsageError(f"--timeline must be in a folder to write to; received {output}.")
    with tempfile.TemporaryDirectory(prefix="distflow-timeline-") as name:
        folder = Path(name)
        yield folder
        try:
            workers, events = _load("timeline").merge(folder, output)
        except OSError as error:
            print(f"distflow run: no timeline was written: {error}", file=sys.stderr)
            return
        found = (
            f"{events:,} events of {workers} workers in {output}"
            if workers
            else "no worker wrote one"
        )
        print(f"distflow run: timeline: {found}", file=sys.stderr)


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


def _run_job(options: argparse.Namespace) -> int:
    options.discovery = _discovery_of(options)
    options.places = [] if options.discovery is not None else _hosts_of(options)
    plan = _plan_of(options)
    if options.dry_run:
        print(plan.describe())
        return 0
    if plan.log_dir is not None:
        _make_folder(plan.log_dir)
    if options.verbose:
        print(plan.describe(), file=sys.stderr)
    return Job(plan, _starter_of(plan, options), verbose=options.verbose).run()


def _discovery_of(options: argparse.Namespace) -> Discovery | None:
    """Returns what says where mpirun starts the workers; None for this host, and over gRPC."""
    found: Discovery | None = None
    if options.host_discovery_script is not None:
        if options.backend != "mpi" or options.hosts or options.hostfile:
            raise UsageError(
                "--host-discovery-script needs --backend mpi and no other hosts; received "
                f"--backend {options.backend}."
            )
        found = Printed(options.host_discovery_script)
    elif options.hostfile is not None and options.hosts is None and options.backend == "mpi":
        found = Listed(options.hostfile)
    if found is not None and options.workers is None:
        bounds = options.elastic
        options.workers = slots_of(found.look()) if bounds is None else bounds[1]
        if not options.workers:
            raise UsageError("there are no hosts yet: give -n, or --elastic MIN:MAX.")
    return found


def _hosts_of(options: argparse.Namespace) -> list[Host]:
    """Returns the hosts that were asked for; sets the number of workers where it was not."""
    if options.hosts is not None and options.hostfile is not None:
        raise UsageError("expected --hosts or --hostfile; received both.")
    found: list[Host] = []
    if options.hosts is not None:
        found = hosts.parse(options.hosts)
    elif options.hostfile is not None:
        found = hosts.read(options.hostfile)
    if options.workers is None:
        if not found:
            raise UsageError("expected -n and the number of workers; received none.")
        options.workers = sum(host.slots for host in found)
        if options.elastic is not None:
            options.workers = min(options.workers, options.elastic[1])
    return found


def _starter_of(plan: Plan, options: argparse.Namespace) -> Starter:
    if plan.hosts:
        return _ssh_starter(plan, options)
    if plan.discovery is not None:
        over_hosts: Starter = _load("mpi_hosts").MpiHosts(plan.discovery)
        return over_hosts
    kind = "mpi" if plan.backend == "mpi" else "local"
    if plan.elastic is not None:
        kind = "elastic mpi" if plan.backend == "mpi" else "elastic"
    module, name = _STARTERS[kind]
    starter: Starter = getattr(_load(module), name)()
    return starter


def _ssh_starter(plan: Plan, options: argparse.Namespace) -> Starter:
    preflight, over_ssh = _load("preflight"), _load("over_ssh")
    address = None if options.interface is None else interface.address_of(options.interface)
    is_module = options.module is not None
    folder, program = os.getcwd(), "" if is_module else plan.command[1]
    checked = preflight.check(
        plan.hosts, ssh=options.ssh, python=plan.remote_python, folder=folder,
        program=program, job=plan.job, address=address,
        least_slots=None if plan.elastic is None else plan.elastic[0],
    )  # fmt: skip
    if options.verbose or not all(row.is_good for row in checked.rows):
        print(preflight.table(checked.rows), file=sys.stderr)
    starter: Starter
    if plan.elastic is None:
        starter = over_ssh.SshStarter(checked, address)
    else:
        means = _load("approach").Means(
            options.ssh, plan.remote_python, folder, program, address, checked.port
        )
        starter = _load("elastic_hosts").ElasticSshStarter(
            checked.sessions, plan.hosts, means, options.hostfile
        )
    return starter


def _load(module: str) -> Any:
    return importlib.import_module(f".{module}", __package__)


def _plan_of(options: argparse.Namespace) -> Plan:
    words = list(options.module or options.program)
    if words[:1] == ["--"]:
        words = words[1:]
    if not words:
        raise UsageError("expected a Python file, or -m and a module; received neither.")
    name, *following = words
    return make_plan(
        worker_command(name, following, is_module=options.module is not None),
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
        tag=DEFAULT_TAG if options.tag is None else Tag(options.tag),
        view=options.view,
        metrics_port=options.metrics_port,
        timeline_dir=options.timeline_dir,
        hosts=options.places,
        discovery=options.discovery,
        remote_python=options.remote_python,
        scratch=[Path(options.tls)] if options.makes_tls else [],
    )


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / "rank-0.out").open("ab").close()
    except OSError as error:
        raise UsageError(f"--log-dir must be a folder to write to; {error}.") from error
