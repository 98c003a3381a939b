"""Elastic over an MPI with ULFM: ranks that are left do the step again, as over gRPC."""

import contextlib
import importlib.util
import os
import random
import signal
import stat

import pytest

from launcher import mpi_ulfm
from launcher.mpirun import Mpirun, find_mpirun
from tests.elastic.conftest import ElasticRun

MPIRUN = find_mpirun()
HERE = "no mpirun, or no mpi4py" if MPIRUN is None else mpi_ulfm.obstacle(MPIRUN)
if importlib.util.find_spec("mpi4py") is None:
    HERE = "needs mpi4py"

RUNS = int(os.environ.get("CHAOS_RUNS", "4"))
FIRST = int(os.environ.get("CHAOS_SEED", "0"))
STEPS = 8

with_ulfm = pytest.mark.skipif(bool(HERE), reason=HERE or "ULFM")
spawns = [pytest.mark.spawn, pytest.mark.slow, pytest.mark.timeout(180), with_ulfm]


def marked(test):
    for mark in spawns:
        test = mark(test)
    return test


@pytest.fixture
def over_ulfm():
    """Starts jobs: over_ulfm(options, arguments, faults="")."""
    runs = []

    def start(options, arguments, **more):
        runs.append(ElasticRun([*options, "--backend", "mpi", "--replicas", 5], arguments, **more))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


def check(run, golden, kind, count):
    code, hashes = run.end()
    assert (code, hashes) == (0, [golden(kind, STEPS)] * count), run.text
    assert not run.left_behind(), run.text


@marked
def test_a_lost_rank_costs_no_restart(over_ulfm, golden):
    run = over_ulfm(["-n", 3, "--elastic", "1:3"], ["fit", STEPS, 0.05])
    os.kill(run.at_step(1, 5), signal.SIGKILL)
    check(run, golden, "fit", 2)
    assert "rank 1 is lost (killed by signal 9 (SIGKILL)); 2 go on" in run.text
    assert "mpirun is started again with" not in run.text
    assert run.wait_for(r"rank 0\].*generation 2 at event \d+: rank 0 of 2")


@pytest.mark.soak
@pytest.mark.parametrize("victim", [0, 2])
@pytest.mark.parametrize(
    "phase", ["before-compute", "before-reduce", "before-commit", "after-commit"]
)
@pytest.mark.parametrize("kind", ["loop", "large"])
@marked
def test_a_rank_lost_in_a_phase_changes_nothing(over_ulfm, golden, kind, phase, victim):
    faults = f"kill@{phase}:25@{victim}"
    steps = 24 if kind == "large" else STEPS
    run = over_ulfm(["-n", 3, "--elastic", "1:3"], [kind, steps], faults=faults)
    code, hashes = run.end()
    assert (code, hashes) == (0, [golden(kind, steps)] * 2), run.text
    assert "mpirun is started again with" not in run.text


@pytest.mark.soak
@marked
def test_a_stopped_rank_is_gone_without_and_comes_back(over_ulfm, golden):
    run = over_ulfm(["-n", 3, "--elastic", "1:3"], ["fit", STEPS, 0.2])
    stopped = run.at_step(1, 3)
    os.kill(stopped, signal.SIGSTOP)
    run.wait_for(r"rank 0\].*generation 2 at event \d+: rank 0 of 2")
    os.kill(stopped, signal.SIGCONT)
    run.wait_for(r"rank 0\].*generation 3 at event \d+: rank 0 of 3")
    check(run, golden, "fit", 3)


@pytest.mark.soak
@marked
def test_a_rank_that_never_wakes_does_not_hold_up_the_end(over_ulfm, golden):
    run = over_ulfm(["-n", 3, "--elastic", "1:3"], ["fit", STEPS, 0.05])
    os.kill(run.at_step(1, 3), signal.SIGSTOP)
    check(run, golden, "fit", 2)


@pytest.mark.soak
@marked
def test_a_rank_that_is_asked_to_leave_does_its_step(over_ulfm, golden):
    run = over_ulfm(["-n", 3, "--elastic", "1:3"], ["fit", STEPS, 0.05])
    os.kill(run.at_step(2, 5), signal.SIGTERM)
    check(run, golden, "fit", 2)
    assert run.wait_for(r"rank 2\].*leaves after event")
    assert "is lost" not in run.text


@pytest.mark.soak
@marked
def test_with_fewer_than_the_least_no_step_is_lost(over_ulfm, golden):
    run = over_ulfm(["-n", 2, "--elastic", "2:2"], ["fit", STEPS, 0.1])
    os.kill(run.at_step(1, 5), signal.SIGKILL)
    check(run, golden, "fit", 2)
    assert "mpirun is started again with 2 workers, as rank 1 is lost" in run.text


@pytest.mark.soak
@marked
def test_a_worker_is_added_without_a_lost_step(over_ulfm, golden):
    run = over_ulfm(["-n", 2, "--elastic", "1:3"], ["fit", STEPS, 0.2])
    run.at_step(1, 4)
    run.process.send_signal(signal.SIGUSR1)
    check(run, golden, "fit", 3)


@pytest.mark.soak
@marked
def test_an_error_of_the_program_ends_the_job(over_ulfm):
    run = over_ulfm(
        ["-n", 2, "--elastic", "1:2"], [], program=["-m", "tests.distribute.broken_job"]
    )
    code, _ = run.end()
    assert code not in (0, 137), run.text
    assert "mpirun is started again with" not in run.text


@pytest.mark.soak
@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(FIRST, FIRST + RUNS))
@marked
def test_random_faults_change_nothing(over_ulfm, golden, seed):
    rng = random.Random(seed)
    kind, count = rng.choice(["fit", "loop"]), rng.choice([2, 3, 4])
    spared = rng.randrange(count)
    others = [slot for slot in range(count) if slot != spared]
    run = over_ulfm(["-n", count, "--elastic", f"1:{count}"], [kind, STEPS, 0.05])
    done, stopped = [], []
    for step in sorted(rng.sample(range(2, 20), len(others))):
        action, slot = rng.choice(["kill", "term", "stop"]), rng.choice(others)
        with contextlib.suppress(ProcessLookupError):
            process = run.at_step(spared, step) and run.at_step(slot, 1)
            number = {"kill": 9, "term": signal.SIGTERM, "stop": signal.SIGSTOP}[action]
            os.kill(process, number)
            done.append((step, action, slot))
            stopped += [process] if action == "stop" else []
    run.at_step(spared, 23)
    for process in stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)
    code, hashes = run.end()
    said = f"seed {seed}: {kind}, {count} workers, {done}\n{run.text}"
    assert code == 0, said
    assert set(hashes) == {golden(kind, STEPS)}, said
    assert not run.left_behind(), said


# -- which MPI can --------------------------------------------------------------------------


def open_mpi(folder, says, version="5.0.11"):
    info = folder / "ompi_info"
    info.write_text(f"#!/bin/sh\necho '{says}'\n")
    info.chmod(info.stat().st_mode | stat.S_IXUSR)
    return Mpirun(str(folder / "mpirun"), "Open MPI", version, ())


def test_open_mpi_with_ulfm_can(tmp_path, monkeypatch):
    monkeypatch.delenv(mpi_ulfm.SWITCH, raising=False)
    assert mpi_ulfm.obstacle(open_mpi(tmp_path, "options:ft_mpi_support:yes")) == ""


def test_what_stands_in_the_way_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv(mpi_ulfm.SWITCH, raising=False)
    without = mpi_ulfm.obstacle(open_mpi(tmp_path, "options:ft_mpi_support:no"))
    assert "built without ULFM" in without
    old = mpi_ulfm.obstacle(open_mpi(tmp_path, "", "4.1.4"))
    assert old == "Open MPI 4.1.4 has no ULFM, which came with Open MPI 5"
    assert mpi_ulfm.obstacle(Mpirun("/x/mpirun", "MPICH", "4.0", ())) == "MPICH 4.0 has no ULFM"
    lacking = mpi_ulfm.obstacle(Mpirun("/nowhere/mpirun", "Open MPI", "5.0", ()))
    assert "cannot be asked" in lacking
    monkeypatch.setenv(mpi_ulfm.SWITCH, "0")
    assert mpi_ulfm.SWITCH in mpi_ulfm.obstacle(open_mpi(tmp_path, "options:ft_mpi_support:yes"))
