"""Workers that die, never come, or are misconfigured: one clear error on the others, in seconds."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import ports

JOB = Path(__file__).with_name("endless_job.py")

pytestmark = [pytest.mark.spawn, pytest.mark.slow]


def start_worker(addresses, index, **environment):
    config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    return subprocess.Popen(
        [sys.executable, str(JOB)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "TF_CONFIG": json.dumps(config), **environment},
    )  # fmt: skip


def wait_for_line(process, pattern, seconds=60):
    deadline = time.monotonic() + seconds
    lines = []
    while time.monotonic() < deadline:
        line = process.stdout.readline()
        lines.append(line)
        found = re.search(pattern, line)
        if found:
            return found
        if not line and process.poll() is not None:
            break
    raise AssertionError("".join(lines))


@pytest.fixture
def workers():
    started = []
    yield started
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_a_killed_worker_is_named_on_every_other(workers):
    addresses = ports.held_addresses(3)
    workers.extend(start_worker(addresses, i) for i in range(3))
    for process in workers:
        wait_for_line(process, r"worker \d pid \d+")
    killed = time.monotonic()
    workers[1].send_signal(signal.SIGKILL)
    for i in (0, 2):
        out, _ = workers[i].communicate(timeout=20)
        assert time.monotonic() - killed < 15
        assert "WorkerLostError" in out
        assert "rank 1" in out
        assert workers[i].returncode == 75


def test_a_worker_that_never_comes_is_named(workers):
    addresses = ports.held_addresses(2)
    workers.append(start_worker(addresses, 0, DISTFLOW_JOIN_TIMEOUT="2"))
    out, _ = workers[0].communicate(timeout=30)
    assert "WorkerLateError" in out
    assert "rank 1" in out
    assert addresses[1] in out
    assert workers[0].returncode not in (0, None)


def test_a_port_in_use_is_named(workers):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        mine = f"127.0.0.1:{taken.getsockname()[1]}"
        workers.append(start_worker([mine, *ports.held_addresses(1)], 0))
        out, _ = workers[0].communicate(timeout=30)
    assert mine in out
    assert "in use" in out
    assert workers[0].returncode == 75


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{not json", "TF_CONFIG"),
        ('{"cluster": {}}', "TF_CONFIG"),
        ('{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}', "a:1"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 7}}', "7"),
    ],
)
def test_a_malformed_tf_config_is_one_clear_error(text, words):
    done = subprocess.run(
        [sys.executable, str(JOB)], capture_output=True, text=True, timeout=30,
        env={**os.environ, "TF_CONFIG": text}, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()
    assert any("InvalidArgumentError" in line for line in last)
    assert words in done.stderr
