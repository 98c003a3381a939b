"""Workers that are killed, stopped, leave or come do not change a bit of the result."""

import os
import signal

import pytest

pytestmark = [pytest.mark.spawn]

KINDS = ["fit", "loop"]
STEPS = 8  # of each of three epochs


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_worker_changes_nothing(elastic, golden, kind):
    run = elastic(["-n", 3, "--elastic", "2:4", "--max-restarts", 0], [kind, STEPS, 0.05])
    os.kill(run.at_step(1, 5), signal.SIGKILL)
    code, hashes = run.end()
    assert code == 0, run.text
    assert hashes == [golden(kind, STEPS)] * 2, run.text


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_worker_that_is_started_again_ends_with_the_same_bits(elastic, golden, kind):
    run = elastic(["-n", 3, "--elastic", "2:4"], [kind, STEPS, 0.15])
    os.kill(run.at_step(0, 5), signal.SIGKILL)
    code, hashes = run.end()
    assert code == 0, run.text
    assert hashes == [golden(kind, STEPS)] * 3, run.text
