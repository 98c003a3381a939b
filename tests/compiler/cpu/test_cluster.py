"""Which nodes share a loop: makers and readers of the same arrays, unless something is between."""

import numpy as np

import distflow as tf
from distflow.base import dtypes, specs
from distflow.compiler.cpu import cluster
from distflow.compiler.cpu.shapes import ShapeTable
from distflow.graph.build import trace


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


def test_views_make_their_readers_wait_for_the_root():
    graph, _ = trace(
        lambda x: tf.exp(tf.transpose(tf.tanh(x))) + 1.0, specs.TensorSpec((4, 4), tf.float32)
    )
    view = next(n for n in graph.nodes if n.primitive.name == "transpose")
    nodes = [n for n in graph.nodes if n.primitive.name not in ("constant", "transpose")]
    roots = {view.outputs[0]: view.inputs[0]}
    found, _ = cluster.gather(nodes, ShapeTable(graph, [(4, 4)]), roots)
    assert [[n.primitive.name for n in u.nodes] for u in found] == [["tanh"], ["exp", "add"]]


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
