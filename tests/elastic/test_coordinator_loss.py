"""The coordinator may die: training goes on without it, and another one learns what it knew."""

import os
import signal

import pytest

pytestmark = [pytest.mark.spawn, pytest.mark.slow]

STEPS = 8


@pytest.mark.parametrize("kind", ["fit", "loop"])
def test_workers_go_on_without_a_coordinator_and_find_another(workers, golden, kind):
    job = workers(2, 4)
    for _ in range(3):
        job.start([kind, STEPS, 0.1], ELASTIC_HOLD="18")
    victim = job.at_step(1, 3)
    job.coordinator.close(0.0)
    job.at_step(0, 8)  # five steps without it
    job.restart_coordinator()
    os.kill(victim, signal.SIGKILL)
    newcomer = job.start([kind, STEPS])
    ended = job.end([0, 2, newcomer])
    assert ended == [(0, golden(kind, STEPS))] * 3, job.texts
    assert "generation 2" in job.text(0)


def test_a_worker_lost_without_a_coordinator_is_waited_out(workers, golden):
    job = workers(2, 4)
    for _ in range(3):
        job.start(["fit", STEPS, 0.1])
    victim = job.at_step(1, 3)
    job.coordinator.close(0.0)
    os.kill(victim, signal.SIGKILL)
    job.wait_for(0, "generation 1 ends")
    job.restart_coordinator()
    assert job.end([0, 2]) == [(0, golden("fit", STEPS))] * 2, job.texts


def test_too_few_workers_end_after_a_while_with_the_code_for_another_try(workers):
    job = workers(2, 4)
    for _ in range(2):
        job.start(["fit", STEPS, 0.1], DISTFLOW_ELASTIC_TIMEOUT="8")
    os.kill(job.at_step(1, 3), signal.SIGKILL)
    ((code, _),) = job.end([0])
    assert code == 75, job.texts
    assert "2 are the least" in job.text(0)
    assert "DISTFLOW_ELASTIC_TIMEOUT" in job.text(0)
