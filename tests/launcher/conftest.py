import contextlib
import importlib.util
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from launcher.mpirun import find_mpirun

ROOT = Path(__file__).parents[2]
DEADLINE = 60.0

# A worker that does what its first argument says; it does not import distflow.
PROGRAM = """
import ctypes, os, signal, subprocess, sys, time
rank, size = int(os.environ["DISTFLOW_RANK"]), int(os.environ["DISTFLOW_WORLD_SIZE"])
mode, arguments = sys.argv[1], sys.argv[2:]

def say(text):
    print(text, flush=True)

def ready():
    say(f"ready {os.getpid()}")

if mode == "fail" and rank == 1:
    print("about to fail", file=sys.stderr, flush=True)
    how = arguments[0]
    if how == "exception": raise ValueError("boom")
    if how == "import": import no_such_module
    if how == "exit": sys.exit(3)
    if how == "_exit": os._exit(4)
    os.kill(os.getpid(), getattr(signal, how))
if mode == "fail":
    time.sleep(60)
if mode == "abort":
    from mpi4py import MPI
    MPI.COMM_WORLD.Barrier()
    if rank == 1:
        MPI.COMM_WORLD.Abort(7)
    MPI.COMM_WORLD.recv(source=1)
if mode == "meet":
    from distflow.cluster import resolve
    from distflow.cluster.client import exchange_addresses
    if rank == 1 and arguments:
        sys.exit(int(arguments[0]))
    say(exchange_addresses(resolve(), f"127.0.0.1:{5000 + rank}"))
if mode == "crash" and rank == 1:
    import distflow
    from distflow.base.place import here
    here.step = 7
    raise ValueError("boom " + "x" * 50_000)
if mode == "crash":
    time.sleep(60)
if mode == "devour" and rank == 1:
    hoard = [bytes(range(256)) * 4096 for _ in range(1000)]
if mode == "devour":
    time.sleep(60)
if mode == "hello":
    say(f"hello from {rank} of {size}")
if mode == "environment":
    for name in arguments:
        say(f"{name}={os.environ.get(name)}")
if mode == "hang":
    ready()
    time.sleep(60)
if mode == "polite":
    def leave(number, frame):  # perhaps in the midst of print
        os.write(1, f"leaving on {int(number)}\\n".encode())
        os._exit(0)
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    ready()
    time.sleep(60)
if mode == "stubborn":
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    ready()
    time.sleep(60)
if mode in ("grandchild", "abandon"):
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + chr(10)
    code += "print('grandchild', flush=True); time.sleep(60)"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    )
    child.stdout.readline()
    say(f"ready {child.pid}")
    ready()
    if mode == "grandchild":
        time.sleep(60)
    os._exit(0)
if mode == "flood":
    line = b"x" * 99 + b"\\n"
    for _ in range(int(arguments[0]) // 10000 + 1):
        sys.stdout.buffer.write(line * 100)
if mode == "endless":
    ready()
    while True:
        say("x" * 99)
if mode == "bytes":
    os.write(1, eval(arguments[0]))
"""


def _backends():
    yield "grpc"
    found = find_mpirun() is not None and importlib.util.find_spec("mpi4py") is not None
    yield pytest.param("mpi", marks=pytest.mark.skipif(not found, reason="no mpirun or mpi4py"))


@pytest.fixture
def mpi():
    """Skips a test where there is no MPI."""
    if find_mpirun() is None or importlib.util.find_spec("mpi4py") is None:
        pytest.skip("no mpirun or mpi4py")


@pytest.fixture(params=list(_backends()))
def backend(request):
    return request.param


class Run:
    """A launcher process whose lines are collected as they come; never outlives its test."""

    def __init__(self, arguments, env=os.environ, **options):
        environment = {k: v for k, v in env.items() if not k.startswith("DISTFLOW_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "launcher", "run", *map(str, arguments)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            **options,
        )
        self.lines = {"out": [], "err": []}
        self._arrived = queue.Queue()
        self._threads = [
            threading.Thread(target=self._collect, args=(kind, pipe), daemon=True)
            for kind, pipe in (("out", self.process.stdout), ("err", self.process.stderr))
        ]
        for thread in self._threads:
            thread.start()

    def _collect(self, kind, pipe):
        for line in pipe:
            text = line.decode().rstrip("\n")
            self.lines[kind].append(text)
            self._arrived.put(text)

    def wait_for(self, word, count):
        """Returns the last words of `count` lines that hold `word`, as soon as they have come."""
        found = []
        while len(found) < count:
            line = self._arrived.get(timeout=DEADLINE)
            if word in line:
                found.append(line.rsplit(maxsplit=1)[-1])
        return found

    def end(self, seconds=DEADLINE):
        """Waits for the launcher; returns its exit code, with all lines collected."""
        code = self.process.wait(seconds)
        for thread in self._threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()
        return code

    @property
    def out(self):
        return self.lines["out"]

    @property
    def err(self):
        return "\n".join(self.lines["err"])


@pytest.fixture
def program(tmp_path):
    """The path of the worker program."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


@pytest.fixture
def start_program():
    """Starts `distflow run ARGUMENTS`; nothing of it outlives the test."""
    runs = []

    def start(arguments, **popen):
        runs.append(Run(arguments, **popen))
        return runs[-1]

    yield start
    for each in runs:
        with contextlib.suppress(ProcessLookupError):
            if each.process.poll() is None:
                each.process.kill()
        each.process.wait(DEADLINE)
        each.process.stdout.close()
        each.process.stderr.close()


@pytest.fixture
def run(program, start_program):
    """Starts `distflow run OPTIONS program MODE ARGUMENTS`."""
    return lambda options, mode, *arguments, **popen: start_program(
        [*options, program, mode, *arguments], **popen
    )


def is_running(process):
    """Whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.fixture
def all_gone():
    """Waits until none of the processes runs; 2 s are what the launcher promises."""
    seen = []

    def wait(processes, seconds=2.0):
        seen.extend(map(int, processes))
        over = time.monotonic() + seconds
        while any(map(is_running, seen)):
            if time.monotonic() > over:
                return False
            time.sleep(0.01)  # there is nothing to wait on: they are not our children
        return True

    yield wait
    for process in filter(is_running, seen):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
