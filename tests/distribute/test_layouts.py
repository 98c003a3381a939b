"""Bits must not depend on where an array comes from: its alignment, its order, who received it."""

import numpy as np
import pytest

import distflow as tf
from distflow.core.tensor import EagerTensor
from distflow.distribute import MirroredStrategy
from tests.distribute.workers import on_threads

ROWS, WIDTH = 24, 48
_rng = np.random.default_rng(5)
X = (_rng.normal(size=(ROWS, WIDTH)) * 10.0 ** _rng.uniform(-2, 2, (ROWS, WIDTH))).astype("float32")


def battery(x):
    """What training is made of: products both ways, a convolution, sums, functions."""
    images = tf.reshape(x, (2, 12, 12, 4))
    filters = tf.reshape(x[:3], (3, 3, 4, 4))
    return (
        tf.matmul(x, x, transpose_b=True), tf.matmul(x, x, transpose_a=True),
        tf.nn.conv2d(images, filters, 1, "SAME"), tf.reduce_sum(x, 0), tf.reduce_sum(x, 1),
        tf.reduce_mean(x), tf.exp(x * 0.01), tf.tanh(x),
    )  # fmt: skip


def results(x):
    return [t.numpy() for t in tf.function(battery)(x)]


def equal_bits(some, others):
    for a, b in zip(some, others, strict=True):
        np.testing.assert_array_equal(a.view(np.uint32), b.view(np.uint32))


@pytest.mark.usefixtures("executor")
@pytest.mark.parametrize("element", [1, 2, 3, 5, 8, 15, 16])
def test_results_do_not_depend_on_the_first_element(element):
    """As the rows of a replica, which begin somewhere in a batch."""
    held = np.zeros(X.size + 32, np.float32)
    moved = held[element : element + X.size].reshape(X.shape)
    moved[...] = X
    equal_bits(results(EagerTensor(X)), results(EagerTensor(moved)))


@pytest.mark.usefixtures("executor")
@pytest.mark.parametrize("first", [1, 2, 3, 7])
def test_results_do_not_depend_on_the_first_byte(first):
    """As an array in bytes that were read or received: in front of it stands a header."""
    received = bytes(first) + X.tobytes()
    moved = np.frombuffer(received, np.float32, X.size, first).reshape(X.shape)
    assert not moved.flags.aligned
    equal_bits(results(tf.constant(X)), results(tf.constant(moved)))


@pytest.mark.usefixtures("executor")
@pytest.mark.parametrize(
    "layout",
    [np.asfortranarray, lambda x: np.repeat(x, 2, 1)[:, ::2], lambda x: x[::-1].copy()[::-1]],
    ids=["columns first", "every second", "backwards"],
)
def test_results_do_not_depend_on_strides(layout):
    moved = layout(X)
    assert not moved.flags.c_contiguous
    equal_bits(results(tf.constant(X)), results(tf.constant(moved)))


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda x: np.repeat(x, 2, 1)[:, ::2]])
def test_a_fit_does_not_depend_on_strides(layout):
    def train(x):
        init = tf.keras.initializers.GlorotUniform(seed=1)
        with MirroredStrategy(logical_replicas=3).scope():
            model = tf.keras.Sequential([
                tf.keras.Input((WIDTH,)), tf.keras.layers.Dense(5, kernel_initializer=init)
            ])  # fmt: skip
            model.compile("sgd", "mse")
        model.fit(x, X[:, :5], batch_size=8, shuffle=False, verbose=0)
        return model.get_weights()

    equal_bits(train(X * np.float32(1e-3)), train(layout(X * np.float32(1e-3))))


@pytest.mark.usefixtures("executor")
@pytest.mark.parametrize("workers", [2, 3])
def test_what_was_received_computes_as_what_was_local(workers):
    """A sum over replicas goes into the next product: on one worker nothing of it has travelled."""

    def work(strategy):
        def step():
            context = tf.distribute.get_replica_context()
            own = tf.constant(X) * (1.0 + tf.cast(context.replica_id_in_sync_group, tf.float32))
            return battery(context.all_reduce("SUM", own))

        found = strategy.run(tf.function(step))
        return [strategy.experimental_local_results(part)[0].numpy() for part in found]

    expected = work(MirroredStrategy(logical_replicas=3))
    for found in on_threads(workers, 3, work):
        assert isinstance(found, list), found
        equal_bits(expected, found)
