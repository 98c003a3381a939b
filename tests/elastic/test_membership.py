"""The rules of `cluster.membership`, with a clock of our own and no network."""

import json

import pytest

from distflow.base import errors
from distflow.cluster.membership import Membership
from distflow.protos import cluster_pb2 as pb


class Job:
    """A membership and workers that ask it."""

    def __init__(self, low=2, high=4, **options):
        self.rules = Membership(low, high, **options)
        self.now = 100.0
        self.asked = 0

    def ask(
        self, slot, *, generation=0, position=0, has_state=True, suspects=(), known=(), bits=(),
        late=(),
    ):  # fmt: skip
        """Lets a worker join with a new address; returns the answer it gets now, or None."""
        self.asked += 1
        member = pb.Member(
            id=bytes([slot]), slot=slot, description=f"worker {slot}", address=f"h:{self.asked}",
            donor=f"d:{slot}", position=position, has_state=has_state, generation=generation,
            fingerprint=json.dumps(list(bits)),
        )  # fmt: skip
        self.rules.join(
            pb.JoinRequest(
                member=member, suspects=[bytes([s]) for s in suspects],
                known=[bytes([k]) for k in known], late=[bytes([s]) for s in late],
            ),
            self.now,
        )  # fmt: skip
        return self.answer(slot)

    def answer(self, slot):
        return self.rules.reply(bytes([slot]), self.now)

    def beat(self, slot, generation=1, position=0):
        request = pb.BeatRequest(
            id=bytes([slot]), generation=generation, position=position, donor=f"d:{slot}"
        )
        return self.rules.beat(request, self.now)

    def start(self, count):
        """Forms generation 1 of workers 0, 1, ..."""
        for slot in range(count):
            self.rules.slot_started(slot)
        for slot in range(count):
            self.ask(slot)
        assert slots(self.answer(0)) == list(range(count))
        return self


def slots(reply):
    return [member.slot for member in reply.generation.members]


def test_the_first_generation_waits_for_all_that_were_started():
    job = Job()
    for slot in range(3):
        job.rules.slot_started(slot)
    assert job.ask(2) is None
    job.now += 4.0  # silent workers are asked for again meanwhile
    assert job.ask(0) is None
    assert slots(job.ask(1)) == [0, 1, 2]
    assert job.answer(0).generation.number == 1


def test_without_a_launcher_the_first_generation_waits_for_stragglers_for_a_while():
    job = Job()
    assert job.ask(0) is None
    assert job.ask(1) is None
    job.now += 1.1
    assert slots(job.answer(1)) == [0, 1]


def test_fewer_than_the_least_wait():
    job = Job(2, 4)
    job.ask(0)
    job.now += 1.1
    assert job.answer(0) is None
    assert "2 are the least" in job.rules.waiting_for(bytes([0]), job.now)


def test_survivors_go_on_when_all_of_them_have_asked():
    job = Job().start(3)
    job.now += 1.1
    assert job.ask(0, generation=1, suspects=[1]) is None
    assert slots(job.ask(2, generation=1, suspects=[1])) == [0, 2]
    assert job.answer(0).generation.number == 2


def test_a_suspect_that_was_heard_of_a_moment_ago_is_waited_for():
    job = Job().start(3)  # a broken connection, with a living process at both of its ends
    job.now += 5.0
    job.beat(1)
    job.now += 0.4
    assert job.ask(0, generation=1, suspects=[1]) is None
    assert job.ask(2, generation=1, suspects=[1]) is None
    job.now += 0.1
    assert slots(job.ask(1, generation=1, suspects=[0])) == [0, 1, 2]


def test_a_suspect_whose_process_has_ended_is_not_waited_for():
    job = Job().start(3)
    job.rules.slot_ended(1)
    assert job.ask(0, generation=1, suspects=[1]) is None
    assert slots(job.ask(2, generation=1, suspects=[1])) == [0, 2]


def test_a_member_that_lives_is_waited_for():
    job = Job().start(3)
    job.ask(0, generation=1, suspects=[1])
    for _ in range(5):
        job.now += 2.0
        job.beat(2)
        assert job.ask(0, generation=1, suspects=[1]) is None
    assert "worker 2" in job.rules.waiting_for(bytes([0]), job.now)


def test_a_member_without_a_sign_of_life_is_not_waited_for():
    job = Job().start(3)
    job.now += 4.0
    assert job.ask(0, generation=1) is None
    job.now += 2.0
    job.beat(2)
    assert slots(job.ask(2, generation=1)) == [0, 2]
    assert slots(job.answer(0)) == [0, 2]


def test_a_process_that_has_ended_is_not_waited_for():
    job = Job().start(3)
    job.rules.slot_ended(1)
    job.ask(0, generation=1)
    assert slots(job.ask(2, generation=1)) == [0, 2]


def test_a_suspect_that_asks_is_in():
    job = Job().start(3)
    job.ask(0, generation=1, suspects=[1])
    job.ask(1, generation=1)
    assert slots(job.ask(2, generation=1)) == [0, 1, 2]


def test_a_late_member_is_not_waited_for_though_it_lives():
    job = Job().start(3)
    job.beat(1)
    assert job.ask(0, generation=1, late=[1]) is None
    assert slots(job.ask(2, generation=1, late=[1])) == [0, 2]
    assert job.ask(1, generation=1, position=0) is None
    assert job.beat(0, generation=2).is_awaited  # and let in after the next step


def test_a_late_member_that_asks_in_time_is_in():
    job = Job().start(3)
    job.ask(0, generation=1, late=[1])
    job.ask(1, generation=1)
    assert slots(job.ask(2, generation=1, late=[1])) == [0, 1, 2]


def test_a_late_member_of_an_old_generation_is_waited_for():
    job = Job().start(3)
    for slot in range(3):
        job.ask(slot, generation=1, late=[1])
    assert slots(job.answer(1)) == [0, 1, 2]
    assert job.ask(0, generation=2) is None
    assert job.ask(2, generation=2) is None


def test_suspicions_of_an_old_generation_do_not_count():
    job = Job().start(3)
    job.rules.slot_ended(2)
    job.ask(0, generation=1)
    job.ask(1, generation=1)
    assert slots(job.answer(1)) == [0, 1]
    job.ask(2, generation=1, suspects=[0, 1], has_state=False)
    job.ask(1, generation=2)
    assert slots(job.ask(0, generation=2)) == [0, 1, 2]


def test_an_answer_that_was_lost_is_given_again():
    job = Job().start(2)
    assert job.answer(1).generation.number == 1
    assert job.answer(1).generation.number == 1


def test_a_newcomer_that_is_far_behind_is_sent_to_the_members():
    job = Job().start(2)
    for slot in (0, 1):
        job.beat(slot, position=100)
    reply = job.ask(2)
    assert [member.donor for member in reply.donors] == ["d:0", "d:1"]
    assert not job.beat(0, position=100).is_awaited


def test_members_are_told_of_a_newcomer_that_is_near_and_let_it_in():
    job = Job().start(2)
    job.beat(0, position=100)
    assert job.ask(2, position=95, has_state=False) is None
    assert job.beat(0, position=101).is_awaited
    job.ask(0, generation=1, position=102)
    assert slots(job.ask(1, generation=1, position=102)) == [0, 1, 2]


def test_more_than_the_most_are_spares_until_one_is_lost():
    job = Job(1, 2).start(2)
    assert job.ask(2, has_state=False) is None
    assert not job.beat(0).is_awaited
    job.rules.slot_ended(0)
    job.ask(2, has_state=False)
    assert slots(job.ask(1, generation=1)) == [1, 2]


def test_the_chief_stays_the_chief_when_a_lower_slot_comes():
    job = Job().start(3)
    job.rules.slot_ended(0)
    job.ask(1, generation=1)
    assert slots(job.ask(2, generation=1)) == [1, 2]
    job.ask(0, has_state=False)
    job.ask(1, generation=2)
    assert slots(job.ask(2, generation=2)) == [1, 2, 0]


def test_nobody_without_the_state_forms_a_generation():
    job = Job(1, 2)
    job.ask(0, has_state=False)
    job.now += 2.0
    assert job.answer(0) is None


def test_a_restarted_coordinator_learns_the_members_from_their_requests():
    job = Job()
    assert job.ask(0, generation=7, suspects=[1], known=[2, 1, 0]) is None
    reply = job.ask(2, generation=7, known=[2, 1, 0])
    assert reply is None  # others may not have found it yet
    job.now += 1.1
    assert slots(job.answer(2)) == [2, 0]
    assert job.answer(2).generation.number == 8


def test_a_newcomer_does_not_start_a_job_anew_that_a_restarted_coordinator_does_not_know():
    job = Job(1, 4)
    assert job.ask(3) is None
    job.beat(0, generation=7, position=500)
    job.now += 1.1
    job.beat(0, generation=7, position=500)
    assert [m.donor for m in job.ask(3).donors] == ["d:0"]


def test_after_the_end_of_the_program_nobody_is_needed():
    job = Job().start(2)
    job.rules.slot_ended(0, is_finished=True)
    assert job.ask(2).is_finished


def test_a_worker_that_has_not_come_to_the_end_itself_may_go_on_alone():
    job = Job(2, 4).start(2)
    job.rules.slot_ended(0, is_finished=True)
    assert slots(job.ask(1, generation=1)) == [1]


def test_a_second_worker_in_a_slot_is_refused():
    job = Job().start(2)
    other = pb.JoinRequest(
        member=pb.Member(id=b"x", slot=1, fingerprint="[]", description="another", address="h:9")
    )
    job.now += 0.1
    job.rules.join(other, job.now)
    job.now += 1.1
    job.beat(1)
    with pytest.raises(errors.AlreadyExistsError, match="slot 1 is held by worker 1"):
        job.rules.join(other, job.now)


@pytest.mark.parametrize("knows_slots", [True, False])
def test_a_second_worker_in_a_slot_before_the_first_generation_is_refused(knows_slots):
    job = Job()
    if knows_slots:
        job.rules.slot_started(0)
        job.rules.slot_started(1)
    job.ask(1)
    other = pb.JoinRequest(
        member=pb.Member(id=b"x", slot=1, fingerprint="[]", has_state=True, address="h:9")
    )
    job.now += 0.1
    job.rules.join(other, job.now)
    job.now += 1.1
    assert job.ask(1) is None
    with pytest.raises(errors.AlreadyExistsError, match="slot 1 is held by worker 1"):
        job.rules.join(other, job.now)


def test_a_host_that_computes_other_bits_is_refused_with_the_first_difference():
    job = Job()
    bits = [("version of numpy", "2.4"), ("NumPy's exp", "a"), ("NumPy's tanh", "b"), ("BLAS", "c")]
    job.ask(0, bits=bits)
    other = [*bits[:2], ("NumPy's tanh", "x"), ("BLAS", "y")]
    with pytest.raises(errors.NumericMismatchError) as caught:
        job.ask(1, bits=other)
    text = str(caught.value)
    assert "worker 1 computes other bits than worker 0: NumPy's tanh is b on worker 0" in text
    assert "x on worker 1" in text
    assert "NPY_DISABLE_CPU_FEATURES" in text
    assert "BLAS" not in text


def test_a_suspect_that_gives_signs_of_life_is_waited_for_a_while():
    job = Job().start(3)
    job.ask(0, generation=1, suspects=[1])
    job.now += 0.1
    job.beat(1)
    assert job.ask(2, generation=1) is None
    job.now += 0.1
    assert slots(job.ask(1, generation=1)) == [0, 1, 2]


def test_a_suspect_that_lives_but_does_not_ask_is_given_up():
    job = Job().start(3)
    job.ask(0, generation=1, suspects=[1])
    for _ in range(5):
        job.now += 0.5
        job.beat(1)
    assert slots(job.ask(2, generation=1)) == [0, 2]


def far_along():
    """Returns a job of two workers that have come to event 100."""
    job = Job().start(2)
    for slot in (0, 1):
        job.beat(slot, position=100)
    return job


def test_a_job_that_has_lost_all_its_members_begins_anew():
    job = far_along()
    job.rules.slot_ended(0)
    job.rules.slot_ended(1)
    for slot in (5, 6):
        job.ask(slot)
    assert slots(job.answer(5)) == [5, 6]
    assert job.rules.number == 2


def test_a_job_with_one_silent_member_does_not_begin_anew():
    job = far_along()
    job.rules.slot_ended(0)
    job.now += 1000  # the other one may be asleep
    for slot in (5, 6):
        job.ask(slot)
    assert job.answer(5) is None or not job.answer(5).HasField("generation")


def test_one_member_is_asked_once_for_a_process():
    job = Job()
    job.start(3)
    job.rules.want(5)
    asked = [list(job.beat(slot).wanted) for slot in (0, 1, 2, 0, 1, 2)]
    assert sorted(asked, reverse=True) == [[5], [], [], [], [], []]


def test_another_member_is_asked_the_next_time_and_none_that_is_lost():
    job = Job()
    job.start(3)
    asked = []
    for turn in range(4):
        job.rules.want(turn)
        if turn == 2:
            job.rules.slot_ended(1)
        asked += [slot for slot in (2, 1, 0) if job.beat(slot).wanted]
    assert sorted(asked[:2]) == [0, 1]
    assert sorted(asked[2:]) == [0, 2]


def test_before_the_first_generation_one_that_has_come_is_asked():
    job = Job()
    job.rules.slot_started(0)
    job.rules.slot_started(1)
    job.rules.want(2)
    job.ask(1)
    assert not job.beat(0, generation=0).wanted  # it has not come
    assert list(job.beat(1, generation=0).wanted) == [2]
    job.ask(0)
    assert job.answer(0) is None  # until the one that was wanted is there, too
    job.ask(2)
    assert slots(job.answer(0)) == [0, 1, 2]


def test_it_is_known_whether_a_process_that_was_wanted_has_come():
    job = Job()
    job.start(2)
    job.rules.want(1)
    assert not job.rules.has_joined(1)
    job.rules.slot_ended(1)
    job.ask(1)
    assert job.rules.has_joined(1)


def ask_for_a_process():
    """Returns a job of two, and which of them was asked to start one for slot 5."""
    job = Job()
    job.start(2)
    job.rules.want(5)
    return job, next(slot for slot in (0, 1) if job.beat(slot).wanted)


def test_a_process_whose_starter_has_gone_before_it_came_is_an_orphan():
    job, starter = ask_for_a_process()
    assert job.rules.orphans() == []
    job.rules.slot_ended(starter)
    assert job.rules.orphans() == [5]
    job.rules.slot_ended(5)
    assert job.rules.orphans() == []


def test_a_process_that_has_come_is_no_orphan():
    job, starter = ask_for_a_process()
    job.ask(5)
    job.rules.slot_ended(starter)
    assert job.rules.orphans() == []
