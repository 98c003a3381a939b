"""Rules of `cluster.membership` for those who come back, and for numbers at their limit."""

import pytest

from distflow.base import errors
from distflow.cluster.membership import MAX_GENERATION
from distflow.protos import cluster_pb2 as pb
from tests.elastic.test_membership import Job, slots

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


def successor(job, slot):
    """A new process in the place of one that has ended; asks, and returns the answer or None."""
    member = pb.Member(
        id=b"new", slot=slot, description="a new one", address="h:9", fingerprint="[]"
    )
    job.now += 0.1
    job.rules.join(pb.JoinRequest(member=member), job.now)
    return job.rules.reply(b"new", job.now)


def test_one_started_again_waits_until_the_loss_of_the_first_is_known():
    job = Job(2, 3).start(3)
    job.beat(1)
    assert successor(job, 1) is None
    waits_for = job.rules.waiting_for(b"new", job.now)
    assert waits_for == "slot 1 is held by worker 1, which may be alive"
    job.now += 0.1
    assert not job.beat(0).is_awaited
    job.ask(0, generation=1, suspects=[1])
    assert job.ask(2, generation=1, suspects=[1]) is None
    job.now += 1.1  # the first one is silent, which the others have lost
    formed = successor(job, 1)
    assert [m.id for m in formed.generation.members] == [b"\x00", b"\x02", b"new"]
    assert slots(formed) == [0, 2, 1]


def test_one_started_again_after_a_silent_loss_is_let_in():
    job = Job(1, 3, silence_seconds=5.0).start(2)
    assert successor(job, 1) is None
    job.now += 4.0
    assert successor(job, 1) is None
    assert not job.beat(0).is_awaited
    job.now += 1.0
    assert successor(job, 1) is None
    assert job.beat(0).is_awaited
    formed = job.ask(0, generation=1)
    assert [m.id for m in formed.generation.members] == [b"\x00", b"new"]
