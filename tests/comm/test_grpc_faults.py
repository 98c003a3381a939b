"""Workers in processes of their own that are killed, stopped or crash."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 30


class Worker:
    def __init__(self, rank, fault, timeout):
        command = [sys.executable, "-m", "tests.comm.grpc_worker", str(rank), fault, str(timeout)]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._buffer = b""

    def line(self):
        deadline = time.monotonic() + LIMIT_SECONDS
        stdout = self.process.stdout.fileno()
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            assert left > 0, "a worker said nothing in time"
            if select.select([stdout], [], [], left)[0]:
                data = os.read(stdout, 65536)
                assert data, f"a worker ended: {self.process.stderr.read().decode()}"
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def end(self):
        """Waits for the end of the process; returns its exit code and what it wrote to stderr."""
        _, stderr = self.process.communicate(timeout=LIMIT_SECONDS)
        return self.process.returncode, stderr.decode()


@contextlib.contextmanager
def started(fault, timeout=60.0):
    workers = [Worker(rank, fault, timeout) for rank in range(3)]
    try:
        addresses = json.dumps([f"127.0.0.1:{worker.line()}" for worker in workers]) + "\n"
        for worker in workers:
            worker.process.stdin.write(addresses.encode())
            worker.process.stdin.flush()
        yield workers
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.communicate()


def await_running(workers):
    assert [worker.line() for worker in workers] == ["running"] * len(workers)


def outcomes_of(workers):
    """What became of the workers; they may have failed before they printed "running"."""
    lines = [worker.line() for worker in workers]
    lines = [w.line() if line == "running" else line for w, line in zip(workers, lines)]
    return [(o["kind"], o["rank"]) for o in map(json.loads, lines)]


@pytest.mark.spawn
def test_after_kill_9_every_survivor_names_the_rank_within_five_seconds():
    with started("kill") as workers:
        await_running(workers)
        workers[2].process.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        outcomes = [json.loads(worker.line()) for worker in workers[:2]]
        assert time.monotonic() - killed < 5
        assert [(o["kind"], o["rank"]) for o in outcomes] == [("WorkerLostError", 2)] * 2
        assert [worker.end() for worker in workers[:2]] == [(0, "")] * 2


@pytest.mark.spawn
@pytest.mark.parametrize("fault", ["raise", "exit"])
def test_a_worker_that_crashes_is_named_by_every_survivor(fault):
    with started(fault) as workers:
        await_running(workers[2:])
        crashed = time.monotonic()
        outcomes = outcomes_of(workers[:2])
        assert time.monotonic() - crashed < 5
        assert outcomes == [("WorkerLostError", 2)] * 2


@pytest.mark.spawn
def test_a_stopped_worker_is_named_at_the_deadline():
    with started("stop", timeout=1.0) as workers:
        await_running(workers[2:])
        outcomes = outcomes_of(workers[:2])
        assert outcomes == [("WorkerLateError", 2)] * 2
        assert [worker.end() for worker in workers[:2]] == [(0, "")] * 2


@pytest.mark.spawn
def test_a_stopped_worker_is_found_by_its_missing_heartbeat_before_the_deadline():
    with started("stop-heartbeat", timeout=60.0) as workers:
        await_running(workers[2:])
        outcomes = outcomes_of(workers[:2])
        assert outcomes == [("WorkerLostError", 2)] * 2


@pytest.mark.spawn
def test_workers_that_finish_without_close_exit_quietly():
    with started("none") as workers:
        assert [json.loads(worker.line())["kind"] for worker in workers] == ["finished"] * 3
        assert [worker.end() for worker in workers] == [(0, "")] * 3
