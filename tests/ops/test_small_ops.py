"""Diagonals and bands, segments and counts, special functions, bits, clipping by value."""

import numpy as np
import pytest

import distflow as tf

X = np.arange(6.0, dtype=np.float32).reshape(2, 3)
SQUARE = np.arange(1.0, 10.0, dtype=np.float32).reshape(3, 3)
CASES = {
    "diag": lambda: (tf.linalg.diag([1, 2]), np.diag([1, 2])),
    "diag above": lambda: (tf.linalg.diag([1, 2], k=1), np.diag([1, 2], 1)),
    "diag below": lambda: (tf.linalg.diag([1, 2], k=-1), np.diag([1, 2], -1)),
    "diag_part": lambda: (tf.linalg.diag_part(X), np.diag(X)),
    "diag_part k": lambda: (tf.linalg.diag_part(X, k=-1), np.diag(X, -1)),
    "set_diag": lambda: (tf.linalg.set_diag(X, [9.0, 8.0]), [[9, 1, 2], [3, 8, 5]]),
    "band_part": lambda: (tf.linalg.band_part(SQUARE, 0, -1), np.triu(SQUARE)),
    "band_part low": lambda: (tf.linalg.band_part(SQUARE, 1, 0), np.tril(SQUARE) * (
        np.tri(3) - np.tri(3, k=-2))),
    "trace": lambda: (tf.linalg.trace(SQUARE), np.trace(SQUARE)),
    "matvec": lambda: (tf.linalg.matvec(X, [1.0, 2.0, 3.0]), X @ [1, 2, 3]),
    "matrix_transpose": lambda: (tf.linalg.matrix_transpose([X]), [X.T]),
    "adjoint": lambda: (tf.linalg.adjoint([[1j, 2]]), [[-1j], [2]]),
    "cross": lambda: (tf.linalg.cross([1.0, 0, 0], [0.0, 1, 0]), [0, 0, 1]),
    "tensor_diag": lambda: (tf.linalg.tensor_diag([1, 2]), np.diag([1, 2])),
    "tensor_diag_part": lambda: (tf.linalg.tensor_diag_part(SQUARE), np.diag(SQUARE)),
    "normalize": lambda: (tf.linalg.normalize([3.0, 4.0])[0], np.float32([0.6, 0.8])),
    "global_norm": lambda: (tf.linalg.global_norm([[3.0], [4.0]]), 5),
    "segment_sum": lambda: (tf.math.segment_sum([1, 2, 3], [0, 0, 2]), [3, 0, 3]),
    "segment_mean": lambda: (tf.math.segment_mean([1.0, 2.0, 3.0], [0, 0, 1]), [1.5, 3]),
    "unsorted sum": lambda: (
        tf.math.unsorted_segment_sum([[1, 2], [3, 4], [5, 6]], [1, -1, 1], 2), [[0, 0], [6, 8]]),
    "unsorted mean": lambda: (
        tf.math.unsorted_segment_mean([1.0, 2.0, 3.0], [0, 2, 0], 3), [2, 0, 2]),
    "unsorted sqrt_n": lambda: (
        tf.math.unsorted_segment_sqrt_n([1.0, 1.0, 1.0, 1.0], [0, 0, 0, 0], 1), [2]),
    "unsorted max": lambda: (tf.math.unsorted_segment_max([1, 5, 3], [0, 1, 0], 2), [3, 5]),
    "unsorted min": lambda: (tf.math.unsorted_segment_min([1, 5, 3], [0, 1, 0], 2), [1, 5]),
    "bincount": lambda: (tf.math.bincount([1, 1, 3]), [0, 2, 0, 1]),
    "bincount weights": lambda: (
        tf.math.bincount([1, 1, 5], [1.0, 2.0, 3.0], minlength=3, maxlength=4), [0, 3, 0, 0]),
    "confusion_matrix": lambda: (
        tf.math.confusion_matrix([1, 2, 1], [1, 1, 0]), [[0, 0, 0], [1, 1, 0], [0, 1, 0]]),
    "xlogy": lambda: (tf.math.xlogy([0.0, 2.0], [0.0, 1.0]), [0, 0]),
    "xdivy": lambda: (tf.math.xdivy([0.0, 2.0], [0.0, 4.0]), [0, 0.5]),
    "truncatediv": lambda: (tf.truncatediv([-7, 7], 3), [-2, 2]),
    "truncatemod": lambda: (tf.truncatemod([-7, 7], 3), [-1, 1]),
    "polyval": lambda: (tf.math.polyval([1.0, 2.0, 3.0], 2.0), 11),
    "angle": lambda: (tf.math.angle([1j, -1 + 0j]), np.float64([np.pi / 2, np.pi])),
    "bitwise_and": lambda: (tf.bitwise.bitwise_and(6, 3), 2),
    "bitwise_or": lambda: (tf.bitwise.bitwise_or(6, 3), 7),
    "bitwise_xor": lambda: (tf.bitwise.bitwise_xor(6, 3), 5),
    "invert": lambda: (tf.bitwise.invert(6), -7),
    "left_shift": lambda: (tf.bitwise.left_shift(1, 4), 16),
    "right_shift": lambda: (tf.bitwise.right_shift(-16, 2), -4),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_value(name):
    actual, expected = CASES[name]()
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=1e-6)
    assert tuple(actual.shape) == np.shape(expected)


def test_falling_segment_ids_are_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError, match="not fall"):
        tf.math.segment_sum([1, 2], [1, 0])


def test_hyperbolic_functions_are_exact_far_from_zero():
    x = np.array([-10.0, -1e-4, 1e-4, 10.0], np.float32)
    np.testing.assert_allclose(tf.sinh(x), np.sinh(x), rtol=1e-6)
    np.testing.assert_allclose(tf.asinh(x), np.arcsinh(x), rtol=1e-6)
