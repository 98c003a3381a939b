"""Shared calls: every unit runs once in each run, and threads that are done take from others."""

import ctypes
import threading

import pytest

from distflow.compiler.cpu import threads
from distflow.compiler.cpu.operations import Native
from distflow.compiler.cpu.streams import Streams
from distflow.compiler.cpu.task import Call

pytest.importorskip("llvmlite")

ranged = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
ENOUGH = 1 << 24  # nanoseconds of work that threads share


def programs_of(calls, count, shared=True):
    """What `threads.run` takes for one phase of (function, units), and what has to stay."""
    streams = Streams(count)
    phase = [
        (Native([], [], [], f"call {i}"), Call(function, (), (), units, ENOUGH))
        for i, (function, units) in enumerate(calls)
    ]
    streams.phase(phase, lambda thread, operation, call: 1234, shared)
    made, shares = streams.programs(), streams.shares()
    address = ctypes.addressof(shares[0]) if shares else 0
    return [ctypes.addressof(p) for p in made], address, (made, shares, phase)


def recorder():
    seen, lock = [], threading.Lock()

    @ranged
    def function(arguments, begin, end):
        with lock:
            assert arguments == 1234
            seen.extend(range(begin, end))

    return function, seen


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("units", [(1,), (7,), (100, 3), (2, 64, 1)])
def test_every_unit_runs_once_in_each_run(units, count):
    recorders = [recorder() for _ in units]
    programs, shares, _kept = programs_of(
        [(f, n) for (f, _), n in zip(recorders, units, strict=True)], count
    )
    for _ in range(3):
        threads.run(programs, programs[0], 0, shares)
        for (_, seen), n in zip(recorders, units, strict=True):
            assert sorted(seen) == list(range(n))
            seen.clear()


def test_a_thread_that_is_done_takes_what_another_has_not_begun():
    others, seen, lock = threading.Event(), [], threading.Lock()

    @ranged
    def function(arguments, begin, end):
        # The thread that has the first unit keeps it until nearly all else is done.
        if begin == 0:
            assert others.wait(30), f"nobody took units of the waiting thread: {sorted(seen)}"
        with lock:
            seen.extend(range(begin, end))
            if len(seen) >= 100 - 25:
                others.set()

    programs, shares, _kept = programs_of([(function, 100)], 2)
    threads.run(programs, programs[0], 0, shares)
    assert sorted(seen) == list(range(100))


def test_a_call_with_little_work_is_not_shared():
    streams = Streams(2)
    function, _ = recorder()
    call = Call(function, (), (), 8, 1000)
    streams.phase([(Native([], [], [], "small"), call)], lambda *_: 1234, shared=True)
    assert streams.shares() is None
