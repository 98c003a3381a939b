"""Elastic over MPI without ULFM: mpirun is started again, and the program goes on from its last
checkpoint.
"""

import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from launcher import mpi_ulfm
from launcher.mpirun import find_mpirun
from tests.elastic.conftest import ElasticRun

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.spawn,
    pytest.mark.slow,
    pytest.mark.skipif(
        find_mpirun() is None or importlib.util.find_spec("mpi4py") is None,
        reason="needs mpi4py and an mpirun",
    ),
]


@pytest.fixture(scope="module")
def golden():
    done = subprocess.run(
        [sys.executable, "-m", "tests.distribute.backup_job", ""], capture_output=True, text=True,
        cwd=ROOT, timeout=60, check=True,
        env={k: v for k, v in os.environ.items() if not k.startswith("DISTFLOW_")},
    )  # fmt: skip
    return re.search(r"sha256=(\w+)", done.stdout)[1]


@pytest.fixture(autouse=True)
def without_ulfm(monkeypatch):
    monkeypatch.setenv(mpi_ulfm.SWITCH, "0")


@pytest.fixture
def over_mpi():
    """Starts jobs over MPI: over_mpi(options, folder)."""
    runs = []

    def start(options, folder):
        program = ["-m", "tests.distribute.backup_job"]
        runs.append(ElasticRun([*options, "--backend", "mpi"], [folder, 0.2], program=program))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


def at_step(run, slot, step):
    return int(run.wait_for(rf"rank {slot}\] pid (\d+) step {step}$")[1])


def first_step_after(run, event):
    """The step with which rank 0 goes on after a line with this text."""
    lines = run.text[run.text.index(event) :]
    return int(re.search(r"rank 0\] pid \d+ step (\d+)", lines)[1])


def test_a_lost_rank_costs_a_restart_and_no_step_that_was_saved(over_mpi, golden, tmp_path):
    run = over_mpi(["-n", 2, "--elastic", "1:2", "--replicas", 4], tmp_path)
    os.kill(at_step(run, 1, 5), signal.SIGKILL)
    code, hashes = run.end()
    assert (code, hashes) == (0, [golden] * 2), run.text
    assert "goes on from its last checkpoint" in run.text
    assert "no job over MPI goes on without a lost rank here: " in run.text  # and why
    assert first_step_after(run, "mpirun is started again with 2 workers") >= 5, run.text
    assert not run.left_behind()


@pytest.mark.soak
def test_without_restarts_left_fewer_ranks_go_on(over_mpi, golden, tmp_path):
    options = ["-n", 3, "--elastic", "2:3", "--replicas", 4, "--max-restarts", 0]
    run = over_mpi(options, tmp_path)
    os.kill(at_step(run, 1, 5), signal.SIGKILL)
    code, hashes = run.end()
    assert (code, hashes) == (0, [golden] * 2), run.text
    assert "started again with 2 workers" in run.text


@pytest.mark.soak
def test_a_worker_is_added_at_a_restart(over_mpi, golden, tmp_path):
    run = over_mpi(["-n", 2, "--elastic", "1:3", "--replicas", 4], tmp_path)
    at_step(run, 1, 4)
    run.process.send_signal(signal.SIGUSR1)
    code, hashes = run.end()
    assert (code, hashes) == (0, [golden] * 3), run.text


@pytest.mark.soak
def test_too_few_ranks_end_the_job_with_the_end_of_the_lost_one(over_mpi, tmp_path):
    run = over_mpi(["-n", 2, "--elastic", "2:2", "--replicas", 4, "--max-restarts", 0], tmp_path)
    os.kill(at_step(run, 1, 5), signal.SIGKILL)
    code, _ = run.end()
    assert code == 128 + signal.SIGKILL, run.text
    assert "rank 1 failed first" in run.text


@pytest.mark.soak
def test_an_error_of_the_program_is_no_loss(over_mpi, tmp_path):
    options = ["-n", 2, "--elastic", "1:2", "--backend", "mpi", "--replicas", 4]
    run = ElasticRun(options, [], program=["-m", "tests.distribute.broken_job"])
    try:
        code, _ = run.end()
        assert code not in (0, 137), run.text
        assert "mpirun is started again" not in run.text
    finally:
        run.close()
