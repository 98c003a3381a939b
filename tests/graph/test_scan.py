"""scan: values and gradients against NumPy loops, and what is kept out of the loop."""

import numpy as np
import pytest

import distflow as tf
from distflow.base import errors
from distflow.graph import scan_graph, verify
from distflow.graph.build import trace_body

T, B, F, U = 5, 4, 3, 2


def _arrays():
    make = np.random.default_rng(3).normal
    return [make(size=s) for s in ((B, U), (T, B, F), (F, U), (U, U), (U,))]


def _spec(shape):
    return tf.TensorSpec(shape, tf.float64)


def _cell(state, row, w, u, b):
    """Returns a body in which each of w, u and b is closed over, and its rows."""
    new = tf.tanh(tf.matmul(row, w) + tf.matmul(state, u) + b)
    return new, new * state


def _scan(state, rows, w, u, b, reverse=False):
    body, _ = trace_body(
        "cell", lambda s, r: _cell(s, r, w, u, b), [_spec(state.shape), _spec(rows.shape[1:])]
    )
    return scan_graph([state], [rows], body.externals, body.graph, reverse)


def _loop(state, rows, w, u, b, reverse=False):
    found = []
    for row in rows[::-1] if reverse else rows:
        new = np.tanh(row @ w + state @ u + b)
        found.append(new * state)
        state = new
    return state, np.stack(found[::-1] if reverse else found)


def _nodes(graph, name="scan"):
    return [node for node in graph.nodes if node.primitive.name == name]


def _traced(f, shapes=None):
    found = [_spec(s) for s in shapes or [a.shape for a in _arrays()]]
    return tf.function(f).get_concrete_function(*found).graph


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("rows", [0, 1, T])
def test_state_and_rows_are_those_of_a_numpy_loop(reverse, rows):
    arrays = _arrays()
    arrays[1] = arrays[1][:rows]
    state, stacked = tf.function(lambda *a: _scan(*a, reverse=reverse))(*map(tf.constant, arrays))
    if rows == 0:
        np.testing.assert_array_equal(state.numpy(), arrays[0])
        assert stacked.shape == (0, B, U)
        return
    expected = _loop(*arrays, reverse=reverse)
    np.testing.assert_allclose(state.numpy(), expected[0], rtol=1e-12)
    np.testing.assert_allclose(stacked.numpy(), expected[1], rtol=1e-12)


def _value(*arrays, reverse=False):
    state, rows = _loop(*arrays, reverse=reverse)
    return np.sum(np.sin(rows)) + np.sum(state * state)


def _gradients(*tensors, reverse=False):
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        state, rows = _scan(*tensors, reverse=reverse)
        y = tf.reduce_sum(tf.sin(rows)) + tf.reduce_sum(state * state)
    return tape.gradient(y, tensors)


def _differences(f, arrays, epsilon=1e-6):
    """Returns central differences of f along each element of each array."""
    found = []
    for i, array in enumerate(arrays):
        g = np.zeros_like(array)
        for at in np.ndindex(array.shape):
            step = np.zeros_like(array)
            step[at] = epsilon
            up = f(*arrays[:i], array + step, *arrays[i + 1 :])
            g[at] = (up - f(*arrays[:i], array - step, *arrays[i + 1 :])) / (2 * epsilon)
        found.append(g)
    return found


@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_are_finite_differences(reverse):
    arrays = _arrays()
    run = tf.function(lambda *a: _gradients(*a, reverse=reverse))
    expected = _differences(lambda *a: _value(*a, reverse=reverse), arrays)
    for found, right in zip(run(*map(tf.constant, arrays)), expected):
        np.testing.assert_allclose(found.numpy(), right, rtol=1e-6, atol=1e-8)


def test_gradients_with_a_tape_outside_are_those_with_one_inside():
    tensors = list(map(tf.constant, _arrays()))
    f = tf.function(_scan)
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        state, rows = f(*tensors)
        y = tf.reduce_sum(tf.sin(rows)) + tf.reduce_sum(state * state)
    for outside, inside in zip(tape.gradient(y, tensors), tf.function(_gradients)(*tensors)):
        np.testing.assert_allclose(outside.numpy(), inside.numpy(), rtol=1e-12)


def test_gradients_with_unknown_dimensions_are_those_with_known_ones():
    tensors = list(map(tf.constant, _arrays()))
    specs = [_spec(s) for s in ((None, U), (None, None, F), (F, U), (U, U), (U,))]
    unknown = tf.function(_gradients).get_concrete_function(*specs)
    for found, right in zip(unknown(*tensors), tf.function(_gradients)(*tensors)):
        np.testing.assert_allclose(found.numpy(), right.numpy(), rtol=1e-12)


def test_second_derivatives_are_differences_of_the_first():
    arrays = _arrays()

    def total(*tensors):
        return sum(tf.reduce_sum(g * g) for g in _gradients(*tensors))

    @tf.function
    def second(*tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            y = total(*tensors)
        return tape.gradient(y, tensors)

    run = tf.function(total)
    value = lambda *a: float(run(*map(tf.constant, a)))
    for found, right in zip(second(*map(tf.constant, arrays)), _differences(value, arrays, 1e-5)):
        np.testing.assert_allclose(found.numpy(), right, rtol=1e-5, atol=1e-6)


def test_no_step_gives_weights_a_gradient_of_zero():
    arrays = _arrays()
    arrays[1] = arrays[1][:0]
    found = tf.function(_gradients)(*map(tf.constant, arrays))
    np.testing.assert_array_equal(found[2].numpy(), np.zeros((F, U)))
    np.testing.assert_allclose(found[0].numpy(), 2 * arrays[0])


# -- what is kept out of the loop ----------------------------------------------------------


def test_weight_gradients_are_products_of_stacks_outside_of_the_loop():
    graph = _traced(_gradients)
    forward, backward = _nodes(graph)
    assert backward.attributes["num_carried"] == 1  # the state's gradient, no sum
    products = [n for n in _nodes(graph, "dot_general") if n.attributes["contract"][0] == (0, 1)]
    assert len(products) == 2
    assert forward.attributes["history"] is not None
    verify(graph)


def test_a_sum_of_two_products_is_made_outside_of_the_loop():
    def twice(state, rows, w, u, b):
        def body(s, r):
            return tf.tanh(tf.matmul(s, u) + tf.matmul(tf.matmul(r, w), u)), s

        traced, _ = trace_body("twice", body, [_spec((B, U)), _spec((B, F))])
        return tf.reduce_sum(scan_graph([state], [rows], traced.externals, traced.graph)[0])

    def gradient(*tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors[3])
            y = twice(*tensors)
        return tape.gradient(y, tensors[3])

    assert _nodes(_traced(gradient))[1].attributes["num_carried"] == 1

    def value(state, rows, w, u, b):
        for row in rows:
            state = np.tanh(state @ u + row @ w @ u)
        return np.sum(state)

    arrays = _arrays()
    found = tf.function(gradient)(*map(tf.constant, arrays))
    expected = _differences(lambda u: value(*arrays[:3], u, None), arrays[3:4])[0]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-8)


def test_a_sum_that_is_no_product_of_rows_is_carried():
    def gradient(state, rows, w, u, b):
        with tf.GradientTape() as tape:
            tape.watch(b)
            body, _ = trace_body(
                "scaled", lambda s, r: (tf.tanh(s * b), r), [_spec((U,)), _spec((B, F))]
            )
            found = scan_graph([state[0]], [rows], body.externals, body.graph)
            y = tf.reduce_sum(found[0])
        return tape.gradient(y, b)

    assert _nodes(_traced(gradient))[1].attributes["num_carried"] == 2
    arrays = _arrays()

    def value(b):
        state = arrays[0][0]
        for _ in range(T):
            state = np.tanh(state * b)
        return np.sum(state)

    found = tf.function(gradient)(*map(tf.constant, arrays)).numpy()
    np.testing.assert_allclose(found, _differences(value, arrays[4:])[0], rtol=1e-6)


def test_variables_are_read_before_the_loop_and_not_recorded_for_each_step():
    u = tf.Variable(_arrays()[3])

    def gradient(state, rows, w, _, b):
        with tf.GradientTape() as tape:
            y = tf.reduce_sum(_scan(state, rows, w, u, b)[0])
        return tape.gradient(y, u)

    graph = _traced(gradient)
    for node in _nodes(graph):
        assert not any(v.resource for v in node.inputs)
        assert not _nodes(node.attributes["body_graph"], "read_variable")
        assert (T, U, U) not in [tuple(v.shape) for v in node.outputs]


def test_weights_are_read_before_a_loop_that_counts_its_steps():
    u, count = tf.Variable(_arrays()[3]), tf.Variable(0)

    def gradient(state, rows, w, _, b):
        def body(s, r):
            count.assign_add(1)
            return tf.tanh(tf.matmul(s, u)), r

        with tf.GradientTape() as tape:
            traced, _ = trace_body("counting", body, [_spec((B, U)), _spec((B, F))])
            y = tf.reduce_sum(scan_graph([state], [rows], traced.externals, traced.graph)[0])
        return tape.gradient(y, u)

    forward, _ = _nodes(_traced(gradient))
    assert [v.shape for v in forward.inputs if v.resource] == [()]
    tf.function(gradient)(*map(tf.constant, _arrays()))
    assert count.numpy() == T


def test_a_variable_that_the_body_assigns_is_read_in_each_step():
    count = tf.Variable(0.0)

    @tf.function
    def f(rows):
        def body(total, row):
            count.assign_add(1.0)
            return total + row * count, total

        traced, _ = trace_body(
            "counting", body, [tf.TensorSpec([], tf.float32), tf.TensorSpec([], tf.float32)]
        )
        return scan_graph([tf.constant(0.0)], [rows], traced.externals, traced.graph)[0]

    assert f(tf.ones([3])).numpy() == 1.0 + 2.0 + 3.0
    assert count.numpy() == 3.0


def test_weights_read_in_a_while_loop_are_not_recorded_for_each_step():
    u = tf.Variable(_arrays()[3])

    def gradient(state, *_):
        with tf.GradientTape() as tape:
            y = tf.while_loop(
                lambda i, h: i < T, lambda i, h: (i + 1, tf.tanh(tf.matmul(h, u))), (0, state)
            )[1]
        return tape.gradient(y, u)

    graph = _traced(gradient)
    (loop,) = _nodes(graph, "while_loop")
    assert (None, U, U) not in [tuple(v.shape) for v in loop.outputs]
    state = _arrays()[0]

    def value(w):
        h = state
        for _ in range(T):
            h = np.tanh(h @ w)
        return np.sum(h)

    found = tf.function(gradient)(*map(tf.constant, _arrays())).numpy()
    np.testing.assert_allclose(found, _differences(value, [u.numpy()])[0], rtol=1e-6, atol=1e-9)


# -- errors --------------------------------------------------------------------------------


def test_sequences_of_different_length_are_refused():
    body, _ = trace_body("pair", lambda s, a, b: (s + a * b, a), [_spec(())] * 3)
    sequences = [tf.ones([3], tf.float64), tf.ones([4], tf.float64)]
    with pytest.raises(errors.InvalidArgumentError):
        scan_graph([tf.constant(0.0, tf.float64)], sequences, [], body.graph)


def test_rows_of_another_dtype_are_refused():
    body, _ = trace_body("sum", lambda s, a: (s + a, a), [_spec(())] * 2)
    with pytest.raises(errors.DtypeMismatchError, match="float64"):
        scan_graph([tf.constant(0.0, tf.float64)], [tf.ones([3])], [], body.graph)
