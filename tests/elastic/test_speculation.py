"""Late workers: the others compute their replicas as well, and do not wait for their silence."""

import os
import signal
import time
from types import SimpleNamespace

import pytest

from distflow.base import errors
from distflow.comm import Placement
from distflow.distribute import elastic_speculation
from distflow.distribute.elastic_speculation import Speculation


class Group:
    """Two members with two replicas each."""

    size = 2
    members = (SimpleNamespace(id=b"0", description="0"), SimpleNamespace(id=b"1", description="1"))
    communicator = SimpleNamespace(placement=Placement(4, 2))

    def set_patience(self, seconds):
        self.seconds = seconds

    def suspects(self, cause):
        return [self.members[cause.rank].id]


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests move, in seconds."""
    now = SimpleNamespace(seconds=0.0)
    timeline = SimpleNamespace(now=lambda: int(now.seconds * 1e9))
    monkeypatch.setattr(elastic_speculation, "timeline", timeline)
    return now


def steps(speculation, group, clock, seconds):
    for each in seconds:
        speculation.begin(group)
        clock.seconds += each
        speculation.end(group, is_done=True)


def test_nobody_is_late_before_the_usual_step_is_known(clock):
    group, speculation = Group(), Speculation(3.0)
    steps(speculation, group, clock, [1.0, 1.0])
    speculation.begin(group)
    assert group.seconds is None


def test_a_wait_of_so_many_usual_steps_is_too_long(clock):
    group, speculation = Group(), Speculation(3.0)
    steps(speculation, group, clock, [1.0, 9.0, 2.0])
    speculation.begin(group)
    assert group.seconds == pytest.approx(6.0)  # three times the middle one


def test_between_two_steps_waits_are_as_long_as_ever(clock):
    group, speculation = Group(), Speculation(3.0)
    steps(speculation, group, clock, [1.0, 1.0, 1.0, 1.0])
    assert group.seconds is None


def test_short_steps_leave_a_busy_host_some_time(clock):
    group, speculation = Group(), Speculation(3.0)
    steps(speculation, group, clock, [1e-3] * 4)
    assert speculation.seconds == elastic_speculation.LEAST_SECONDS


def test_patience_grows_with_late_workers_and_fades_without(clock):
    group, speculation = Group(), Speculation(3.0)
    steps(speculation, group, clock, [1.0] * 4)
    assert speculation.late(group, errors.WorkerLateError("late", 1)) == [b"1"]
    assert speculation.num_replicas == 2
    assert speculation.seconds == pytest.approx(6.0)
    steps(speculation, group, clock, [1.0] * elastic_speculation.PATIENT_STEPS)
    assert speculation.seconds == pytest.approx(3.0)


def test_a_lost_worker_is_not_late(clock):
    assert Speculation(3.0).late(Group(), errors.WorkerLostError("lost", 1)) == []


@pytest.mark.soak
@pytest.mark.spawn
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_step_goes_on_long_before_a_stopped_worker_counts_as_lost(workers, golden, capsys):
    job = workers(1, 3)
    for _ in range(3):
        job.start(["large", 24, 0.1], DISTFLOW_SPECULATE="3", DISTFLOW_SILENCE="60")
    stopped = job.at_step(1, 8)
    os.kill(stopped, signal.SIGSTOP)
    since = time.monotonic()
    job.at_step(0, 11)
    seconds = time.monotonic() - since
    os.kill(stopped, signal.SIGCONT)
    ended = job.end([0, 1, 2])
    assert [ended[0], ended[2]] == [(0, golden("large", 24))] * 2, job.texts
    assert ended[1] in [(0, golden("large", 24)), (0, None)], job.texts  # or not needed any more
    assert "is late: its replicas (2, 3) are computed by others as well" in job.text(0), job.texts
    with capsys.disabled():
        print(f"\nthree steps after a worker was stopped: {seconds:.2f} s")
    assert seconds < 30
