"""The offset of a clock, measured over round trips."""

import threading
import time

import pytest

from distflow.comm import Communicator, InProcessHub
from distflow.telemetry import timeline

SHIFTS = {0: 0, 1: 7_000_000_000, 2: -3_000_000_000}  # nanoseconds that each rank's clock is ahead


def test_each_rank_finds_how_far_its_clock_is_from_that_of_rank_0(monkeypatch):
    rank_of = threading.local()
    monkeypatch.setattr(timeline, "now", lambda: time.monotonic_ns() + SHIFTS[rank_of.value])
    hub, found = InProcessHub(3), {}

    def work(rank):
        rank_of.value = rank
        with Communicator(hub.endpoint(rank), timeout_seconds=30) as communicator:
            found[rank] = communicator.clock_offset("test")

    threads = [threading.Thread(target=work, args=(rank,)) for rank in SHIFTS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found[0] == (0, 0)
    for rank in (1, 2):
        offset, trip = found[rank]
        # Its clock read in the midst of a trip: wrong by half of it at most.
        assert offset == pytest.approx(-SHIFTS[rank], abs=trip / 2 + 1)
