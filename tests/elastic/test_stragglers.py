"""The report of who computes and who waits, while workers come and go."""

import logging
import threading
import time

import pytest

from distflow.base import flags, log
from tests.elastic.test_in_threads import Cluster, golden  # noqa: F401 - a fixture

EVERY = 3
SLOW_SECONDS = 0.02


class SlowCluster(Cluster):
    """Worker 2 takes its time over every step."""

    def reach(self, phase, position=None):
        super().reach(phase, position)
        if phase == "before-compute" and self.threads.get(2) is threading.current_thread():
            time.sleep(SLOW_SECONDS)


@pytest.fixture
def heard():
    """The reports that were logged."""
    found = []

    class Handler(logging.Handler):
        def emit(self, record):
            if "ms each" in record.getMessage():
                found.append(record.getMessage())

    handler = Handler(logging.WARNING)
    log.get_logger().addHandler(handler)
    with flags.override(DISTFLOW_STRAGGLERS_EVERY=EVERY):
        yield found
    log.get_logger().removeHandler(handler)


def rows_in(text):
    """Returns the milliseconds that each rank has computed, by the name in its row."""
    words = [line.split() for line in text.splitlines()[2:]]
    return {row[0]: float(row[1]) for row in words if row[0].isdigit()}


def test_a_report_comes_every_so_many_steps_with_all_ranks(heard, monkeypatch, golden):  # noqa: F811
    cluster = SlowCluster(monkeypatch)
    cluster.start([0, 1, 2])
    assert set(cluster.end().values()) == {golden}
    steps = [text.partition(":")[0] for text in heard]
    assert steps == ["steps 2 to 3", "steps 4 to 6", "steps 7 to 9", "steps 10 to 12"]
    for text in heard:
        assert list(rows_in(text)) == ["0", "1", "2"]
        assert rows_in(text)["2"] >= 1e3 * SLOW_SECONDS


def test_after_a_loss_those_left_are_reported_by_the_names_they_had(heard, monkeypatch, golden):  # noqa: F811
    cluster = SlowCluster(monkeypatch)
    cluster.faults = {0: ("before-commit", 25)}
    cluster.start([0, 1, 2])
    results = cluster.end()
    assert results[1] == results[2] == golden
    rows = [rows_in(text) for text in heard]
    assert (list(rows[0]), list(rows[-1])) == (["0", "1", "2"], ["1", "2"])
    assert rows[-1]["2"] >= 1e3 * SLOW_SECONDS
