"""The pool: every unit runs once, whatever the number of threads; forks get a pool of their own."""

import os
import signal
import threading

import pytest

from distflow.base import flags
from distflow.compiler.cpu import threads


def covered(units, count, work=1 << 30):
    """The units that ran, and the number of ranges."""
    seen, ranges, lock = [], [], threading.Lock()

    def function(arguments, begin, end):
        with lock:
            assert arguments == 1234
            seen.extend(range(begin, end))
            ranges.append((begin, end))

    with flags.override(DISTFLOW_THREADS=count):
        threads.parallel_for(function, 1234, units, work)
    return sorted(seen), len(ranges)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("units", [1, 2, 3, 7, 100])
def test_every_unit_runs_once(units, count):
    seen, ranges = covered(units, count)
    assert seen == list(range(units))
    assert ranges == min(units, count)


def test_little_work_runs_in_the_calling_thread():
    assert covered(100, 4, work=10)[1] == 1


def test_threads_of_a_shared_host_are_one_each():
    with flags.override(DISTFLOW_LOCAL_RANK=1):
        assert threads.num_threads() == 1


def test_several_callers_share_the_pool():
    found = []
    callers = [threading.Thread(target=lambda: found.append(covered_plain(50))) for _ in range(6)]
    with flags.override(DISTFLOW_THREADS=3):
        for t in callers:
            t.start()
        for t in callers:
            t.join(30)
    assert found == [list(range(50))] * 6


def covered_plain(units):
    seen, lock = [], threading.Lock()

    def function(arguments, begin, end):
        with lock:
            seen.extend(range(begin, end))

    threads.parallel_for(function, 0, units, 1 << 30)
    return sorted(seen)


@pytest.mark.spawn
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_works_after_a_fork():
    covered(10, 3)
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        status = 1
        try:
            status = 0 if covered(10, 3)[0] == list(range(10)) else 1
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
