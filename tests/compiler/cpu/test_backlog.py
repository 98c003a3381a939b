"""Tasks that other threads do, and what is left of them afterwards: nothing."""

import os
import signal
import sys
import threading

import pytest

from distflow.base import flags
from distflow.compiler.cpu import backlog, cores

SECONDS = 30


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(cores, "share", lambda *_: 2)
    yield
    backlog.wait()


def waiting():
    """A task that ends when it may, and what tells that it began and lets it end."""
    began, may_end = threading.Event(), threading.Event()

    def run():
        began.set()
        assert may_end.wait(SECONDS)
        return b"done"

    return backlog.Task(run), began, may_end


def test_result_is_what_the_function_returned():
    assert backlog.Task(lambda: b"code").result() == b"code"


def test_result_may_be_asked_for_again():
    task = backlog.Task(lambda: b"code")
    assert task.result() == task.result() == b"code"


def test_error_goes_to_who_asks():
    def fail():
        raise ValueError("no such instruction")

    task = backlog.Task(fail)
    for _ in range(2):
        with pytest.raises(ValueError, match="no such instruction"):
            task.result()


def test_task_begins_although_nobody_asks():
    _, began, may_end = waiting()
    assert began.wait(SECONDS)
    may_end.set()


def test_asker_does_what_nobody_has_begun():
    _, began, may_end = waiting()
    assert began.wait(SECONDS)
    who = []
    backlog.Task(lambda: who.append(threading.get_ident()) or b"").result()
    may_end.set()
    assert who == [threading.get_ident()]


def test_asker_waits_for_what_has_begun():
    task, began, may_end = waiting()
    assert began.wait(SECONDS)
    threading.Timer(0.01, may_end.set).start()
    assert task.result() == b"done"


@pytest.mark.parametrize("setting", [{"DISTFLOW_THREADS": 1}, {}])
def test_one_core_does_nothing_before_it_is_asked(monkeypatch, setting):
    if not setting:
        monkeypatch.setattr(cores, "share", lambda *_: 1)
    with flags.override(**setting):
        before = threading.active_count()
        who = []
        task = backlog.Task(lambda: who.append(threading.get_ident()) or b"")
        assert threading.active_count() == before
        task.result()
    assert who == [threading.get_ident()]


def test_threads_end_with_the_work():
    interval = sys.getswitchinterval()
    task, began, may_end = waiting()
    assert began.wait(SECONDS)
    (thread,) = [t for t in threading.enumerate() if t.name == "distflow-compile"]
    assert not thread.daemon
    assert sys.getswitchinterval() < interval
    may_end.set()
    thread.join(SECONDS)
    assert not thread.is_alive()
    assert sys.getswitchinterval() == pytest.approx(interval)
    assert task.result() == b"done"


def test_wait_leaves_nothing():
    done = []
    for i in range(20):
        backlog.Task(lambda i=i: done.append(i) or b"")
    backlog.wait()
    assert sorted(done) == list(range(20))


@pytest.mark.spawn
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fork_waits_for_what_runs_and_both_sides_do_the_rest():
    first, began, may_end = waiting()
    assert began.wait(SECONDS)
    ended = []
    second = backlog.Task(lambda: b"second")

    def end():
        ended.append(True)
        may_end.set()

    threading.Timer(0.05, end).start()
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        status = 1
        try:
            good = bool(ended) and first.result() == b"done" and second.result() == b"second"
            status = 0 if good else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert (first.result(), second.result()) == (b"done", b"second")
