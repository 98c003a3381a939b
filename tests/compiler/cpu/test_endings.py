"""Loops that contractions do in registers: which, and with the bits of doing them apart."""

import numpy as np
import pytest

import distflow as tf
from distflow.base import flags
from distflow.compiler.cpu import endings, program


@pytest.fixture
def plans(monkeypatch):
    """The plans that are made, all on the cpu executor."""
    made, make = [], program.Program.__init__

    def noting(self, plan, count):
        make(self, plan, count)
        made.append(plan)

    monkeypatch.setattr(program.Program, "__init__", noting)
    with flags.override(DISTFLOW_EXECUTOR="cpu"):
        yield made


def normal(seed, *shape):
    return tf.constant(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


X, W, B = normal(0, 33, 20), normal(1, 20, 50), normal(2, 50)
IMAGES, FILTERS = normal(3, 2, 9, 8, 3), normal(4, 3, 3, 3, 16)
SCALE, SHIFT, REST = normal(5, 16), normal(6, 16), normal(7, 2, 9, 8, 16)


def conv(padding="SAME"):
    return tf.nn.conv2d(IMAGES, FILTERS, 1, padding)


JOINED = {
    "bias": lambda: tf.matmul(X, W) + B,
    "bias and relu": lambda: tf.nn.relu(tf.matmul(X, W) + B),
    "residual": lambda: tf.matmul(X, W) + normal(8, 33, 50),
    "factor of rows": lambda: tf.matmul(X, W) * normal(8, 33, 1),
    "transposed": lambda: tf.minimum(tf.matmul(W, X, True, True) - normal(8, 50, 33), B[0]),
    "batches": lambda: tf.matmul(normal(8, 4, 7, 20), W) + B,
    "conv, scale, shift, residual, relu": lambda: tf.nn.relu(conv() * SCALE + SHIFT + REST),
    "conv and bias": lambda: conv("VALID") + SCALE,
    "both": lambda: tf.matmul(X, W) * tf.matmul(X, W + 1.0),
    "reshaped": lambda: tf.reshape(tf.matmul(X, W) + B, (5, 330)),
}
APART = {
    "read twice": lambda: (tf.matmul(X, W) + B, tf.matmul(X, W)),
    "two results": lambda: (tf.matmul(X, W) + B, tf.nn.relu(tf.matmul(X, W) + B)),
    "sum": lambda: tf.reduce_sum(tf.matmul(X, W) + B, 0),
    "mask": lambda: tf.matmul(X, W) > 0,
    "wider": lambda: tf.matmul(X, W)[None] + normal(8, 4, 33, 50),
    "exponential": lambda: tf.exp(tf.matmul(X, W)),
    "sum of squares": lambda: tf.reduce_sum(conv() ** 2),
}


def run(f, plans):
    plans.clear()
    result = tf.function(lambda: f())()
    labels = [o.label for plan in plans for o in plan.operations]
    return [np.asarray(r) for r in tf.nest.flatten(result)], labels


@pytest.mark.parametrize("name", JOINED)
def test_joined_operations_have_the_bits_of_separate_ones(name, plans, monkeypatch):
    joined, labels = run(JOINED[name], plans)
    ended = [label for label in labels if label.startswith(("kernel: dot", "kernel: conv"))]
    assert any("," in label for label in ended)
    monkeypatch.setattr(endings, "join", lambda units, *rest: (list(units), {}))
    apart, labels = run(JOINED[name], plans)
    assert any(label.startswith("loop") for label in labels)
    for one, other in zip(joined, apart):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", APART)
def test_what_others_read_stays_apart(name, plans):
    found, labels = run(APART[name], plans)
    assert not any(label.startswith("kernel: dot_general,") for label in labels)
    with flags.override(DISTFLOW_EXECUTOR="numpy"):
        expected = tf.nest.flatten(tf.function(lambda: APART[name]())())
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_an_ending_is_found_in_a_plan_from_disk(plans, tmp_path):
    """A second plan of an equal program comes from disk and computes the same."""
    with flags.override(DISTFLOW_CACHE_DIR=str(tmp_path)):
        x = normal(9, 40, 20)
        model = tf.keras.Sequential(
            [tf.keras.layers.Dense(30, activation="relu") for _ in range(6)]
        )
        model(x)
        first = tf.function(lambda: model(x))()
        second = tf.function(lambda: model(x))()
    assert any("dot_general, add, max" in o.label for plan in plans for o in plan.operations)
    np.testing.assert_array_equal(first, second)
