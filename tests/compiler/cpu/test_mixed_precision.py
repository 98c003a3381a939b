"""Models under mixed_bfloat16: equal bits on any threads and vector unit, training as float32."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

import distflow as tf
from distflow.base import flags
from distflow.compiler.cpu import isa
from tests.compiler.cpu.test_same_bits import JOB

pytest.importorskip("llvmlite")
pytestmark = pytest.mark.usefixtures("cpu_executor")

LEVELS = [level for level in ("avx512", "avx2") if level in isa.offered()]
rng = np.random.default_rng(0)
# Digits of a kind: ten patterns and noise.
LABELS = rng.integers(0, 10, 90)
IMAGES = (rng.normal(size=(10, 61))[LABELS] + rng.normal(size=(90, 61))).astype(np.float32)


@pytest.fixture(autouse=True)
def _plain_policy():
    yield
    tf.keras.mixed_precision.set_global_policy("float32")


def network():
    """An MLP with attention between the rows of a batch, so that products have batch axes."""
    layers = tf.keras.layers
    x = inputs = tf.keras.Input((61,))
    x = layers.Dense(66, activation="relu")(x)
    x = layers.Reshape((3, 22))(x)
    x = x + layers.MultiHeadAttention(2, 11)(x, x)
    x = layers.Flatten()(layers.LayerNormalization()(x))
    return tf.keras.Model(inputs, layers.Dense(10, dtype="float32")(x))


def trained(policy, steps=20):
    """The weights after some steps, the loss of each step, and the compiled step."""
    tf.keras.mixed_precision.set_global_policy(policy)
    tf.keras.utils.set_random_seed(0)
    model = network()
    optimizer = tf.keras.optimizers.Adam(1e-2)
    optimizer.build(model.trainable_variables)
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return value

    x, y = tf.constant(IMAGES), tf.constant(LABELS)
    losses = [float(step(x, y)) for _ in range(steps)]
    return [v.numpy() for v in model.variables], losses, step


def test_weights_do_not_depend_on_threads_or_vector_unit():
    with flags.override(DISTFLOW_THREADS=2):
        expected, losses, step = trained("mixed_bfloat16")
        x, y = tf.constant(IMAGES), tf.constant(LABELS)
        assert "dot_general (bfloat16 in " in step.explain(x, y)
    for threads, level in ((3, "native"), (1, ["native", *LEVELS][-1])):
        with flags.override(DISTFLOW_THREADS=threads, DISTFLOW_CPU=level):
            found, again, _ = trained("mixed_bfloat16")
        assert again == losses, (threads, level)
        for one, other in zip(found, expected):
            np.testing.assert_array_equal(one, other)


def test_training_stays_near_that_of_float32():
    _, wide, _ = trained("float32", 60)
    weights, narrow, _ = trained("mixed_bfloat16", 60)
    assert all(w.dtype == np.float32 for w in weights)
    assert narrow != wide
    np.testing.assert_allclose(narrow, wide, rtol=0.05, atol=0.05)
    assert narrow[-1] < 0.1 * narrow[0]


# -- the models of the benchmarks --


def weights_of(model, batch, **environment):
    done = subprocess.run(
        [sys.executable, str(JOB), model, "20", str(batch), "mixed_bfloat16"],
        capture_output=True, text=True, timeout=180, check=False,
        env={**os.environ, "DISTFLOW_EXECUTOR": "cpu", "DISTFLOW_THREADS": "2", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"sha256=([0-9a-f]{64})", done.stdout)


@pytest.mark.soak
@pytest.mark.spawn
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("model", "batch"), [("gpt", 2), ("mlp", 61)])
def test_models_of_the_benchmarks_have_equal_bits(model, batch):
    expected = weights_of(model, batch)
    for threads in ("1", "3"):
        assert weights_of(model, batch, DISTFLOW_THREADS=threads) == expected
    for level in LEVELS:
        assert weights_of(model, batch, DISTFLOW_CPU=level) == expected
