"""Variables of compiled steps are updated where they lie, and nobody sees that."""

import numpy as np
import pytest

import distflow as tf
from distflow.compiler.cpu.executor import CpuExecutable
from distflow.graph.build import trace
from tests.compiler.cpu.stateful import START, address, growing

pytest.importorskip("llvmlite")
pytestmark = pytest.mark.usefixtures("cpu_executor")


def test_a_variable_stays_where_it_is_from_step_to_step():
    v = tf.Variable(START)
    step = growing(v)
    step()
    places = set()
    for _ in range(4):
        step()
        places.add(address(v))
    assert len(places) == 1
    np.testing.assert_array_equal(v.numpy(), START + 5)


def test_a_variable_goes_back_in_place_once_nobody_holds_it():
    v = tf.Variable(START)
    step = growing(v)
    step()
    held = v.read_value()
    step()
    moved = address(v)
    assert moved != held.numpy().__array_interface__["data"][0]
    del held
    step()
    assert address(v) == moved


HOLDERS = {
    "numpy": lambda v: v.numpy(),
    "asarray": np.asarray,
    "read_value": lambda v: v.read_value(),
    "value": lambda v: v.value(),
    "storage": lambda v: v.storage.read(),
    "slice of a tensor": lambda v: v.read_value()[1:, ::2],
    "slice of an array": lambda v: v.read_value().numpy()[1:, ::2],
    "reversed array": lambda v: v.read_value().numpy()[::-1].T,
    "row": lambda v: v.storage.read()[1],
    "memoryview": lambda v: memoryview(v.storage.read()),
    "memoryview of a view": lambda v: memoryview(v.storage.read()[1:]),
    "flat iterator": lambda v: v.storage.read().flat,
    "bytes-like buffer": lambda v: np.frombuffer(v.storage.read(), np.uint8),
    "tensor of the array": lambda v: tf.constant(v.storage.read()),
    "converted array": lambda v: tf.convert_to_tensor(v.storage.read()),
    "reshaped tensor": lambda v: tf.reshape(v, [4, 3]),
    "identity": tf.identity,
    "transposed": tf.transpose,
    "array protocol": lambda v: v.read_value().__array__(),
    "dlpack": lambda v: np.from_dlpack(v.storage.read()),
}


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS.keys())
def test_what_somebody_holds_of_a_variable_never_changes(hold):
    v = tf.Variable(START)
    step = growing(v)
    step()
    held = hold(v)
    before = np.array(held)
    for _ in range(3):
        step()
    np.testing.assert_array_equal(np.array(held), before)
    np.testing.assert_array_equal(v.numpy(), START + 4)


def test_results_of_a_step_that_are_the_new_value_never_change():
    v = tf.Variable(START)

    @tf.function
    def step():
        v.assign(v * 2.0 + 1.0)
        return v.read_value(), v.value()[1:], tf.transpose(v), tf.identity(v)

    expected = START
    results, wanted = [], []
    for _ in range(3):
        expected = expected * 2 + 1
        results.append(step())
        wanted.append((expected, expected[1:], expected.T, expected))
    for found, want in zip(results, wanted):
        for a, b in zip(found, want):
            np.testing.assert_array_equal(a, b)


def test_results_of_a_step_that_are_the_old_value_never_change():
    v = tf.Variable(START)

    @tf.function
    def step():
        old = v.read_value()
        turned = tf.transpose(v)
        v.assign_add(tf.ones_like(v))
        return old, turned, old[1]

    results = [step() for _ in range(3)]
    for i, (old, turned, row) in enumerate(results):
        np.testing.assert_array_equal(old, START + i)
        np.testing.assert_array_equal(turned, (START + i).T)
        np.testing.assert_array_equal(row, START[1] + i)


def test_the_value_of_a_variable_as_an_argument_is_the_old_one():
    v = tf.Variable(START)

    @tf.function
    def step(x):
        v.assign(v * 2.0)
        return v - x

    v.assign(START)
    step(tf.constant(START))
    for i in range(3):
        np.testing.assert_array_equal(step(v.read_value()), START * 2 ** (i + 1))


def test_variables_made_of_one_array_are_two():
    array = START.copy()
    a, b = tf.Variable(array), tf.Variable(array)

    @tf.function
    def step():
        a.assign_add(tf.ones_like(a))
        b.assign(b * 2.0)

    step()
    step()
    np.testing.assert_array_equal(a, START + 2)
    np.testing.assert_array_equal(b, START * 4)
    np.testing.assert_array_equal(array, START)


def test_a_variable_made_of_another_is_its_own():
    a = tf.Variable(START)
    growing(a)()
    b = tf.Variable(a)
    c = tf.Variable(a.read_value())
    growing(a)()
    np.testing.assert_array_equal(b, START + 1)
    np.testing.assert_array_equal(c, START + 1)


def test_a_variable_assigned_the_value_of_another_is_its_own():
    a, b = tf.Variable(START), tf.Variable(START)
    grow = growing(a)
    grow()
    b.assign(a)
    grow()
    np.testing.assert_array_equal(b, START + 1)


@pytest.mark.parametrize("write", [False, True], ids=["read", "written"])
def test_a_variable_of_another_shape_is_refused(write):
    def f(v):
        found = v + 1.0
        if write:
            v.assign(found)
        return found

    long, short = tf.Variable(tf.ones([8])), tf.Variable(tf.ones([2]))
    graph, _ = trace(lambda: f(long))
    run = CpuExecutable(graph)
    run([long])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"variable of float32 \(8,\)"):
        run([short])
    np.testing.assert_array_equal(short.numpy(), [1, 1])
