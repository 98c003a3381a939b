"""The report of who computes and who waits."""

import logging
import time

import numpy as np
import pytest

from distflow.base import flags, log
from distflow.comm import Communicator, InProcessHub
from distflow.distribute import stragglers
from distflow.distribute.multi_worker import MultiWorkerMirroredStrategy
from distflow.distribute.reduce import ReduceOp
from distflow.distribute.stragglers import Row, report

FAST = Row(step=20.0, wait=9.0, transfer=1.0, exposed=10.0, link=1, link_wait=9.0, link_bytes=4e6)
SLOW = Row(step=20.0, wait=0.0, transfer=1.0, exposed=1.0)


def test_the_slow_worker_and_the_slow_link_are_named():
    text = report([FAST, SLOW, FAST], 101, 200)
    assert text.startswith("steps 101 to 200: 20.00 ms each, 7.00 ms of it exposed communication")
    assert "rank 1 computes 90% longer than the middle one." in text
    assert "slowest link: rank 1 to rank 0." in text
    assert "rank 1: 9.00 ms, 4.00 MB a step" in text


def test_equal_workers_are_not_blamed():
    assert "longer" not in report([FAST, FAST], 1, 2)


def test_a_lone_worker_has_no_link():
    text = report([SLOW], 1, 2)
    assert "link" not in text
    assert "longer" not in text


def test_compute_is_what_is_not_exposed():
    assert FAST.compute == 10.0
    assert Row(1.0, 0.0, 0.0, 2.0).compute == 0.0


def test_nobody_reports_unless_asked():
    strategy = MultiWorkerMirroredStrategy(communicator=Communicator.local(1))
    assert stragglers.for_strategy(strategy) is None


def test_workers_report_together_and_the_chief_says_it(run_workers):
    heard = []

    class Handler(logging.Handler):
        def emit(self, record):
            heard.append(record.getMessage())

    def work(rank, hub):
        strategy = MultiWorkerMirroredStrategy(communicator=Communicator(hub.endpoint(rank), 2))

        def step():
            if rank == 1:
                time.sleep(0.02)
            return strategy.reduce_rows([[np.ones(4, np.float32)]], ReduceOp.SUM, "x")[0]

        for _ in range(4):
            strategy.run(step)

    handler = Handler(logging.WARNING)
    log.get_logger().addHandler(handler)
    try:
        with flags.override(DISTFLOW_STRAGGLERS_EVERY=2):
            run_workers(work, InProcessHub(2))
    finally:
        log.get_logger().removeHandler(handler)
    assert [text.partition(":")[0] for text in heard] == ["steps 1 to 2", "steps 3 to 4"]
    assert all("slowest link: rank 1 to rank 0" in text for text in heard)


@pytest.fixture
def run_workers():
    import threading

    def run(work, hub):
        failed = []

        def guarded(rank):
            try:
                work(rank, hub)
            except BaseException as error:  # noqa: BLE001 - raised below
                failed.append(error)

        threads = [threading.Thread(target=guarded, args=(rank,)) for rank in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        if failed:
            raise failed[0]

    return run
