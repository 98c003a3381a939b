"""Sums in fewer bits: the same bytes for any number of workers, half the bytes on the wire."""

import ml_dtypes
import numpy as np
import pytest

from distflow.base import errors
from distflow.comm import Communicator, InProcessHub, Placement
from distflow.comm.compression import Compressor
from tests.comm.groups import run_inprocess, run_shm, run_threads, values

V = 8
STEPS = 4
METHODS = ["bf16", "int8"]


def leaf(step, replica, absent=()):
    if replica in absent:
        return None
    rng = np.random.default_rng([step, replica])
    wide = rng.standard_normal((37, 5)) * 10.0 ** rng.integers(-6, 2, (37, 5))
    return [
        wide.astype(np.float32),
        rng.integers(-9, 9, 4),
        rng.standard_normal(6).astype(np.float32),
        rng.standard_normal(3),
    ]


def train(transport, method, owners=(), absent=()):
    placement = Placement(V, transport.world_size, tuple(owners))
    compressor = Compressor(
        Communicator(transport, placement=placement, timeout_seconds=30), method
    )
    like = leaf(0, 0)
    results = []
    for step in range(STEPS):
        leaves = {r: leaf(step, r, absent) for r in placement.replicas_of(transport.rank)}
        result = compressor.all_reduce(leaves, name="g", like=like)
        results.append((result.num_present, [a.tobytes() for a in result.arrays]))
    return results


@pytest.fixture(scope="module")
def alone():
    return {
        (method, absent): train(InProcessHub(1).endpoint(0), method, absent=absent)
        for method in METHODS
        for absent in [(), (0, 3)]
    }


@pytest.mark.parametrize("absent", [(), (0, 3)])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("run", [run_inprocess, run_shm])
@pytest.mark.parametrize("world_size", [2, 3, 4, 5, 8])
def test_any_number_of_workers_gives_the_bytes_of_one(alone, world_size, run, method, absent):
    found = values(run(world_size, lambda t: train(t, method, absent=absent)))
    assert found == [alone[method, absent]] * world_size


@pytest.mark.parametrize("method", METHODS)
def test_any_placement_gives_the_same_bytes(alone, method):
    found = values(run_inprocess(3, lambda t: train(t, method, (2, 0, 1, 1, 0, 2, 0, 1))))
    assert found == [alone[method, ()]] * 3


def bf16(x):
    return np.asarray(x, ml_dtypes.bfloat16).astype(np.float32)


def test_bf16_rounds_every_leaf_and_every_node():
    def tree(leaves):
        if len(leaves) == 1:
            return bf16(leaves[0])
        half = len(leaves) // 2
        return bf16(tree(leaves[:half]) + tree(leaves[half:]))

    compressor = Compressor(Communicator.local(V), "bf16")
    found = compressor.all_reduce({r: leaf(0, r) for r in range(V)})
    for i in (0, 2):
        assert found.arrays[i].dtype == np.float32
        assert found.arrays[i].tobytes() == tree([leaf(0, r)[i] for r in range(V)]).tobytes()


@pytest.mark.parametrize("method", METHODS)
def test_arrays_that_are_not_float32_are_summed_exactly(method):
    compressor = Compressor(Communicator.local(V), method)
    found = compressor.all_reduce({r: leaf(0, r) for r in range(V)}).arrays[1]
    assert found.dtype == np.int64
    assert found.tolist() == sum(leaf(0, r)[1] for r in range(V)).tolist()


def test_int8_is_off_by_half_a_step_a_replica_at_most():
    compressor = Compressor(Communicator.local(V), "int8")
    found = compressor.all_reduce({r: leaf(0, r) for r in range(V)}).arrays[0]
    exact = sum(leaf(0, r)[0].astype(np.float64) for r in range(V))
    step = max(np.abs(leaf(0, r)[0]).max() for r in range(V)) / 127
    assert np.abs(found - exact).max() <= V * step / 2 * 1.001


def test_what_int8_loses_comes_later():
    compressor = Compressor(Communicator.local(2), "int8")
    leaves = {0: [np.float32([1000.0, 0.3])], 1: [np.float32([1000.0, 0.3])]}
    sums = sum(compressor.all_reduce(leaves, name="g").arrays[0] for _ in range(400))
    # 0.3 is far below a step of 1000 / 127.
    assert sums[1] == pytest.approx(400 * 0.6, abs=2 * 1000 / 127)


def test_names_keep_what_is_lost_apart():
    compressor = Compressor(Communicator.local(1), "int8")
    for name in "ab":
        compressor.all_reduce({0: [np.float32([1.0, 0.001])]}, name=name)
    assert set(compressor.state()) == {"a", "b"}


def test_the_state_moves_with_the_replica(alone):
    first = Compressor(Communicator.local(V), "int8")
    like = leaf(0, 0)
    for step in range(2):
        first.all_reduce({r: leaf(step, r) for r in range(V)}, name="g", like=like)

    def fn(transport):
        c = Communicator(transport, V, timeout_seconds=30)
        compressor = Compressor(c, "int8")
        compressor.load_state(first.state())
        for step in range(2, STEPS):
            leaves = {r: leaf(step, r) for r in c.local_replicas}
            result = compressor.all_reduce(leaves, name="g", like=like)
        return result.num_present, [a.tobytes() for a in result.arrays]

    assert values(run_inprocess(3, fn)) == [alone["int8", ()][-1]] * 3


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_not_hidden_and_does_not_stay(bad):
    compressor = Compressor(Communicator.local(2), "int8")
    good = np.float32([1.0, 2.0])
    leaves = {0: [np.float32([bad, 1.0]), good], 1: [good, good]}
    found = compressor.all_reduce(leaves, name="g").arrays
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()
    found = compressor.all_reduce({0: [good, good], 1: [good, good]}, name="g").arrays
    np.testing.assert_allclose(found[0], 2 * good, atol=0.05)


@pytest.mark.parametrize("values_", [np.zeros(3, np.float32), np.zeros((0, 2), np.float32)])
@pytest.mark.parametrize("method", METHODS)
def test_zeros_and_nothing_stay_what_they_are(method, values_):
    found = Compressor(Communicator.local(2), method).all_reduce({0: [values_], 1: [values_]})
    assert found.arrays[0].tobytes() == values_.tobytes()
    assert found.arrays[0].shape == values_.shape


class Counting(InProcessHub):
    def __init__(self, world_size):
        super().__init__(world_size)
        self.num_bytes = 0
        for inbox in self.inboxes:
            put = inbox.put

            def counted(from_rank, frame, *, wait, put=put):
                self.num_bytes += frame.body.size
                return put(from_rank, frame, wait=wait)

            inbox.put = counted


def bytes_on_the_wire(method):
    hub, size = Counting(2), 100_000

    def fn(rank):
        c = Communicator(hub.endpoint(rank), timeout_seconds=30)
        reduce = c.all_reduce if method is None else Compressor(c, method).all_reduce
        reduce({rank: [np.ones(size, np.float32)]}, name="g")

    values(run_threads(2, fn))
    return hub.num_bytes


@pytest.mark.parametrize("method", METHODS)
def test_half_the_bytes_travel(method):
    assert bytes_on_the_wire(method) == pytest.approx(bytes_on_the_wire(None) / 2, rel=0.001)


def descend(method):
    """Returns the loss of a logistic regression after 200 steps of V replicas."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((V * 32, 20)).astype(np.float32)
    noisy = x @ rng.standard_normal(20) + 4 * rng.standard_normal(len(x))
    y = (noisy > 0).astype(np.float32)
    c = Communicator.local(V)
    reduce = c.all_reduce if method is None else Compressor(c, method).all_reduce
    w = np.zeros(20, np.float32)
    for _ in range(200):
        p = 1 / (1 + np.exp(-x @ w))
        rows = [slice(r * 32, (r + 1) * 32) for r in range(V)]
        g = {r: [x[s].T @ (p - y)[s] / len(x)] for r, s in enumerate(rows)}
        w -= 2 * reduce(g, name="g").arrays[0]
    return np.mean(np.logaddexp(0, x @ w) - y * (x @ w))


@pytest.mark.parametrize("method", METHODS)
def test_training_gets_as_far_as_without(method):
    assert descend(method) == pytest.approx(descend(None), rel=0.01)


def test_an_unknown_method_is_refused():
    with pytest.raises(errors.InvalidArgumentError, match="'bf16', 'int8'"):
        Compressor(Communicator.local(1), "top-k")


@pytest.mark.parametrize("method", METHODS)
def test_no_data_and_no_shapes_are_refused(method):
    with pytest.raises(errors.InvalidArgumentError, match="like="):
        Compressor(Communicator.local(1), method).all_reduce({0: None})
