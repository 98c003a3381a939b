"""Activations, convolutions, pooling, normalisation and losses against NumPy and formulas."""

import math

import numpy as np
import pytest

import distflow as tf

RNG = np.random.default_rng(1)
INVALID = tf.errors.InvalidArgumentError


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def gradient(function, *arrays):
    tensors = [tf.constant(a) for a in arrays]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        y = tf.reduce_sum(function(*tensors))
    return tape.gradient(y, tensors)


X = np.array([-7.0, -1.0, -0.1, 0.0, 0.3, 2.0, 6.5], np.float32)
_PHI = np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in X])
ACTIVATIONS = {
    "relu": np.maximum(X, 0),
    "relu6": np.clip(X, 0, 6),
    "leaky_relu": np.where(X > 0, X, 0.2 * X),
    "elu": np.where(X > 0, X, np.expm1(X)),
    "selu": 1.0507009873554805 * np.where(X > 0, X, 1.6732632423543772 * np.expm1(X)),
    "gelu": X * _PHI,
    "silu": X / (1 + np.exp(-X)),
    "softplus": np.log1p(np.exp(X)),
    "softsign": X / (1 + np.abs(X)),
    "softmax": np.exp(X) / np.exp(X).sum(),
    "log_softmax": X - np.log(np.exp(X).sum()),
    "sigmoid": 1 / (1 + np.exp(-X)),
    "tanh": np.tanh(X),
    "crelu": np.concatenate([np.maximum(X, 0), np.maximum(-X, 0)]),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_equals_its_formula(name):
    np.testing.assert_allclose(getattr(tf.nn, name)(X), ACTIVATIONS[name], rtol=2e-5, atol=1e-6)


def test_gelu_approximation_is_close():
    np.testing.assert_allclose(tf.nn.gelu(X, True), X * _PHI, atol=1e-3)


# Derivatives at 0, where forms with max, abs or sign go wrong.
@pytest.mark.parametrize(
    ("function", "slope"),
    [
        (tf.nn.relu, 0), (tf.nn.elu, 1), (tf.nn.softplus, 0.5), (tf.math.log_sigmoid, 0.5),
        (tf.sinh, 1), (tf.asinh, 1), (tf.nn.gelu, 0.5), (tf.nn.silu, 0.5),
        (lambda x: tf.nn.sigmoid_cross_entropy_with_logits(x * 0, x), 0.5),
    ],
)  # fmt: skip
def test_derivative_at_zero(function, slope):
    np.testing.assert_allclose(gradient(function, np.zeros(1, np.float32))[0], [slope], atol=1e-6)


def test_relu_keeps_nan():
    assert np.isnan(tf.nn.relu([np.nan]).numpy()[0])


def test_softmax_of_large_logits_does_not_overflow():
    np.testing.assert_allclose(tf.nn.softmax([1e4, 1e4]), [0.5, 0.5])
    np.testing.assert_allclose(tf.nn.log_softmax([1e4, 1e4]), [-math.log(2)] * 2, rtol=1e-6)


def test_softmax_of_a_scalar_is_an_error():
    with pytest.raises(INVALID, match="at least one dimension"):
        tf.nn.softmax(1.0)


# -- convolution ---------------------------------------------------------------------------


def conv_by_loops(x, w, stride, pads, rate=1):
    x = np.pad(x, [(0, 0), pads[0], pads[1], (0, 0)])
    height, width = ((w.shape[i] - 1) * rate + 1 for i in (0, 1))
    out = [(x.shape[i + 1] - k) // stride + 1 for i, k in enumerate((height, width))]
    y = np.zeros((x.shape[0], *out, w.shape[-1]))
    for i in range(out[0]):
        for j in range(out[1]):
            patch = x[:, i * stride : i * stride + height : rate,
                      j * stride : j * stride + width : rate]  # fmt: skip
            y[:, i, j] = np.tensordot(patch, w, 3)
    return y


@pytest.mark.parametrize(
    ("padding", "stride", "rate", "pads"),
    [
        ("VALID", 1, 1, ((0, 0), (0, 0))),
        ("VALID", 2, 1, ((0, 0), (0, 0))),
        ("VALID", 1, 2, ((0, 0), (0, 0))),
        ("SAME", 1, 1, ((1, 1), (0, 1))),
        ("SAME", 2, 1, ((1, 1), (0, 0))),
        ([[0, 0], [2, 1], [0, 3], [0, 0]], 2, 1, ((2, 1), (0, 3))),
    ],
)
def test_conv2d_equals_loops(padding, stride, rate, pads):
    x, w = normal(2, 7, 6, 3), normal(3, 2, 3, 4)
    y = tf.nn.conv2d(x, w, stride, padding, dilations=rate)
    np.testing.assert_allclose(y, conv_by_loops(x, w, stride, pads, rate), rtol=1e-4, atol=1e-5)


def test_conv2d_channels_first_is_the_transposed():
    x, w = normal(2, 7, 6, 3), normal(3, 2, 3, 4)
    first = tf.nn.conv2d(x.transpose(0, 3, 1, 2), w, [1, 1, 2, 2], "SAME", "NCHW")
    last = tf.nn.conv2d(x, w, [1, 2, 2, 1], "SAME")
    np.testing.assert_array_equal(np.asarray(first).transpose(0, 2, 3, 1), last)


def test_conv2d_with_groups_is_one_convolution_a_group():
    x, w = normal(1, 4, 4, 4), normal(3, 3, 2, 6)
    y = tf.nn.conv2d(x, w, 1, "SAME")
    parts = [
        tf.nn.conv2d(x[..., 2 * g : 2 * g + 2], w[..., 3 * g : 3 * g + 3], 1, "SAME")
        for g in (0, 1)
    ]
    np.testing.assert_allclose(y, np.concatenate(parts, -1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("groups", "narrow", "wide"), [(2, 2, 3), (5, 1, 1), (3, 1, 4)])
def test_gradient_with_groups_is_that_of_one_convolution_a_group(groups, narrow, wide):
    x, w = normal(3, 7, 8, groups * narrow), normal(3, 2, narrow, groups * wide)

    def one(x, w):
        return tf.nn.conv2d(x, w, [2, 1], "SAME") ** 2

    parts = [
        gradient(one, p, q)
        for p, q in zip(np.split(x, groups, axis=-1), np.split(w, groups, axis=-1))
    ]
    for whole, pieces in zip(gradient(one, x, w), zip(*parts)):
        np.testing.assert_allclose(whole, np.concatenate(pieces, -1), rtol=1e-4, atol=1e-4)


def test_gradient_with_groups_is_two_convolutions():
    @tf.function
    def step(x, w):
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            y = tf.nn.conv2d(x, w, 1, "SAME")
        return tape.gradient(y, [x, w])

    x, w = tf.constant(normal(2, 6, 6, 8)), tf.constant(normal(3, 3, 1, 8))
    graph = step.get_concrete_function(x, w).graph
    names = [node.primitive.name for node in graph.nodes]
    assert names.count("conv") <= 3


def test_conv1d_and_conv3d_are_conv2d_with_a_dimension_of_one():
    x, w = normal(2, 7, 3), normal(3, 3, 4)
    flat = tf.nn.conv2d(x[:, None], w[None], [1, 2], "SAME")[:, 0]
    np.testing.assert_allclose(tf.nn.conv1d(x, w, 2, "SAME"), flat, rtol=1e-5)
    x, w = normal(2, 5, 4, 3), normal(3, 2, 3, 4)
    deep = tf.nn.conv3d(x[:, None], w[None], [1, 1, 1, 1, 1], "VALID")[:, 0]
    np.testing.assert_allclose(tf.nn.conv2d(x, w, 1, "VALID"), deep, rtol=1e-5)


def test_depthwise_convolves_each_channel_alone():
    x, w = normal(2, 5, 5, 3), normal(3, 3, 3, 2)
    y = np.asarray(tf.nn.depthwise_conv2d(x, w, [1, 1, 1, 1], "SAME"))
    for k in range(3):
        alone = tf.nn.conv2d(x[..., k : k + 1], w[:, :, k : k + 1], 1, "SAME")
        np.testing.assert_allclose(y[..., 2 * k : 2 * k + 2], alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("padding", "size"), [("SAME", 7), ("SAME", 8), ("VALID", 9)])
def test_conv2d_transpose_is_the_gradient_of_conv2d(padding, size):
    x, w = normal(2, size, size, 3), normal(3, 3, 3, 5)
    y = tf.nn.conv2d(x, w, 2, padding)
    g = normal(*y.shape)
    (expected,) = gradient(lambda t: tf.nn.conv2d(t, w, 2, padding) * g, x)
    np.testing.assert_allclose(
        tf.nn.conv2d_transpose(g, w, x.shape, 2, padding), expected, rtol=1e-4, atol=1e-5
    )


CONV_ERRORS = {
    "channels": (lambda: tf.nn.conv2d(normal(1, 4, 4, 3), normal(2, 2, 4, 4), 1, "SAME"),
                 r"\[1, 4, 4, 3\], filter \[2, 2, 4, 4\]"),
    "rank": (lambda: tf.nn.conv2d(normal(4, 4), normal(2, 2, 4, 4), 1, "SAME"), "rank 4"),
    "strides": (lambda: tf.nn.conv2d(normal(1, 4, 4, 3), normal(2, 2, 3, 4), [2, 2, 2, 1],
                                     "SAME"), "batch and channel dimensions must be 1"),
    "padding": (lambda: tf.nn.conv2d(normal(1, 4, 4, 3), normal(2, 2, 3, 4), 1, "FULL"), "FULL"),
    "format": (lambda: tf.nn.conv2d(normal(1, 4, 4, 3), normal(2, 2, 3, 4), 1, "SAME", "NWC"),
               "NHWC"),
    "too large": (lambda: tf.nn.conv2d(normal(1, 2, 2, 3), normal(3, 3, 3, 4), 1, "VALID"),
                  "must fit"),
    "bias": (lambda: tf.nn.bias_add(normal(2, 3), normal(4)), r"value \[2, 3\], bias \[4\]"),
    "transpose": (lambda: tf.nn.conv2d_transpose(normal(1, 4, 4, 5), normal(3, 3, 3, 5),
                                                 [1, 20, 20, 3], 2), "needs an input of"),
    "depthwise": (lambda: tf.nn.depthwise_conv2d(normal(1, 4, 4, 3), normal(3, 3, 2, 1),
                                                 [1, 1, 1, 1], "SAME"), "channels must be 2"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONV_ERRORS)
def test_bad_convolution_is_one_clear_error(name):
    call, text = CONV_ERRORS[name]
    with pytest.raises(INVALID, match=text):
        call()


def test_bias_add_channels_first():
    y = tf.nn.bias_add(tf.zeros([1, 2, 3, 3]), [1.0, 2.0], "NCHW")
    np.testing.assert_array_equal(y[0, :, 0, 0], [1, 2])


# -- pooling -------------------------------------------------------------------------------


def test_max_pool_equals_numpy():
    x = normal(2, 4, 6, 3)
    expected = x.reshape(2, 2, 2, 3, 2, 3).max((2, 4))
    np.testing.assert_array_equal(tf.nn.max_pool2d(x, 2, 2, "VALID"), expected)


def test_average_of_same_padding_counts_real_elements_only():
    x = np.ones((1, 3, 3, 1), np.float32)
    np.testing.assert_allclose(tf.nn.avg_pool2d(x, 2, 2, "SAME"), np.ones((1, 2, 2, 1)))


def test_max_pool_of_negative_numbers_ignores_padding():
    x = np.full((1, 3, 3, 1), -5.0, np.float32)
    np.testing.assert_array_equal(tf.nn.max_pool2d(x, 3, 1, "SAME"), x)


def test_first_of_equal_maxima_gets_the_gradient():
    (g,) = gradient(lambda t: tf.nn.max_pool2d(t, 2, 2, "VALID"), np.ones((1, 2, 2, 1), np.float32))
    np.testing.assert_array_equal(np.asarray(g)[0, ..., 0], [[1, 0], [0, 0]])


def test_pool_ranks_agree():
    x = normal(2, 6, 3)
    flat = tf.nn.avg_pool2d(x[:, None], [1, 2], [1, 2], "SAME")[:, 0]
    np.testing.assert_allclose(tf.nn.avg_pool1d(x, 2, 2, "SAME"), flat, rtol=1e-6)
    np.testing.assert_allclose(tf.nn.pool(x, [2], "AVG", [2], "SAME"), flat, rtol=1e-6)


def test_pool_of_wrong_rank_is_an_error():
    with pytest.raises(INVALID, match="rank 4"):
        tf.nn.max_pool2d(normal(2, 3), 2, 2, "SAME")


# -- normalisation -------------------------------------------------------------------------


def test_batch_normalization_equals_its_formula():
    x, mean, variance, offset, scale = normal(4, 3), normal(3), normal(3) ** 2, normal(3), normal(3)
    expected = scale * (x - mean) / np.sqrt(variance + 1e-3) + offset
    y = tf.nn.batch_normalization(x, mean, variance, offset, scale, 1e-3)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_l2_normalize_of_zeros_is_zeros():
    np.testing.assert_array_equal(tf.nn.l2_normalize(tf.zeros([3])), np.zeros(3))
    np.testing.assert_allclose(tf.nn.l2_normalize([3.0, 4.0]), [0.6, 0.8], rtol=1e-6)


def test_local_response_normalization_equals_loops():
    x = normal(1, 2, 2, 5)
    total = np.stack([(x[..., max(0, c - 1) : c + 2] ** 2).sum(-1) for c in range(5)], -1)
    y = tf.nn.local_response_normalization(x, 1, 2.0, 0.5, 0.75)
    np.testing.assert_allclose(y, x / (2 + 0.5 * total) ** 0.75, rtol=1e-5)


# -- losses --------------------------------------------------------------------------------


def test_cross_entropies_agree():
    logits, ids = normal(4, 5) * 10, np.array([0, 4, 2, 2])
    shifted = logits - logits.max(-1, keepdims=True)
    expected = np.log(np.exp(shifted).sum(-1)) - shifted[np.arange(4), ids]
    dense = np.eye(5, dtype=np.float32)[ids]
    sparse_loss = tf.nn.sparse_softmax_cross_entropy_with_logits(ids, logits)
    np.testing.assert_allclose(sparse_loss, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        tf.nn.softmax_cross_entropy_with_logits(dense, logits), expected, rtol=1e-4, atol=1e-5
    )


def test_cross_entropy_gradient_is_softmax_minus_label():
    logits, ids = normal(4, 5), np.array([0, 4, 2, 2])
    (g,) = gradient(lambda t: tf.nn.sparse_softmax_cross_entropy_with_logits(ids, t), logits)
    expected = np.asarray(tf.nn.softmax(logits)) - np.eye(5)[ids]
    np.testing.assert_allclose(g, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("label", [-1, 5])
def test_label_out_of_range_names_value_and_range(traced, label):
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits
    call = tf.function(loss) if traced else loss
    with pytest.raises(INVALID, match=rf"labels must be in \[0, 5\); received {label}"):
        call(tf.constant([1, label]), tf.constant(normal(2, 5)))


def test_labels_of_another_shape_are_an_error():
    with pytest.raises(INVALID, match=r"labels \[2, 1\], logits \[2, 5\]"):
        tf.nn.sparse_softmax_cross_entropy_with_logits([[1], [2]], normal(2, 5))


def test_float_labels_are_a_type_error():
    with pytest.raises(TypeError, match="int dtype"):
        tf.nn.sparse_softmax_cross_entropy_with_logits([1.0], normal(1, 5))


def test_sigmoid_cross_entropy_of_large_logits_is_finite():
    loss = tf.nn.sigmoid_cross_entropy_with_logits([1.0, 0.0], [-1000.0, 1000.0])
    np.testing.assert_allclose(loss, [1000, 1000])


def test_weighted_cross_entropy_equals_its_formula():
    z, x = np.array([0.0, 1.0, 0.3], np.float32), np.array([0.5, -2.0, 1.0], np.float32)
    s = 1 / (1 + np.exp(-x))
    expected = -3 * z * np.log(s) - (1 - z) * np.log(1 - s)
    np.testing.assert_allclose(
        tf.nn.weighted_cross_entropy_with_logits(z, x, 3.0), expected, rtol=1e-5
    )


def test_log_poisson_loss_in_full_adds_stirling():
    z, c = np.array([0.5, 3.0], np.float32), np.array([0.1, 1.0], np.float32)
    stirling = np.where(z > 1, z * np.log(z) - z + 0.5 * np.log(2 * np.pi * z), 0)
    expected = np.exp(c) - z * c + stirling
    np.testing.assert_allclose(tf.nn.log_poisson_loss(z, c, True), expected, rtol=1e-5)


def test_l2_loss():
    assert tf.nn.l2_loss([3.0, 4.0]).numpy() == 12.5


# -- clipping and embedding ----------------------------------------------------------------


def test_clip_by_norm_scales_only_what_is_too_long():
    rows = tf.clip_by_norm([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]], 1.0, 1)
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0.3, 0.4], [0, 0]], rtol=1e-6)


def test_clip_by_global_norm_scales_all_alike():
    (a, none, b), length = tf.clip_by_global_norm([[3.0], None, [4.0]], 1.0)
    assert none is None
    np.testing.assert_allclose([a[0], b[0], length], [0.6, 0.8, 5.0], rtol=1e-6)


def test_infinite_global_norm_gives_nan():
    clipped, _ = tf.clip_by_global_norm([[np.inf]], 1.0)
    assert np.isnan(clipped[0].numpy()).all()


def test_embedding_lookup_takes_rows_and_sums_gradients():
    table = normal(4, 2)
    np.testing.assert_array_equal(tf.nn.embedding_lookup(table, [[1], [3]]), table[[[1], [3]]])
    (g,) = gradient(lambda t: tf.nn.embedding_lookup(t, [1, 1, 3]), table)
    np.testing.assert_array_equal(g, [[0, 0], [2, 2], [0, 0], [1, 1]])


def test_embedding_id_out_of_range_is_named():
    with pytest.raises(INVALID, match=r"ids must be in \[0, 4\); received 7"):
        tf.nn.embedding_lookup(normal(4, 2), [7])


def test_embedding_max_norm():
    rows = tf.nn.embedding_lookup(tf.constant([[3.0, 4.0], [0.3, 0.4]]), [0, 1], max_norm=1.0)
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0.3, 0.4]], rtol=1e-6)
