"""Jobs on hosts: network namespaces with a real sshd each (more of them: `pytest -m soak`)."""

import hashlib
import json
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.launcher import namespaces

pytestmark = pytest.mark.spawn

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    found = namespaces.start_or_skip(tmp_path_factory.mktemp("hosts"), "ab")
    yield found
    found.stop()


@pytest.fixture
def start(run, hosts):
    """Starts a job on the hosts."""

    def begin(options, mode, *arguments):
        ssh = f"ssh -F {hosts.config}"
        return run(["--ssh", ssh, "--grace", "5", "--linger", "0.2", *options], mode, *arguments)

    return begin


def test_workers_of_all_hosts_meet_and_get_their_environment_unharmed(start, hosts):
    wild = "a 'b\" $c `d` \\ é\n!"
    options = ["--hosts", "a:2,b:1", "--env", f"PYTHONPATH={ROOT}", "--env", f"WILD={wild}"]
    job = start([*options, "--tag", "{rank}@{host} "], "environment", "DISTFLOW_RANK",
                "DISTFLOW_LOCAL_RANK", "DISTFLOW_LOCAL_WORLD_SIZE", "WILD")  # fmt: skip
    assert job.end() == 0
    expected = []
    for rank, host, local, size in ((0, "a", 0, 2), (1, "a", 1, 2), (2, "b", 0, 1)):
        tag, lines = f"{rank}@{host} ", wild.splitlines()
        expected += [f"{tag}DISTFLOW_RANK={rank}", f"{tag}DISTFLOW_LOCAL_RANK={local}",
                     f"{tag}DISTFLOW_LOCAL_WORLD_SIZE={size}", f"{tag}WILD={lines[0]}",
                     f"{tag}{lines[1]}"]  # fmt: skip
    assert sorted(job.out) == sorted(expected)
    job = start(options, "meet")
    assert job.end() == 0
    addresses = [f"127.0.0.1:{5000 + rank}" for rank in range(3)]
    assert sorted(job.out) == [f"[rank {rank}] {addresses}" for rank in range(3)]


def test_the_first_failure_is_told_with_its_host(start):
    job = start(["--hosts", "a,b"], "fail", "SIGSEGV")
    assert job.end() == 139
    assert re.search(
        r"rank 1 \(host b\) failed first, after [\d.]+ s: killed by signal 11 \(SIGSEGV\)", job.err
    )
    assert "    about to fail" in job.err


def test_signals_reach_workers_of_hosts(start, all_gone):
    job = start(["--hosts", "a,b"], "polite")
    workers = job.wait_for("ready", 2)
    job.process.send_signal(signal.SIGTERM)
    assert job.end() == 143
    assert sum("leaving on" in line for line in job.out) == 2, (job.out, job.err)
    assert all_gone(workers, 0.5)


@pytest.mark.parametrize("mode", ["grandchild", pytest.param("stubborn", marks=pytest.mark.soak)])
def test_nothing_is_left_on_the_hosts_after_kill_9_of_the_launcher(start, all_gone, mode):
    job = start(["--hosts", "a,b"], mode)
    processes = job.wait_for("ready", 4 if mode == "grandchild" else 2)
    job.process.kill()
    job.process.wait(10)
    assert all_gone(processes, 2.0)


@pytest.mark.soak
def test_what_workers_leave_behind_on_hosts_is_ended(start, all_gone):
    job = start(["--hosts", "a,b"], "abandon")
    processes = job.wait_for("ready", 4)
    assert job.end() == 0
    assert all_gone(processes, 0.5)


def test_hosts_that_are_not_ready_are_shown_in_one_table_and_nothing_is_started(start):
    job = start(["--hosts", "a,nowhere.invalid"], "hello")
    assert job.end() == 75
    assert job.out == []
    table = [line.split()[:3] for line in job.err.splitlines()]
    assert ["a", "ok", "ok"] in table
    assert any(row[0] == "nowhere.invalid" and row[1] == "ssh:" for row in table)
    assert "1 of 2 hosts are not ready; nothing was started." in job.err


@pytest.mark.soak
def test_other_versions_are_refused_with_both_named(start, tmp_path):
    python = tmp_path / "python"
    code = "from distflow_launcher import agent, inventory as i; mine = i.versions; "
    code += "i.versions = lambda: {**mine(), 'numpy': '1.0'}; agent.main()"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}"\n')
    python.chmod(0o755)
    job = start(["--hosts", "a", "--remote-python", python], "hello")
    assert job.end() == 64
    assert "numpy 1.0 (here " in job.err


@pytest.mark.soak
def test_no_secret_is_on_a_command_line_of_a_host(start):
    job = start(["--hosts", "a,b"], "hang")
    worker = job.wait_for("ready", 2)[0]
    environment = Path(f"/proc/{worker}/environ").read_bytes().split(b"\0")
    (token,) = [entry[15:] for entry in environment if entry.startswith(b"DISTFLOW_TOKEN=")]
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            lines.append((process / "cmdline").read_bytes())
        except OSError:
            continue
    assert any(b"distflow_launcher.agent" in line for line in lines)
    assert not any(token in line for line in lines)
    job.process.terminate()
    job.end()


@pytest.mark.soak
def test_a_megabyte_storm_of_one_host_arrives_whole(start):
    job = start(["--hosts", "a,b"], "flood", str(25_000_000))
    assert job.end() == 0
    assert len(job.out) == 2 * 250_100
    assert {hashlib.sha256(line[9:].encode()).digest() for line in job.out} == {
        hashlib.sha256(b"x" * 99).digest()
    }


@pytest.mark.soak
def test_a_host_that_falls_silent_is_lost_in_half_a_minute(tmp_path, run):
    found = namespaces.start_or_skip(tmp_path, "cd")
    try:
        ssh = f"ssh -F {found.config}"
        job = run(["--ssh", ssh, "--hosts", "c,d", "--grace", "3", "--linger", "0.2"], "hang")
        job.wait_for("ready", 2)
        found.unplug("d")
        assert job.end() == 75, job.err
        assert "host d is lost" in job.err
    finally:
        found.stop()


def test_training_over_hosts_ends_with_the_bits_of_one_process(hosts, start_program, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    results = []
    for options in (
        ["-n", "1", "--replicas", "2"],
        ["--hosts", "a,b", "--ssh", f"ssh -F {hosts.config}"],
    ):
        job = start_program([*options, "--env", f"PYTHONPATH={ROOT}", script])
        assert job.end() == 0, job.err
        results.append({line.split()[-1] for line in job.out if "digest" in line})
    assert len(results[0]) == 1
    assert results[0] == results[1]


@pytest.mark.soak
def test_an_unplugged_host_comes_back_and_the_job_ends_with_the_golden_hash(
    tmp_path, start_program
):
    job_file = ROOT / "tests" / "elastic" / "elastic_job.py"
    job = start_program(["-n", "1", "--replicas", "5", job_file, "fit", "40"])
    assert job.end() == 0, job.err
    golden = {line.split("sha256=")[1] for line in job.out if "sha256=" in line}
    found = namespaces.start_or_skip(tmp_path, "ef")
    try:
        listed = tmp_path / "hosts"
        listed.write_text("e:1\nf:1\n")
        job = start_program(
            ["--hostfile", listed, "--elastic", "1:3", "--ssh", f"ssh -F {found.config}",
             "--env", f"PYTHONPATH={ROOT}", "--env", "DISTFLOW_SILENCE=2", job_file, "fit", "40",
             "0.5"]
        )  # fmt: skip
        job.wait_for("rank 1] step 4", 1)
        found.unplug("f")
        job.wait_for("host f is lost", 1)
        found.plug("f")
        job.wait_for("rank 1 started there", 1)
        assert job.end(seconds=150) == 0, job.err
        ends = [line.split("sha256=")[1] for line in job.out if "sha256=" in line]
        assert set(ends) == golden, job.err
        assert len(ends) == 2
    finally:
        found.stop()


@pytest.mark.soak
def test_certificates_and_timelines_travel_with_the_job(hosts, start_program, tmp_path):
    pytest.importorskip("cryptography")
    script, output = tmp_path / "train.py", tmp_path / "timeline.json"
    script.write_text(TRAIN)
    options = ["--hosts", "a,b", "--ssh", f"ssh -F {hosts.config}", "--tls", "auto"]
    job = start_program([*options, "--timeline", output, "--env", f"PYTHONPATH={ROOT}", script])
    assert job.end() == 0, job.err
    assert len({line.split()[-1] for line in job.out if "digest" in line}) == 1
    events = json.loads(output.read_text())["traceEvents"]
    names = {e["args"]["name"].partition(" (")[0] for e in events if e["name"] == "process_name"}
    assert names == {"rank 0", "rank 1"}


TRAIN = """
import hashlib
import numpy as np
import distflow as tf
tf.keras.utils.set_random_seed(1)
strategy = tf.distribute.MultiWorkerMirroredStrategy()
with strategy.scope():
    model = tf.keras.Sequential([tf.keras.layers.Input((4,)), tf.keras.layers.Dense(3)])
    model.compile("sgd", "mse")
x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
model.fit(x, x[:, :3], batch_size=8, epochs=2, verbose=0)
digest = hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest()
print("digest", digest)
"""
