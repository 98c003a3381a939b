"""Wires: frames and streams over connections that the calling thread serves itself."""

import contextlib
import socket

import numpy as np
import pytest

from distflow.base import errors
from distflow.comm import Communicator, Placement
from distflow.comm.algorithms import streamed
from distflow.comm.transport import bulk, wires
from distflow.comm.transport.checksum import Checksum
from distflow.comm.transport.grpc import GrpcTransport
from distflow.comm.transport.wires import Wire
from tests.comm import battery
from tests.comm.groups import run_grpc, run_wires, values


@pytest.fixture
def small_blocks(monkeypatch):
    """Many blocks in little data."""
    monkeypatch.setattr(streamed, "_MIN_BLOCK_BYTES", 1024)
    monkeypatch.setattr(streamed, "BLOCK_BYTES", 4096)
    for cached in (streamed.blocks_of, streamed.schedule):
        cached.cache_clear()
    yield
    for cached in (streamed.blocks_of, streamed.schedule):
        cached.cache_clear()


@pytest.mark.parametrize("algorithm", [*battery.ALGORITHMS, "streamed"])
@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_all_reduce_gives_the_bytes_of_the_definition(world_size, algorithm):
    wrong = run_wires(world_size, lambda t: battery.failures(t, algorithm))
    assert values(wrong) == [[]] * world_size


@pytest.mark.parametrize("in_its_place", [False, True])
@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_streams_of_many_blocks_give_the_bytes_of_the_definition(
    world_size, in_its_place, small_blocks
):
    case = battery.Case(world_size, frozenset(), (("float32", (100_003,)),), seed=8)

    def fn(transport):
        c = Communicator(transport, timeout_seconds=30, algorithm="streamed")
        results = []
        for _ in range(3):
            leaf = case.leaf(c.rank)
            out = leaf if in_its_place else None
            results.append([x.tobytes() for x in c.all_reduce({c.rank: leaf}, out=out).arrays])
        return results

    assert values(run_wires(world_size, fn)) == [[case.expected()] * 3] * world_size


def test_streams_of_several_dtypes_replicas_and_absent_ones_give_the_bytes_of_the_definition(
    small_blocks,
):
    arrays = (("float32", (9_001,)), ("float64", (77, 31)), ("bfloat16", (5_000,)))
    case = battery.Case(5, frozenset({1, 2}), arrays, seed=3)

    def fn(transport):
        placement = Placement(5, 3)
        c = Communicator(transport, placement=placement, timeout_seconds=30, algorithm="streamed")
        leaves = {r: case.leaf(r) for r in c.local_replicas}
        reduced = c.all_reduce(leaves)
        return [x.tobytes() for x in reduced.arrays], reduced.num_present

    assert values(run_wires(3, fn)) == [(case.expected(), 3)] * 3


def test_large_buffers_are_streamed_unless_said_otherwise(monkeypatch):
    calls = []
    plain = streamed.Streams.all_reduce

    def noted(self, round_, *rest, **named):
        calls.append(round_.rank)
        return plain(self, round_, *rest, **named)

    monkeypatch.setattr(streamed.Streams, "all_reduce", noted)

    def fn(transport):
        c = Communicator(transport, timeout_seconds=30)
        for size in (1000, 100_000):
            c.all_reduce({c.rank: [np.ones(size, np.float32)]})

    values(run_wires(2, fn))
    assert sorted(calls) == [0, 1]


@pytest.mark.parametrize("num_finished", [0, 1, 7])
@pytest.mark.parametrize("num_partial", [0, 1, 7, 8])
def test_a_schedule_has_each_block_once_and_no_finished_one_early(num_partial, num_finished):
    found = streamed.schedule(num_partial, num_finished)
    assert [n for finished, n in found if not finished] == list(range(num_partial))
    assert [n for finished, n in found if finished] == list(range(num_finished))
    for i, (finished, number) in enumerate(found):
        if finished:
            ahead = sum(not f for f, _ in found[:i])
            assert ahead == min(num_partial, number + streamed._LAG + 1)


@contextlib.contextmanager
def two_ends(is_checked):
    there, back = socket.socketpair(), socket.socketpair()
    yield Wire(1, there[0], back[1], is_checked), Wire(0, back[0], there[1], is_checked)
    for each in (*there, *back):
        each.close()


@pytest.fixture
def pair():
    """Two ends of a wire."""
    with two_ends(True) as ends:
        yield ends


def move(sender, receiver, done):
    for _ in range(100_000):
        sender.write()
        receiver.read()
        if done():
            return
    raise AssertionError("it never came")


@pytest.mark.parametrize("size", [0, 5, 16 << 10, (16 << 10) + 1, 3_000_001])
def test_frames_of_all_sizes_arrive_whole_and_in_order(size, pair):
    sender, receiver = pair
    body = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    for tag in (7, 8):
        sender.put_frame(tag, b"meta", [body[: size // 3], body[size // 3 :]])
    for tag in (7, 8):
        receiver.expect_frame()
        move(sender, receiver, lambda: receiver.frames)
        frame = receiver.frames.popleft()
        assert (frame.tag, frame.meta) == (tag, b"meta")
        np.testing.assert_array_equal(frame.body, body)
    assert sender.empty


def test_a_wire_tells_whether_a_frame_has_begun(pair):
    sender, receiver = pair
    seen = [receiver.begun]
    sender.put_frame(3, b"meta", [])
    sender.write()
    seen.append(receiver.begun)
    receiver.expect_frame()
    move(sender, receiver, lambda: receiver.frames)
    seen.append(receiver.begun)
    receiver.frames.clear()
    assert [*seen, receiver.begun] == [False, True, True, False]


@pytest.mark.parametrize("position", [0, 5, 20, 27, 28, 31, 32, 40_000, 40_035])
def test_a_changed_byte_of_a_frame_is_a_typed_error(position, pair):
    sender, receiver = pair
    sender.put_frame(3, b"meta", [np.arange(10_000, dtype=np.float32)])
    wire = b"".join(bytes(view) for view in taken(sender))
    assert len(wire) == 28 + 4 + 40_000 + 4
    damaged = bytearray(wire)
    damaged[position] ^= 16
    sender._out.append(bytes(damaged))
    receiver.expect_frame()
    with pytest.raises(errors.DataLossError, match="rank 0 was damaged"):
        move(sender, receiver, lambda: receiver.frames)


@pytest.fixture
def unchecked_pair():
    """Two ends of a wire between ranks of a host."""
    with two_ends(False) as ends:
        yield ends


def test_frames_of_a_host_s_own_ranks_cost_no_checksums(unchecked_pair, monkeypatch):
    monkeypatch.setattr(Checksum, "update", lambda *arguments: pytest.fail("a sum was taken"))
    sender, receiver = unchecked_pair
    body = np.arange(800_000, dtype=np.float32)
    for tag in (7, 8):
        sender.put_frame(tag, b"meta", [body])
    for _ in range(2):
        receiver.expect_frame()
        move(sender, receiver, lambda: receiver.frames)
        assert receiver.frames.popleft().body.tobytes() == body.tobytes()


@pytest.mark.parametrize(
    ("wishes", "taken"), [([False, False], False), ([True, False], True), ([True, True], True)]
)
def test_one_rank_that_wants_checksums_is_enough(wishes, taken, monkeypatch):
    wanted = iter(wishes)
    monkeypatch.setattr(bulk, "is_checked", lambda connection: next(wanted))

    def fn(transport):
        return [wire._is_checked for wire in transport.wires.values()]

    assert values(run_wires(2, fn)) == [[taken], [taken]]


def taken(wire):
    """All that a wire would write."""
    while not wire.empty:
        yield wire._next()


def test_a_peer_that_sends_nothing_is_late_by_name():
    def fn(transport):
        if transport.rank == 0:
            with pytest.raises(errors.WorkerLateError, match="rank 0 has waited") as caught:
                transport.recv(1, timeout_seconds=0.3, what="test")
            assert caught.value.rank == 1
        else:
            transport.recv(0, timeout_seconds=30, what="end")
        if transport.rank == 0:
            transport.send(1, 1)
            transport.flush(timeout_seconds=10, what="end")

    values(run_wires(2, fn))


def test_a_peer_that_gives_up_wakes_those_who_wait_for_it():
    def fn(transport):
        if transport.rank == 1:
            transport.abort(errors.DataLossError("broken on purpose"))
            return
        with pytest.raises(errors.DataLossError, match="rank 1 gave up: broken on purpose"):
            transport.recv(1, timeout_seconds=30, what="test")

    values(run_wires(2, fn))


def test_what_was_sent_before_leaving_is_still_read():
    body = np.arange(500_000, dtype=np.float64)

    def fn(transport):
        if transport.rank == 1:
            transport.send(0, 5, b"last words", [body])
            transport.flush(timeout_seconds=30, what="test")
            return None
        frame = transport.recv(1, timeout_seconds=30, what="test")
        with pytest.raises(errors.WorkerLostError, match="finished and left early"):
            transport.recv(1, timeout_seconds=30, what="test")
        return frame.body.tobytes() == body.tobytes()

    assert values(run_wires(2, fn))[0] is True


def test_a_peer_lost_in_a_stream_is_named():
    size = 4_000_000

    def fn(transport):
        c = Communicator(transport, timeout_seconds=30, algorithm="streamed")
        c.barrier("start")
        if transport.rank == 1:
            transport._control.drop()  # as if it had been killed
            return
        with pytest.raises(errors.WorkerLostError) as caught:
            c.all_reduce({0: [np.ones(size, np.float32)]}, name="gradients")
        assert caught.value.rank == 1

    values(run_wires(2, fn))


def not_opened(transport):
    transport._outboxes[0].bulk.close()
    transport._outboxes[0].bulk = None


def closed_at_the_other_end(transport):
    def socket_of(peer):
        raise errors.DataLossError(f"rank {peer} has no bulk connection")

    transport.links[2].socket_of = socket_of


@pytest.mark.parametrize("lose", [not_opened, closed_at_the_other_end])
def test_ranks_without_wires_stay_with_frames_of_grpc_all_together(lose):
    def fn(transport):
        if transport.rank == 1:
            lose(transport)
        return type(wires.over(transport, timeout_seconds=20))

    assert values(run_grpc(3, fn)) == [GrpcTransport] * 3
