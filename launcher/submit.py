"""`distflow submit`: starts a job on a cluster; the systems do it, each in a module of its own."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import systems
from .arguments import assignment, bounds, positive

EXAMPLE = """examples:
  distflow submit --k8s -n 4 --image example.com/distflow:0.1.0 train.py
  distflow submit --k8s -n 4 --replicas 8 --elastic 2:8 --image ... train.py
  distflow submit --k8s --kind mpijob -n 4 --image ...-mpi train.py --dry-run
  distflow submit --k8s -n 2 --image ... -o yaml train.py | kubectl apply -f -
  distflow submit --slurm -n 8 --time 2:00:00 --partition cpu train.py

Afterwards: distflow status, logs -f, scale, wait and cancel."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what all systems have in common, then what each has."""
    parser.usage = (
        "distflow submit (--k8s | --slurm) -n N [options]\n"
        "                       (train.py | -m module) [arguments ...]"
    )
    parser.description = (
        "Starts N workers of a program on a cluster. The program is the one that runs on this\n"
        "machine; its options follow it and are handed on."
    )
    parser.epilog = EXAMPLE
    systems.add_choice(parser, required=True)
    parser.add_argument(
        "-n", "--workers", type=positive, required=True, metavar="N", help="number of workers"
    )
    parser.add_argument("--name", help="of the job (default: the program's, and a few letters)")
    parser.add_argument(
        "--replicas",
        type=positive,
        metavar="V",
        help="logical replicas, which fix the bits of the result (default: the most workers)",
    )
    parser.add_argument(
        "--elastic",
        type=bounds,
        metavar="MIN:MAX",
        help="workers may be lost, leave or come while the job runs; see distflow scale",
    )
    parser.add_argument(
        "--env",
        type=assignment,
        action="append",
        default=[],
        metavar="K=V",
        help="set a variable for the workers; may be given several times",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be sent, and send nothing"
    )
    for name, system in systems.SYSTEMS.items():
        systems.load(name).add_submit_options(parser.add_argument_group(system.title))
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
    """Submits the job; returns the exit code."""
    return int(systems.load(options.system).submit(options))


def job_name(program: str, suffix: str) -> str:
    """Returns a name that Kubernetes takes for a program: train_cnn.py → train-cnn-x7k2p."""
    stem = Path(program).stem if program.endswith(".py") else program.rpartition(".")[2]
    letters = "".join(c if c.isascii() and c.isalnum() else "-" for c in stem.lower())
    start = letters.strip("-").lstrip("0123456789-")[:40].strip("-")
    return f"{start or 'job'}-{suffix}"
