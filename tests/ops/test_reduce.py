"""Reductions against NumPy."""

import numpy as np
import pytest

import distflow as tf

X = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
PAIRS = {
    "reduce_sum": np.sum,
    "reduce_mean": np.mean,
    "reduce_prod": np.prod,
    "reduce_max": np.max,
    "reduce_min": np.min,
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("axis", [None, 0, -1, [0, 2], (1,), []])
@pytest.mark.parametrize("keepdims", [False, True])
def test_reduction_equals_numpy(name, axis, keepdims):
    along = None if axis is None else tuple(axis) if isinstance(axis, list | tuple) else axis
    expected = PAIRS[name](X, axis=along, keepdims=keepdims)
    np.testing.assert_allclose(getattr(tf, name)(X, axis, keepdims), expected, rtol=1e-5)


def test_axis_may_be_a_tensor():
    np.testing.assert_allclose(tf.reduce_sum(X, tf.constant([0, 1])), X.sum((0, 1)), rtol=1e-5)


def test_axis_out_of_range_is_named():
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"axis must be in \[-3, 3\).*axis=3"):
        tf.reduce_sum(X, 3)


def test_repeated_axis_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError, match="distinct"):
        tf.reduce_sum(X, [0, -3])


def test_mean_of_ints_divides_as_c_does():
    assert tf.reduce_mean([-1, -2]).numpy() == -1


def test_mean_of_halves_does_not_overflow():
    assert tf.reduce_mean(tf.fill([8], np.float16(60000))).numpy() == np.float16(60000)


def test_mean_of_nothing_is_nan():
    assert np.isnan(tf.reduce_mean(tf.zeros([0])).numpy())


def test_any_and_all_of_nothing():
    assert not tf.reduce_any(tf.zeros([0], tf.bool)).numpy()
    assert tf.reduce_all(tf.zeros([0], tf.bool)).numpy()


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_any_and_all_equal_numpy(axis):
    flags = np.array([[True, False], [True, True]])
    np.testing.assert_array_equal(tf.reduce_any(flags, axis), flags.any(axis))
    np.testing.assert_array_equal(tf.reduce_all(flags, axis), flags.all(axis))


def test_any_wants_bool():
    with pytest.raises(TypeError, match="expected bool"):
        tf.reduce_any([1, 0])


def test_logsumexp_does_not_overflow():
    expected = 1000 + np.log(2)
    np.testing.assert_allclose(tf.reduce_logsumexp([1000.0, 1000.0]), expected, rtol=1e-6)


def test_logsumexp_of_minus_infinity_is_minus_infinity():
    assert tf.reduce_logsumexp([-np.inf, -np.inf]).numpy() == -np.inf


@pytest.mark.parametrize("axis", [None, 1, [0, 2]])
def test_variance_and_std_equal_numpy(axis):
    along = tuple(axis) if isinstance(axis, list) else axis
    np.testing.assert_allclose(tf.math.reduce_variance(X, axis), X.var(along), rtol=1e-5)
    np.testing.assert_allclose(tf.math.reduce_std(X, axis), X.std(along), rtol=1e-5)


def test_variance_of_complex_numbers_is_real():
    z = np.array([1 + 2j, 3 - 1j, 0j], np.complex64)
    variance = tf.math.reduce_variance(z)
    assert variance.dtype == tf.float32
    np.testing.assert_allclose(variance, np.var(z), rtol=1e-6)


def test_variance_second_derivative_is_exact():
    x = tf.constant([1.0, 2.0, 4.0], tf.float64)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = tf.math.reduce_variance(x)
        g = inner.gradient(y, x)
    expected = 2 / 3 * (np.eye(3) - 1 / 3)
    np.testing.assert_allclose(outer.jacobian(g, x), expected, rtol=1e-12)


def test_argmax_takes_the_first_of_equals():
    assert tf.argmax([3, 1, 3]).numpy() == 0
    assert tf.argmin([3, 1, 1]).numpy() == 1


def test_argmax_default_axis_is_0_and_dtype_int64():
    result = tf.argmax(X)
    assert result.dtype == tf.int64
    np.testing.assert_array_equal(result, X.argmax(0))


def test_argmax_output_type():
    assert tf.argmax(X, -1, output_type=tf.int32).dtype == tf.int32


def test_moments_equal_numpy():
    mean, variance = tf.nn.moments(X, [0, 1])
    np.testing.assert_allclose(mean, X.mean((0, 1)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(variance, X.var((0, 1)), rtol=1e-4)
    assert tf.nn.moments(X, [0, 1], keepdims=True)[0].shape == (1, 1, 4)


def test_count_nonzero_counts_strings_and_numbers():
    assert tf.math.count_nonzero([1, 0, 2]).numpy() == 2
    assert tf.math.count_nonzero(["", "a"]).numpy() == 1
    assert tf.math.count_nonzero([True, False]).dtype == tf.int64


@pytest.mark.parametrize("order", [1, 2, np.inf, 3])
def test_vector_norm_equals_numpy(order):
    expected = np.linalg.norm(X[0], order, axis=1)
    np.testing.assert_allclose(tf.norm(X[0], order, 1), expected, rtol=1e-5)


@pytest.mark.parametrize("order", ["fro", 1, np.inf])
def test_matrix_norm_equals_numpy(order):
    expected = np.linalg.norm(X, order, axis=(1, 2))
    np.testing.assert_allclose(tf.norm(X, order, [1, 2]), expected, rtol=1e-5)


def test_unknown_norm_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError, match="ord must be"):
        tf.norm(X, "taxi")


def test_maximum_shares_its_gradient_among_equals():
    x = tf.constant([2.0, 2.0, 1.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_max(x)
    np.testing.assert_array_equal(tape.gradient(y, x), [0.5, 0.5, 0])
