"""Buckets that lie in memory of all workers give the bits of one process that never shares any."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

JOB = Path(__file__).with_name("shared_buckets_job.py")

pytestmark = [pytest.mark.slow, pytest.mark.spawn]


def results(*command, **environment):
    """Returns (hash, number of buckets that workers share) of each worker."""
    done = subprocess.run(
        [sys.executable, *command, str(JOB)], capture_output=True, text=True, timeout=100,
        env={**os.environ, **environment}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"result (\w{64}) (\d) shared", done.stdout)


@pytest.fixture(scope="module")
def alone():
    """What one process that runs all three replicas ends with."""
    ((found, shared),) = results(DISTFLOW_REPLICAS="3")
    assert shared == "0"
    return found


@pytest.mark.parametrize("overlap", ["0", "1"])
def test_bits_are_those_of_one_process(alone, overlap):
    command = ("-m", "distflow_launcher", "run", "-n", "3", "--backend", "shm")
    assert results(*command, DISTFLOW_OVERLAP=overlap) == [(alone, "1")] * 3


def test_workers_that_share_no_memory_do_without(alone):
    command = ("-m", "distflow_launcher", "run", "-n", "3", "--backend", "grpc")
    assert results(*command) == [(alone, "0")] * 3
