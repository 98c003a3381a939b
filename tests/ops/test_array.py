"""Creation, layout, indexing and order against NumPy."""

import numpy as np
import pytest

import distflow as tf

X = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
INVALID = tf.errors.InvalidArgumentError


def check(actual, expected, dtype=None):
    expected = np.asarray(expected)
    np.testing.assert_array_equal(np.asarray(actual), expected)
    assert tuple(actual.shape) == expected.shape
    if dtype is not None:
        assert actual.dtype == dtype


# name -> (result, expectation): forward values that NumPy knows.
CASES = {
    "zeros": lambda: (tf.zeros([2, 3]), np.zeros((2, 3))),
    "zeros scalar": lambda: (tf.zeros([]), np.zeros(())),
    "zeros string": lambda: (tf.zeros([1], tf.string), [b""]),
    "ones tensor shape": lambda: (tf.ones(tf.constant([2, 1])), np.ones((2, 1))),
    "ones mixed shape": lambda: (tf.ones([tf.constant(2), 1]), np.ones((2, 1))),
    "fill": lambda: (tf.fill([2, 2], 7), np.full((2, 2), 7)),
    "eye": lambda: (tf.eye(2, 3), np.eye(2, 3)),
    "eye batch": lambda: (tf.eye(2, batch_shape=[3]), np.stack([np.eye(2)] * 3)),
    "zeros_like": lambda: (tf.zeros_like(X, tf.int32), np.zeros_like(X, np.int32)),
    "ones_like": lambda: (tf.ones_like(X), np.ones_like(X)),
    "one_hot": lambda: (tf.one_hot([0, 5, -1], 3), [[1, 0, 0], [0, 0, 0], [0, 0, 0]]),
    "one_hot axis": lambda: (tf.one_hot([[0, 1]], 2, axis=0), [[[1, 0]], [[0, 1]]]),
    "one_hot values": lambda: (tf.one_hot([1], 2, 5, 3), [[3, 5]]),
    "linspace": lambda: (tf.linspace(0.0, 1.0, 5), np.linspace(0, 1, 5, dtype=np.float32)),
    "linspace ints": lambda: (tf.linspace(0, 10, 5), np.linspace(0, 10, 5)),
    "linspace one": lambda: (tf.linspace(1.0, 2.0, 1), [1.0]),
    "sequence_mask": lambda: (tf.sequence_mask([1, 3], 3), [[1, 0, 0], [1, 1, 1]]),
    "sequence_mask max": lambda: (tf.sequence_mask([1, 2]), [[1, 0], [1, 1]]),
    "range": lambda: (tf.range(2, 10, 3), [2, 5, 8]),
    "shape": lambda: (tf.shape(X), [2, 3, 4]),
    "size": lambda: (tf.size(X), 24),
    "rank": lambda: (tf.rank(X), 3),
    "reshape": lambda: (tf.reshape(X, [4, -1]), X.reshape(4, -1)),
    "reshape tensor": lambda: (tf.reshape(X, tf.constant([6, 4])), X.reshape(6, 4)),
    "reshape flat": lambda: (tf.reshape(X, -1), X.reshape(-1)),
    "expand_dims": lambda: (tf.expand_dims(X, -1), X[..., None]),
    "squeeze": lambda: (tf.squeeze(X[:1, :, :1]), X[0, :, 0]),
    "squeeze axis": lambda: (tf.squeeze(X[:1, :, :1], [0]), X[0, :, :1]),
    "transpose": lambda: (tf.transpose(X), X.T),
    "transpose perm": lambda: (tf.transpose(X, [1, 0, 2]), X.transpose(1, 0, 2)),
    "transpose conj": lambda: (tf.transpose([[1 + 2j]], conjugate=True), [[1 - 2j]]),
    "broadcast_to": lambda: (tf.broadcast_to([1, 2], [3, 2]), [[1, 2]] * 3),
    "concat": lambda: (tf.concat([X, X], -1), np.concatenate([X, X], -1)),
    "stack": lambda: (tf.stack([X, X], 1), np.stack([X, X], 1)),
    "stack scalars": lambda: (tf.stack([1, 2]), [1, 2]),
    "unstack": lambda: (tf.unstack(X, axis=2)[1], X[..., 1]),
    "split equal": lambda: (tf.split(X, 2, -1)[1], X[..., 2:]),
    "split sizes": lambda: (tf.split(X, [1, -1, 1], 2)[1], X[..., 1:3]),
    "tile": lambda: (tf.tile(X, [1, 2, 3]), np.tile(X, [1, 2, 3])),
    "tile none": lambda: (tf.tile(X, [0, 1, 1]), np.tile(X, [0, 1, 1])),
    "repeat": lambda: (tf.repeat(X, 2, 1), np.repeat(X, 2, 1)),
    "repeat flat": lambda: (tf.repeat([[1, 2]], 2), [1, 1, 2, 2]),
    "repeat each": lambda: (tf.repeat(X, [0, 2, 1], 1), np.repeat(X, [0, 2, 1], 1)),
    "reverse": lambda: (tf.reverse(X, [0, -1]), X[::-1, :, ::-1]),
    "roll": lambda: (tf.roll(X, [1, -2], [0, 2]), np.roll(X, [1, -2], [0, 2])),
    "roll far": lambda: (tf.roll([1, 2, 3], 7, 0), np.roll([1, 2, 3], 7)),
    "pad": lambda: (
        tf.pad(X, [[1, 0], [0, 2], [1, 1]], constant_values=9),
        np.pad(X, [[1, 0], [0, 2], [1, 1]], constant_values=9),
    ),
    "pad reflect": lambda: (
        tf.pad(X, [[1, 1], [2, 0], [0, 3]], "REFLECT"),
        np.pad(X, [[1, 1], [2, 0], [0, 3]], "reflect"),
    ),
    "pad symmetric": lambda: (
        tf.pad(X, [[2, 1], [3, 0], [0, 4]], "symmetric"),
        np.pad(X, [[2, 1], [3, 0], [0, 4]], "symmetric"),
    ),
    "where": lambda: (tf.where([True, False], 1, [2, 3]), [1, 3]),
    "where positions": lambda: (tf.where([[1, 0], [0, 2]]), [[0, 0], [1, 1]]),
    "gather": lambda: (tf.gather(X, [[2, 0]], axis=1), np.take(X, [[2, 0]], 1)),
    "gather batch": lambda: (
        tf.gather(X, [[2, 0], [1, 1]], batch_dims=1), np.stack([X[0, [2, 0]], X[1, [1, 1]]])),
    "gather batch axis": lambda: (
        tf.gather(X, [[3, 0], [1, 2]], axis=2, batch_dims=1),
        np.stack([X[0][:, [3, 0]], X[1][:, [1, 2]]])),
    "gather_nd": lambda: (tf.gather_nd(X, [[0, 1], [1, 2]]), X[[0, 1], [1, 2]]),
    "gather_nd all": lambda: (tf.gather_nd(X, [[0, 1, 3]]), [X[0, 1, 3]]),
    "gather_nd batch": lambda: (
        tf.gather_nd(X, [[1], [2]], batch_dims=1), np.stack([X[0, 1], X[1, 2]])),
    "scatter_nd": lambda: (tf.scatter_nd([[1], [3], [1]], [1, 2, 5], [4]), [0, 6, 0, 2]),
    "scatter update": lambda: (
        tf.tensor_scatter_nd_update([1, 2, 3], [[0], [2]], [7, 8]), [7, 2, 8]),
    "scatter sub": lambda: (tf.tensor_scatter_nd_sub([1, 2], [[1]], [5]), [1, -3]),
    "scatter max": lambda: (tf.tensor_scatter_nd_max([1, 2], [[0], [1]], [5, 0]), [5, 2]),
    "slice": lambda: (tf.slice(X, [0, 1, 1], [-1, 2, 2]), X[:, 1:3, 1:3]),
    "slice tensor": lambda: (tf.slice(X, tf.constant([1, 0, 0]), [1, 2, 1]), X[1:, :2, :1]),
    "strided_slice": lambda: (
        tf.strided_slice(X, [0, 2, 0], [2, 0, 4], [1, -1, 2]), X[:, 2:0:-1, ::2]),
    "strided_slice masks": lambda: (
        tf.strided_slice(X, [0, 1], [0, 3], begin_mask=1, end_mask=1, shrink_axis_mask=2),
        X[:, 1]),
    "boolean_mask": lambda: (tf.boolean_mask(X, [True, False]), X[:1]),
    "boolean_mask 2d": lambda: (tf.boolean_mask(X[0], X[0] > 5), X[0][X[0] > 5]),
    "boolean_mask axis": lambda: (
        tf.boolean_mask(X, [True, False, True], axis=1), X[:, [0, 2]]),
    "dynamic_stitch": lambda: (tf.dynamic_stitch([[0, 2], [1]], [[1, 3], [2]]), [1, 2, 3]),
    "reverse_sequence": lambda: (
        tf.reverse_sequence([[1, 2, 3], [4, 5, 6]], [2, 3], 1), [[2, 1, 3], [6, 5, 4]]),
    "sort": lambda: (tf.sort([3, 1, 2]), [1, 2, 3]),
    "sort axis": lambda: (tf.sort(-X, 1), np.sort(-X, 1)),
    "sort down": lambda: (tf.sort([1, 3, 2], direction="DESCENDING"), [3, 2, 1]),
    "argsort": lambda: (tf.argsort([3, 1, 2, 1]), [1, 3, 2, 0]),
    "searchsorted": lambda: (tf.searchsorted([1, 3, 5], [0, 3, 9]), [0, 1, 3]),
    "searchsorted right": lambda: (
        tf.searchsorted([1, 3, 5], [0, 3, 9], "right"), [0, 2, 3]),
    "top_k": lambda: (tf.math.top_k([1, 4, 2], 2).values, [4, 2]),
    "in_top_k": lambda: (
        tf.math.in_top_k([0, 1], [[0.1, 0.9], [0.1, 0.9]], 1), [False, True]),
    "invert_permutation": lambda: (tf.math.invert_permutation([2, 0, 1]), [1, 2, 0]),
    "identity": lambda: (tf.identity(X), X),
    "ensure_shape": lambda: (tf.ensure_shape(X, [2, None, 4]), X),
    "broadcast_dynamic_shape": lambda: (
        tf.broadcast_dynamic_shape([2, 1], [3]), [2, 3]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_value(name):
    check(*CASES[name]())


def test_one_hot_is_float_by_default():
    assert tf.one_hot([1], 2).dtype == tf.float32
    assert tf.one_hot([1], 2, on_value=True, off_value=False).dtype == tf.bool


def test_meshgrid_equals_numpy():
    for indexing in ("xy", "ij"):
        expected = np.meshgrid([1, 2], [3, 4, 5], indexing=indexing)
        for mine, theirs in zip(tf.meshgrid([1, 2], [3, 4, 5], indexing=indexing), expected):
            check(mine, theirs)


def test_unique_keeps_the_order_of_first_occurrence():
    y, index, count = tf.unique_with_counts([3, 1, 3, 2])
    check(y, [3, 1, 2])
    check(index, [0, 1, 0, 2], tf.int32)
    check(count, [2, 1, 1])


def test_unique_of_strings():
    check(tf.unique(["b", "a", "b"]).y, [b"b", b"a"])


def test_dynamic_partition_selects_rows():
    first, second = tf.dynamic_partition(X, [1, 0], 2)
    check(first, X[1:])
    check(second, X[:1])


def test_broadcast_static_shape():
    assert tf.broadcast_static_shape((2, 1), (3,)) == (2, 3)


def test_a_list_of_tensors_becomes_a_tensor_with_gradient():
    x = tf.constant(2.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(tf.convert_to_tensor([x * x, x, 3.0]))
    assert tape.gradient(y, x).numpy() == 5


def test_identity_is_a_tensor_of_its_own():
    x = tf.constant([1.0])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = tf.identity(x)
        z = y * y
    check(tape.gradient(z, x), [2.0])
    check(tape.gradient(z, y), [2.0])


ERRORS = {
    "reshape": (lambda: tf.reshape(X, [5, -1]), "same number of elements"),
    "reshape twice unknown": (lambda: tf.reshape(X, [-1, -1]), "at most one"),
    "reshape floats": (lambda: tf.reshape(X, [2.0, 12.0]), "must be an int"),
    "zeros negative": (lambda: tf.zeros([-1]), ">= 0"),
    "fill vector": (lambda: tf.fill([2], [1, 2]), "scalar"),
    "expand_dims": (lambda: tf.expand_dims(X, 5), r"\[-4, 4\)"),
    "squeeze": (lambda: tf.squeeze(X, 0), "must be 1"),
    "transpose": (lambda: tf.transpose(X, [0, 1]), "permutation"),
    "concat ranks": (lambda: tf.concat([[1], [[2]]], 0), r"\[1\] and \[1, 1\]"),
    "concat shapes": (lambda: tf.concat([X, X[:, :2]], 0), "except on axis 0"),
    "concat nothing": (lambda: tf.concat([], 0), "at least one"),
    "stack shapes": (lambda: tf.stack([[1], [1, 2]]), r"\[1\] and \[2\]"),
    "split": (lambda: tf.split(X, 2, 1), "divide the size 3"),
    "split sizes": (lambda: tf.split(X, [1, 1], 1), "add up to 3"),
    "tile": (lambda: tf.tile(X, [1]), "one multiple for each of 3"),
    "pad": (lambda: tf.pad(X, [[1, 1]]), r"\[3, 2\]"),
    "pad reflect": (lambda: tf.pad([1, 2], [[2, 2]], "REFLECT"), "at most 1"),
    "pad mode": (lambda: tf.pad([1], [[1, 1]], "EDGE"), "EDGE"),
    "gather": (lambda: tf.gather([1, 2, 3], [-1]), r"\[0, 3\).*-1"),
    "gather batch": (lambda: tf.gather(X, [[9], [0]], batch_dims=1), r"\[0, 3\).*9"),
    "gather_nd": (lambda: tf.gather_nd(X, [[0, 5]]), r"dimension 1 must be in \[0, 3\)"),
    "scatter_nd": (lambda: tf.scatter_nd([[5]], [1], [3]), r"\[0, 3\).*5"),
    "slice": (lambda: tf.slice([1, 2, 3], [1], [3]), r"within \[0, 3\]"),
    "where": (lambda: tf.where([True], 1), "both be given"),
    "unique": (lambda: tf.unique([[1]]), "vector"),
    "sort": (lambda: tf.sort([1], direction="UP"), "UP"),
    "ensure_shape": (lambda: tf.ensure_shape(X, [2, 3]), r"\[2, 3\].*\[2, 3, 4\]"),
    "linspace": (lambda: tf.linspace(0.0, 1.0, 0), "at least 1"),
    "top_k": (lambda: tf.math.top_k([1], 2), "k must be"),
    "partition": (lambda: tf.dynamic_partition([1], [2], 2), r"\[0, 2\)"),
    "meshgrid": (lambda: tf.meshgrid([1], indexing="ji"), "ji"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_bad_input_is_one_clear_error(name):
    call, text = ERRORS[name]
    with pytest.raises(INVALID, match=text):
        call()


def test_where_wants_a_bool_condition():
    with pytest.raises(TypeError, match="bool condition"):
        tf.where([1, 0], 1, 2)
