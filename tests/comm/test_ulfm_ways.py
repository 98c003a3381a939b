"""How members of an elastic job over MPI find each other, with an MPI of our own.

Like Open MPI's, its calls of one process wait for each other while they choose an identifier.
tests/elastic/test_over_ulfm.py has the real one.
"""

import threading
import time

import pytest

from distflow.base import errors
from distflow.comm.transport import ulfm_ways

DEADLINE = 10.0


class Meetings:
    """Where calls with the same port find each other."""

    def __init__(self):
        self.lock = threading.Lock()
        self.barriers = {}

    def at(self, port):
        with self.lock:
            return self.barriers.setdefault(port, threading.Barrier(2))

    def end(self):
        """Lets all that still wait fail."""
        with self.lock:
            for barrier in self.barriers.values():
                barrier.abort()


class Mpi:
    """One process's MPI. Spawned ones have a port, and a parent that says nothing."""

    Exception = type("MpiException", (Exception,), {})
    ERRORS_RETURN = COMM_NULL = None
    Status = object

    def __init__(self, meetings, rank=0, port=None):
        self._meetings, self._rank, self._port = meetings, rank, port
        self._choosing = threading.Lock()
        self.COMM_WORLD = self.COMM_SELF = self.Comm = self
        self.calls = []

    def Get_rank(self):
        return self._rank

    def Get_size(self):
        return 1 if self._port else 4

    def Get_parent(self):
        return self if self._port else None

    def Open_port(self):
        return self._port

    def Improbe(self, *arguments):
        return None

    def Dup(self):
        return self

    def Free(self):
        pass

    def Set_errhandler(self, handler):
        pass

    def Connect(self, port):
        self.calls.append(port)
        try:
            with self._choosing:
                self._meetings.at(port).wait(DEADLINE)
        except threading.BrokenBarrierError:
            raise self.Exception from None
        return self

    Accept = Connect


@pytest.fixture
def members(monkeypatch):
    """members(count): as many spawned processes, behind one that mpirun has started."""
    monkeypatch.setattr(ulfm_ways, "_MEET_SECONDS", 0.0)
    meetings = Meetings()

    def make(count):
        modules = [Mpi(meetings), *(Mpi(meetings, port=f"p{i}") for i in range(count))]
        return [ulfm_ways.Ways(module) for module in modules]

    yield make
    meetings.end()


def reach(ways, names, seconds=DEADLINE):
    return ways.reach(names, seconds, "connect generation 2", [f"worker {n}" for n in names])


def test_all_members_reach_each_other(members):
    found = members(3)
    names = [ways.name for ways in found]
    reached = {}
    threads = [
        threading.Thread(target=lambda ways=ways: reached.update({ways.name: reach(ways, names)}))
        for ways in found
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * DEADLINE)
    assert sorted(reached) == sorted(names)
    assert all(len(ways) == len(names) for ways in reached.values())


def test_of_each_pair_one_connects_and_the_other_accepts(members):
    names = [ways.name for ways in members(3)]
    for one in names:
        for other in names:
            if one != other:
                assert ulfm_ways._connects(one, other) != ulfm_ways._connects(other, one)


def test_ranks_of_the_world_need_no_call(members):
    ways = ulfm_ways.Ways(Mpi(Meetings(), rank=1))
    there = reach(ways, ["world 0", "world 1", "world 2"])
    assert [way.rank for way in there] == [0, 0, 2]
    assert there[0].comm is ways._world
    assert ways._mpi.calls == []


def test_a_member_that_does_not_come_is_named_in_time(members):
    first, second, _ = members(2)
    start = time.monotonic()
    with pytest.raises(errors.WorkerLateError, match="worker port p0") as caught:
        reach(first, [first.name, second.name, "port p1"], 0.2)
    assert caught.value.rank == 1
    assert time.monotonic() - start < DEADLINE / 2


def test_a_member_that_comes_late_is_there_the_next_time(members):
    first, second = members(1)
    names = [first.name, second.name]
    with pytest.raises(errors.WorkerLateError):
        reach(first, names, 0.05)
    thread = threading.Thread(target=reach, args=(second, names))
    thread.start()
    assert len(reach(first, names)) == 2
    thread.join(DEADLINE)
    assert len(first._mpi.calls) == 1
