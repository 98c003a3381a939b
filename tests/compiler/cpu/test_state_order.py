"""Reads and writes of variables within one step: each sees what the program says, in its order."""

import numpy as np
import pytest

import distflow as tf
from distflow.base import dtypes, flags
from tests.compiler.cpu.stateful import START

pytest.importorskip("llvmlite")
pytestmark = pytest.mark.usefixtures("cpu_executor")


def test_reads_before_a_write_see_the_old_value():
    v = tf.Variable(START)

    @tf.function
    def step():
        before = tf.exp(v * 0.1)
        total = tf.reduce_sum(v)
        v.assign(v * 3.0)
        return before, total, tf.matmul(v, v, transpose_b=True)

    for i in range(2):
        old = START * 3**i
        before, total, product = step()
        np.testing.assert_allclose(before, np.exp(old * np.float32(0.1)), rtol=1e-5)
        assert float(total) == old.sum()
        np.testing.assert_allclose(product, (old * 3) @ (old * 3).T, rtol=1e-6)


def test_a_kernel_that_reads_the_old_value_goes_before_the_write():
    w = tf.Variable(np.eye(40, dtype=np.float32))
    x = np.random.default_rng(0).normal(size=(70, 40)).astype(np.float32)

    @tf.function
    def step(x):
        y = tf.matmul(x, w)
        w.assign(w * 2.0)
        return y

    for i in range(3):
        np.testing.assert_array_equal(step(tf.constant(x)), x * 2**i)


def test_two_variables_swap():
    a, b = tf.Variable(START), tf.Variable(-START)

    @tf.function
    def swap():
        old = a.read_value()
        a.assign(b)
        b.assign(old)

    swap()
    np.testing.assert_array_equal(a, -START)
    np.testing.assert_array_equal(b, START)
    swap()
    swap()
    np.testing.assert_array_equal(a, -START)
    np.testing.assert_array_equal(b, START)


def test_an_assigned_variable_is_what_the_next_assignment_reads():
    a, b = tf.Variable(START), tf.Variable(-START)

    @tf.function
    def step():
        a.assign(b)
        b.assign(a)

    step()
    np.testing.assert_array_equal(a, -START)
    np.testing.assert_array_equal(b, -START)


def test_variables_turn_in_a_ring():
    ring = [tf.Variable(np.full((5,), i, np.float32)) for i in range(4)]

    @tf.function
    def turn():
        old = [v.read_value() for v in ring]
        for i, v in enumerate(ring):
            v.assign(old[i - 1] + 0.5)

    turn()
    for i, v in enumerate(ring):
        np.testing.assert_array_equal(v, np.full((5,), (i - 1) % 4 + 0.5))


SHUFFLES = {
    "transposed": (lambda v: tf.transpose(v), lambda a: a.T),
    "reversed": (lambda v: v[::-1], lambda a: a[::-1]),
    "added reversed": (lambda v: v + v[::-1], lambda a: a + a[::-1]),
    "added transposed": (lambda v: v + tf.transpose(v), lambda a: a + a.T),
    "rolled": (lambda v: tf.concat([v[1:], v[:1]], 0), lambda a: np.roll(a, -1, 0)),
    "first row": (lambda v: v * 0.0 + v[0], lambda a: a * 0 + a[0]),
    "last column": (lambda v: v * 0.0 + v[:, -1:], lambda a: a * 0 + a[:, -1:]),
    "less its sum": (lambda v: v - tf.reduce_sum(v), lambda a: a - a.sum()),
    "less sums of rows": (
        lambda v: v - tf.reduce_sum(v, 1, keepdims=True),
        lambda a: a - a.sum(1, keepdims=True),
    ),
    "less sums of columns": (lambda v: v - tf.reduce_sum(v, 0), lambda a: a - a.sum(0)),
    "largest of columns": (lambda v: v * 0.0 + tf.reduce_max(v, 0), lambda a: a * 0 + a.max(0)),
    "product with itself": (lambda v: tf.matmul(v, v), lambda a: a @ a),
    "gathered": (lambda v: tf.gather(v, [3, 0, 0, 1, 2]), lambda a: a[[3, 0, 0, 1, 2]]),
    "running sum": (lambda v: tf.cumsum(v), lambda a: a.cumsum(0)),
    "reshaped back": (lambda v: tf.reshape(tf.reshape(v, [-1])[::-1], v.shape),
                      lambda a: a.reshape(-1)[::-1].reshape(a.shape)),
}  # fmt: skip


@pytest.mark.parametrize("size", [5, 37])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("name", SHUFFLES)
def test_a_new_value_that_reads_the_old_one_all_over(name, count, size):
    ours, theirs = SHUFFLES[name]
    array = np.random.default_rng(1).integers(-4, 5, (size, size)).astype(np.float32)
    v = tf.Variable(array)

    @tf.function
    def step():
        v.assign(ours(v))

    if name == "gathered":
        v = tf.Variable(array[:5])
        array = array[:5]
    with flags.override(DISTFLOW_THREADS=count):
        for _ in range(2):
            step()
            array = theirs(array)
            np.testing.assert_array_equal(v, array)


def test_sums_of_a_variable_and_its_update_in_one_step():
    v = tf.Variable(START)

    @tf.function
    def step():
        rows, columns = tf.reduce_sum(v, 1), tf.reduce_max(v, 0)
        v.assign_sub(0.5 * v)
        return rows, columns, tf.reduce_sum(v)

    rows, columns, after = step()
    np.testing.assert_array_equal(rows, START.sum(1))
    np.testing.assert_array_equal(columns, START.max(0))
    assert float(after) == START.sum() / 2


def test_several_updates_of_one_variable_add_up():
    v = tf.Variable(START)

    @tf.function
    def step(x):
        v.assign_add(x)
        first = v * 1.0
        v.assign(v * v)
        second = tf.reduce_sum(v)
        v.assign_sub(x)
        return first, second, v * 1.0

    first, second, third = step(tf.ones([3, 4]))
    np.testing.assert_array_equal(first, START + 1)
    assert float(second) == ((START + 1) ** 2).sum()
    np.testing.assert_array_equal(third, (START + 1) ** 2 - 1)
    np.testing.assert_array_equal(v, third)


NUMERIC = [d for d in dtypes.ALL if d.name != "string"]


@pytest.mark.parametrize("dtype", NUMERIC, ids=lambda d: d.name)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (7, 3)], ids=str)
def test_variables_of_any_dtype_and_shape(dtype, shape):
    first = np.ones(shape).astype(dtype.numpy)
    second = np.zeros(shape).astype(dtype.numpy)
    v = tf.Variable(first, dtype=dtype)

    @tf.function
    def step(x):
        old = tf.identity(v)
        v.assign(x)
        return old

    np.testing.assert_array_equal(step(tf.constant(second, dtype)), first)
    np.testing.assert_array_equal(v.numpy(), second)
    assert v.storage.read().dtype == dtype.numpy
    np.testing.assert_array_equal(step(tf.constant(first, dtype)), second)


def test_variables_of_strings():
    v = tf.Variable(["a", "b"])

    @tf.function
    def step(x):
        old = tf.identity(v)
        v.assign(x)
        return old

    old = step(tf.constant(["c", "d"]))
    assert old.numpy().tolist() == [b"a", b"b"]
    assert v.numpy().tolist() == [b"c", b"d"]


def test_a_variable_of_unknown_shape_takes_new_shapes():
    v = tf.Variable(np.zeros((0, 2), np.float32), shape=(None, 2))

    @tf.function
    def append(row):
        v.assign(tf.concat([v, row], 0))
        return tf.reduce_sum(v)

    totals = [float(append(tf.fill([1, 2], float(i)))) for i in range(4)]
    assert totals == [0, 2, 6, 12]
    np.testing.assert_array_equal(v, [[0, 0], [1, 1], [2, 2], [3, 3]])
