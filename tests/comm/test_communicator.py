import threading

import numpy as np
import pytest

from distflow.base import errors
from distflow.comm import Communicator, InProcessHub, Placement
from distflow.comm.transport import base
from tests.comm.groups import run_inprocess, run_threads, values

ONE = [np.ones(3, np.float32)]


def run(world_size, fn, num_replicas=None, **kwargs):
    """fn(communicator) on each rank; a failing rank does not close, as a crash would not."""
    kwargs.setdefault("timeout_seconds", 20)
    hub = InProcessHub(world_size)
    return run_threads(
        world_size, lambda rank: fn(Communicator(hub.endpoint(rank), num_replicas, **kwargs))
    )


def test_surplus_workers_without_replicas_get_the_result():
    def fn(c):
        leaves = {r: [np.full((2, 2), r + 1.0)] for r in c.local_replicas}
        return c.all_reduce(leaves).arrays[0].tolist()

    assert values(run(4, fn, num_replicas=2)) == [[[3.0] * 2] * 2] * 4


@pytest.mark.parametrize("algorithm", ["naive", "gather", "direct", "auto"])
def test_a_worker_whose_replicas_are_all_absent_takes_part(algorithm):
    def fn(c):
        leaves = dict.fromkeys(c.local_replicas, None if c.rank == 1 else ONE)
        result = c.all_reduce(leaves)
        return result.num_present, result.arrays[0].tolist()

    assert values(run(3, fn, num_replicas=6, algorithm=algorithm)) == [(4, [4.0] * 3)] * 3


@pytest.mark.parametrize("algorithm", ["naive", "gather", "direct", "auto"])
@pytest.mark.parametrize("world_size", [1, 3])
def test_nobody_with_data_gives_identities_where_shapes_are_known(world_size, algorithm):
    def fn(c):
        leaves = dict.fromkeys(c.local_replicas)
        like = ONE if c.rank == 0 else None
        low = c.all_reduce(leaves, op="max", like=like)
        return low.num_present, low.arrays[0].tolist(), c.all_reduce(leaves).arrays

    want = (0, [-np.inf] * 3, [])
    assert values(run(world_size, fn, num_replicas=4, algorithm=algorithm)) == [want] * world_size


def test_repeated_calls_with_the_same_shapes_work():
    def fn(c):
        return [c.all_reduce({c.rank: [np.full(2, float(i))]}).arrays[0][0] for i in range(5)]

    assert values(run(2, fn)) == [[0.0, 2.0, 4.0, 6.0, 8.0]] * 2


def test_no_arrays_at_all_reduce_to_none():
    assert values(run(2, lambda c: c.all_reduce({c.rank: []}).arrays)) == [[], []]


def test_local_communicator_adds_in_tree_order():
    c = Communicator.local(3)
    result = c.all_reduce({0: [np.float32(1e8)], 1: [np.float32(1)], 2: [np.float32(-1e8)]})
    assert result.num_present == 3
    assert result.arrays[0] == np.float32(0)  # (1e8 + 1) - 1e8 in float32


def test_results_do_not_share_memory_with_inputs():
    x = np.ones(3)
    assert not np.shares_memory(Communicator.local(1).all_reduce({0: [x]}).arrays[0], x)


def test_big_endian_input_is_read_by_value():
    x = np.array([1.5, 2.5], ">f4")
    result = Communicator.local(1).all_reduce({0: [x]}).arrays[0]
    assert (result.tolist(), result.dtype.isnative) == ([1.5, 2.5], True)


@pytest.mark.parametrize("value", [["text"], [np.array([object()])], [np.zeros(2, "M8[s]")]])
def test_dtypes_that_cannot_travel_are_refused(value):
    with pytest.raises(errors.InvalidArgumentError, match="must have a dtype of"):
        Communicator.local(1).all_reduce({0: value})


def test_complex_max_is_refused():
    with pytest.raises(errors.InvalidArgumentError, match="needs real numbers"):
        Communicator.local(1).all_reduce({0: [np.ones(2, complex)]}, op="max")


def test_leaves_for_other_replicas_are_refused_before_anything_is_sent():
    def fn(c):
        with pytest.raises(errors.InvalidArgumentError, match=r"rank \d holds the replicas"):
            c.all_reduce({0: ONE, 1: ONE})
        return c.all_reduce({c.rank: ONE}).arrays[0][0]

    assert values(run(2, fn)) == [2.0, 2.0]


def test_unknown_op_and_algorithm_are_refused():
    with pytest.raises(errors.InvalidArgumentError, match="op must be one of"):
        Communicator.local(1).all_reduce({0: ONE}, op="mean")
    with pytest.raises(errors.InvalidArgumentError, match="algorithm must be"):
        Communicator(InProcessHub(1).endpoint(0), algorithm="ring")


def test_all_gather_is_ragged_on_axis_0_and_keeps_absent_replicas():
    def fn(c):
        values = {r: [np.full((r, 2), r), np.arange(r, dtype="i1")] for r in c.local_replicas}
        if 2 in values:
            values[2] = None
        got = c.all_gather(values)
        return [x and [a.tolist() for a in x] for x in got]

    one = [[[r] * 2] * r for r in range(5)]
    want = [None if r == 2 else [one[r], list(range(r))] for r in range(5)]
    assert values(run(3, fn, num_replicas=5)) == [want] * 3


def test_all_gather_refuses_different_trailing_axes():
    def fn(c):
        c.all_gather({c.rank: [np.zeros((2, 3 + c.rank))]})

    for error in run(2, fn):
        assert isinstance(error, errors.CollectiveMismatchError)
        assert "replica 1 on rank 1: 1 array: float64[2, 4]" in str(error)


def test_reduce_scatter_gives_each_replica_its_rows():
    def fn(c):
        leaves = {r: [np.arange(14.0).reshape(7, 2), np.ones(3, "i4")] for r in c.local_replicas}
        return {r: [a.tolist() for a in rows] for r, rows in c.reduce_scatter(leaves).items()}

    total, ones = (np.arange(14.0).reshape(7, 2) * 3).tolist(), [3, 3, 3]
    want = {0: [total[0:2], ones[0:1]], 1: [total[2:4], ones[1:2]], 2: [total[4:7], ones[2:3]]}
    got = values(run(2, fn, num_replicas=3))
    assert {**got[0], **got[1]} == want
    assert sorted(got[0]) == [0, 1]


def test_reduce_scatter_refuses_scalars():
    with pytest.raises(errors.InvalidArgumentError, match="at least one axis"):
        Communicator.local(1).reduce_scatter({0: [np.float32(1)]})


def test_all_to_all_transposes_blocks():
    def fn(c):
        blocks = {r: [np.full(q, 10 * r + q) for q in range(3)] for r in c.local_replicas}
        return {r: [b.tolist() for b in got] for r, got in c.all_to_all(blocks).items()}

    got = values(run(2, fn, num_replicas=3))
    want = {q: [[10 * r + q] * q for r in range(3)] for q in range(3)}
    assert {**got[0], **got[1]} == want


def test_broadcast_sends_the_root_s_arrays():
    def fn(c):
        mine = [np.arange(4), np.ones((2, 1), bool)] if c.rank == 1 else None
        return [a.tolist() for a in c.broadcast(mine, 1)]

    assert values(run(3, fn)) == [[[0, 1, 2, 3], [[True], [True]]]] * 3


def test_broadcast_checks_the_shapes_of_the_receivers():
    def fn(c):
        c.broadcast([np.zeros(3 + c.rank)], 0, name="w")

    for error in run(2, fn):
        assert isinstance(error, errors.CollectiveMismatchError)
        assert "float64[3]" in str(error)
        assert "float64[4]" in str(error)


def test_broadcast_json_gives_all_ranks_the_same_value():
    def fn(c):
        return c.broadcast_json({"step": 3, "at": (1, None)} if c.rank == 0 else None)

    assert values(run(3, fn)) == [{"step": 3, "at": [1, None]}] * 3


def test_broadcast_json_refuses_other_objects():
    with pytest.raises(errors.InvalidArgumentError, match="JSON"):
        Communicator.local(1).broadcast_json({1, 2})


MISTAKES = {
    "name": lambda c: c.all_reduce({c.rank: ONE}, name=f"layer{c.rank // 2}"),
    "op": lambda c: c.all_reduce({c.rank: ONE}, op="sum" if c.rank < 2 else "max"),
    "shape": lambda c: c.all_reduce({c.rank: [np.ones(3 + c.rank // 2)]}, name="w"),
    "dtype": lambda c: c.all_reduce({c.rank: [np.ones(3, "f4" if c.rank < 2 else "f8")]}),
    "count": lambda c: c.all_reduce({c.rank: ONE * (1 + c.rank // 2)}),
    "order": lambda c: c.all_reduce({c.rank: ONE}) if c.rank < 2 else c.barrier(),
    "root": lambda c: c.broadcast(ONE, root_rank=c.rank // 2),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_workers_that_disagree_all_get_both_descriptions(mistake):
    for rank, error in enumerate(run(3, MISTAKES[mistake], timeout_seconds=20)):
        assert isinstance(error, errors.CollectiveMismatchError), f"rank {rank}: {error!r}"
        assert "rank 2" in str(error)
        assert "rank 0" in str(error) or "rank 1" in str(error)


def test_a_mismatch_shows_both_shapes():
    error = run(2, lambda c: c.all_reduce({c.rank: [np.ones((3, 2 + c.rank))]}, name="w"))[0]
    assert "all_reduce 'w' (call 0)" in str(error)
    assert "float64[3, 2]" in str(error)
    assert "float64[3, 3]" in str(error)


def test_different_placements_are_a_mismatch():
    hub = InProcessHub(2)

    def fn(rank):
        owners = (0, 1) if rank == 0 else (1, 0)
        c = Communicator(hub.endpoint(rank), placement=Placement(2, 2, owners))
        c.barrier()

    assert all(isinstance(e, errors.CollectiveMismatchError) for e in run_threads(2, fn))


def test_replicas_of_one_worker_that_disagree_are_a_mismatch():
    with pytest.raises(errors.CollectiveMismatchError, match="replicas of rank 0 disagree"):
        Communicator.local(2).all_reduce({0: [np.ones(2)], 1: [np.ones(3)]})


def test_a_late_worker_is_named_by_everyone():
    done = threading.Event()

    def fn(c):
        if c.rank == 2:
            return done.wait(20)
        try:
            c.all_reduce({c.rank: ONE}, name="g")
        finally:
            done.set()

    outcomes = run(3, fn, timeout_seconds=0.3)
    for error in outcomes[:2]:
        assert isinstance(error, errors.WorkerLateError)
        assert error.rank == 2
        assert "all_reduce 'g' (call 0)" in str(error)


def test_a_killed_worker_is_named_by_everyone_now_and_later():
    hub = InProcessHub(3)
    ready = threading.Barrier(3, timeout=20)

    def fn(rank):
        c = Communicator(hub.endpoint(rank), timeout_seconds=20)
        c.barrier()
        ready.wait()
        if rank == 2:
            return hub.kill(2)
        with pytest.raises(errors.WorkerLostError) as caught:
            c.all_reduce({rank: ONE}, name="g")
        assert caught.value.rank == 2
        with pytest.raises(errors.WorkerLostError, match="unusable since all_reduce 'g'") as again:
            c.barrier()
        return again.value.rank

    assert run_threads(3, fn) == [2, 2, None]


def test_a_worker_that_left_early_is_named():
    def target(transport):
        c = Communicator(transport, timeout_seconds=20)
        c.barrier()
        if transport.rank == 0:
            with pytest.raises(errors.WorkerLostError, match="rank 1, which has finished") as e:
                c.barrier()
            return e.value.rank
        return None

    assert values(run_inprocess(2, target)) == [1, None]


def test_an_error_in_one_worker_reaches_the_others(monkeypatch):
    def fn(c):
        if c.rank == 1:
            monkeypatch.setattr(c._transport, "recv", interrupted)
        c.barrier()

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    zero, one, two = run(3, fn)
    assert isinstance(one, KeyboardInterrupt)
    for error in (zero, two):
        if error is not None:  # it may have finished its barrier before
            assert isinstance(error, errors.AbortedError)
            assert "rank 1 gave up: KeyboardInterrupt" in str(error)


def test_an_error_that_was_told_on_is_still_that_of_the_first():
    lost = errors.WorkerLostError("recv of 'x': rank 3 was lost", 3)
    second = base.decode_error(base.encode_error(lost), 1, "all_reduce 'a'")
    third = base.decode_error(base.encode_error(second), 2, "barrier 'b'")
    assert str(second) == "all_reduce 'a': rank 1 gave up: recv of 'x': rank 3 was lost"
    assert str(third) == "barrier 'b': rank 1 gave up: recv of 'x': rank 3 was lost"
    for error in (second, third):
        assert isinstance(error, errors.WorkerLostError)
        assert error.rank == 3
    wrong = base.decode_error(base.encode_error(KeyError("k")), 1, "barrier 'b'")
    assert type(wrong) is errors.AbortedError
    assert str(wrong) == "barrier 'b': rank 1 gave up: KeyError: 'k'"


def test_a_closed_communicator_says_so():
    def fn(c):
        c.close()
        with pytest.raises(errors.FailedPreconditionError, match="closed"):
            c.barrier()

    values(run(1, fn))
    values(run(2, fn))
