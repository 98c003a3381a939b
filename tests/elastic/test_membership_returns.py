"""Rules of `cluster.membership` for those who come back, and for numbers at their limit."""

import pytest

from distflow.base import errors
from distflow.cluster.membership import MAX_GENERATION
from tests.elastic.test_membership import Job

FAR = 1_000_000


def test_a_member_that_left_and_asks_again_is_a_member():
    job = Job().start(3)
    job.rules.leave(bytes([2]))
    assert job.rules.slots() == {0, 1}
    job.ask(2, generation=1)
    assert job.rules.slots() == {0, 1, 2}


def test_a_suspect_that_asks_gives_its_state_to_newcomers_again():
    job = Job().start(3)
    for slot in range(3):
        job.beat(slot, position=FAR)
    job.ask(0, generation=1, position=FAR, suspects=[1])
    assert [m.slot for m in job.ask(3, has_state=False).donors] == [0, 2]
    job.ask(1, generation=1, position=FAR)
    assert [m.slot for m in job.ask(3, has_state=False).donors] == [0, 1, 2]


def test_a_generation_at_the_limit_is_refused():
    job = Job()
    job.beat(0, generation=MAX_GENERATION - 1)
    with pytest.raises(errors.InvalidArgumentError, match="a generation below"):
        job.beat(0, generation=MAX_GENERATION)
