"""Faults at random, by seed: every run ends with the golden hash, and nothing is left behind."""

import contextlib
import os
import random
import signal

import pytest

from tests.support import shared_memory

pytestmark = [pytest.mark.spawn, pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(180)]

RUNS = int(os.environ.get("CHAOS_RUNS", "2"))
FIRST = int(os.environ.get("CHAOS_SEED", "0"))
STEPS = 8
FIRST_EVENT, LAST_EVENT = 2, 45  # agreements and variables, then steps
PHASES = [
    "before-compute", "before-reduce", "mid-send", "mid-receive", "before-commit", "after-commit",
]  # fmt: skip


def plan(seed):
    """Returns (kind, workers, faults inside of workers, disturbances from outside) of a seed."""
    rng = random.Random(seed)
    count = rng.choice([2, 3, 4])
    faults, spared = [], rng.randrange(count)
    for slot in range(count):
        # One worker is spared, as somebody has to keep the state.
        if slot != spared and rng.random() < 0.7:
            place = f"{rng.choice(PHASES)}:{rng.randint(FIRST_EVENT, LAST_EVENT)}@{slot}"
            faults.append(f"{rng.choice(['kill', 'kill', 'term'])}@{place}")
    outside = [
        (rng.choice(["stop", "add", "none"]), rng.randint(2, 20), rng.randrange(count))
        for _ in range(rng.randint(1, 3))
    ]
    outside = [entry for entry in outside if entry[0] == "add" or entry[2] != spared]
    return rng.choice(["fit", "loop"]), count, spared, faults, sorted(outside, key=lambda e: e[1])


@pytest.mark.parametrize("seed", range(FIRST, FIRST + RUNS))
def test_random_faults_change_nothing(elastic, golden, seed):
    kind, count, spared, faults, outside = plan(seed)
    before = shared_memory.entries()
    run = elastic(
        ["-n", count, "--elastic", "1:5", "--replicas", 5], [kind, STEPS, 0.05],
        faults=",".join(faults),
    )  # fmt: skip
    stopped = []
    for action, step, slot in outside:
        with contextlib.suppress(ProcessLookupError, AssertionError):
            run.at_step(spared, step)  # the spared one passes every step
            if action == "add":
                run.process.send_signal(signal.SIGUSR1)
            elif action == "stop":
                stopped.append(run.at_step(slot, 1))
                os.kill(stopped[-1], signal.SIGSTOP)
    with contextlib.suppress(AssertionError):
        run.at_step(spared, 3 * STEPS - 2)
    for process in stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)
    code, hashes = run.end()
    said = f"seed {seed}: {kind}, {count} workers, {faults}, {outside}\n{run.text}"
    assert code == 0, said
    assert hashes, said
    assert set(hashes) == {golden(kind, STEPS)}, said
    assert not run.left_behind(), said
    assert not shared_memory.left_behind(before, run.process.pid), said
