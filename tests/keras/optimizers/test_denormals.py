"""Slots never keep denormal numbers: processors are slow with them."""

import numpy as np
import pytest

import distflow as tf
from distflow.compiler.cpu.plan import Plan
from distflow.compiler.passes.rounds import optimize
from distflow.graph.build import trace
from distflow.keras.optimizers import denormals

K = tf.keras.optimizers
TINY = np.finfo(np.float32).tiny
MADE = {
    "SGD": lambda: K.SGD(0.1, momentum=0.9),
    "SGD with Nesterov": lambda: K.SGD(0.1, momentum=0.9, nesterov=True),
    "Adam": K.Adam,
    "AMSGrad": lambda: K.Adam(amsgrad=True),
    "AdamW": K.AdamW,
    "Adamax": K.Adamax,
    "Nadam": K.Nadam,
    "Lamb": K.Lamb,
    "RMSprop": K.RMSprop,
    "centered RMSprop": lambda: K.RMSprop(momentum=0.9, centered=True),
    "Adadelta": K.Adadelta,
    "Adagrad": K.Adagrad,
    "Adafactor": K.Adafactor,
    "Ftrl": K.Ftrl,
    "Lion": K.Lion,
}


@pytest.mark.parametrize("name", MADE)
def test_a_slot_that_shrinks_below_the_normal_numbers_is_zero(name, executor):
    optimizer, variable = MADE[name](), tf.Variable([[1.0, 2.0], [3.0, 4.0]])
    optimizer.build([variable])
    slots = [v for v in optimizer.variables if tuple(v.shape) == (2, 2)]
    assert slots or name == "Adafactor"
    for slot in slots:
        slot.assign(tf.fill([2, 2], float(TINY)))
    for _ in range(2):
        optimizer.apply_gradients([(tf.zeros([2, 2]), variable)])
    for slot in slots:
        size = np.abs(slot.numpy())
        assert np.all((size == 0) | (size >= TINY)), slot.name
    assert np.isfinite(variable.numpy()).all()


def test_normal_numbers_and_nans_stay(executor):
    given = np.array([TINY, -TINY, 1.0, -2.0, np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(denormals.to_zeros(tf.constant(given)).numpy(), given)


def test_denormal_numbers_of_both_signs_are_zeros(executor):
    given = np.array([1e-45, -1e-45, TINY * 0.99, -TINY * 0.99, 0.0, -0.0], np.float32)
    found = tf.function(denormals.to_zeros)(tf.constant(given)).numpy()
    np.testing.assert_array_equal(found, np.zeros(6, np.float32))


def test_half_precision_keeps_them():
    given = np.array([6e-8, -6e-6], np.float16)
    assert denormals.to_zeros(tf.constant(given)).numpy().tobytes() == given.tobytes()


def test_no_array_of_zeros_is_kept_for_it():
    pytest.importorskip("llvmlite")
    optimizer, variable = K.Adam(), tf.Variable(tf.zeros([128, 64]))
    optimizer.build([variable])
    graph, _ = trace(
        lambda g: optimizer.update_step(g, variable, tf.constant(0.1)),
        tf.TensorSpec([128, 64], tf.float32),
    )
    graph = optimize(graph)
    shapes = [tuple(value.shape) for value in graph.inputs]
    plan = Plan(graph, shapes, {value for value in graph.inputs if value.resource})
    assert all(constant.size == 1 for constant in plan.constants.values())


def test_weights_end_where_they_would_without(executor):
    """Adam with a weight whose gradient stops, against Kingma & Ba's steps in float64."""
    optimizer, variable = K.Adam(0.01), tf.Variable([1.0, 1.0])
    w, m, v = np.ones(2), np.zeros(2), np.zeros(2)
    for t in range(1, 1001):
        gradient = np.array([0.5 if t <= 3 else 0.0, 0.5])
        optimizer.apply_gradients([(tf.constant(gradient, tf.float32), variable)])
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        alpha = 0.01 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        w -= alpha * m / (np.sqrt(v) + 1e-7)
    np.testing.assert_allclose(variable.numpy(), w, rtol=2e-4)
    assert optimizer.variables[2].numpy()[0] == 0
