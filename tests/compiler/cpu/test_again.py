"""Values that a loop computes again: the same bits, less memory, and no variable read too late."""

from math import erf, pi, sqrt

import numpy as np
import pytest

import distflow as tf
from distflow.base import dtypes, flags, specs
from distflow.compiler.cpu import again, describe
from distflow.compiler.cpu.plan import Plan
from distflow.compiler.cpu.program import Program
from distflow.compiler.numpy_backend import NumpyExecutable
from distflow.compiler.pipeline import optimize
from distflow.graph.build import trace

pytest.importorskip("llvmlite")

RNG = np.random.default_rng(5)
X, W, V = (RNG.normal(size=s).astype(np.float32) for s in ((32, 24), (24, 40), (40, 24)))
MASK = np.triu(np.full((32, 32), -1e9, np.float32), 1)


def layer(x, w, v):
    with tf.GradientTape() as tape:
        tape.watch([x, w, v])
        y = tf.matmul(tf.nn.gelu(tf.matmul(x, w) * 0.5 + 0.1), v)
        loss = tf.reduce_sum(y * y)
    return tape.gradient(loss, [x, w, v])


def attention(x, w, v):
    with tf.GradientTape() as tape:
        tape.watch([x, w, v])
        q, k = tf.matmul(x, w), tf.matmul(x, tf.transpose(v))
        p = tf.nn.softmax(tf.matmul(q, k, transpose_b=True) * 0.25 + MASK)
        loss = tf.reduce_sum(tf.tanh(tf.matmul(p, x)))
    return tape.gradient(loss, [x, w, v])


def planned(function):
    arrays = [X, W, V]
    graph, _ = trace(function, *[specs.TensorSpec(a.shape, dtypes.of_array(a)) for a in arrays])
    return Plan(optimize(graph), [a.shape for a in arrays], set())


def loops_with(plan, name):
    return sum(
        o.label.startswith("loop") and name in o.label for o, *_ in describe.operations(plan)
    )


@pytest.fixture
def small_is_large(monkeypatch):
    monkeypatch.setattr(again, "_LARGE", 2000)


@pytest.mark.parametrize(("function", "name"), [(layer, "erf"), (attention, "exp")])
def test_the_backward_loop_computes_again_with_the_same_bits(function, name, monkeypatch):
    stored = planned(function)
    monkeypatch.setattr(again, "_LARGE", 2000)
    found = planned(function)
    assert loops_with(found, name) > loops_with(stored, name)
    assert found.arena_bytes < stored.arena_bytes
    expected = Program(stored, 1)([X, W, V])
    for threads in (1, 2):
        for a, b in zip(Program(found, threads)([X, W, V]), expected, strict=True):
            assert a.tobytes() == b.tobytes()
    for a, b in zip(NumpyExecutable(found.graph)([X, W, V]), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-3)


def test_small_arrays_are_stored():
    assert loops_with(planned(layer), "erf") == 1


def test_what_others_read_is_stored(small_is_large):
    def shown(x, w, v):
        e = tf.math.erf(tf.matmul(x, w))
        # A product reads it as well as the last loop.
        return tf.exp(tf.matmul(tf.matmul(e, v), w)) * e

    assert loops_with(planned(shown), "erf") == 1


@pytest.mark.parametrize("executor", ["numpy", "cpu"])
def test_a_variable_is_read_again_before_it_is_updated(small_is_large, executor):
    with flags.override(DISTFLOW_EXECUTOR=executor):
        w, b, v = (tf.Variable(a) for a in (W, W[0] * 0.1, V))

        @tf.function
        def step(x):
            with tf.GradientTape() as tape:
                y = tf.matmul(tf.nn.gelu(tf.matmul(x, w) + b), v)
                loss = tf.reduce_mean(y * y)
            for variable, g in zip([w, b, v], tape.gradient(loss, [w, b, v]), strict=True):
                variable.assign_sub(0.05 * g)
            return loss

        losses = [float(step(tf.constant(X))) for _ in range(4)]
    # The same step by NumPy in float64, with the derivative of x Phi(x).
    p, q, r = (a.astype(np.float64) for a in (W, W[0] * 0.1, V))
    x, want = X.astype(np.float64), []
    for _ in range(4):
        h = x @ p + q
        cdf = 0.5 * (1 + np.vectorize(erf)(h / sqrt(2)))
        y = (h * cdf) @ r
        want.append((y * y).mean())
        dy = 2 * y / y.size
        dh = (dy @ r.T) * (cdf + h * np.exp(-h * h / 2) / sqrt(2 * pi))
        p, q, r = p - 0.05 * x.T @ dh, q - 0.05 * dh.sum(0), r - 0.05 * (h * cdf).T @ dy
    np.testing.assert_allclose(losses, want, rtol=1e-4)
