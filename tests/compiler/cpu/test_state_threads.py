"""Variables of steps that several threads and replicas run."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import distflow as tf
from tests.compiler.cpu.stateful import START, growing

pytest.importorskip("llvmlite")
pytestmark = pytest.mark.usefixtures("cpu_executor")


def test_calls_of_one_function_at_once_do_not_share_memory():
    w = tf.Variable(np.eye(30, dtype=np.float32) * 2)

    @tf.function
    def f(x):
        return tf.exp(tf.matmul(x, w) * 0.01) - x

    rng = np.random.default_rng(2)
    inputs = [rng.normal(size=(50, 30)).astype(np.float32) for _ in range(24)]
    expected = [f(tf.constant(x)).numpy() for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for found, want in zip(pool.map(lambda x: f(tf.constant(x)).numpy(), inputs), expected):
                np.testing.assert_array_equal(found, want)


def test_updates_from_several_threads_are_none_lost():
    v = tf.Variable(np.zeros(200_000, np.float32))
    step = growing(v)
    step()
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(step) for _ in range(200)]:
            future.result()
    np.testing.assert_array_equal(v, np.full(200_000, 201, np.float32))


def test_what_another_thread_reads_is_a_whole_value():
    v = tf.Variable(np.zeros(200_000, np.float32))
    step = growing(v)
    step()

    def look(_):
        held = v.read_value().numpy()
        first = held.copy()
        return first.min() == first.max(), (held == first).all()

    with ThreadPoolExecutor(3) as pool:
        steps = [pool.submit(step) for _ in range(100)]
        looks = list(pool.map(look, range(100)))
        for future in steps:
            future.result()
    assert all(whole and same for whole, same in looks)


@pytest.mark.parametrize("replicas", [1, 2])
def test_variables_of_a_strategy(replicas):
    strategy = tf.distribute.MirroredStrategy(logical_replicas=replicas)
    with strategy.scope():
        v = tf.Variable(START, aggregation=tf.VariableAggregation.MEAN)

    @tf.function
    def step():
        def replica():
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            v.assign_add(tf.ones_like(v) * (tf.cast(number, tf.float32) + 1.0))

        strategy.run(replica)

    held = []
    for _ in range(3):
        step()
        held.append(v.read_value())
    gain = np.float32(np.mean(np.arange(replicas) + 1))
    for i, value in enumerate(held):
        np.testing.assert_array_equal(value, START + gain * (i + 1))


def test_one_function_for_variables_of_different_kinds():
    with tf.distribute.MirroredStrategy(logical_replicas=2).scope():
        mirrored = tf.Variable(START, aggregation=tf.VariableAggregation.SUM)
    plain = tf.Variable(START)

    @tf.function
    def step(a, b):
        a.assign(a * 2.0)
        b.assign(b + 1.0)

    step(mirrored, plain)
    step(plain, mirrored)
    np.testing.assert_array_equal(mirrored, START * 2 + 1)
    np.testing.assert_array_equal(plain, (START + 1) * 2)


def test_one_variable_given_twice():
    v = tf.Variable(START)

    @tf.function
    def step(a, b):
        a.assign(a * 2.0)
        b.assign(b + 1.0)
        return a * 1.0

    np.testing.assert_array_equal(step(v, v), START * 2 + 1)
    np.testing.assert_array_equal(v, START * 2 + 1)


def test_a_program_finds_a_variable_that_was_replaced():
    v = tf.Variable(START)
    step = growing(v)
    step()
    v.assign(-START)
    step()
    np.testing.assert_array_equal(v, 1 - START)
