"""Arrays taken apart and put together: concatenations for sums of pads, slices of operands."""

import numpy as np
import pytest

import distflow as tf
from distflow.base import dtypes
from distflow.base.specs import TensorSpec
from distflow.compiler import optimize
from distflow.compiler.numpy_backend import NumpyExecutable
from distflow.core.primitive import REGISTRY
from distflow.graph import trace
from tests.compiler.random_graphs import assert_same_bits


def p(name, *operands, **attributes):
    return REGISTRY[name](*operands, **attributes)


def pad(x, low, high, value=0.0):
    number = p("constant", value=np.asarray(value, x.dtype.numpy))
    return p("pad", x, number, config=((0, 0, 0), (low, high, 0)))


def part(x, start, stop):
    return p("slice", x, starts=(0, start), stops=(None, stop), strides=(1, 1))


def names(function, *arrays):
    """Names of the nodes of the optimised graph, whose results must have the same bits."""
    before, _ = trace(function, *[TensorSpec(a.shape, dtypes.of_array(a)) for a in arrays])
    after = optimize(before)
    for have, want in zip(NumpyExecutable(after)(arrays), NumpyExecutable(before)(arrays)):
        assert_same_bits(have, want)
    return [node.primitive.name for node in after.nodes]


X = np.array([[-0.0, 1.5], [np.nan, -np.inf]], np.float32)
Y = np.array([[0.0, 3.0, -0.0], [4.0, 5.0, 6.0]], np.float32)
Z = np.array([[-0.0], [8.0]], np.float32)
WIDE = np.arange(-6, 6, dtype=np.float32).reshape(2, 6)


def test_a_sum_of_pads_that_fill_the_whole_is_a_concatenation():
    found = names(lambda x, y, z: pad(z, 3, 2) + pad(x, 4, 0) + pad(y, 0, 3), X, Y, Z)
    assert found.count("concat") == 1
    assert "pad" not in found


def test_integers_need_no_sums():
    x, y = (np.arange(n, dtype=np.int32).reshape(2, -1) for n in (4, 6))
    found = names(lambda x, y: pad(x, 0, 3, 0) + pad(y, 2, 0, 0), x, y)
    assert found == ["concat"]


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: pad(x, 0, 4) + pad(y, 2, 1),  # a gap
        lambda x, y: pad(x, 0, 2) + pad(y, 1, 0),  # an overlap
        lambda x, y: pad(x, 0, 3) + pad(y, 2, 0, 1.0),  # by ones
        lambda x, y: pad(x, 0, 3, -0.0) + pad(y, 2, 0, -0.0),
        lambda x, y: (lambda both: (both + pad(y, 2, 0), both))(pad(x, 0, 3)),  # read elsewhere
        lambda x, y: pad(x, -1, 4) + pad(y, 1, 1),
    ],
)
def test_other_sums_stay(function):
    assert "concat" not in names(function, X, Y)


def test_the_gradient_of_a_split_is_one_concatenation():
    def f(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            a, b, c = tf.split(x, 3, axis=1)
            y = tf.reduce_sum(a * tf.sin(b) + tf.exp(c))
        return tape.gradient(y, x)

    found = names(f, WIDE)
    assert found.count("concat") == 1
    assert "pad" not in found


def test_sums_that_are_only_sliced_go_over_slices():
    def f(x, row):
        z = x + row
        return tf.tanh(part(z, 0, 2)) * tf.exp(part(z, 2, 4))

    assert names(f, WIDE, WIDE[0]).count("add") == 2
    assert names(f, WIDE, np.float32(3.0)).count("slice") == 2


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (lambda z: (tf.exp(part(z, 0, 2)), z))(tf.sin(x)),  # a result itself
        lambda x: (lambda z: tf.exp(part(z, 0, 2)) * tf.reduce_sum(z))(tf.sin(x)),
        lambda x: part(tf.sin(x), 0, 2),  # slices that are results
        lambda x: (lambda z: tf.exp(part(z, 0, 5)) * tf.exp(part(z, 1, 6)))(tf.sin(x)),
    ],
)
def test_other_slices_stay_behind(function):
    found = names(function, WIDE)
    assert found.index("sin") < found.index("slice")
