"""Newcomers: what dies while one comes is replaced, and nobody stops."""

import re

import pytest

pytestmark = [pytest.mark.spawn, pytest.mark.slow]

STEPS = 8
KILLED = -9


def test_a_donor_that_dies_while_it_gives_the_state_is_replaced(workers, golden):
    job = workers(1, 4)
    # The first donor is the chief.
    for _ in range(3):
        job.start(["fit", STEPS], faults="kill@state-transfer:*@0", ELASTIC_HOLD="10")
    job.at_step(0, 2)
    newcomer = job.start(["fit", STEPS])
    ended = job.end([0, 1, 2, newcomer])
    assert ended == [(KILLED, None)] + [(0, golden("fit", STEPS))] * 3, job.texts


@pytest.mark.parametrize("phase", ["replay", "state-receive"])
def test_a_newcomer_that_dies_on_the_way_stops_nobody(workers, golden, phase):
    job = workers(1, 4)
    for _ in range(2):
        job.start(["fit", STEPS], ELASTIC_HOLD="10")
    job.at_step(0, 1)
    newcomer = job.start(["fit", STEPS], faults=f"kill@{phase}:*")
    assert job.processes[newcomer].wait(60) == KILLED, job.texts
    another = job.start(["fit", STEPS])  # may come too late to be needed
    ended = job.end([0, 1, another])
    assert ended[:2] == [(0, golden("fit", STEPS))] * 2, job.texts
    assert ended[2] in ((0, golden("fit", STEPS)), (0, None)), job.texts


def test_a_newcomer_after_the_end_has_nothing_to_do(workers, golden):
    job = workers(1, 4)
    for _ in range(2):
        job.start(["fit", STEPS])
    assert job.end([0, 1]) == [(0, golden("fit", STEPS))] * 2, job.texts
    assert job.end([job.start(["fit", STEPS])]) == [(0, None)], job.texts


def test_a_newcomer_that_computes_other_bits_is_refused(workers, golden):
    job = workers(1, 4)
    for _ in range(2):
        job.start(["fit", STEPS, 0.05])
    job.at_step(0, 1)
    stranger = job.start(["fit", STEPS], DISTFLOW_EXECUTOR="numpy")
    assert job.end([0, 1]) == [(0, golden("fit", STEPS))] * 2, job.texts
    assert job.processes[stranger].wait(60) == 1, job.texts
    assert "NumericMismatchError" in job.text(stranger)
    assert re.search(r"executor.* cpu on worker \d .*, numpy on worker 2 ", job.text(stranger))
