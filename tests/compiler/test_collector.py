"""The collector of cycles is as it was before, whatever happens in between."""

import gc
import threading

import pytest

from distflow.compiler import collector


@pytest.fixture(autouse=True)
def on():
    gc.enable()
    yield
    gc.enable()


def test_is_off_in_the_block_only():
    with collector.paused():
        assert not gc.isenabled()
        with collector.paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_is_on_again_after_an_error():
    with pytest.raises(ValueError, match="bad"), collector.paused():
        raise ValueError("bad")
    assert gc.isenabled()


def test_stays_off_where_it_was_off():
    gc.disable()
    with collector.paused():
        pass
    assert not gc.isenabled()


def test_is_on_again_when_the_last_thread_leaves():
    entered, leave = threading.Event(), threading.Event()

    def other():
        with collector.paused():
            entered.set()
            assert leave.wait(30)

    thread = threading.Thread(target=other)
    with collector.paused():
        thread.start()
        assert entered.wait(30)
    assert not gc.isenabled()
    leave.set()
    thread.join(30)
    assert gc.isenabled()
