"""Eager operations on native kernels, and gradients of eager tapes as compiled programs."""

import gc
import importlib.util

import numpy as np
import pytest

import distflow as tf
from distflow.autodiff import backward
from distflow.base import flags
from distflow.compiler.cpu import eager, eager_gradient
from distflow.core import native

pytest.importorskip("llvmlite")


@pytest.fixture(autouse=True)
def _cpu_executor():
    with flags.override(DISTFLOW_EXECUTOR="cpu"):
        eager.install()
        yield


def normal(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


@pytest.fixture
def asked(monkeypatch):
    """Names of the primitives that kernels were found for."""
    names = []

    def run(primitive, arrays, attributes):
        result = eager.run(primitive, arrays, attributes)
        if result is not None:
            names.append(primitive.name)
        return result

    native.set_run(run)
    yield names
    eager.install()


CASES = {
    "matmul": lambda: tf.matmul(normal(64, 48), normal(48, 40, seed=1)),
    "matmul of a transpose": lambda: tf.matmul(
        normal(48, 64), normal(40, 48, seed=1), transpose_a=True, transpose_b=True
    ),
    "batched matmul": lambda: tf.matmul(normal(4, 32, 48), normal(4, 48, 40, seed=1)),
    "conv": lambda: tf.nn.conv2d(normal(4, 16, 16, 3), normal(3, 3, 3, 8, seed=1), 1, "SAME"),
    "strided conv": lambda: tf.nn.conv2d(
        normal(4, 17, 16, 3), normal(3, 3, 3, 8, seed=1), 2, "VALID"
    ),
    "max pool": lambda: tf.nn.max_pool2d(normal(4, 16, 16, 8), 2, 2, "VALID"),
    "average pool": lambda: tf.nn.avg_pool2d(normal(4, 16, 16, 8), 2, 2, "SAME"),
}


@pytest.mark.parametrize("name", CASES)
def test_an_eager_operation_has_the_bits_of_the_compiled_one(name, asked):
    result = CASES[name]()
    assert asked
    # The inputs are constants of the program: nothing may fold them.
    x = CASES[name]
    compiled = tf.function(lambda: x())()
    np.testing.assert_array_equal(result.numpy(), compiled.numpy())


@pytest.mark.parametrize("name", CASES)
def test_an_eager_operation_agrees_with_its_reference(name):
    result = CASES[name]()
    with flags.override(DISTFLOW_EXECUTOR="numpy"):
        expected = CASES[name]()
    np.testing.assert_allclose(result.numpy(), expected.numpy(), rtol=1e-4, atol=1e-4)


def test_small_operands_stay_with_numpy(asked):
    tf.matmul(normal(4, 4), normal(4, 4))
    assert not asked


def test_the_numpy_executor_has_no_kernels(asked):
    with flags.override(DISTFLOW_EXECUTOR="numpy"):
        tf.matmul(normal(64, 64), normal(64, 64))
    assert not asked


def test_shapes_without_end_are_left_to_numpy(asked, monkeypatch):
    monkeypatch.setattr(eager, "_MOST_SHAPES", 0)
    np.testing.assert_allclose(tf.matmul(tf.ones([91, 92]), tf.ones([92, 93])).numpy(), 92.0)
    assert not asked


def test_without_llvmlite_numpy_serves(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    eager.install()
    x = normal(64, 64)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(tf.matmul(x, x) * normal(64, 64, seed=1))
    assert tape.gradient(y, x).shape == (64, 64)
    assert native.run(tf.matmul, [], {}) is None


def test_operands_of_negative_strides_are_copied():
    x = normal(64, 48)
    flipped = tf.constant(x.numpy()[::-1])
    view = type(x)(x.numpy()[::-1])
    w = normal(48, 40, seed=1)
    np.testing.assert_array_equal(tf.matmul(view, w).numpy(), tf.matmul(flipped, w).numpy())


def test_errors_are_those_of_the_rules():
    with pytest.raises(tf.errors.InvalidArgumentError, match="inner dimensions must agree"):
        tf.matmul(normal(64, 48), normal(40, 64))


# -- elementwise ---------------------------------------------------------------------------

LARGE = (20, 60, 60)
SAME_BITS = {
    "add": lambda x, y: x + y,
    "relu": lambda x, y: tf.nn.relu(x),
    "where": lambda x, y: tf.where(x > y, x, 0.0),
    "sqrt": lambda x, y: tf.sqrt(tf.abs(x)),
    "divide": lambda x, y: x / y,
    "broadcast": lambda x, y: x * y[0, 0],
    "reduce_max": lambda x, y: tf.reduce_max(x, axis=[0, 1]),
}


@pytest.mark.parametrize("name", SAME_BITS)
def test_large_elementwise_operations_keep_their_bits_when_they_become_native(name, asked):
    x, y = normal(*LARGE), normal(*LARGE, seed=1)
    first, *_, last = [SAME_BITS[name](x, y).numpy() for _ in range(12)]
    assert asked
    np.testing.assert_array_equal(first, last)


def test_a_large_sum_has_the_same_bits_at_each_call(asked):
    x = normal(*LARGE)
    first, second = (tf.reduce_sum(x, axis=[0, 1]).numpy() for _ in range(2))
    assert asked == ["reduce_sum", "reduce_sum"]
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(
        first, tf.function(lambda x: tf.reduce_sum(x, axis=[0, 1]))(x).numpy()
    )


def test_functions_whose_bits_differ_stay_with_numpy(asked):
    x = normal(*LARGE)
    for _ in range(12):
        tf.exp(x)
    assert not asked


def test_integers_stay_with_numpy(asked):
    x = tf.ones(LARGE, tf.int32)
    for _ in range(12):
        x // x
        x + x
    assert not asked


# -- gradients -----------------------------------------------------------------------------


def loss(x, w, b):
    y = tf.nn.relu(tf.nn.conv2d(x, w, 1, "VALID") + b)
    return tf.reduce_mean(tf.square(tf.reduce_mean(y, axis=[1, 2]) - 1.0))


def gradients(x, w, b, sources=None):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = loss(x, w, b)
    return tape.gradient(y, [w, b, x] if sources is None else sources)


def variables():
    return (
        normal(32, 20, 20, 3),
        tf.Variable(normal(3, 3, 3, 8, seed=1)),
        tf.Variable(normal(8, seed=2)),
    )


@pytest.fixture
def compiled(monkeypatch):
    """For each gradient whether a compiled program gave it."""
    found = []

    def sweep(*call):
        result = eager_gradient.sweep(*call)
        found.append(result is not None)
        return result

    monkeypatch.setattr(backward, "_faster", sweep)
    return found


def test_gradients_of_a_large_tape_are_compiled(compiled):
    gradients(*variables())
    assert compiled == [True]


def test_compiled_gradients_agree_with_the_plain_sweep(compiled):
    found = gradients(*variables())
    with flags.override(DISTFLOW_EXECUTOR="numpy"):
        expected = gradients(*variables())
    assert compiled == [True, False]
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-4, atol=1e-6)


def test_tapes_that_saw_the_same_share_a_program(compiled):
    x, w, b = variables()
    gradients(x, w, b)
    before = len(eager_gradient._programs)
    gradients(normal(32, 20, 20, 3, seed=5), w, b)
    assert len(eager_gradient._programs) == before


def test_a_tape_of_another_shape_has_another_program(compiled):
    x, w, b = variables()
    assert gradients(x, w, b)[2].shape == (32, 20, 20, 3)
    assert gradients(x[:7], w, b)[2].shape == (7, 20, 20, 3)


def test_shapes_that_vary_without_end_are_not_compiled_again_and_again(compiled):
    for n in range(300, 312):
        x = normal(n, 300)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(tf.sin(x) * x)
        tape.gradient(y, x)
    assert compiled == [True] * 8 + [False] * 4


def test_a_source_that_nothing_depends_on_has_no_gradient(compiled):
    x, w, b = variables()
    other = tf.Variable(1.0)
    found = gradients(x, w, b, [w, other])
    assert found[0] is not None
    assert found[1] is None
    assert compiled == [True]


def test_given_output_gradients_flow_in(compiled):
    x, w, _ = variables()
    with tf.GradientTape() as tape:
        y = tf.nn.conv2d(x, w, 1, "VALID")
    g = normal(*y.shape, seed=3)
    found = tape.gradient(y, w, output_gradients=g)
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(tf.nn.conv2d(x, w, 1, "VALID") * g)
    np.testing.assert_allclose(found.numpy(), tape.gradient(y, w).numpy(), rtol=1e-4, atol=1e-4)
    assert compiled == [True, True]


def test_second_derivatives_are_left_to_the_plain_sweep(compiled):
    x = normal(300, 300)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = tf.reduce_sum(x * x * x)
        g = inner.gradient(y, x)
    np.testing.assert_allclose(outer.gradient(g, x).numpy(), 6 * x.numpy(), rtol=1e-5)
    assert compiled == [False, True]


def test_custom_gradients_run_each_time(compiled):
    calls = []

    @tf.custom_gradient
    def double(x):
        def gradient(g):
            calls.append(1)
            return 2 * g

        return 2 * x, gradient

    x = normal(300, 300)
    for _ in range(2):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(double(x))
        assert float(tape.gradient(y, x)[0, 0]) == 2
    assert len(calls) == 2
    assert compiled == [False, False]


def test_little_work_is_left_to_the_plain_sweep(compiled):
    x = normal(4, 4)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(x * x)
    tape.gradient(y, x)
    assert compiled == [False]


def test_a_long_tape_is_left_to_the_plain_sweep(compiled):
    x = normal(300, 300)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = x
        for _ in range(300):
            y = y + x
    np.testing.assert_array_equal(tape.gradient(y, x).numpy(), np.full((300, 300), 301.0))
    assert compiled == [False]


def test_a_persistent_tape_gives_the_same_again(compiled):
    x, w, b = variables()
    with tf.GradientTape(persistent=True) as tape:
        y = loss(x, w, b)
    first, second = (tape.gradient(y, [w, b]) for _ in range(2))
    np.testing.assert_array_equal(first[0].numpy(), second[0].numpy())
    assert compiled == [True, True]


def test_programs_keep_no_tensors_alive(compiled):
    x, w, b = variables()
    gradients(x, w, b)
    gc.collect()
    before = sum(isinstance(o, tf.Tensor) for o in gc.get_objects())
    for seed in range(3):
        gradients(normal(32, 20, 20, 3, seed=seed), w, b)
    gc.collect()
    assert sum(isinstance(o, tf.Tensor) for o in gc.get_objects()) <= before
