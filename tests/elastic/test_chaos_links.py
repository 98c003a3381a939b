"""Faults at random, by seed, with everything between workers in the test's hands: their links, the
coordinator, who comes and goes, and the phases of steps, state transfers and checkpoints.

Every run ends with the golden hash, each worker has come through each step once, and nothing is
left behind.
"""

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

import distflow as tf
from tests.elastic.proxy import Farm
from tests.support import shared_memory

pytestmark = [pytest.mark.spawn, pytest.mark.slow, pytest.mark.timeout(240)]

RUNS = int(os.environ.get("CHAOS_RUNS", "5"))
FIRST = int(os.environ.get("CHAOS_SEED", "0"))
MOST = 5
STEPS = {"fit": 8, "loop": 8, "large": 24}  # 24 of each
STEP_PHASES = [
    "before-compute", "before-reduce", "mid-send", "mid-receive", "before-commit", "after-commit",
]  # fmt: skip
OUTSIDE = [
    "kill", "stop", "term", "join", "resize", "coordinator", "cut", "freeze", "delay", "corrupt",
    "corrupt",
]  # fmt: skip
FINE = {0, -signal.SIGKILL, 128 + signal.SIGTERM, -signal.SIGTERM}


def plan(seed):
    """Returns (kind, workers, who is spared, faults inside, disturbances from outside)."""
    rng = random.Random(seed)
    kind, count = rng.choice(["fit", "loop", "large", "large"]), rng.choice([2, 3, 4])
    spared = rng.randrange(count)  # somebody has to keep the state
    inside = {}
    for slot in range(count):
        if slot != spared and rng.random() < 0.5:
            phase = rng.choice([*STEP_PHASES, "state-transfer", "checkpoint"])
            events = (2, 45) if kind != "large" else (6, 40)
            anywhere = phase in ("state-transfer", "checkpoint")
            place = f"{phase}:{'*' if anywhere else rng.randint(*events)}"
            inside[slot] = f"{rng.choice(['kill', 'kill', 'term', 'stop'])}@{place}@{slot}"
    outside = [(rng.randint(2, 18), rng.choice(OUTSIDE)) for _ in range(rng.randint(1, 4))]
    return kind, count, spared, inside, sorted(outside)


class Disturbed:
    """One run, and what is done to it."""

    def __init__(self, job, seed, folder):
        self.kind, count, self.spared, inside, self.outside = plan(seed)
        self.rng, self.job, self.folder = random.Random(seed + 1), job, folder
        self.farm = Farm(seed)
        self.stopped, self.timers = set(), []
        for slot in range(count):
            self.start(inside.get(slot, ""))
        self.said = f"seed {seed}: {self.kind}, {count} workers, {inside}, {self.outside}"

    def start(self, fault=""):
        return self.job.start(
            [self.kind, STEPS[self.kind], 0.05], faults=fault, ELASTIC_PROXY=self.farm.address,
            DISTFLOW_CHECKSUM="1", ELASTIC_CHECKPOINTS=str(self.folder),
            DISTFLOW_WORLD_SIZE="64",  # slots of workers that come later have higher numbers
        )  # fmt: skip

    def living(self):
        """Slots of workers that may be disturbed."""
        slots = range(len(self.job.processes))
        return [s for s in slots if s != self.spared and self.job.processes[s].poll() is None]

    def disturb(self, action):
        if action in ("kill", "stop", "term") and self.living():
            self.signal(action, self.rng.choice(self.living()))
        elif action == "join" and len(self.living()) + 1 < MOST:
            slot = len(self.job.processes)
            place = self.rng.choice(["", "", "state-receive", "replay"])
            self.start(f"kill@{place}:*@{slot}" if place else "")
        elif action == "resize":  # to two, and up again to the most
            for slot in self.living()[1:]:
                self.signal("term", slot)
            while len(self.living()) + 1 < MOST:
                self.start()
        elif action == "coordinator":
            self.job.coordinator.close(0.0)
            self.later(1.0, self.job.restart_coordinator)
        elif action in ("cut", "freeze", "corrupt"):
            self.farm.disturb(action)
        elif action == "delay":
            self.farm.disturb(action, self.rng.uniform(0.01, 0.3))

    def signal(self, action, slot):
        number = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "term": signal.SIGTERM}[action]
        self.job.processes[slot].send_signal(number)
        if action == "stop":
            self.later(self.rng.uniform(0.1, 4.0), lambda: self.wake(slot))

    def wake(self, slot):
        with contextlib.suppress(ProcessLookupError):
            self.job.processes[slot].send_signal(signal.SIGCONT)

    def later(self, seconds, act):
        self.timers.append(threading.Timer(seconds, act))
        self.timers[-1].start()

    def run(self):
        """Returns [(exit code, hash)] of all workers."""
        for step, action in self.outside:
            self.job.at_step(self.spared, step)
            self.disturb(action)
        self.job.processes[self.spared].wait(100)
        for timer in self.timers:
            timer.join()
        for slot in self.living():
            self.wake(slot)
        return self.job.end(range(len(self.job.processes)))

    def close(self):
        for timer in self.timers:
            timer.cancel()
        self.farm.close()


def steps_of(text):
    return [int(n) for n in re.findall(r"^step (\d+) pid", text, re.MULTILINE)]


def is_free(address):
    host, _, port = address.partition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex((host, int(port))) != 0


def run_disturbed(workers, golden, seed, folder):
    before = shared_memory.entries()
    job = workers(1, MOST)
    disturbed = Disturbed(job, seed, folder)
    try:
        ended = disturbed.run()
    except subprocess.TimeoutExpired:
        raise AssertionError(
            f"{disturbed.said} hangs\n{disturbed.farm.done}\n{job.texts}"
        ) from None
    finally:
        disturbed.close()
    said = f"{disturbed.said}\n{disturbed.farm.done}\n{ended}\n{job.texts}"
    right = golden(disturbed.kind, STEPS[disturbed.kind])
    assert {found for _, found in ended} in ({right}, {right, None}), said
    assert {code for code, _ in ended} <= FINE, said
    assert ended[disturbed.spared][0] == 0, said
    for slot in range(len(ended)):
        found = steps_of(job.text(slot))
        assert found == list(range(1, len(found) + 1)), said
        assert ended[slot][1] is None or len(found) == 24, said
    if disturbed.kind == "large" and any(folder.iterdir()):
        newest = tf.train.latest_checkpoint(str(folder))
        assert newest is not None, said
        assert tf.train.list_variables(newest), said
    job.coordinator.close(0.0)
    assert is_free(job.address), said
    assert not shared_memory.left_behind(before), said


def test_damaged_and_cut_links_change_nothing(workers, golden, tmp_path):
    run_disturbed(workers, golden, 2, tmp_path / "saved")


@pytest.mark.soak
@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(FIRST, FIRST + RUNS))
def test_random_faults_change_nothing(workers, golden, tmp_path, seed):
    run_disturbed(workers, golden, seed, tmp_path / "saved")


@pytest.mark.soak
def test_training_goes_on_two_seconds_after_a_loss_was_found(workers, golden, capsys):
    job = workers(1, 3)
    for _ in range(3):
        job.start(["large", 24, 0.1])
    job.at_step(0, 8)
    os.kill(job.at_step(1, 8), signal.SIGKILL)
    killed = time.monotonic()
    job.wait_for(0, "generation 1 ends")
    found = time.monotonic()
    number = len(steps_of(job.text(0)))
    job.wait_for(0, rf"^step {number + 1} pid")
    again = time.monotonic()
    assert job.end([0, 2]) == [(0, golden("large", 24))] * 2, job.texts
    with capsys.disabled():
        print(f"\nlost after {found - killed:.2f} s, training again {again - found:.2f} s later")
    assert again - found < 2.0
