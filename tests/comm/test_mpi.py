"""The MPI transport under a real mpirun: the one beside the interpreter."""

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MPIRUN = Path(sys.executable).parent / "mpirun"
LIMIT_SECONDS = 100

pytestmark = [
    pytest.mark.spawn,
    pytest.mark.skipif(importlib.util.find_spec("mpi4py") is None, reason="mpi4py is missing"),
    pytest.mark.skipif(not MPIRUN.exists(), reason="no mpirun beside the interpreter"),
]


def is_open_mpi():
    version = subprocess.run(
        [MPIRUN, "--version"], capture_output=True, text=True, timeout=30, check=False
    )
    return "Open MPI" in version.stdout


def mpirun(count, fault):
    environment = {
        **os.environ,
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PYTHONPATH": str(ROOT),
    }
    flags = ["--oversubscribe"] if is_open_mpi() else []
    command = [MPIRUN, *flags, "-n", str(count), sys.executable, "-m", "tests.comm.mpi_worker"]
    return subprocess.run(
        [*command, fault],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 5, 8])
def test_battery_passes_under_mpirun(world_size):
    done = mpirun(world_size, "conformance")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(done.stdout.split("\n"))[1:] == [
        f"rank {rank} of {world_size} done" for rank in range(world_size)
    ]


def test_an_uncaught_exception_ends_the_whole_job():
    start = time.monotonic()
    done = mpirun(3, "raise")
    assert time.monotonic() - start < 30  # the others would wait for 60 s
    assert done.returncode != 0
    assert "a bug in the user's code" in done.stderr


def test_a_silent_rank_is_named():
    done = mpirun(3, "silent")
    assert done.returncode != 0
    assert "WorkerLateError about rank 2" in done.stdout
    assert "barrier 'second' (call 1)" in done.stderr


def test_a_rank_that_leaves_early_is_named():
    start = time.monotonic()
    done = mpirun(2, "leave")
    assert time.monotonic() - start < 30
    assert done.returncode != 0
    assert "WorkerLostError about rank 1" in done.stdout
    assert "finished and left early" in done.stderr
