"""MPI over hosts: mpirun is started again when the hosts change, one is lost, or it is asked to."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from launcher.hosts import Host
from launcher.mpi_hosts import change, handed_on, is_of_lost_host

ROOT = Path(__file__).parents[2]
DEADLINE = 60
# The launcher with an mpirun of the test's and short waits.
DRIVER = """
import importlib.util, sys
from pathlib import Path
from launcher import discovery, mpi_hosts, plan
from launcher.mpirun import Mpirun
from tests.launcher.watched import Watched
discovery.POLL_SECONDS, mpi_hosts.SETTLE_SECONDS = 0.02, 0.1
mpi_hosts.KILL_SECONDS = float(sys.argv[4])
plan.find_mpirun = lambda: Mpirun(sys.argv[1], "Open MPI", "5.0.11", ())
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: name == "mpi4py" or found(name, *rest)

class Forgetful(discovery.Listed):
    "Knows the hosts the first time only, if there is a file that says so."

    def look(self):
        if path.with_name("forgets").exists() and self.__dict__.setdefault("knew", False):
            raise discovery.UsageError("hosts are not known")
        self.knew = True
        return super().look()

path = Path(sys.argv[2])
listed = Forgetful(path)
made = plan.make_plan(
    [sys.executable, "train.py"], num_workers=4, backend="mpi", elastic=(2, 4), discovery=listed,
    max_restarts=2, grace_seconds=float(sys.argv[3]), variables={"MINE": "1"},
)

job = Watched(made, mpi_hosts.MpiHosts(listed))
code = job.run()
print("guarded", job.most, flush=True)
sys.exit(code)
"""
KEPT = "[fake-1@1,0]<stderr>: WARNING asked to end: all is kept after step 7 in x\n"


class Run:
    """A job over hosts that a file lists, with the scenes of its mpiruns."""

    def __init__(self, folder, hosts, scenes, grace=20, kill=0.2):
        self.hosts = folder / "hosts"
        self.change(hosts)
        (folder / "scenes").write_text(json.dumps(scenes))
        mpirun = folder / "mpirun"
        fake = Path(__file__).with_name("fake_mpirun.py")
        mpirun.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {fake} "$@"\n')
        mpirun.chmod(0o755)
        env = {k: v for k, v in os.environ.items() if not k.startswith("DISTFLOW_")}
        env |= {"SCENES": str(folder / "scenes"), "DISTFLOW_ELASTIC_TIMEOUT": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(mpirun), str(self.hosts), str(grace), str(kill)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=env,
        )  # fmt: skip
        self.lines = []
        self._killer = threading.Timer(DEADLINE, self.process.kill)
        self._killer.start()

    def change(self, hosts):
        beside = self.hosts.with_suffix(".new")
        beside.write_text("".join(f"{host}\n" for host in hosts))
        beside.rename(self.hosts)

    def until(self, words):
        for line in self.process.stdout:
            self.lines.append(line)
            if words in line:
                return
        raise AssertionError(f"never: {words}\n{self.text}")

    def end(self):
        self.lines += self.process.stdout
        self._killer.cancel()
        return self.process.wait()

    @property
    def text(self):
        return "".join(self.lines)

    def close(self):
        self._killer.cancel()
        self.process.kill()
        self.process.stdout.close()
        self.process.wait()


@pytest.fixture
def start(tmp_path):
    runs = []

    def begin(*arguments, **options):
        runs.append(Run(tmp_path, *arguments, **options))
        return runs[-1]

    yield begin
    for run in runs:
        run.close()


@pytest.mark.spawn
def test_new_hosts_are_used_after_the_step_under_way(start):
    run = start(["a", "b"], [{"wait": True, "code": 143, "err": KEPT}, {"code": 0}])
    run.until("hosts a slots=1 b slots=1")
    run.change("abcde")
    assert run.end() == 0, run.text
    assert "2 -> 4 hosts: the workers are asked to end after the step under way" in run.text
    assert "2 -> 4 hosts: started again from step 7" in run.text
    assert "[rank 0] hosts a slots=1 b slots=1 c slots=1 d slots=1\n" in run.text
    assert "restart" not in run.text


@pytest.mark.spawn
@pytest.mark.parametrize(
    "lost",
    [
        {"code": 0, "err": "PRTE has lost communication with a remote daemon.\n"},
        {"code": 137, "err": "prterun noticed that process rank 1 with PID 7 on node b exited\n"},
    ],
    ids=["daemon", "signal"],
)
def test_a_lost_host_or_rank_costs_a_restart(start, lost):
    run = start(["a", "b"], [lost, {"code": 0}])
    assert run.end() == 0, run.text
    assert "2 -> 2 hosts: started again from its last backup (restart 1 of 2)" in run.text


@pytest.mark.spawn
def test_nothing_of_an_mpirun_is_kept_for_the_next_one(start, all_gone):
    run = start(["a", "b"], [{"code": 137, "leaves": True}, {"wait": True, "code": 0}])
    run.until("leaves")
    left = run.lines[-1].split()[-1]
    run.until("hosts a")
    assert all_gone([left])
    run.process.send_signal(signal.SIGTERM)
    run.end()
    assert "guarded 1\n" in run.text


@pytest.mark.spawn
def test_an_error_of_the_program_ends_the_job_with_its_code(start):
    err = "   Process name: [prterun-x-1@1,1]\n   Exit code:    3\n"
    run = start(["a", "b"], [{"code": 3, "err": err}])
    assert run.end() == 3, run.text
    assert "rank 1 (host b) failed first" in run.text
    assert "started again" not in run.text


@pytest.mark.spawn
def test_hosts_that_fail_again_and_again_end_the_job_to_be_started_again(start):
    run = start(["a", "b"], [{"code": 137}] * 3)
    assert run.end() == 75, run.text
    assert run.text.count("started again") == 2
    assert "no restarts are left" in run.text


@pytest.mark.spawn
def test_sigterm_asks_the_ranks_to_end_and_is_the_exit_code(start):
    run = start(["a", "b"], [{"wait": True, "code": 143, "err": KEPT}])
    run.until("hosts a")
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 128 + signal.SIGTERM, run.text
    assert "all is kept after step 7" in run.text


@pytest.mark.spawn
def test_ranks_that_do_not_end_in_time_are_killed_and_the_job_goes_on(start):
    run = start(["a", "b"], [{"wait": True, "deaf": True}, {"code": 0}], grace=0.2)
    run.until("hosts a")
    run.change("abc")
    assert run.end() == 0, run.text
    assert "not ended after 0.2 s" in run.text
    assert "2 -> 3 hosts: started again from its last backup" in run.text


@pytest.mark.spawn
def test_an_mpirun_that_is_ended_has_its_time_to_end(start):
    err = "[fake-1@1,0]<stderr>: cleared up\n"
    slow = {"wait": True, "only": "SIGTERM", "takes": 0.5, "err": err, "code": 143}
    run = start(["a", "b"], [slow, {"code": 0}], grace=0.2, kill=30)
    run.until("hosts a")
    run.change("abc")
    assert run.end() == 0, run.text
    assert "not ended after 0.2 s" in run.text
    assert "[rank 0] cleared up" in run.text
    assert "2 -> 3 hosts: started again" in run.text


@pytest.mark.spawn
def test_hosts_that_cannot_be_known_any_more_stay_those_of_the_start(start, tmp_path):
    (tmp_path / "forgets").touch()
    run = start(["a", "b"], [{"wait": True, "most": 1, "code": 0}])
    assert run.end() == 0, run.text
    assert "distflow run: hosts are not known" in run.text
    assert "asked to end" not in run.text


@pytest.mark.spawn
def test_too_few_hosts_are_waited_for_and_then_end_the_job(start):
    run = start(["a"], [])
    assert run.end() == 75, run.text
    assert "hosts for 1 of at least 2 workers: waiting for more, 1 s at most" in run.text


@pytest.mark.parametrize(
    "line",
    [
        "PRTE has lost communication with a remote daemon.",
        "ssh: Could not resolve hostname b: Name or service not known",
        "ssh: connect to host b port 2222: Connection refused",
        "An ORTE daemon has unexpectedly failed after launch and before",
    ],
)
def test_what_mpirun_and_ssh_say_of_a_lost_host_is_known(line):
    assert is_of_lost_host(line)
    assert not is_of_lost_host("prterun detected that one or more processes exited with")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("ab", "abcd", "2 -> 4 hosts"),
        ("abcd", "acd", "4 -> 3 hosts"),
        ("ab", "ac", "2 -> 2 hosts, others"),
    ],
)
def test_changes_are_said_in_hosts(before, after, words):
    assert change([Host(n) for n in before], [Host(n) for n in after]) == words


def test_changes_are_said_in_workers_where_hosts_have_more_than_one():
    assert change([Host("a", 2)], [Host("a", 2), Host("b", 1)]) == "2 -> 3 workers on 2 hosts"


def test_ranks_get_settings_and_what_was_asked_for_but_nothing_of_the_launchers_host():
    plan = {"MINE": "1", "DISTFLOW_JOB": "x", "DISTFLOW_TOKEN": "t", "DISTFLOW_LOCAL_CORES": "2"}
    here = {"PATH": "/bin", "HOSTNAME": "h", "DISTFLOW_REPLICAS": "4", "OMP_NUM_THREADS": "1",
            "OMPI_MCA_x": "1", "KUBERNETES_PORT": "1"}  # fmt: skip
    assert handed_on(plan, here) == ["DISTFLOW_JOB", "DISTFLOW_REPLICAS", "MINE", "OMP_NUM_THREADS"]
