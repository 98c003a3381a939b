"""Variables of steps that run Python in between, or fail: nothing is seen early or left behind."""

import numpy as np
import pytest

import distflow as tf
from tests.compiler.cpu.stateful import START

pytest.importorskip("llvmlite")
pytestmark = pytest.mark.usefixtures("cpu_executor")


# -- what runs on the host in between ------------------------------------------------------


def test_a_python_function_sees_variables_as_the_program_has_them_so_far():
    v = tf.Variable(START)
    seen = []

    def look():
        seen.append(v.numpy().copy())

    @tf.function
    def step():
        tf.py_function(look, [], [])
        v.assign_add(tf.ones_like(v))
        tf.py_function(look, [], [])
        v.assign(v * 2.0)
        tf.py_function(look, [], [])

    step()
    assert len(seen) == 3
    for found, want in zip(seen, (START, START + 1, (START + 1) * 2)):
        np.testing.assert_array_equal(found, want)


def test_a_python_function_after_the_only_update_sees_it():
    v = tf.Variable(START)
    seen = []

    @tf.function
    def step():
        v.assign_add(tf.ones_like(v))
        tf.py_function(lambda: seen.append(v.numpy().copy()), [], [])

    step()
    step()
    np.testing.assert_array_equal(seen, [START + 1, START + 2])


def test_a_python_function_that_assigns_is_seen_by_the_program():
    v = tf.Variable(START)

    def times_ten():
        v.assign(v * 10.0)

    @tf.function
    def step():
        before = v * 1.0
        tf.py_function(times_ten, [], [])
        return before, v * 1.0

    before, after = step()
    np.testing.assert_array_equal(before, START)
    np.testing.assert_array_equal(after, START * 10)


def test_a_python_function_that_assigns_after_the_program_did():
    v = tf.Variable(START)

    def times_ten():
        v.assign(v * 10.0)

    @tf.function
    def step():
        v.assign_add(tf.ones_like(v))
        tf.py_function(times_ten, [], [])

    step()
    np.testing.assert_array_equal(v, (START + 1) * 10)


def test_print_shows_a_variable_between_its_updates(capfd):
    v = tf.Variable(1.0)

    @tf.function
    def step():
        tf.print("first", v)
        v.assign_add(1.0)
        tf.print("second", v)
        v.assign(v * 5.0)
        tf.print("third", v)

    step()
    step()
    out, err = capfd.readouterr()
    assert (out + err).split() == "first 1 second 2 third 10 first 10 second 11 third 55".split()


def test_what_a_python_function_keeps_of_a_variable_never_changes():
    v = tf.Variable(START)
    kept = []

    @tf.function
    def step():
        tf.numpy_function(
            lambda a: kept.append(a) or np.float32(0), [v], tf.TensorSpec((), tf.float32)
        )
        v.assign_add(tf.ones_like(v))

    for _ in range(3):
        step()
    for i, array in enumerate(kept):
        np.testing.assert_array_equal(array, START + i)


# -- failures ------------------------------------------------------------------------------


def failing():
    raise ValueError("on purpose")


def updates(v, w, x):
    v.assign_add(x)
    w.assign(w * 2.0 + x)


def test_a_failure_before_the_updates_leaves_variables_as_they_were():
    v, w = tf.Variable(START), tf.Variable(-START)

    @tf.function
    def step(x):
        tf.py_function(failing, [], [])
        updates(v, w, x)

    assert_fails_without_trace(step, v, w)


def test_a_failure_after_the_updates_leaves_variables_as_they_were():
    v, w = tf.Variable(START), tf.Variable(-START)

    @tf.function
    def step(x):
        updates(v, w, x)
        tf.py_function(failing, [], [])

    assert_fails_without_trace(step, v, w)


def test_a_failure_that_hangs_on_the_new_value_leaves_variables_as_they_were():
    v, w = tf.Variable(START), tf.Variable(-START)

    @tf.function
    def step(x):
        updates(v, w, x)
        return tf.numpy_function(lambda a: failing(), [v * w], tf.TensorSpec((), tf.float32))

    assert_fails_without_trace(step, v, w)


def test_a_failure_between_the_updates_leaves_variables_as_they_were():
    v, w = tf.Variable(START), tf.Variable(-START)

    @tf.function
    def step(x):
        v.assign_add(x)
        tf.py_function(failing, [], [])
        w.assign(w * 2.0 + x)
        v.assign(v + w)

    assert_fails_without_trace(step, v, w)


def test_a_failure_after_a_wrong_shape_leaves_variables_as_they_were():
    v, w = tf.Variable(START), tf.Variable(-START)

    @tf.function
    def step(x):
        updates(v, w, x)
        y = tf.numpy_function(lambda a: a[:2], [v], tf.TensorSpec((None, 4), tf.float32))
        y.set_shape((3, 4))
        tf.py_function(failing, [], [])
        return tf.exp(y)

    assert_fails_without_trace(step, v, w)


def assert_fails_without_trace(step, v, w):
    for _ in range(2):
        with pytest.raises(Exception, match="on purpose"):
            step(tf.ones([3, 4]))
        np.testing.assert_array_equal(v, START)
        np.testing.assert_array_equal(w, -START)


def test_an_index_out_of_range_raises_and_leaves_variables_as_they_were():
    table = tf.Variable(np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32))
    count = tf.Variable(0.0)
    before = table.numpy().copy()

    @tf.function
    def step(indices):
        count.assign_add(1.0)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.gather(table, indices) ** 2.0)
        table.assign_sub(0.1 * tf.convert_to_tensor(tape.gradient(loss, table)))
        return loss

    for bad in ([0, 10], [-1, 0]):
        with pytest.raises(tf.errors.InvalidArgumentError):
            step(tf.constant(bad))
        np.testing.assert_array_equal(table, before)
        assert float(count) == 0
    step(tf.constant([0, 9]))
    assert float(count) == 1
    np.testing.assert_allclose(table[9], before[9] * 0.8, rtol=1e-6)
    np.testing.assert_array_equal(table[1:9], before[1:9])


def test_a_loop_that_fails_after_some_turns_leaves_variables_as_they_were():
    v = tf.Variable([1.0, 2.0])

    @tf.function
    def step(indices):
        for i in tf.range(3):
            v.assign_add(tf.gather(tf.ones([2, 2]), indices[i]))

    with pytest.raises(tf.errors.InvalidArgumentError):
        step(tf.constant([0, 1, 7]))
    np.testing.assert_array_equal(v, [1.0, 2.0])
    step(tf.constant([0, 1, 1]))
    np.testing.assert_array_equal(v, [4.0, 5.0])


def test_a_step_works_after_one_that_failed():
    v = tf.Variable(START)
    fail = [True]

    @tf.function
    def step():
        v.assign_add(tf.ones_like(v))
        tf.py_function(lambda: failing() if fail[0] else None, [], [])

    with pytest.raises(Exception, match="on purpose"):
        step()
    fail[0] = False
    step()
    np.testing.assert_array_equal(v, START + 1)
