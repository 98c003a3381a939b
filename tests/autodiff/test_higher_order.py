"""Derivatives of derivatives, and what tapes keep alive."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import distflow.ops.operators  # noqa: F401  (attaches the operators)
from distflow.autodiff import GradientTape
from distflow.core.convert import constant
from distflow.core.variable import Variable
from distflow.ops import math
from distflow.ops.prims.reduction import reduce_sum


@pytest.fixture
def x():
    return constant(3.0)


@pytest.fixture
def y():
    return constant(2.0)


# -- higher order --------------------------------------------------------------------------


def test_nested_tapes_give_the_second_derivative(x):
    with GradientTape() as outer:
        outer.watch(x)
        with GradientTape() as inner:
            inner.watch(x)
            z = x * x * x
        g = inner.gradient(z, x)
    assert g.numpy() == 27.0
    assert outer.gradient(g, x).numpy() == 18.0


def test_third_derivative():
    x = constant(0.7, "float64")
    with GradientTape() as third:
        third.watch(x)
        with GradientTape() as second:
            second.watch(x)
            with GradientTape() as first:
                first.watch(x)
                z = math.sin(x) * math.exp(x)
            g1 = first.gradient(z, x)
        g2 = second.gradient(g1, x)
    g3 = third.gradient(g2, x)
    # (e^x sin x)''' = 2 e^x (cos x - sin x)
    expected = 2 * np.exp(0.7) * (np.cos(0.7) - np.sin(0.7))
    np.testing.assert_allclose(g3.numpy(), expected, rtol=1e-12)


def test_two_tapes_side_by_side_see_the_same(x):
    with GradientTape() as a, GradientTape() as b:
        a.watch(x)
        b.watch(x)
        z = x * x
    assert a.gradient(z, x).numpy() == b.gradient(z, x).numpy() == 6.0


def test_mixed_second_derivative(x, y):
    with GradientTape() as outer:
        outer.watch([x, y])
        with GradientTape() as inner:
            inner.watch([x, y])
            z = x * x * y
        of_x = inner.gradient(z, x)
    by_x, by_y = outer.gradient(of_x, [x, y])
    assert by_x.numpy() == 4.0
    assert by_y.numpy() == 6.0


def test_hessian_vector_product_by_output_gradients():
    x = constant([1.0, 2.0])
    with GradientTape() as outer:
        outer.watch(x)
        with GradientTape() as inner:
            inner.watch(x)
            z = reduce_sum(x * x * x, axes=(0,))
        g = inner.gradient(z, x)
    product = outer.gradient(g, x, output_gradients=constant([1.0, 10.0]))
    assert product.numpy().tolist() == [6.0, 120.0]


# -- memory --------------------------------------------------------------------------------


def test_used_tape_lets_go_of_what_it_saw():
    x = constant(np.ones(10))
    with GradientTape() as tape:
        tape.watch(x)
        middle = x * x
        z = reduce_sum(middle, axes=(0,))
    alive = weakref.ref(middle)
    tape.gradient(z, x)
    del middle, z
    gc.collect()
    assert alive() is None


def test_many_steps_leave_no_tensors_behind():
    v = Variable(np.ones(10, np.float32))

    def step():
        with GradientTape() as tape:
            loss = reduce_sum(v * v, axes=(0,))
        v.assign_sub(0.01 * tape.gradient(loss, v))

    step()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(50):
        step()
    gc.collect()
    assert len(gc.get_objects()) - before < 20


def test_accumulation_order_is_fixed():
    # 1e8 + 1 - 1e8 in float32 depends on the order: reverse order of use, every time.
    x = constant(1.0)
    results = set()
    for _ in range(3):
        with GradientTape() as tape:
            tape.watch(x)
            z = x * 1e8 + x * 1.0 + x * -1e8
        results.add(float(tape.gradient(z, x)))
    assert results == {float(np.float32(np.float32(-1e8 + 1) + np.float32(1e8)))}
