"""Elastic jobs on hosts that are lost, come back, are added and taken away.

Here hosts are folders of this one, with a program in ssh's place; `test_ssh` has real ones.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launcher import hosts, plan
from launcher.arguments import UsageError

ROOT = Path(__file__).parents[2]
JOB = ROOT / "tests" / "elastic" / "elastic_job.py"
DEADLINE = 60.0

SSH = """#!/bin/sh
while [ "$1" != "--" ]; do shift; done
if [ -e {folder}/$2.down ]; then
  echo "ssh: connect to host $2 port 22: No route to host" >&2
  exit 255
fi
if [ -e {folder}/hosts.later ]; then
  mv {folder}/hosts.later {folder}/hosts
fi
echo $$ > {folder}/$2.new
mv {folder}/$2.new {folder}/$2.pid
export SSH_CONNECTION="127.0.0.1 1 127.0.0.1 22"
exec sh -c "exec $3"
"""


class Cluster:
    """Hosts that are processes of this machine."""

    def __init__(self, folder):
        self.folder, self.file = folder, folder / "hosts"
        self.ssh = folder / "ssh"
        self.ssh.write_text(SSH.format(folder=folder))
        self.ssh.chmod(0o755)

    def list(self, text):
        new = self.folder / "hosts.new"
        new.write_text(text.replace(" ", "\n"))
        new.replace(self.file)

    def down(self, name):
        """Makes a host vanish, with all that runs there."""
        (self.folder / f"{name}.down").touch()
        with contextlib.suppress(FileNotFoundError):
            os.kill(int((self.folder / f"{name}.pid").read_text()), signal.SIGKILL)

    def up(self, name):
        (self.folder / f"{name}.down").unlink()

    @property
    def options(self):
        return ["--ssh", self.ssh, "--hostfile", self.file, "--linger", "0.2", "--grace", "5"]


@pytest.fixture
def cluster(tmp_path):
    return Cluster(tmp_path)


def heard(job, pattern):
    """Waits until the launcher, or a worker, has said something; returns the match."""
    over = time.monotonic() + DEADLINE
    while time.monotonic() < over:
        for line in [*job.lines["err"], *job.lines["out"]]:
            found = re.search(pattern, line)
            if found:
                return found
        time.sleep(0.02)
    raise AssertionError(f"no {pattern!r} in\n{job.err}\n{job.out}")


@pytest.mark.spawn
def test_hosts_come_and_go_while_a_job_runs(cluster, run, all_gone):
    cluster.list("a:1 b:2")
    job = run([*cluster.options, "--elastic", "1:4", "--tag", "{rank}@{host} "], "hang")
    first = job.wait_for(" ready", 3)
    assert sorted(line.split()[0] for line in job.out) == ["0@a", "1@b", "2@b"]
    cluster.down("b")
    heard(job, r"host b is lost \(killed by signal 9 \(SIGKILL\) of ssh\), and with it ranks 1, 2")
    heard(job, r"host b is not ready: .*No route to host; it is tried again")
    cluster.up("b")
    heard(job, r"ranks 1, 2 started there")
    job.wait_for("@b ready", 2)
    cluster.list("b:2 c:2")
    heard(job, r"host a is taken away: rank 0 leaves")
    job.wait_for("@c ready", 2)
    assert {line.split()[0] for line in job.out[5:]} == {"0@c", "3@c"}
    assert all_gone(first)
    job.process.send_signal(signal.SIGTERM)
    assert job.end() == 143, job.err


@pytest.mark.soak
@pytest.mark.spawn
def test_a_host_that_is_away_at_the_start_is_waited_for_if_the_others_are_enough(cluster, run):
    cluster.down("b")
    cluster.list("a b")
    job = run([*cluster.options, "--elastic", "1:2"], "hang")
    job.wait_for("ready", 1)
    heard(job, r"host b is not ready; it is tried again")
    cluster.up("b")
    heard(job, r"rank 1 started there")
    job.process.send_signal(signal.SIGTERM)
    assert job.end() == 143
    cluster.down("b")
    job = run([*cluster.options, "--elastic", "2:2"], "hang")
    assert job.end() == 75
    assert "1 of 2 hosts are not ready; nothing was started." in job.err


@pytest.mark.spawn
def test_the_loss_of_the_last_host_ends_the_job_with_75(cluster, run):
    cluster.list("a:2")
    job = run([*cluster.options, "--elastic", "1:2"], "hang")
    job.wait_for("ready", 2)
    cluster.down("a")
    assert job.end() == 75
    assert "no worker is left, so nobody has the state of the job" in job.err
    assert "rank 0 (host a) failed first" in job.err


@pytest.mark.spawn
def test_a_worker_that_is_lost_where_no_slot_is_free_is_replaced_when_one_is(cluster, run):
    cluster.list("a:2")
    options = [*cluster.options, "--elastic", "1:2", "--grace", "2", "--tag", "{rank} is "]
    job = run(options, "stubborn")
    job.wait_for(" ready", 2)
    cluster.list("a:1")
    heard(job, r"has 1 hosts now, with 1 slots")  # rank 1 is to leave, and takes its 2 s
    (first,) = (line.split()[-1] for line in job.out if line.startswith("0 is ready"))
    os.kill(int(first), signal.SIGKILL)
    heard(job, r"rank 0 \(host a\) is lost")
    heard(job, r"rank 0 started in the place of one that has left")
    job.process.send_signal(signal.SIGTERM)
    job.process.send_signal(signal.SIGTERM)
    assert job.end() == 143, job.err


@pytest.mark.spawn
def test_a_file_that_changes_while_hosts_are_looked_at_is_heard_of(cluster, run):
    cluster.list("a")
    (cluster.folder / "hosts.later").write_text("a\nb\n")
    job = run([*cluster.options, "--elastic", "1:2"], "hang")
    heard(job, r"has 2 hosts now, with 2 slots")
    job.wait_for("ready", 2)
    job.process.send_signal(signal.SIGTERM)
    assert job.end() == 143


@pytest.mark.soak
@pytest.mark.spawn
def test_a_file_that_is_wrong_or_too_small_changes_nothing(cluster, run):
    cluster.list("a:2")
    job = run([*cluster.options, "--elastic", "2:2"], "hang")
    job.wait_for("ready", 2)
    cluster.list("a:x")
    heard(job, r"received 'a:x'. The hosts stay as they were.")
    cluster.list("b:1")
    heard(job, r"has 1 slots, --elastic needs 2: the hosts stay as they were")
    job.process.send_signal(signal.SIGTERM)
    assert job.end() == 143
    assert "taken away" not in job.err


def test_the_plan_of_an_elastic_job_on_hosts_says_what_may_change():
    made = plan.make_plan(
        ["python", "x.py"], num_workers=2, elastic=(1, 4), hosts=hosts.parse("a:2,b:2")
    )
    assert made.backend == "grpc"
    assert "hosts that are lost are tried again" in made.describe()


def test_mpi_on_hosts_is_refused_with_the_command_that_does_it():
    with pytest.raises(UsageError, match=r"mpirun -n 3 --host a:2,b:1 .* python x\.py"):
        plan.make_plan(["python", "x.py"], num_workers=3, backend="mpi", hosts=hosts.parse("a:2,b"))


@pytest.mark.spawn
@pytest.mark.soak
def test_a_job_whose_hosts_come_and_go_ends_with_the_golden_hash(cluster, start_program):
    golden = subprocess.run(
        [sys.executable, JOB, "fit", "12"], capture_output=True, text=True, timeout=DEADLINE,
        check=True, env={k: v for k, v in os.environ.items() if not k.startswith("DISTFLOW_")},
    )  # fmt: skip
    cluster.list("a:1 b:2")
    job = start_program(
        [*cluster.options, "--elastic", "1:4", "--env", f"PYTHONPATH={ROOT}",
         "--env", "DISTFLOW_SILENCE=2", JOB, "fit", "12", "0.4"]
    )  # fmt: skip
    heard(job, r"rank 2\] step 3 ")
    cluster.down("b")
    heard(job, r"host b is lost")
    heard(job, r"rank 0\] step 8 ")
    cluster.up("b")
    heard(job, r"ranks 1, 2 started there")
    heard(job, r"rank 0\] step 14 ")
    cluster.list("b:2 c:1")
    heard(job, r"host a is taken away: rank 0 leaves")
    heard(job, r"rank 3 started there")
    assert job.end() == 0, job.err
    ends = [line.split("sha256=")[1] for line in job.out if "sha256=" in line]
    assert set(ends) == {golden.stdout.split("sha256=")[1].strip()}
    assert len(ends) == 3, job.out
