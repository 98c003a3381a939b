"""BatchNormalization(synchronized=True): statistics of the global batch, on any workers."""

import numpy as np
import pytest

import distflow as tf
from distflow.core import context
from distflow.distribute import MirroredStrategy
from tests.distribute.workers import digest, on_threads

K = tf.keras
V = 4


def data(rows):
    rng = np.random.default_rng(2)
    x = (rng.normal(size=(rows, 5)) * 10.0 ** rng.uniform(-1, 1, 5) + 3).astype("float32")
    return x, (x[:, :1] > 3).astype("float32")


def train(strategy, rows, batch=12, synchronized=True):
    """Returns all weights after two epochs of a fit."""
    x, y = data(rows)
    with strategy.scope():
        model = K.Sequential([
            K.Input((5,), name="x"),
            K.layers.Dense(6, kernel_initializer=K.initializers.GlorotUniform(seed=1), name="one"),
            K.layers.BatchNormalization(synchronized=synchronized, momentum=0.5, name="norm"),
            K.layers.Dense(1, kernel_initializer=K.initializers.GlorotUniform(seed=2), name="two"),
        ])  # fmt: skip
        model.compile(K.optimizers.SGD(0.01, name="sgd"), "mse")
    model.fit(x, y, batch_size=batch, epochs=2, shuffle=False, verbose=0)
    return model.get_weights()


@pytest.mark.usefixtures("executor")
@pytest.mark.parametrize("rows", [36, 31, 26])
def test_replicas_train_as_one_with_the_whole_batch(rows):
    """Also where replicas have other numbers of rows (31: a last step of 7) or none (26: of 2)."""
    alone = train(MirroredStrategy(1), rows)
    apart = train(MirroredStrategy(logical_replicas=V), rows)
    for a, b in zip(alone, apart):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


def test_without_synchronisation_the_statistics_are_others():
    alone = train(MirroredStrategy(1), 36)
    ghost = train(MirroredStrategy(logical_replicas=V), 36, synchronized=False)
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(alone, ghost))


@pytest.mark.usefixtures("executor")
def test_any_number_of_workers_gives_the_same_bits():
    (golden,) = on_threads(1, V, lambda s: digest(train(s, 26)))
    for workers in 2, 3, 4:
        assert on_threads(workers, V, lambda s: digest(train(s, 26))) == [golden] * workers


def test_replicas_exchange_one_count_of_their_elements(monkeypatch):
    class Replica:
        def all_reduce(self, op, values):
            exchanged.extend(np.asarray(v) for v in values)
            return values

    exchanged: list[np.ndarray] = []
    monkeypatch.setattr(context.state, "replica", Replica())
    layer = K.layers.BatchNormalization(synchronized=True)
    layer.build((None, 4, 5))
    x = np.random.default_rng(2).normal(size=(3, 4, 5)).astype("float32")
    mean, variance = layer._moments(tf.constant(x), None)
    assert [v.shape for v in exchanged] == [(5,), (5,), ()]
    assert exchanged[2] == 12
    np.testing.assert_allclose(mean, x.mean((0, 1)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variance, x.var((0, 1)), rtol=1e-5)
