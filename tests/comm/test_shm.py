"""Shared memory: files, rings, the search for the host, and calls that are not alike."""

import itertools
import json
import os
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from distflow.base import errors, log
from distflow.comm import Communicator, flight
from distflow.comm.algorithms import shared
from distflow.comm.transport import host, segment, shared_file, stall
from distflow.comm.transport.liveness import Process
from distflow.comm.transport.rings import Reader, Writer
from distflow.comm.transport.segment import Plan, Segment
from distflow.comm.transport.shared_file import SharedFile
from distflow.comm.transport.shm import ShmTransport
from tests.comm.groups import RUNNERS, run_inprocess, run_shm, values


def test_two_mappings_of_a_file_show_the_same_bytes():
    file = SharedFile.create(8192)
    other = SharedFile.open(json.loads(json.dumps(file.ticket)))
    file.data[5000] = 7
    assert other.data[5000] == 7


@pytest.mark.parametrize("change", [{"cookie": "00" * 16}, {"size": 4096}, {"file": 0}])
def test_another_file_is_not_taken_for_the_jobs(change):
    file = SharedFile.create(8192)
    with pytest.raises(errors.UnavailableError, match=f"/proc/{os.getpid()}/fd"):
        SharedFile.open({**file.ticket, **change})


@pytest.mark.parametrize("ticket", [{}, {"pid": "x"}, {"pid": 1, "file": 0, "cookie": "zz"}])
def test_a_malformed_ticket_is_data_loss(ticket):
    with pytest.raises(errors.DataLossError, match="malformed ticket"):
        SharedFile.open({"size": 1, **ticket})


def test_a_process_that_is_gone_cannot_be_opened():
    file = SharedFile.create(8192)
    with pytest.raises(errors.UnavailableError, match="cannot be opened"):
        SharedFile.open({**file.ticket, "pid": 2**22 + 1})


def test_too_little_memory_is_refused_before_any_is_taken(monkeypatch):
    monkeypatch.setattr(shared_file, "free_memory", lambda: 10 << 20)
    with pytest.raises(errors.ResourceExhaustedError, match="6 MiB must be at most 50%"):
        SharedFile.create(6 << 20)
    SharedFile.create(4 << 20).close()


def test_without_memory_the_network_serves(monkeypatch):
    monkeypatch.setattr(shared_file, "free_memory", lambda: 10 << 10)
    kinds = run_inprocess(2, lambda t: type(host.share_memory(t, timeout_seconds=10)).__name__)
    assert values(kinds) == ["InProcessTransport"] * 2


def test_without_memory_that_is_required_every_rank_says_why(monkeypatch):
    monkeypatch.setattr(shared_file, "free_memory", lambda: 10 << 10)
    outcomes = run_inprocess(2, lambda t: host.share_memory(t, required=True, timeout_seconds=10))
    for outcome in outcomes:
        assert isinstance(outcome, errors.UnavailableError)
        assert "rank 0 says: shared memory" in str(outcome)


def sum_over_memory(transport, **settings):
    shared = host.share_memory(transport, timeout_seconds=10, **settings)
    with Communicator(shared, timeout_seconds=10) as c:
        return type(shared), c.all_reduce({c.rank: [np.ones(5)]}).arrays[0].tolist()


def test_workers_of_one_host_find_each_other():
    assert values(run_inprocess(3, sum_over_memory)) == [(ShmTransport, [3.0] * 5)] * 3


def test_workers_of_several_hosts_do_not_share_memory_alone(monkeypatch):
    identities = iter(["a", "b", "a"])
    monkeypatch.setattr(host, "identity", lambda: next(identities))
    kinds = run_inprocess(3, lambda t: type(host.share_memory(t, timeout_seconds=10)).__name__)
    assert ShmTransport.__name__ not in values(kinds)


def test_several_hosts_are_an_error_where_memory_is_required(monkeypatch):
    identities = iter(["a", "b"])
    monkeypatch.setattr(host, "identity", lambda: next(identities))
    for outcome in run_inprocess(2, lambda t: host.share_memory(t, required=True)):
        assert isinstance(outcome, errors.UnavailableError)
        assert "on 2 hosts" in str(outcome)


def test_groups_are_ordered_by_their_lowest_rank():
    assert host.groups_of({3: "b", 0: "b", 1: "a", 2: "c"}) == [[0, 3], [1], [2]]


def test_identity_is_the_same_within_this_host():
    assert host.identity() == host.identity() != ""


def ring(ring_bytes=64):
    shared = Segment.make(Plan(2, 4096, ring_bytes))
    return Writer(shared, 0, 1), Reader(shared, 0, 1), shared


def test_frames_longer_than_the_ring_pass_in_pieces():
    writer, reader, _ = ring()
    body = np.arange(1000, dtype=np.uint8)
    writer.put(5, b"meta", [body[:300], body[300:]])
    writer.put(6, b"", [])
    while not (writer.empty and len(reader.frames) == 2):
        assert writer.push() or reader.pull()
    first, second = reader.frames
    assert (first.tag, first.meta, first.body.tobytes()) == (5, b"meta", body.tobytes())
    assert (second.tag, second.meta, second.body.size) == (6, b"", 0)


def test_a_frame_that_has_begun_is_seen():
    writer, reader, _ = ring()
    assert not reader.begun
    writer.put(1, b"", [np.zeros(500, np.uint8)])
    writer.push()
    reader.pull()
    assert reader.begun
    assert not reader.frames


def test_counters_that_cannot_be_are_data_loss():
    _, reader, shared = ring()
    shared.words[shared.plan.ring(0, 1) // 8] = 1000
    with pytest.raises(errors.DataLossError, match="malformed ring"):
        reader.pull()


def test_a_head_over_the_limits_is_data_loss():
    writer, reader, _ = ring()
    writer._pending.append(np.full(24, 255, np.uint8))
    writer.push()
    with pytest.raises(errors.DataLossError, match="malformed head"):
        reader.pull()


def test_nothing_in_a_segment_overlaps():
    plan = Plan(3, 8192, 4096)
    ends = [(0, 4096)]
    ends += [(plan.control_word(r) * 8, 3 * 4096) for r in range(3)]
    ends += [(plan.ring(a, b), 4096 + plan.ring_bytes) for a in range(3) for b in range(3)]
    ends += [(plan.slot(r, s), 8192) for r in range(3) for s in range(segment.NUM_SLOTS)]
    ends += [(plan.result(s), 8192) for s in range(segment.NUM_RESULTS)]
    ends.sort()
    assert all(a + size <= b for (a, size), (b, _) in itertools.pairwise(ends))
    assert sum(ends[-1]) == plan.num_bytes


@pytest.mark.parametrize("world_size", [1, 2, 8, 64])
def test_a_segment_stays_of_moderate_size(world_size):
    assert Plan.for_workers(world_size).num_bytes < 250 << 20


def test_a_live_process_is_alive_and_an_ended_one_dead():
    pid = os.posix_spawn("/bin/cat", ["cat", "/dev/zero"], {}, file_actions=[
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])  # fmt: skip
    process = Process(pid)
    assert not process.dead
    os.kill(pid, 9)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it stays there as a zombie
    assert process.dead
    os.waitpid(pid, 0)
    assert process.dead
    process.close()


def test_without_pidfd_proc_tells_that_a_zombie_is_dead(monkeypatch):
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    pid = os.posix_spawn("/bin/true", ["true"], {})
    process = Process(pid)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert process.dead
    os.waitpid(pid, 0)


def different_calls(transport, calls):
    c = Communicator(transport, timeout_seconds=10)
    c.all_reduce({c.rank: [np.ones(3)]})
    return calls[c.rank](c)


ALIKE = lambda c: c.all_reduce({c.rank: [np.ones(3)]}, name="a").arrays[0].tolist()
OTHERS = {
    "name": lambda c: c.all_reduce({c.rank: [np.ones(3)]}, name="b"),
    "op": lambda c: c.all_reduce({c.rank: [np.ones(3)]}, name="a", op="max"),
    "shape": lambda c: c.all_reduce({c.rank: [np.ones(4)]}, name="a"),
    "dtype": lambda c: c.all_reduce({c.rank: [np.ones(3, np.float32)]}, name="a"),
    "kind": lambda c: c.barrier("a"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_calls_that_are_not_alike_are_named_on_every_rank(other):
    calls = [ALIKE, OTHERS[other], ALIKE]
    for outcome in run_shm(3, lambda t: different_calls(t, calls)):
        assert isinstance(outcome, errors.CollectiveMismatchError), outcome
        assert "all_reduce 'a'" in str(outcome)


def test_a_worker_without_data_and_shapes_learns_them_and_lanes_go_on():
    def fn(transport):
        c = Communicator(transport, timeout_seconds=10)
        leaf = None if c.rank == 1 else [np.full(3, c.rank + 1.0)]
        results = [c.all_reduce({c.rank: x}, name="g") for x in (leaf, [np.ones(3)], leaf)]
        return [(r.num_present, r.arrays[0].tolist()) for r in results]

    expected = [(2, [4.0] * 3), (3, [3.0] * 3), (2, [4.0] * 3)]
    assert values(run_shm(3, fn)) == [expected] * 3


def test_a_worker_without_data_that_knows_the_shapes_stays_in_the_lanes():
    def fn(transport):
        c = Communicator(transport, timeout_seconds=10)
        like = [np.zeros(3)]
        leaf = None if c.rank == 1 else [np.full(3, -0.0)]
        result = c.all_reduce({c.rank: leaf}, name="g", like=like)
        return result.num_present, np.signbit(result.arrays[0]).tolist()

    assert values(run_shm(2, fn)) == [(1, [True] * 3)] * 2


def test_if_nobody_has_data_the_identity_is_the_result():
    def fn(transport):
        c = Communicator(transport, timeout_seconds=10)
        result = c.all_reduce({c.rank: None}, op="min", like=[np.zeros(2)])
        return result.num_present, result.arrays[0].tolist()

    assert values(run_shm(2, fn)) == [(0, [np.inf] * 2)] * 2


@pytest.mark.parametrize("run", RUNNERS.values())
@pytest.mark.parametrize("count", [3, 5000, 300_000])
def test_the_result_may_take_the_place_of_the_leaf(run, count):
    def fn(transport):
        c = Communicator(transport, timeout_seconds=10)
        x = np.full(count, c.rank + 1.0)
        result = c.all_reduce({c.rank: [x]}, out=[x])
        return result.arrays[0] is x and bool((x == 6).all())

    assert values(run(3, fn)) == [True] * 3


@pytest.mark.parametrize("out", [[np.zeros(4)], [np.zeros(3, np.float32)], [], [np.zeros(6)[::2]]])
def test_a_result_that_does_not_fit_is_refused_before_anything_is_sent(out):
    def fn(transport):
        c = Communicator(transport, timeout_seconds=10)
        with pytest.raises(errors.InvalidArgumentError, match="out"):
            c.all_reduce({c.rank: [np.ones(3)]}, out=out)
        return c.all_reduce({c.rank: [np.ones(3)]}).arrays[0].tolist()

    for run in (run_shm, run_inprocess):
        assert values(run(2, fn)) == [[2.0] * 3] * 2


@pytest.mark.parametrize("late", [0, 1, 2, 3])
def test_a_slow_rank_still_reads_what_was_written_for_it(late, monkeypatch):
    # Calls of several steps that all ranks add themselves, one after another: the quick rank must
    # not write its next call's first steps where the slow one still adds.
    size, quick_is_done = 900, threading.Event()
    own_add = shared.Shared._add

    def add(self, number, call, i, *rest):
        if self._transport.rank == 1 and call.name == "first" and i == late:
            quick_is_done.wait(0.1)
        own_add(self, number, call, i, *rest)

    monkeypatch.setattr(shared.Shared, "_add", add)

    def fn(transport):
        c = Communicator(transport, timeout_seconds=20)
        found = []
        for name in ("first", "second"):
            leaf = [np.arange(size, dtype=np.float32) + len(name) * (c.rank + 1)]
            found.append(c.all_reduce({c.rank: leaf}, name=name).arrays[0])
        if c.rank == 0:
            quick_is_done.set()
        return [x.tobytes() for x in found]

    x = 2 * np.arange(size, dtype=np.float32)
    want = [(x + 3 * len(name)).tobytes() for name in ("first", "second")]
    assert values(run_shm(2, fn, 1024)) == [want, want]


def test_nobody_sleeps_while_a_frame_comes_piece_by_piece(monkeypatch):
    transport = ShmTransport(Segment.make(Plan(1, 4096, 4096)), 0)
    now, sleeps, looks = [0.0], [], iter(range(100))
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=sleeps.append)
    monkeypatch.setattr("distflow.comm.transport.shm.time", clock)
    transport.spins = 0

    def progress():  # every second look finds a piece
        now[0] += 5e-4
        return next(looks) % 2 == 0

    transport.wait(lambda: now[0] > 0.03, None, 10, "a test", progress)
    monkeypatch.undo()
    transport.close()
    assert sleeps == []


def test_an_abort_reaches_those_who_wait_in_a_lane():
    def fn(transport):
        c = Communicator(transport, timeout_seconds=10)
        if c.rank == 1:
            c.abort(ValueError("no more"))
            return None
        return c.all_reduce({c.rank: [np.ones(3)]})

    outcome = run_shm(2, fn)[0]
    assert isinstance(outcome, errors.AbortedError)
    assert "no more" in str(outcome)


def test_shared_as_an_algorithm_needs_shared_memory():
    def fn(transport):
        Communicator(transport, algorithm="shared")

    for outcome in run_inprocess(2, fn):
        assert isinstance(outcome, errors.InvalidArgumentError)


def test_a_file_cannot_be_cut_under_those_who_use_it():
    file = SharedFile.create(8192)
    path = f"/proc/{os.getpid()}/fd/{file.ticket['file']}"
    with pytest.raises(PermissionError):
        os.truncate(path, 0)


def test_a_long_wait_is_said_with_what_is_known_of_the_late_rank(monkeypatch):
    monkeypatch.setattr(stall, "WARN_SECONDS", 0.05)
    released = threading.Event()

    def fn(transport):
        c = Communicator(transport, timeout_seconds=10)
        if c.rank == 1:
            released.wait(10)
        c.all_reduce({c.rank: [np.ones(3)]}, name="late")

    logger = log.get_logger()
    heard = []
    monkeypatch.setattr(logger, "warning", lambda *a: (heard.append(a[0] % a[1:]), released.set()))
    values(run_shm(2, fn))
    assert any("all_reduce 'late'" in text and "was last heard of" in text for text in heard)


def test_the_flight_recorder_knows_reductions_in_memory():
    def fn(transport):
        c = Communicator(transport, timeout_seconds=10)
        c.all_reduce({c.rank: [np.ones(3)]}, name="recorded")

    values(run_shm(2, fn))
    found = [e for e in flight.events() if e["what"] == "all_reduce 'recorded' (call 0)"]
    assert {e["rank"] for e in found} == {0, 1}
    assert all("seconds" in e for e in found)


@pytest.mark.parametrize("late", [0, 1])
def test_another_communicator_goes_on_with_the_numbers_of_calls(late, monkeypatch):
    # The quick rank has left the first communicator while the slow one still compares what was
    # announced for its only call.
    quick_is_on = threading.Event()
    own_compare = shared.Shared._compare

    def compare(self, sequence, call, bits):
        if self._transport.rank == late and call.name == "first":
            quick_is_on.wait(0.2)
        return own_compare(self, sequence, call, bits)

    monkeypatch.setattr(shared.Shared, "_compare", compare)

    def fn(transport):
        found = []
        for name in ("first", "second"):
            c = Communicator(transport, timeout_seconds=20)
            found += c.all_reduce({c.rank: [np.full(3, 2.0, np.float32)]}, name=name).arrays
        if transport.rank != late:
            quick_is_on.set()
        return [x.tolist() for x in found]

    assert values(run_shm(2, fn)) == [[[4.0] * 3] * 2] * 2
