"""custom_gradient and recompute_grad; facts of TensorFlow 2.21."""

from __future__ import annotations

import numpy as np
import pytest

import distflow.ops.operators  # noqa: F401  (attaches the operators)
from distflow.autodiff import GradientTape, custom_gradient, recompute_grad
from distflow.base.errors import InvalidArgumentError
from distflow.compiler.passes.rounds import optimize
from distflow.core.convert import constant, convert_to_tensor
from distflow.core.variable import Variable
from distflow.function import function
from distflow.ops import math


@custom_gradient
def square(a):
    """a^2, with a gradient that shows that it is the custom one."""
    return a * a, lambda g: g * 10.0


@custom_gradient
def both(a, b):
    """Sum and product, with gradients 10 and 100."""
    return (a + b, a * b), lambda g, h: (g * 10.0, h * 100.0)


def _gradients(function, *values):
    tensors = [constant(v) for v in values]
    with GradientTape() as tape:
        tape.watch(tensors)
        z = function(*tensors)
    return [None if g is None else float(g) for g in tape.gradient(z, tensors)]


def test_custom_gradient_replaces_the_derivative():
    assert _gradients(square, 3.0) == [10.0]


def test_custom_gradient_does_not_change_the_value():
    assert square(constant(3.0)).numpy() == 9.0


def test_incoming_gradient_is_handed_on():
    assert _gradients(lambda a: square(a) * 2.0, 3.0) == [20.0]


def test_several_results_and_arguments():
    assert _gradients(both, 3.0, 2.0) == [10.0, 100.0]


def test_unused_result_has_a_zero_gradient():
    assert _gradients(lambda a, b: both(a, b)[0], 3.0, 2.0) == [10.0, 0.0]


def test_result_may_be_a_structure():
    doubled = custom_gradient(lambda a: ({"a": a * 2.0}, lambda g: g * 5.0))
    assert _gradients(lambda a: doubled(a)["a"], 3.0) == [5.0]


def test_result_may_be_the_argument_itself():
    scaled = custom_gradient(lambda a: (a, lambda g: 3.0 * g))
    assert _gradients(scaled, 2.0) == [3.0]


def test_gradient_may_be_none():
    half = custom_gradient(lambda a, b: (a * b, lambda g: (g, None)))
    assert _gradients(half, 3.0, 2.0) == [1.0, None]


def test_keyword_arguments_are_handed_on():
    scale = custom_gradient(lambda a, k=2.0: (a * k, lambda g: g * k))
    assert _gradients(lambda a: scale(a, k=4.0), 3.0) == [4.0]


def test_python_numbers_become_tensors():
    assert square(3.0).numpy() == 9.0


def test_wrong_number_of_gradients_is_refused():
    bad = custom_gradient(lambda a, b: (a * b, lambda g: g))
    with pytest.raises(ValueError, match=r"must return 2 gradients; received 1"):
        _gradients(bad, 1.0, 2.0)


def test_gradient_of_a_wrong_shape_is_refused():
    bad = custom_gradient(lambda a: (a * 1.0, lambda g: constant([1.0, 2.0])))
    with pytest.raises(InvalidArgumentError, match=r"custom_gradient"):
        _gradients(bad, 1.0)


# -- Variables -----------------------------------------------------------------------------


def test_variables_that_are_read_get_gradients():
    w = Variable(5.0)

    @custom_gradient
    def times_w(a):
        return a * w, lambda g, variables=None: (g * 10.0, [g * 7.0 for _ in variables])

    x = constant(3.0)
    with GradientTape() as tape:
        tape.watch(x)
        z = times_w(x)
    of_x, of_w = tape.gradient(z, [x, w])
    assert of_x.numpy() == 10.0
    assert of_w.numpy() == 7.0


def test_reading_variables_without_taking_them_is_refused():
    w = Variable(5.0)
    silent = custom_gradient(lambda a: (a * w, lambda g: g))
    x = constant(3.0)
    with GradientTape() as tape:
        tape.watch(x)
        z = silent(x)
    with pytest.raises(TypeError, match=r"must accept variables="):
        tape.gradient(z, x)


def test_variable_as_an_argument():
    w = Variable(3.0)
    with GradientTape() as tape:
        z = square(w)
    assert tape.gradient(z, w).numpy() == 10.0


# -- nesting and order ---------------------------------------------------------------------


def test_custom_gradient_inside_another_is_hidden_by_it():
    outer = custom_gradient(lambda a: (square(a), lambda g: g * 2.0))
    assert _gradients(outer, 3.0) == [2.0]


def test_custom_gradient_may_differentiate_itself():
    @custom_gradient
    def cube(a):
        def gradient(g):
            with GradientTape() as tape:
                tape.watch(a)
                z = a * a * a
            return g * tape.gradient(z, a) * 2.0

        return a * a * a, gradient

    assert _gradients(cube, 2.0) == [24.0]


def test_second_order_differentiates_the_gradient_function():
    x = constant(3.0)
    with GradientTape() as outer:
        outer.watch(x)
        with GradientTape() as inner:
            inner.watch(x)
            z = square(x) * x
        g = inner.gradient(z, x)
    # z' = 10 x + x^2; its derivative by the custom rule: 10 + 10.
    assert g.numpy() == 39.0
    assert outer.gradient(g, x).numpy() == 20.0


def test_custom_gradient_of_a_custom_gradient():
    @custom_gradient
    def first(a):
        return a * a, second

    @custom_gradient
    def second(g):
        return g * 3.0, lambda h: h * 1000.0

    x = constant(2.0)
    with GradientTape() as outer:
        outer.watch(x)
        with GradientTape() as inner:
            inner.watch(x)
            z = first(x) * x
        g = inner.gradient(z, x)
    assert g.numpy() == 4.0 + 6.0
    # d/dx (first(x) + second(x)) = second(1) + 1000
    assert outer.gradient(g, x).numpy() == 3.0 + 1000.0


# -- recompute_grad ------------------------------------------------------------------------


def test_recompute_grad_gives_the_gradient():
    recomputed = recompute_grad(lambda a: math.sin(a) * a)
    expected = np.cos(3.0) * 3.0 + np.sin(3.0)
    np.testing.assert_allclose(_gradients(recomputed, 3.0), [expected], rtol=1e-6)


def test_recompute_grad_runs_the_function_again():
    runs = []
    recomputed = recompute_grad(lambda a: (runs.append(1), a * a)[1])
    _gradients(recomputed, 3.0)
    assert len(runs) == 2


def test_recompute_grad_differentiates_variables():
    w = Variable(5.0)
    recomputed = recompute_grad(lambda a: a * w * w)
    x = constant(3.0)
    with GradientTape() as tape:
        tape.watch(x)
        z = recomputed(x)
    of_x, of_w = tape.gradient(z, [x, w])
    assert of_x.numpy() == 25.0
    assert of_w.numpy() == 30.0


def test_recompute_grad_has_a_second_order():
    x = constant(3.0)
    recomputed = recompute_grad(lambda a: a * a * a)
    with GradientTape() as outer:
        outer.watch(x)
        with GradientTape() as inner:
            inner.watch(x)
            z = recomputed(x)
        g = inner.gradient(z, x)
    assert outer.gradient(g, x).numpy() == 18.0


def test_recompute_grad_runs_again_in_a_compiled_step_too():
    recomputed = recompute_grad(lambda a: math.exp(math.sin(a)))

    @function
    def slope(a):
        with GradientTape() as tape:
            tape.watch(a)
            result = recomputed(a)
        return result, tape.gradient(result, a)

    a = convert_to_tensor(np.float32([0.5, 2.0]))
    _, found = slope(a)
    np.testing.assert_allclose(found, np.exp(np.sin(a)) * np.cos(a), rtol=1e-6)
    names = [n.primitive.name for n in optimize(slope.get_concrete_function(a).graph).nodes]
    assert names.count("exp") == 2
    assert "after" not in names
