"""Mutations of what makes the bits equal: each must change the hash, or the matrix shows nothing.

DETERMINISM: a merged product, another order or grouping of sums, other seeds, other rows, a mean of
means, a second thread of BLAS, zeros where a replica is absent.
"""

import numpy as np
import pytest
import threadpoolctl

from distflow.base import flags
from distflow.comm import Communicator, Reduced, tree
from distflow.distribute import MirroredStrategy, strategy
from distflow.distribute import input as inputs
from distflow.distribute.reduce import ReduceOp, divided
from distflow.distribute.replica import ReplicaContext
from distflow.random import fold_in
from tests.distribute import golden_models, golden_oracle
from tests.distribute.workers import on_threads

V, BATCH = golden_models.REPLICAS, golden_models.BATCH
CNN = ("cnn", "momentum")
STEPS = 4


def mutated(names=CNN, world_size=2, replicas=V, **more):
    """Returns the hashes that two workers end with; a worker that fails shows its error."""
    found = on_threads(
        world_size, replicas, lambda s: golden_models.train(s, *names, STEPS, **more)
    )
    for result in found:
        if isinstance(result, BaseException):
            raise result
    return set(found)


@pytest.fixture(scope="module")
def golden():
    return golden_models.digest(golden_oracle.train(*CNN, STEPS))


def test_without_a_mutation_the_hash_is_golden(golden):
    assert mutated() == {golden}


def _ring(self, leaves, *, op="sum", name="", like=None, out=None):
    """Adds in the order of a ring that starts behind each worker, as usual all-reduces do."""
    rows = self.all_gather(leaves, name=name)
    start = (self.local_replicas[0] + 1) % self.num_replicas
    present = [row for row in rows[start:] + rows[:start] if row is not None]
    total = [array.copy() for array in present[0]]
    for row in present[1:]:
        total = [a + b for a, b in zip(total, row)]
    return Reduced(total, len(present))


def test_mutation_ring_order(golden, monkeypatch):
    monkeypatch.setattr(Communicator, "all_reduce", _ring)
    assert golden not in mutated()


def test_mutation_left_to_right_order(golden, monkeypatch):
    def left_to_right(self, leaves, **more):
        rows = [row for row in self.all_gather(leaves, name="left") if row is not None]
        total = [array.copy() for array in rows[0]]
        for row in rows[1:]:
            total = [a + b for a, b in zip(total, row)]
        return Reduced(total, len(rows))

    monkeypatch.setattr(Communicator, "all_reduce", left_to_right)
    assert golden not in mutated()


def test_mutation_merged_batches(golden):
    assert golden not in mutated(replicas=2)


def test_mutation_seeds_of_workers(golden, monkeypatch):
    def fold_key(self, key):
        own = fold_in(key, self.replica_id_in_sync_group)
        return fold_in(own, self.strategy.worker_rank)

    monkeypatch.setattr(ReplicaContext, "fold_key", fold_key)
    assert golden not in mutated()


def test_mutation_one_seed_for_all_replicas(golden, monkeypatch):
    monkeypatch.setattr(ReplicaContext, "fold_key", lambda self, key: key)
    assert golden not in mutated()


def test_mutation_scaling_by_workers(golden, monkeypatch):
    """The mean over workers of what each summed, times their number: 1/W leaks into rounding."""
    reduce_rows = strategy.Strategy.reduce_rows

    def scaled(self, rows, op, what, like=None, out=None):
        if op is ReduceOp.SUM and what.startswith("bucket"):
            third = np.float32(1 / self.num_workers)
            rows = [[array * third for array in row] for row in rows]
            total = reduce_rows(self, rows, op, what, like)
            return [array * np.float32(self.num_workers) for array in total]
        return reduce_rows(self, rows, op, what, like, out)

    monkeypatch.setattr(strategy.Strategy, "reduce_rows", scaled)
    assert golden not in mutated(world_size=3)


def test_mutation_weights_of_each_workers_own(golden, monkeypatch):
    """Workers that start apart stay apart: the hashes are those of two trainings."""

    def own(self, array, name):
        return array * np.asarray(1 + self.worker_rank, array.dtype)

    monkeypatch.setattr(strategy.Strategy, "agree_on_initial_value", own)
    found = mutated()
    assert len(found) == 2


def test_mutation_zeros_of_replicas_without_rows(monkeypatch):
    """Five rows for eight replicas in the last step: three must count in no mean."""
    expected = {golden_models.digest(golden_oracle.train(*CNN, STEPS, last=5))}
    assert mutated(last=5) == expected
    reduce_rows = strategy.Strategy.reduce_rows

    def padded(self, rows, op, what, like=None, out=None):
        rows = [[np.zeros_like(a) for a in like or ()] if r is None else r for r in rows]
        return reduce_rows(self, rows, op, what, like, out)

    monkeypatch.setattr(strategy.Strategy, "reduce_rows", padded)
    assert not expected & mutated(last=5)


def test_mutation_mean_of_the_workers_means(golden, monkeypatch):
    """The statistics of BatchNormalization as a mean over workers of means over their replicas."""
    reduce_rows = strategy.Strategy.reduce_rows

    def mean_of_means(self, rows, op, what, like=None, out=None):
        if op is not ReduceOp.MEAN:
            return reduce_rows(self, rows, op, what, like, out)
        here = [row for row in rows if row is not None]
        local = [sum(column[1:], column[0]) for column in zip(*here)]
        means = [divided(array, len(here)) for array in local]
        gathered = self._communicator.all_gather(
            dict.fromkeys(self.replicas_here(), means), name="means"
        )
        firsts = [gathered[self._communicator.placement.replicas_of(w)[0]]
                  for w in range(self.num_workers)]  # fmt: skip
        total = [sum(column[1:], column[0]) for column in zip(*firsts)]
        return [divided(array, self.num_workers) for array in total]

    monkeypatch.setattr(strategy.Strategy, "reduce_rows", mean_of_means)
    assert golden not in mutated(world_size=3)


def test_mutation_rows_by_worker(golden, monkeypatch):
    """Batches are cut for workers first: other rows meet in a replica."""
    row_range = inputs.row_range

    def by_worker(num_rows, num_replicas, replica):
        half = num_replicas // 2
        start, stop = row_range(num_rows, 2, replica // half)
        inner = row_range(stop - start, half, replica % half)
        return start + inner[0], start + inner[1]

    monkeypatch.setattr(inputs, "row_range", by_worker)
    assert golden not in mutated()


def test_mutation_threads_of_blas(monkeypatch):
    """With two threads BLAS cuts products in other places, if they are large enough."""
    wide = np.random.default_rng(1).normal(size=(48, 784)).astype("float32")
    weights = np.random.default_rng(2).normal(size=(784, 256)).astype("float32")

    def train():
        with MirroredStrategy(logical_replicas=2).scope():
            model = golden_models.K.Sequential([
                golden_models.K.Input((784,)), golden_models.L.Dense(256, name="d", use_bias=False)
            ])  # fmt: skip
            model.compile("sgd", "mse")
        model.set_weights([weights])
        model.fit(wide, wide[:, :256], batch_size=48, verbose=0)
        return golden_models.digest(model.get_weights())

    with flags.override(DISTFLOW_EXECUTOR="numpy"):
        expected = train()
        monkeypatch.setattr(strategy, "_one_blas_thread", lambda: None)
        with threadpoolctl.threadpool_limits(2, "blas"):
            product = wide[:24] @ weights
            found = train()
        with threadpoolctl.threadpool_limits(1, "blas"):
            if np.array_equal(product, wide[:24] @ weights):
                pytest.skip("this BLAS gives the same bits with two threads")
    assert found != expected


def test_mutation_a_tree_padded_with_zeros():
    """-0.0 + 0.0 is +0.0: a replica without data must not count as zeros."""
    minus = np.full(3, -0.0, np.float32)
    alone = tree.Accumulator(tree.Tree(2), "sum")
    alone.insert((0, 0), [minus])
    alone.insert((0, 1), None)
    padded = tree.Accumulator(tree.Tree(2), "sum")
    padded.insert((0, 0), [minus])
    padded.insert((0, 1), [np.zeros(3, np.float32)])
    assert np.signbit(alone.root()[0]).all()
    assert not np.signbit(padded.root()[0]).any()
