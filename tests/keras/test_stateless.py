"""Metrics and optimizers with their state as an argument."""

import numpy as np
import pytest

import distflow as tf
from distflow.keras import metrics, optimizers


def test_a_metric_updates_given_values_and_keeps_its_own():
    metric = metrics.Mean()
    metric.update_state([7.0])
    start = metric.stateless_reset_state()
    assert [float(v) for v in start] == [0, 0]
    after = metric.stateless_update_state(start, [1.0, 3.0])
    assert [float(v) for v in after] == [4, 2]
    assert float(metric.stateless_result(after)) == 2
    assert float(metric.result()) == 7


@pytest.mark.parametrize("traced", [False, True])
def test_an_optimizer_steps_from_given_values_and_keeps_its_own(traced):
    weight = tf.Variable([1.0, 2.0])
    first, second = optimizers.Adam(0.1), optimizers.Adam(0.1)
    first.build([weight])
    state = [v.value() for v in first.variables]
    values = [tf.constant([3.0, 4.0])]

    def run(gradient):
        return first.stateless_apply(state, [gradient], values)

    gradient = tf.constant([0.5, -1.0])
    new, new_state = (tf.function(run) if traced else run)(gradient)
    np.testing.assert_array_equal(weight.numpy(), [1, 2])
    assert int(first.iterations) == 0
    other = tf.Variable([3.0, 4.0])
    second.apply_gradients([(gradient, other)])
    np.testing.assert_allclose(new[0].numpy(), other.numpy(), rtol=1e-6)
    assert int(new_state[0]) == 1


def test_wrong_numbers_of_values_are_refused():
    metric, optimizer = metrics.Mean(), optimizers.SGD()
    with pytest.raises(ValueError, match="2 variables"):
        metric.stateless_result([1.0])
    with pytest.raises(ValueError, match="must be built"):
        optimizer.stateless_apply([], [], [])
    optimizer.build([tf.Variable(1.0)])
    with pytest.raises(ValueError, match="one value for each"):
        optimizer.stateless_apply([], [tf.constant(1.0)], [tf.constant(1.0)])


def test_the_state_comes_back_after_an_error():
    metric = metrics.Accuracy()
    metric.update_state([1], [1])
    with pytest.raises(ValueError):  # noqa: PT011
        metric.stateless_update_state([0.0, 0.0], [1, 2, 3], [[1.0, 2.0]])
    assert float(metric.result()) == 1
