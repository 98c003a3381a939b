"""Which nodes share a loop: makers and readers of the same arrays, unless something is between."""

import numpy as np
import pytest

import distflow as tf
from distflow.base import dtypes, specs
from distflow.compiler.cpu import cluster
from distflow.compiler.cpu.shapes import ShapeTable
from distflow.compiler.cpu.views import Views
from distflow.compiler.numpy_backend import NumpyExecutable
from distflow.compiler.pipeline import optimize
from distflow.graph.build import trace
from tests.compiler.cpu.test_loops import call

pytest.importorskip("llvmlite")


def units(function, *arrays):
    """The units of a function, as lists of names."""
    graph, _ = trace(function, *[specs.TensorSpec(a.shape, dtypes.of_array(a)) for a in arrays])
    nodes = [n for n in graph.nodes if n.primitive.name != "constant"]
    found, _ = cluster.gather(nodes, ShapeTable(graph, [a.shape for a in arrays]))
    return [[n.primitive.name for n in unit.nodes] for unit in found]


X = np.zeros((4, 6), np.float32)


def test_update_of_a_variable_by_adam_is_one_loop():
    def adam(g, m, v, w):
        m = m * 0.9 + g * 0.1
        v = v * 0.999 + (g * g) * 0.001
        return m, v, w - m * 0.01 / (tf.sqrt(v) + 1e-7)

    assert len(units(adam, X, X, X, X)) == 1


def test_readers_of_one_array_share_a_loop():
    assert units(lambda x: (tf.exp(x), tf.reduce_sum(x, axis=0), x * 2.0), X) == [
        ["exp", "reduce_sum", "mul"]
    ]


def test_readers_of_a_repeated_array_do_not():
    assert len(units(lambda x, y, z: (x + y, z + y), X, X[0], np.zeros((3, 6), np.float32))) == 2


def test_what_stands_between_keeps_two_loops_apart():
    found = units(lambda x: (tf.exp(x), tf.cumsum(tf.exp(x)) * tf.exp(x)), X)
    assert ["cumsum"] in found
    assert len(found) == 3


def test_results_of_reductions_are_read_when_their_loop_is_over():
    found = units(lambda x: x - tf.reduce_sum(x, axis=0), X)
    assert found == [["reduce_sum"], ["sub"]]


def test_reductions_over_other_axes_are_other_loops():
    found = units(lambda x: (tf.reduce_sum(x, axis=0), tf.reduce_sum(x, axis=1)), X)
    assert len(found) == 2


def test_scalars_share_a_loop():
    one = np.zeros((), np.float32)
    assert len(units(lambda a, b, c: (a + 1.0, b * 2.0, tf.exp(c)), one, one, one)) == 1


# -- with views ----------------------------------------------------------------------------


class Program:
    """A graph cut into units, views left out; runs with NumPy beside the loops."""

    def __init__(self, function, arrays):
        specs_ = [specs.TensorSpec(a.shape, dtypes.of_array(a)) for a in arrays]
        graph, _ = trace(function, *specs_)
        self.graph = optimize(graph)
        self.shapes = ShapeTable(self.graph, [a.shape for a in arrays])
        self.views = Views(self.shapes)
        nodes = [
            n for n in self.graph.nodes
            if n.primitive.name != "constant" and not self.views.add(n)
        ]  # fmt: skip
        self.units, _ = cluster.gather(nodes, self.shapes, self.views)

    def names(self):
        return [[n.primitive.name for n in unit.nodes] for unit in self.units]

    def run(self, arrays):
        values = dict(zip(self.graph.inputs, arrays))
        for n in self.graph.nodes:
            if n.primitive.name == "constant":
                values[n.outputs[0]] = np.ascontiguousarray(n.attributes["value"])
        numbers = cluster.numbers_of(self.graph)
        for i, unit in enumerate(self.units):
            if not unit.is_loop:
                (node,) = unit.nodes
                found = node.primitive.reference(
                    *[self.seen(v, values) for v in node.inputs], **node.attributes
                )
                values[node.outputs[0]] = np.ascontiguousarray(found)
                continue
            elsewhere = [v for k, u in enumerate(self.units) if k != i for v in self.reads(u)]
            wanted = {self.views.root(v) for v in (*elsewhere, *self.graph.outputs)}
            region = cluster.region_of(unit, self.shapes, wanted, numbers, Layouts(self.views))
            for v in region.outputs:
                values[v] = np.full(self.shapes.of(v), 77, v.dtype.numpy)
            call(region.loop, [self.address(v, values) for v in (*region.inputs, *region.outputs)],
                 cuts=[1, 2])  # fmt: skip
        return [np.array(self.seen(v, values)) for v in self.graph.outputs]

    def reads(self, unit):
        if unit.is_loop:
            return [v for f in unit.forms for v in f.operands]
        return [v for n in unit.nodes for v in n.inputs]

    def address(self, value, values):
        view = self.views.of(value)
        root = values[view.root]
        return root.ctypes.data + view.offset * root.itemsize

    def seen(self, value, values):
        view = self.views.of(value)
        root = values[view.root].reshape(-1)[view.offset :]
        strides = [s * root.itemsize for s in view.layout.strides]
        return np.lib.stride_tricks.as_strided(root, view.layout.shape, strides)


class Layouts(dict):
    """Strides of every value, as views have them."""

    def __init__(self, views):
        self.views = views

    def __contains__(self, value):
        return True

    def __getitem__(self, value):
        return self.views.of(value).layout.strides


def check(function, *arrays, loops):
    program = Program(function, arrays)
    expected = NumpyExecutable(program.graph)(arrays)
    for found, want in zip(program.run(arrays), expected):
        np.testing.assert_allclose(found, want, rtol=2e-5, atol=1e-5)
    assert len(program.units) == loops, program.names()


ROWS = np.random.default_rng(0).normal(size=(24, 33)).astype(np.float32)


def softmax(x):
    e = tf.exp(x - tf.reduce_max(x, axis=-1, keepdims=True))
    return e / tf.reduce_sum(e, axis=-1, keepdims=True)


def layer_norm(x, scale, offset):
    mean = tf.reduce_mean(x, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(x - mean), axis=-1, keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + 1e-3) * scale + offset


def test_views_make_their_readers_wait_for_the_root():
    check(lambda x: tf.exp(tf.transpose(tf.tanh(x))) + 1.0, ROWS, loops=2)


def test_readers_of_one_array_by_two_names_share_a_loop():
    check(lambda x: (tf.exp(x), tf.stop_gradient(x) * 2.0), ROWS, loops=1)


def test_softmax_is_one_loop():
    check(softmax, ROWS, loops=1)
    check(softmax, ROWS.reshape(4, 6, 33), loops=1)


def test_layer_norm_is_one_loop():
    check(layer_norm, ROWS, ROWS[0], ROWS[1], loops=1)


def test_cross_entropy_and_its_gradient_are_a_few_loops():
    labels = np.eye(33, dtype=np.float32)[np.arange(24)]

    def loss(x, y):
        with tf.GradientTape() as tape:
            tape.watch(x)
            z = x - tf.reduce_max(x, axis=-1, keepdims=True)
            log = z - tf.math.log(tf.reduce_sum(tf.exp(z), axis=-1, keepdims=True))
            total = tf.reduce_mean(-tf.reduce_sum(y * log, axis=-1))
        return total, tape.gradient(total, x)

    check(loss, ROWS, labels, loops=2)


def test_gradient_of_layer_norm():
    def step(x, scale, offset):
        with tf.GradientTape() as tape:
            tape.watch([x, scale, offset])
            y = tf.reduce_sum(tf.tanh(layer_norm(x, scale, offset)))
        return tape.gradient(y, [x, scale, offset])

    check(step, ROWS, ROWS[0], ROWS[1], loops=3)


def test_what_is_one_for_a_row_is_stored_once():
    check(lambda x: (softmax(x), tf.math.log(tf.reduce_sum(tf.exp(x), axis=-1)) * 2.0), ROWS,
          loops=1)  # fmt: skip


def test_a_vector_along_the_row_is_not_one_for_each_row():
    square = ROWS[:, :24].copy()
    check(lambda x: x - tf.reduce_sum(x, axis=-1), square, loops=2)


def test_turned_results_are_not_those_of_the_row():
    cube = np.random.default_rng(1).normal(size=(6, 6, 9)).astype(np.float32)
    check(
        lambda x: x - tf.reshape(tf.transpose(tf.reduce_sum(x, axis=-1)), (6, 6, 1)), cube, loops=2
    )


def test_few_long_rows_are_left_to_all_threads():
    long = np.random.default_rng(0).normal(size=(2, 20_000)).astype(np.float32)
    check(softmax, long, loops=3)


def test_reductions_of_axes_of_size_1():
    one = ROWS.reshape(24, 33, 1)
    check(lambda x: tf.exp(x) - tf.reduce_sum(x, axis=-1, keepdims=True) * 2.0, one, loops=3)


def test_reduction_of_a_narrow_array_stays_out_of_a_wide_loop():
    def function(x, y):
        t = tf.exp(y)
        return tf.reduce_sum(t, axis=-1), x + t

    program = Program(function, [ROWS, ROWS[:, :1].copy()])
    found = program.run([ROWS, ROWS[:, :1].copy()])
    np.testing.assert_allclose(found[0], np.exp(ROWS[:, 0]), rtol=1e-6)
    np.testing.assert_allclose(found[1], ROWS + np.exp(ROWS[:, :1]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("seed", range(25))
def test_random_programs_over_rows_agree(seed):
    rng = np.random.default_rng(seed)

    def program(x, y, row, column):
        values = [x, y, row, column]
        for kind in rng.integers(0, 9, 14):
            a, b = (values[i] for i in rng.integers(0, len(values), 2))
            whole_ = x * 0.5 + a
            values.append([
                a + b, a - b, tf.tanh(a), tf.maximum(a, b), tf.exp(tf.minimum(a, 1.0)),
                tf.reduce_mean(whole_, axis=-1, keepdims=True),
                tf.reduce_max(whole_, axis=-1, keepdims=True),
                tf.reshape(tf.reduce_min(whole_, axis=-1), (18, 1)) * 0.5,
                tf.reduce_mean(whole_, axis=0),
            ][kind])  # fmt: skip
        return values[4:]

    shapes = ((18, 21), (18, 21), (21,), (18, 1))
    arrays = [rng.normal(size=s).astype(np.float32) for s in shapes]
    found = Program(program, arrays)
    for result, want in zip(found.run(arrays), NumpyExecutable(found.graph)(arrays)):
        np.testing.assert_allclose(result, want, rtol=1e-4, atol=1e-4)


def test_random_programs_keep_an_order_in_which_they_can_run():
    rng = np.random.default_rng(0)

    def program(*inputs):
        values = list(inputs)
        for kind in rng.integers(0, 5, 60):
            a, b = (values[i] for i in rng.integers(0, len(values), 2))
            values.append([a + b, a * b, tf.cumsum(a), tf.exp(a), a - tf.reduce_sum(b)][kind])
        return values[-1]

    for _ in range(20):
        graph, _ = trace(program, *[specs.TensorSpec((4, 6), tf.float32)] * 3)
        nodes = [n for n in graph.nodes if n.primitive.name != "constant"]
        found, _ = cluster.gather(nodes, ShapeTable(graph, [(4, 6)] * 3))
        made = set(graph.inputs)
        made |= {v for n in graph.nodes if n.primitive.name == "constant" for v in n.outputs}
        for unit in found:
            inside = {v for n in unit.nodes for v in n.outputs}
            assert all(v in made or v in inside for n in unit.nodes for v in n.inputs)
            made |= inside
        assert {n for u in found for n in u.nodes} == set(nodes)
