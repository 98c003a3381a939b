"""The same bits: W workers x transports x models x optimizers x executors, V = 8.

A few cells run always, the whole matrix with the slow tests. The mutations show that a difference
of each kind would be found.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

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
from tests.distribute import golden_models
from tests.distribute.workers import on_threads

JOB = Path(golden_models.__file__)
V, JOBS = golden_models.REPLICAS, golden_models.JOBS
WORLDS = [1, 2, 3, 4, 5, 8]
_golden = {}


def golden(executor, names, steps=golden_models.STEPS):
    """The hash of one process without any network: eight replicas in turn."""
    key = executor, names, steps
    if key not in _golden:
        with flags.override(DISTFLOW_EXECUTOR=executor):
            _golden[key] = golden_models.train(MirroredStrategy(logical_replicas=V), *names, steps)
    return _golden[key]


def on_processes(world_size, backend, executor):
    """Returns {names: hashes of all workers} of all jobs in `world_size` processes."""
    command = [
        sys.executable, "-m", "distflow_launcher", "run", "-n", str(world_size),
        "--backend", backend, str(JOB),
    ]  # fmt: skip
    environment = dict(os.environ, DISTFLOW_EXECUTOR=executor)
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(rf"workers={world_size} (\w+)/(\w+) sha256=([0-9a-f]{{64}})", done.stdout)
    hashes = {}
    for model, optimizer, digest in found:
        hashes.setdefault((model, optimizer), []).append(digest)
    return hashes


# -- always ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "world_size"),
    [
        (("mlp", "clipnorm"), 5), (("cnn", "adam"), 3), (("embedding", "momentum"), 8),
        (("lstm", "adam"), 2), (("attention", "clipnorm"), 3),
    ],
    ids=lambda x: "-".join(x) if isinstance(x, tuple) else str(x),
)  # fmt: skip
def test_each_kind_of_model_ends_with_the_golden_hash(executor, names, world_size):
    found = on_threads(world_size, V, lambda s: golden_models.train(s, *names, 4))
    assert found == [golden(executor, names, 4)] * world_size


def test_the_jobs_differ():
    hashes = {golden("numpy", names, 4) for names in JOBS}
    assert len(hashes) == len(JOBS)


# -- the matrix ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("names", JOBS, ids="-".join)
@pytest.mark.parametrize("world_size", WORLDS)
def test_workers_as_threads(executor, world_size, names):
    found = on_threads(world_size, V, lambda s: golden_models.train(s, *names))
    assert found == [golden(executor, names)] * world_size


@pytest.mark.slow
@pytest.mark.spawn
@pytest.mark.timeout(900)
@pytest.mark.parametrize("backend", ["grpc", "mpi", "shm"])
@pytest.mark.parametrize("world_size", WORLDS)
def test_workers_as_processes(executor, world_size, backend):
    if backend == "mpi":
        pytest.importorskip("mpi4py")
        if (
            shutil.which("mpirun", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
            is None
        ):
            pytest.skip("no mpirun: pip install 'distflow[mpi]'")
    hashes = on_processes(world_size, backend, executor)
    expected = {names: [golden(executor, names)] * world_size for names in JOBS}
    assert hashes == expected


# -- mutations: each must change the hash ----------------------------------------------------------

CNN = ("cnn", "momentum")


def mutated(names=CNN, world_size=2, replicas=V):
    """Returns the hashes that two workers end with; a worker that fails shows its error."""
    found = on_threads(world_size, replicas, lambda s: golden_models.train(s, *names, 4))
    for result in found:
        if isinstance(result, BaseException):
            raise result
    return set(found)


def test_without_a_mutation_the_hash_is_golden():
    assert mutated() == {golden(flags.executor(), CNN, 4)}


def _ring(self, leaves, *, op="sum", name="", like=None, out=None):
    """Adds in the order of a ring that starts behind each worker, as usual all-reduces do."""
    rows = self.all_gather(leaves, name=name)
    start = (self.local_replicas[0] + 1) % self.num_replicas
    present = [row for row in rows[start:] + rows[:start] if row is not None]
    total = [array.copy() for array in present[0]]
    for row in present[1:]:
        total = [a + b for a, b in zip(total, row)]
    return Reduced(total, len(present))


def test_mutation_ring_order(monkeypatch):
    monkeypatch.setattr(Communicator, "all_reduce", _ring)
    assert golden(flags.executor(), CNN, 4) not in mutated()


def test_mutation_left_to_right_order(monkeypatch):
    def left_to_right(self, leaves, **more):
        rows = [row for row in self.all_gather(leaves, name="left") if row is not None]
        total = [array.copy() for array in rows[0]]
        for row in rows[1:]:
            total = [a + b for a, b in zip(total, row)]
        return Reduced(total, len(rows))

    monkeypatch.setattr(Communicator, "all_reduce", left_to_right)
    assert golden(flags.executor(), CNN, 4) not in mutated()


def test_mutation_merged_batches():
    assert golden(flags.executor(), CNN, 4) not in mutated(replicas=2)


def test_mutation_seeds_of_workers(monkeypatch):
    def fold_key(self, key):
        own = fold_in(key, self.replica_id_in_sync_group)
        return fold_in(own, self.strategy.worker_rank)

    monkeypatch.setattr(ReplicaContext, "fold_key", fold_key)
    assert golden(flags.executor(), CNN, 4) not in mutated()


def test_mutation_mean_of_the_workers_means(monkeypatch):
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
    assert golden(flags.executor(), CNN, 4) not in mutated(world_size=3)


def test_mutation_rows_by_worker(monkeypatch):
    """Batches are cut for workers first: other rows meet in a replica."""
    row_range = inputs.row_range

    def by_worker(num_rows, num_replicas, replica):
        half = num_replicas // 2
        start, stop = row_range(num_rows, 2, replica // half)
        inner = row_range(stop - start, half, replica % half)
        return start + inner[0], start + inner[1]

    monkeypatch.setattr(inputs, "row_range", by_worker)
    assert golden(flags.executor(), CNN, 4) not in mutated()


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
