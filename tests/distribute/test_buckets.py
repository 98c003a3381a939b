"""Gradients of compiled steps travel in buckets: straight from memory, at once or while work goes
on, with the same bits; a step that fails leaves no trace."""

import numpy as np
import pytest

import distflow as tf
from distflow.comm import Communicator, InProcessHub
from distflow.core import variable
from distflow.distribute import MirroredStrategy, MultiWorkerMirroredStrategy, values
from distflow.distribute.values import PerReplica
from distflow.keras import layers
from tests.distribute.workers import digest, on_threads

ROWS = 8


def build():
    init = tf.keras.initializers.GlorotUniform
    return tf.keras.Sequential(
        [
            tf.keras.Input((6,), name="x"),
            layers.Dense(33, activation="relu", kernel_initializer=init(seed=1), name="a"),
            layers.BatchNormalization(name="norm"),
            layers.Dense(17, activation="relu", kernel_initializer=init(seed=2), name="b"),
            layers.Dropout(0.2, seed=3, name="drop"),
            layers.Dense(3, kernel_initializer=init(seed=4), name="c"),
        ],
        name="net",
    )


class Job:
    """A custom loop: a compiled step under `strategy.run`."""

    def __init__(self, strategy):
        self.strategy = strategy
        with strategy.scope():
            self.model = build()
            self.optimizer = tf.keras.optimizers.Adam(1e-2, name="adam")
            self.optimizer.build(self.model.trainable_variables)
        self._step = tf.function(lambda x, y: strategy.run(self._replica, args=(x, y)))

    def _replica(self, x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum((self.model(x, training=True) - y) ** 2) / 64.0
        variables = self.model.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return loss

    def step(self, number):
        rng = np.random.default_rng(number)
        parts = [(rng.normal(size=(ROWS, 6)), rng.normal(size=(ROWS, 3))) for _ in range(2)]
        chosen = [parts[r] for r in self.strategy.local_replicas]
        return self._step(*(_per_replica([part[i] for part in chosen]) for i in (0, 1)))

    def train(self, steps=4):
        for number in range(steps):
            self.step(number)
        return self

    def arrays(self):
        return [*self.model.get_weights(), *(v.numpy() for v in self.optimizer.variables)]


def _per_replica(arrays):
    tensors = [tf.constant(a.astype("float32")) for a in arrays]
    return tensors[0] if len(tensors) == 1 else PerReplica(tensors)


def train(strategy, bucket_bytes=0, overlaps=False):
    strategy.bucket_bytes, strategy.overlaps = bucket_bytes, overlaps
    return digest(Job(strategy).train().arrays())


@pytest.fixture(scope="module")
def one_worker():
    return train(MirroredStrategy(logical_replicas=2))


@pytest.mark.parametrize("overlaps", [False, True])
@pytest.mark.parametrize("bucket_bytes", [0, 1, 500, 1 << 20])
def test_bits_depend_neither_on_buckets_nor_on_when_they_leave(one_worker, bucket_bytes, overlaps):
    found = on_threads(2, 2, lambda s: train(s, bucket_bytes, overlaps))
    assert found == [one_worker] * 2


def test_several_replicas_on_a_worker_use_the_same_buckets(one_worker):
    assert train(MirroredStrategy(logical_replicas=2), 300) == one_worker


def test_workers_with_one_and_with_two_replicas_understand_each_other():
    def run(strategy):
        job = Job(strategy)
        x, y = tf.ones((4, 6)), tf.ones((4, 3))
        for _ in range(3):
            job._step(x, y)
        return digest(job.arrays())

    alone = run(MirroredStrategy(logical_replicas=3))
    assert on_threads(2, 3, run) == [alone] * 2


@pytest.mark.usefixtures("cpu")
def test_weights_and_slots_are_updated_where_they_lie(monkeypatch):
    copied = []
    real = variable.aligned_copy

    def noted(array):
        copied.append(array.shape)
        return real(array)

    def run(strategy):
        job = Job(strategy).train(2)
        if strategy.is_chief:
            monkeypatch.setattr(variable, "aligned_copy", noted)
        strategy.communicator.barrier()
        job.train(2)
        return job.strategy.num_workers

    assert on_threads(2, 2, run) == [2, 2]
    # But for the state of dropout, which the step advances before the buckets leave.
    assert set(copied) <= {(2,)}


@pytest.mark.usefixtures("cpu")
def test_fit_updates_weights_slots_and_metrics_where_they_lie(monkeypatch):
    copied = []
    real = variable.aligned_copy

    def noted(array):
        copied.append(array.shape)
        return real(array)

    def run(strategy):
        with strategy.scope():
            model = build()
            model.compile("adam", "mse", metrics=["mae"])
        x, y = np.ones((16, 6), "float32"), np.ones((16, 3), "float32")
        model.fit(x, y, batch_size=8, verbose=0, shuffle=False)
        if strategy.is_chief:
            monkeypatch.setattr(variable, "aligned_copy", noted)
            monkeypatch.setattr(values, "aligned_copy", noted)
        strategy.communicator.barrier()
        model.fit(x, y, batch_size=2, epochs=3, verbose=0, shuffle=False)
        return strategy.num_workers

    assert on_threads(2, 2, run) == [2, 2]
    # But for what the step writes before the buckets leave: the loss so far, the state of dropout.
    assert all(np.prod(shape) <= 2 for shape in copied)


@pytest.fixture
def cpu(monkeypatch):
    pytest.importorskip("llvmlite")
    monkeypatch.setenv("DISTFLOW_EXECUTOR", "cpu")


def test_moving_averages_travel_together(monkeypatch):
    names = []
    real = Communicator.all_reduce

    def noted(self, leaves, **how):
        if self.rank == 0:
            names.append(how["name"])
        return real(self, leaves, **how)

    def run(strategy):
        job = Job(strategy).train(1)
        if strategy.is_chief:
            names.clear()
        job.step(1)
        return sorted(names)

    monkeypatch.setattr(Communicator, "all_reduce", noted)
    assert on_threads(2, 2, run)[0] == ["bucket 1 of 1, MEAN", "bucket 1 of 1, SUM"]


class Cut(Exception):
    """What the test's network does."""


@pytest.mark.parametrize("overlaps", [False, True])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_step_whose_bucket_is_lost_leaves_everything_as_it_was(overlaps, at):
    hub = InProcessHub(1)
    with Communicator(hub.endpoint(0), 1) as communicator:
        strategy = MultiWorkerMirroredStrategy(communicator=communicator)
        strategy.bucket_bytes, strategy.overlaps = 500, overlaps
        # A second replica that nobody holds would never answer: the sums are this one's values.
        communicator.num_replicas = 2
        calls, failing = [], set()

        def reduce_rows(rows, op, what, like=None, out=None):
            calls.append(what)
            if len(calls) in failing:
                raise Cut
            return [np.array(a) for a in rows[0]]

        job = Job(strategy)
        strategy.reduce_rows = reduce_rows
        job.train(2)
        before = job.arrays()
        calls.clear()
        failing.add(at)
        with pytest.raises(Cut):
            job.step(2)
        failing.clear()
        for a, b in zip(before, job.arrays()):
            np.testing.assert_array_equal(a, b)
        job.step(2)
        assert any((a != b).any() for a, b in zip(before, job.arrays()))


@pytest.mark.parametrize("overlaps", [False, True])
def test_the_strategy_tells_what_communication_has_cost(overlaps):
    def run(strategy):
        strategy.overlaps, strategy.bucket_bytes = overlaps, 500
        job = Job(strategy).train(1)
        before = strategy.communication
        job.step(1)
        after = strategy.communication
        size = sum(w.nbytes for w in job.model.get_weights())
        assert after.num_bytes - before.num_bytes == size
        assert after.buckets - before.buckets > 2
        assert 0 < after.exposed_seconds
        assert before.seconds < after.seconds
        return "fine"

    assert on_threads(2, 2, run) == ["fine"] * 2


class Broken(Exception):
    """What a replica raises."""


@pytest.mark.usefixtures("cpu")
def test_a_replica_that_fails_beside_others_leaves_everything_as_it_was():
    strategy = MirroredStrategy(logical_replicas=3)
    failing = []

    def check(x):
        if failing and x[0, 0] == 2.0:
            raise Broken
        return x

    with strategy.scope():
        model = build()
        optimizer = tf.keras.optimizers.Adam(1e-2)
        optimizer.build(model.trainable_variables)

    def replica(x):
        x = tf.numpy_function(check, [x], tf.TensorSpec((4, 6), tf.float32))
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(x, training=True) ** 2)
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return loss

    step = tf.function(lambda x: strategy.run(replica, args=(x,)))
    parts = PerReplica([tf.constant(np.full((4, 6), i, "float32")) for i in range(3)])
    step(parts)
    before = [v.numpy() for v in (*model.variables, *optimizer.variables)]
    failing.append(1)
    with pytest.raises(Broken):
        step(parts)
    after = [v.numpy() for v in (*model.variables, *optimizer.variables)]
    for a, b in zip(before, after):
        np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("cpu")
def test_slots_of_several_replicas_on_a_worker_are_updated_where_they_lie(monkeypatch):
    copied = []
    real = variable.aligned_copy

    def noted(array):
        copied.append(array.shape)
        return real(array)

    strategy = MirroredStrategy(logical_replicas=2)
    with strategy.scope():
        model = tf.keras.Sequential([tf.keras.Input((5,)), layers.Dense(7)])
        optimizer = tf.keras.optimizers.Adam(1e-2)
        optimizer.build(model.trainable_variables)

    def replica(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(x) ** 2)
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))

    step = tf.function(lambda x: strategy.run(replica, args=(x,)))
    x = tf.ones((4, 5))
    step(x)
    step(x)
    monkeypatch.setattr(variable, "aligned_copy", noted)
    step(x)
    # The replicas hold the weights while the update runs; momentum and velocity nobody holds.
    assert sorted(copied) == [(5, 7), (7,)]
