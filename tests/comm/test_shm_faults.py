"""Workers that share memory and are killed, stopped, leave or crash."""

import contextlib
import json
import signal
import subprocess
import sys
import time

import pytest

from tests.comm.test_grpc_faults import ROOT, Worker, await_running, outcomes_of
from tests.support import shared_memory

WAYS = ["lanes", "in_place", "frames"]

pytestmark = pytest.mark.spawn


class ShmWorker(Worker):
    def __init__(self, rank, fault, timeout, way):
        command = [sys.executable, "-m", "tests.comm.shm_worker", str(rank), fault, str(timeout)]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self.process = subprocess.Popen([*command, way], cwd=ROOT, **pipes)
        self._buffer = b""


@contextlib.contextmanager
def started(fault, timeout=60.0, way="lanes"):
    workers = [ShmWorker(rank, fault, timeout, way) for rank in range(3)]
    try:
        ticket = workers[0].line() + "\n"
        for worker in workers[1:]:
            worker.process.stdin.write(ticket.encode())
            worker.process.stdin.flush()
        yield workers
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.communicate()


@pytest.mark.parametrize("way", WAYS)
def test_after_kill_9_every_survivor_names_the_rank_within_a_second(way):
    before = shared_memory.entries()
    with started("kill", way=way) as workers:
        await_running(workers)
        workers[2].process.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        outcomes = [json.loads(worker.line()) for worker in workers[:2]]
        assert time.monotonic() - killed < 1
        assert [(o["kind"], o["rank"]) for o in outcomes] == [("WorkerLostError", 2)] * 2
        assert str(workers[2].process.pid) in outcomes[0]["text"]
        assert [worker.end() for worker in workers[:2]] == [(0, "")] * 2
        assert not shared_memory.left_behind(before)


@pytest.mark.parametrize("fault", ["raise", "exit"])
def test_a_worker_that_crashes_is_named_by_every_survivor(fault):
    with started(fault) as workers:
        await_running(workers[2:])
        crashed = time.monotonic()
        outcomes = outcomes_of(workers[:2])
        assert time.monotonic() - crashed < 5
        assert outcomes == [("WorkerLostError", 2)] * 2


@pytest.mark.parametrize("way", WAYS)
def test_a_worker_that_leaves_early_is_named(way):
    with started("leave", way=way) as workers:
        await_running(workers[2:])
        assert outcomes_of(workers[:2]) == [("WorkerLostError", 2)] * 2


@pytest.mark.parametrize("way", WAYS)
def test_a_stopped_worker_is_named_at_the_deadline(way):
    with started("stop", timeout=1.0, way=way) as workers:
        await_running(workers[2:])
        lines = [worker.line() for worker in workers[:2]]
        lines = [w.line() if line == "running" else line for w, line in zip(workers, lines)]
        outcomes = list(map(json.loads, lines))
        assert [(o["kind"], o["rank"]) for o in outcomes] == [("WorkerLateError", 2)] * 2
        assert any("was last heard of" in o["text"] for o in outcomes)


def test_workers_that_finish_without_close_exit_quietly():
    with started("none") as workers:
        assert [json.loads(worker.line())["kind"] for worker in workers] == ["finished"] * 3
        assert [worker.end() for worker in workers] == [(0, "")] * 3


def test_a_segment_has_no_name_anywhere():
    with started("kill") as workers:
        await_running(workers)
        assert not [w for w in workers if shared_memory.named_in(w.process.pid)]
