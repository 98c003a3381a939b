"""Another process is asked where its Python code is."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from distflow.telemetry import stacks

_ROOT = Path(__file__).resolve().parents[2]

_STUCK = """
import time
from distflow.telemetry import stacks
{install}
def the_place_where_it_hangs():
    print("ready", flush=True)
    time.sleep(300)
the_place_where_it_hangs()
"""


@pytest.fixture
def stuck(request):
    code = _STUCK.format(install=request.param)
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "DISTFLOW_JOB": f"job{os.getpid()}"}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


@pytest.mark.spawn
@pytest.mark.parametrize("stuck", ["stacks.install()"], indirect=True)
def test_a_process_that_hangs_tells_where(stuck):
    for _ in range(2):
        text = stacks.of_process(stuck.pid, 30)
        assert text.count("the_place_where_it_hangs") == 1
    assert stuck.poll() is None
    assert [pid for pid, _ in stacks.processes(f"job{os.getpid()}")] == [stuck.pid]
    os.kill(stuck.pid, signal.SIGSTOP)
    assert stacks.of_process(stuck.pid, 0.05) == ""


@pytest.mark.spawn
@pytest.mark.parametrize("stuck", ["pass"], indirect=True)
def test_a_process_that_does_not_know_the_signal_is_not_sent_it(stuck):
    assert stacks.of_process(stuck.pid, 0.05) == ""
    assert stuck.poll() is None


def test_a_process_that_has_ended_says_nothing():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(60)
    assert stacks.of_process(process.pid, 0.05) == ""
