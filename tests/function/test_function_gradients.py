"""Gradients through `function`: those of eager code, of any order, and custom ones."""

import numpy as np
import pytest

import distflow.ops.operators  # noqa: F401  (operators on tensors)
from distflow.autodiff import GradientTape, custom_gradient
from distflow.base import dtypes
from distflow.core.convert import constant
from distflow.core.variable import Variable
from distflow.function import function
from distflow.ops import math


def _f(x, v, c):
    return math.tanh(x * v) * x + math.sin(c * x)


@pytest.mark.parametrize("persistent", [False, True])
def test_gradients_flow_to_arguments_variables_and_captured_tensors(persistent):
    x, v, c = constant([0.5, -1.0]), Variable([2.0, 3.0]), constant([0.3, 0.7])
    found = []
    for f in (function(lambda x: _f(x, v, c)), lambda x: _f(x, v, c)):
        with GradientTape(persistent=persistent) as tape:
            tape.watch([x, c])
            y = f(x)
        found.append([g.numpy() for g in tape.gradient(y, [x, v, c])])
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("order", [2, 3])
def test_higher_orders_equal_those_of_eager_code(order):
    x = constant(0.7, dtypes.float64)

    def derivative(f, n):
        if n == 0:
            return f
        inner = derivative(f, n - 1)

        def of(x):
            with GradientTape() as tape:
                tape.watch(x)
                y = inner(x)
            return tape.gradient(y, x)

        return of

    plain = lambda x: math.exp(math.sin(x) * x)
    expected = derivative(plain, order)(x).numpy()
    np.testing.assert_allclose(derivative(function(plain), order)(x).numpy(), expected, rtol=1e-12)
    inside = function(derivative(plain, order))(x).numpy()
    np.testing.assert_allclose(inside, expected, rtol=1e-12)
    half = function(derivative(function(plain), 1))
    np.testing.assert_allclose(derivative(half, order - 1)(x).numpy(), expected, rtol=1e-12)


def test_only_gradients_that_arrive_are_used():
    f = function(lambda x: (x * 2.0, x * x))
    x = constant(3.0)
    with GradientTape(persistent=True) as tape:
        tape.watch(x)
        a, b = f(x)
    assert [tape.gradient(t, x).numpy() for t in (a, b)] == [2.0, 6.0]


def test_state_advances_once_under_a_tape():
    counter, w = Variable(0.0), Variable(2.0)

    @function
    def f(x):
        counter.assign_add(1.0)
        return x * w * counter

    with GradientTape() as tape:
        y = f(constant(3.0))
    assert tape.gradient(y, w).numpy() == 3.0
    assert counter.numpy() == 1.0


def test_backward_uses_values_from_before_later_assignments():
    w = Variable(2.0)

    @function
    def f(x):
        y = w * w * x
        w.assign(100.0)
        return y

    with GradientTape() as tape:
        y = f(constant(1.0))
    assert tape.gradient(y, w).numpy() == 4.0


def test_a_training_step_inside_a_function():
    w = Variable([1.0, 2.0])

    @function
    def step(x):
        with GradientTape() as tape:
            loss = math.square(w * x)
        w.assign_sub(tape.gradient(loss, w) * 0.1)
        return loss

    step(constant([1.0, 1.0]))
    np.testing.assert_allclose(w.numpy(), [0.8, 1.6], rtol=1e-6)


def test_custom_gradients_hold_through_functions():
    scale = Variable(5.0)

    @custom_gradient
    def clipped(x):
        y = x * scale.read_value()

        def gradient(g, variables=()):
            return g * 7.0, [g * 11.0 for _ in variables]

        return y, gradient

    f = function(lambda x: clipped(x * 1.0) * 2.0)
    x = constant(1.0)
    for outer in (f, function(lambda x: f(x))):
        with GradientTape() as tape:
            tape.watch(x)
            y = outer(x)
        assert y.numpy() == 10.0
        assert [g.numpy() for g in tape.gradient(y, [x, scale])] == [14.0, 22.0]

    @function
    def inside(x):
        with GradientTape() as tape:
            tape.watch(x)
            y = clipped(x)
        return tape.gradient(y, x)

    assert inside(x).numpy() == 7.0


def test_custom_gradient_functions_may_close_over_symbols():
    def outer(x, factor):
        doubled = factor * 2.0

        @custom_gradient
        def f(z):
            return z * doubled, lambda g: g * doubled * 100.0

        return f(x)

    x = constant(1.0)
    with GradientTape() as tape:
        tape.watch(x)
        y = function(outer)(x, constant(3.0))
    assert (y.numpy(), tape.gradient(y, x).numpy()) == (6.0, 600.0)


def test_custom_gradients_see_the_variables_of_functions_they_call():
    w = Variable(3.0)
    inner = function(lambda x: x * w)

    @custom_gradient
    def f(x):
        return inner(x), lambda g, variables: (g, [g * 5.0 for _ in variables])

    with GradientTape() as tape:
        y = f(constant(2.0))
    assert tape.gradient(y, w).numpy() == 5.0
