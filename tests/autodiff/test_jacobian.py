"""jacobian and batch_jacobian against formulas."""

from __future__ import annotations

import numpy as np
import pytest

import distflow.ops.operators  # noqa: F401  (attaches the operators)
from distflow.autodiff import GradientTape
from distflow.base.errors import InvalidArgumentError
from distflow.core.convert import constant
from distflow.core.variable import Variable
from distflow.ops import math
from distflow.ops.prims.reduction import reduce_sum

_M = np.array([[1.0, 2.0], [3.0, 4.0]])


def _taped(function, *values):
    tensors = [constant(v) for v in values]
    with GradientTape() as tape:
        tape.watch(tensors)
        z = function(*tensors)
    return tape, z, tensors


def test_jacobian_of_an_elementwise_function_is_diagonal():
    tape, z, (m,) = _taped(lambda m: m * m, _M)
    jacobian = tape.jacobian(z, m).numpy()
    assert jacobian.shape == (2, 2, 2, 2)
    np.testing.assert_allclose(jacobian.reshape(4, 4), np.diag(2 * _M.reshape(-1)))


def test_jacobian_of_a_matrix_product_for_both_factors():
    a, b = (
        np.random.default_rng(0).normal(size=(2, 3)),
        np.random.default_rng(1).normal(size=(3, 2)),
    )
    tape, z, (ta, tb) = _taped(lambda a, b: a @ b, a, b)
    of_a, of_b = tape.jacobian(z, [ta, tb])
    eye = np.eye(2)
    np.testing.assert_allclose(of_a.numpy(), np.einsum("ik,lj->ijkl", eye, b))
    np.testing.assert_allclose(of_b.numpy(), np.einsum("il,jk->ijlk", a, eye))


def test_jacobian_for_a_variable():
    v = Variable([1.0, 2.0])
    with GradientTape() as tape:
        z = v * 3.0
    assert tape.jacobian(z, v).numpy().tolist() == [[3.0, 0.0], [0.0, 3.0]]


def test_jacobian_of_a_scalar_is_the_gradient():
    tape, z, (m,) = _taped(lambda m: reduce_sum(m * m, axes=(0, 1)), _M)
    np.testing.assert_allclose(tape.jacobian(z, m).numpy(), 2 * _M)


def test_jacobian_of_an_unconnected_target_is_none_or_zero():
    other = constant([1.0, 2.0])
    with GradientTape(persistent=True) as tape:
        tape.watch(other)
        z = constant(_M) * 1.0
    assert tape.jacobian(z, other) is None
    zeros = tape.jacobian(z, other, unconnected_gradients="zero")
    assert zeros.shape == (2, 2, 2)
    assert not zeros.numpy().any()


def test_jacobian_of_an_empty_target():
    tape, z, (m,) = _taped(lambda m: m[:0], _M)
    assert tape.jacobian(z, m).shape == (0, 2, 2, 2)


def test_batch_jacobian_keeps_rows_apart():
    tape, z, (m,) = _taped(lambda m: m[:, :1] * m, _M)
    expected = [[[2 * a, 0], [b, a]] for a, b in _M]
    np.testing.assert_allclose(tape.batch_jacobian(z, m).numpy(), expected)


def test_batch_jacobian_equals_the_diagonal_of_the_jacobian():
    x = np.random.default_rng(0).normal(size=(3, 2, 2))
    with GradientTape(persistent=True) as tape:
        t = constant(x)
        tape.watch(t)
        z = math.sin(t) * reduce_sum(t, axes=(1, 2))[:, None, None]
    full = tape.jacobian(z, t).numpy()
    rows = np.stack([full[i, ..., i, :, :] for i in range(3)])
    np.testing.assert_allclose(tape.batch_jacobian(z, t).numpy(), rows)


@pytest.mark.parametrize("reduce", [(0, 1), (0,)])
def test_batch_jacobian_needs_one_batch_size(reduce):
    tape, z, (m,) = _taped(lambda m: reduce_sum(m[:, :, None] * np.ones(3), axes=(*reduce, 2)),
                           np.ones((2, 3)))  # fmt: skip
    with pytest.raises(InvalidArgumentError, match=r"one known batch size"):
        tape.batch_jacobian(z, m)


def test_hessian_by_jacobian_of_a_gradient():
    x = constant([1.0, 2.0], "float64")
    with GradientTape() as outer:
        outer.watch(x)
        with GradientTape() as inner:
            inner.watch(x)
            z = x[0] * x[0] * x[1]
        g = inner.gradient(z, x)
    np.testing.assert_allclose(outer.jacobian(g, x).numpy(), [[4.0, 2.0], [2.0, 0.0]])
