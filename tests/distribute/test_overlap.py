"""When buckets leave early, and what becomes of those under way when one fails."""

import threading

import pytest

from distflow.base import flags
from distflow.comm import Communicator, InProcessHub
from distflow.distribute import overlap
from distflow.distribute.courier import Courier


class Lost(Exception):
    """What a network raises."""


@pytest.fixture
def two_workers():
    return Communicator(InProcessHub(2).endpoint(0), 2)


@pytest.mark.parametrize(
    ("local", "cores", "threads", "expected"),
    [
        (2, 2, 1, False),  # each core computes
        (2, 4, 1, True),
        (2, 4, 2, False),
        (1, 2, 2, True),  # the others are on other hosts
    ],
)
def test_buckets_leave_early_where_a_core_is_left_or_a_network_between(
    two_workers, monkeypatch, local, cores, threads, expected
):
    monkeypatch.setattr(overlap.os, "cpu_count", lambda: cores)
    with flags.override(DISTFLOW_LOCAL_WORLD_SIZE=local, DISTFLOW_THREADS=threads):
        assert overlap.is_worth_it(two_workers) is expected


def test_an_option_decides_before_the_environment_and_that_before_the_machine(two_workers):
    with flags.override(DISTFLOW_OVERLAP=True):
        assert overlap.is_worth_it(two_workers)
        assert not overlap.is_worth_it(two_workers, False)


def test_a_worker_alone_has_nothing_to_overlap():
    assert not overlap.is_worth_it(Communicator.local(4), True)


def test_buckets_are_moved_in_the_order_in_which_they_were_sent():
    courier, moved = Courier(), []
    shipments = [courier.send(lambda i=i: moved.append(i), 4) for i in range(20)]
    for shipment in shipments:
        shipment.wait()
    assert moved == list(range(20))
    assert (courier.snapshot().buckets, courier.snapshot().num_bytes) == (20, 80)


def test_what_fails_takes_the_buckets_behind_it_along_but_not_those_of_a_later_step():
    courier, begin, moved = Courier(), threading.Event(), []

    def fail():
        begin.wait(10)
        raise Lost

    first = courier.send(fail, 1)
    second = courier.send(lambda: moved.append(1), 1)
    begin.set()
    for shipment in (first, second):
        with pytest.raises(Lost):
            shipment.wait()
    courier.settle()
    courier.send(lambda: moved.append(2), 1).wait()
    assert moved == [2]


def test_another_collective_waits_for_the_buckets_under_way():
    courier, begin, moved = Courier(), threading.Event(), []

    def move():
        begin.wait(10)
        moved.append("bucket")

    courier.send(move, 1)
    threading.Timer(0.01, begin.set).start()
    courier.carry(lambda: moved.append("other"), 1)
    assert moved == ["bucket", "other"]
