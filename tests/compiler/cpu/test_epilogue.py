import numpy as np
import pytest

from distflow.compiler.cpu import isa, matmul, task
from distflow.compiler.cpu.epilogue import STEPS, Epilogue

PLAIN = {"contract": ((1,), (0,)), "batch": ((), ())}
BIAS_RELU = Epilogue(1, (("add", 0, 1), ("relu", 2)))


def normal(seed, *shape, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def dot(a, b, extras=(), epilogue=None, attributes=PLAIN):
    shape = (*a.shape[:-1], b.shape[-1])
    result = np.full(shape, np.nan, a.dtype)
    arrays = [a, b, *(np.broadcast_to(x, shape) for x in extras)]
    layouts = [task.layout_of(x) for x in arrays]
    kernel = matmul.lower(attributes, layouts, task.layout_of(result), epilogue)
    if kernel is None:
        return None
    task.run(kernel, [*arrays, result])
    return result


def relu(x):
    return np.maximum(np.zeros((), x.dtype), x)


# The second is cut along k, the third has panels, the last is computed as its transpose.
CASES = {
    "plain": lambda m, k, n: (normal(0, m, k), normal(1, k, n)),
    "float64": lambda m, k, n: (normal(0, m, k, dtype=float), normal(1, k, n, dtype=float)),
    "transposed": lambda m, k, n: (normal(0, m, k), normal(1, n, k).T),
    "left": lambda m, k, n: (normal(0, k, m).T, normal(1, k, n)),
}
SIZES = [(1, 1, 1), (9, 17, 50), (33, 3000, 20), (150, 20, 70), (64, 7, 1), (1, 40, 33)]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_bias_and_relu_have_the_bits_of_separate_operations(case, size):
    a, b = CASES[case](*size)
    bias = normal(2, size[2], dtype=a.dtype)
    np.testing.assert_array_equal(dot(a, b, [bias], BIAS_RELU), relu(dot(a, b) + bias))


@pytest.mark.parametrize("level", isa.offered())
def test_operands_are_repeated_along_rows_columns_or_both(level, monkeypatch):
    monkeypatch.setenv("DISTFLOW_CPU", level)
    a, b = normal(0, 29, 31), normal(1, 31, 37)
    extras = [normal(2, 29, 37), normal(3, 29, 1), normal(4, 1, 37), normal(5, 1, 1)]
    steps = (("add", 0, 1), ("mul", 5, 2), ("sub", 6, 3), ("max", 7, 4), ("min", 8, 1))
    product = dot(a, b)
    expected = np.minimum(
        np.maximum((product + extras[0]) * extras[1] - extras[2], extras[3]), extras[0]
    )
    np.testing.assert_array_equal(dot(a, b, extras, Epilogue(4, steps)), expected)


def test_batches_have_operands_of_their_own():
    a, b = normal(0, 5, 12, 8), normal(1, 5, 8, 20)
    attributes = {"contract": ((2,), (1,)), "batch": ((0,), (0,))}
    extra = normal(2, 5, 1, 20)
    result = dot(a, b, [extra], Epilogue(1, (("add", 0, 1),)), attributes)
    np.testing.assert_array_equal(result, dot(a, b, attributes=attributes) + extra)


def test_gradient_of_relu_is_masked_by_its_result():
    g, w, y = normal(0, 64, 40), normal(1, 30, 40).T, relu(normal(2, 64, 30))
    masked = dot(g, w, [y], Epilogue(1, (("where_positive", 0, 1),)))
    np.testing.assert_array_equal(masked, np.where(y > 0, dot(g, w), 0))


def test_relu_keeps_nan_and_gives_positive_zero():
    a = np.array([[np.nan], [-0.0], [-1.0], [np.inf], [2.0]], np.float32)
    result = dot(a, np.ones((1, 1), np.float32), (), Epilogue(0, (("relu", 0),)))[:, 0]
    np.testing.assert_array_equal(result, [np.nan, 0, 0, np.inf, 2])
    assert not np.signbit(result[1:3]).any()


def test_max_and_min_treat_nan_and_ties_as_numpy():
    special = np.array([np.nan, -0.0, 0.0, 1.0, -np.inf], np.float32)
    x, y = (v.copy() for v in np.meshgrid(special, special))
    a, b = x.reshape(-1, 1), np.ones((1, 1), np.float32)
    for name, function in (("max", np.maximum), ("min", np.minimum)):
        result = dot(a, b, [y.reshape(-1, 1)], Epilogue(1, ((name, 0, 1),)))
        # A product plus +0 has no -0: the sum starts there.
        expected = function(x.reshape(-1, 1) + np.float32(0), y.reshape(-1, 1))
        np.testing.assert_array_equal(result, expected)


def test_steps_are_named_by_the_table():
    with pytest.raises(AssertionError, match="no step"):
        Epilogue(0, (("tan", 0),))
    assert {"add", "mul", "relu", "where_positive"} <= set(STEPS)


def test_no_kernel_where_an_operand_cannot_be_read_along_the_columns():
    a, b = normal(0, 8, 9), normal(1, 9, 10)
    assert dot(a, b, [normal(2, 10, 8).T], Epilogue(1, (("add", 0, 1),))) is None
