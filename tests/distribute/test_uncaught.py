"""What a job prints and how it ends when a worker fails: the first failure must be easy to see."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distflow.base import errors
from distflow.comm.transport.base import exit_code
from distflow.distribute.mirrored import MirroredStrategy
from distflow.distribute.uncaught import shortened

HERE = Path(__file__).parent


def start(job, backend, workers=3, **environment):
    if backend == "mpi":
        pytest.importorskip("mpi4py")
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        if shutil.which("mpirun", path=path) is None:
            pytest.skip("no mpirun: pip install 'distflow[mpi]'")
    command = [sys.executable, "-m", "distflow_launcher", "run", "-n", str(workers)]
    return subprocess.Popen(
        [*command, "--backend", backend, str(HERE / job)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip


def rest_of(process, lines, seconds=50):
    try:
        out, _ = process.communicate(timeout=seconds)
    finally:
        process.kill()
        process.wait()
    return "".join(lines) + out


def pids(process, count):
    """Reads until all workers have said their pids; returns those by rank, and the lines."""
    found, lines = {}, []
    while len(found) < count:
        line = process.stdout.readline()
        assert line, "".join(lines)
        lines.append(line)
        match = re.search(r"worker (\d) pid (\d+)", line)
        if match:
            found[int(match[1])] = int(match[2])
    return found, lines


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_echo_shows_the_frames_of_the_program_alone():
    def step():
        raise errors.WorkerLostError("rank 2 is lost", 2)

    with pytest.raises(errors.WorkerLostError) as caught:
        MirroredStrategy(logical_replicas=2).run(step)
    text = shortened(caught.value)
    assert Path(__file__).name in text
    assert "strategy.py" not in text
    assert re.search(r"\(\d+ lines of distflow; DISTFLOW_LOG_LEVEL=DEBUG shows them\)", text)
    assert text.endswith("WorkerLostError: rank 2 is lost\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.WorkerLostError("gone"), 75),
        (errors.WorkerLateError("late"), 75),
        (errors.UnavailableError("no coordinator"), 75),
        (errors.AbortedError("told"), 1),
        (KeyError("user"), 1),
    ],
)
def test_exit_codes(error, code):
    assert exit_code(error) == code


@pytest.mark.slow
@pytest.mark.spawn
@pytest.mark.parametrize("backend", ["grpc", "mpi"])
def test_an_error_of_the_program_is_the_first_and_only_full_traceback(backend):
    process = start("broken_job.py", backend)
    text = rest_of(process, [])
    assert process.returncode == 1, text
    assert "rank 1 failed first" in text
    assert "[rank 1] KeyError: 'this callback is broken'" in text
    assert text.count("File ") < 30, text
    for rank in (0, 2) if backend == "grpc" else ():
        assert re.search(rf"\[rank {rank}\] .*rank 1 gave up: KeyError: 'this callback", text)


@pytest.mark.slow
@pytest.mark.spawn
@pytest.mark.parametrize("backend", ["grpc", "mpi"])
def test_a_stopped_worker_is_named_after_the_deadline(backend):
    process = start("endless_job.py", backend, DISTFLOW_TIMEOUT="3")
    workers, lines = pids(process, 3)
    stopped = time.monotonic()
    os.kill(workers[1], signal.SIGSTOP)
    text = rest_of(process, lines)
    assert time.monotonic() - stopped < 20
    assert process.returncode == 75, text
    for rank in (0, 2):
        # Who waits for one that waits for rank 1 adds from whom nothing has come either.
        assert re.search(rf"\[rank {rank}\] .*Worker(Late|Lost)Error", text), text
        assert re.search(rf"\[rank {rank}\] .*(for rank 1 |rank 1\b|ranks \[1\])", text), text
    assert text.count("File ") < 10, text
    assert not [pid for pid in workers.values() if alive(pid)]


@pytest.mark.slow
@pytest.mark.spawn
@pytest.mark.parametrize("backend", ["grpc", "mpi"])
def test_a_killed_worker_is_the_first_failure_of_the_job(backend):
    process = start("endless_job.py", backend)
    workers, lines = pids(process, 3)
    os.kill(workers[1], signal.SIGKILL)
    text = rest_of(process, lines)
    assert process.returncode == 137, text
    assert "rank 1 failed first" in text
    assert not [pid for pid in workers.values() if alive(pid)]
