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
NO_OTHER = ("--max-restarts", 0)  # a lost rank is not replaced

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
    run = over_ulfm(["-n", 3, "--elastic", "1:3", *NO_OTHER], ["fit", STEPS, 0.05])
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
    run = over_ulfm(["-n", 3, "--elastic", "1:3", *NO_OTHER], [kind, steps], faults=faults)
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
    os.kill(run.at_step(1, 5), signal.SIGTERM)
    check(run, golden, "fit", 2)
    assert "mpirun is started again with 2 workers, as rank 1 is lost" in run.text


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
    run = over_ulfm(["-n", count, "--elastic", f"1:{count + 1}"], [kind, STEPS, 0.1])
    done, stopped = [], []
    for step in sorted(rng.sample(range(2, 20), len(others))):
        action, slot = rng.choice(["kill", "term", "stop", "add"]), rng.choice(others)
        with contextlib.suppress(ProcessLookupError):
            process = run.at_step(spared, step) and run.at_step(slot, 1)
            done.append((step, action, slot))
            if action == "add":
                run.process.send_signal(signal.SIGUSR1)
                continue
            number = {"kill": 9, "term": signal.SIGTERM, "stop": signal.SIGSTOP}[action]
            os.kill(process, number)
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


# -- ranks that are started later ------------------------------------------------------------


def is_spawned(run, slot):
    """Waits until a rank that was started later trains."""
    run.wait_for(rf"worker {slot} is started by MPI_Comm_spawn")
    return run.wait_for(rf"rank {slot}\].*generation [2-9]\d* at event")


def ask_for_one(run, step):
    """Asks for one more rank when rank 0 has done that many steps."""
    run.at_step(0, step)
    run.process.send_signal(signal.SIGUSR1)


def add(run, slot, step):
    """Does so, and waits until it trains."""
    ask_for_one(run, step)
    is_spawned(run, slot)


@marked
def test_a_lost_rank_is_replaced_while_the_others_go_on(over_ulfm, golden):
    run = over_ulfm(["-n", 2, "--elastic", "1:2"], ["fit", STEPS, 0.02], hold=15)
    os.kill(run.at_step(1, 3), signal.SIGKILL)
    run.wait_for(r"rank 0\].*generation 2 at event \d+: rank 0 of 1")
    is_spawned(run, 1)
    check(run, golden, "fit", 2)
    assert "rank 1 is started again (restart 1 of 3)" in run.text
    assert "mpirun is started again with" not in run.text


@pytest.mark.soak
@marked
def test_with_fewer_than_the_least_the_others_wait_for_a_replacement(over_ulfm, golden):
    run = over_ulfm(["-n", 2, "--elastic", "2:2"], ["fit", STEPS, 0.1])
    os.kill(run.at_step(1, 5), signal.SIGKILL)
    is_spawned(run, 1)
    check(run, golden, "fit", 2)
    assert "mpirun is started again with" not in run.text


@pytest.mark.soak
@marked
def test_a_rank_is_added_while_the_others_go_on(over_ulfm, golden):
    run = over_ulfm(["-n", 1, "--elastic", "1:3"], ["fit", STEPS, 0.3])
    add(run, 1, 3)
    add(run, 2, 6)
    check(run, golden, "fit", 3)
    assert "mpirun is started again with" not in run.text


@pytest.mark.soak
@marked
def test_one_more_than_the_most_is_refused(over_ulfm, golden):
    run = over_ulfm(["-n", 2, "--elastic", "1:2"], ["fit", STEPS, 0.05])
    ask_for_one(run, 2)
    run.wait_for("there are 2 workers already, the most of --elastic")
    check(run, golden, "fit", 2)


@pytest.mark.soak
@pytest.mark.parametrize("phase", ["state-receive", "replay"])
@marked
def test_replacements_that_are_lost_as_they_come_change_nothing(over_ulfm, golden, phase):
    faults = f"kill@{phase}:*@1"
    run = over_ulfm(["-n", 3, "--elastic", "1:3"], ["fit", STEPS, 0.3], faults=faults)
    os.kill(run.at_step(1, 3), signal.SIGKILL)
    check(run, golden, "fit", 2)
    assert run.text.count("worker 1 is started by MPI_Comm_spawn") == 3, run.text
    assert "rank 1 is started again (restart 3 of 3)" in run.text


@pytest.mark.soak
@marked
def test_those_that_were_started_later_go_on_without_the_first(over_ulfm, golden):
    run = over_ulfm(["-n", 1, "--elastic", "1:3", *NO_OTHER], ["fit", STEPS, 0.3])
    add(run, 1, 2)
    add(run, 2, 4)
    os.kill(run.at_step(0, 10), signal.SIGKILL)
    check(run, golden, "fit", 2)
    assert "mpirun is started again with" not in run.text


@pytest.mark.soak
@marked
def test_a_member_that_is_lost_while_it_starts_another_holds_up_nobody(over_ulfm, golden):
    run = over_ulfm(["-n", 3, "--elastic", "1:3"], ["fit", STEPS, 0.3])
    os.kill(run.at_step(2, 3), signal.SIGKILL)
    starter = run.wait_for(r"rank (\d)\].*worker 2 is started by MPI_Comm_spawn")[1]
    os.kill(run.at_step(int(starter), 1), signal.SIGKILL)
    code, hashes = run.end()
    assert code == 0, run.text
    assert set(hashes) == {golden("fit", STEPS)}, run.text
    assert not run.left_behind(), run.text


@pytest.mark.soak
@marked
def test_a_stopped_newcomer_is_gone_without_and_comes_back(over_ulfm, golden):
    run = over_ulfm(["-n", 2, "--elastic", "1:3"], ["fit", STEPS, 0.4])
    add(run, 2, 2)
    stopped = int(run.wait_for(r"rank 2\] step \d+ pid (\d+)$")[1])
    os.kill(stopped, signal.SIGSTOP)
    run.wait_for(r"rank 0\].*generation 3 at event \d+: rank 0 of 2")
    os.kill(stopped, signal.SIGCONT)
    check(run, golden, "fit", 3)


@pytest.mark.soak
@marked
def test_where_mpi_cannot_start_one_mpirun_is_started_again(over_ulfm, golden, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")  # its commands' names are looked up there
    run = over_ulfm(["-n", 2, "--elastic", "1:3"], ["fit", STEPS, 1.0])
    ask_for_one(run, 2)
    run.wait_for(r"worker 2: MPI_Comm_spawn fails")
    run.wait_for("rank 2 has not been started for 10 s")
    run.wait_for("mpirun is started again with 3 workers, for one more")
    check(run, golden, "fit", 3)


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
