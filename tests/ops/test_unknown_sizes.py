"""Composites in traces that know no dimension give what they give eagerly, gradients too."""

import numpy as np
import pytest

import distflow as tf

RNG = np.random.default_rng(2)


def f(*shape):
    return RNG.normal(size=shape).astype(np.float32)


nn = tf.nn
# name -> (function, arrays); functions with float results are differentiated as well.
CASES = {
    "softmax": (nn.softmax, f(4, 5)),
    "log_softmax": (nn.log_softmax, f(4, 5)),
    "gelu": (nn.gelu, f(4, 5)),
    "crelu": (nn.crelu, f(4, 5)),
    "conv": (lambda x: nn.conv2d(x, tf.ones([3, 3, 2, 4]), 1, "SAME"), f(2, 6, 6, 2)),
    "max_pool": (lambda x: nn.max_pool2d(x, 2, 2, "SAME"), f(2, 5, 6, 2)),
    "sparse cross entropy": (
        lambda x: nn.sparse_softmax_cross_entropy_with_logits([1, 2], x), f(2, 5)),
    "cross entropy": (nn.softmax_cross_entropy_with_logits, f(2, 5), f(2, 5)),
    "sigmoid cross entropy": (nn.sigmoid_cross_entropy_with_logits, f(2, 5), f(2, 5)),
    "mean": (tf.reduce_mean, f(3, 4)),
    "mean axis": (lambda x: tf.reduce_mean(x, [0, -1], True), f(3, 4, 2)),
    "std": (lambda x: tf.math.reduce_std(x, [0, 2]), f(3, 4, 2)),
    "logsumexp": (lambda x: tf.reduce_logsumexp(x, 1), f(3, 4)),
    "prod": (lambda x: tf.reduce_prod(x, 1), f(3, 4)),
    "moments": (lambda x: nn.moments(x, [0, 1]), f(3, 4, 2)),
    "norm": (lambda x: tf.norm(x, axis=1), f(3, 4)),
    "l2_normalize": (lambda x: nn.l2_normalize(x, -1), f(3, 4)),
    "argmax": (lambda x: tf.argmax(x, 1), f(3, 4)),
    "reshape": (lambda x: tf.reshape(x, [tf.shape(x)[0], -1]), f(3, 4, 2)),
    "reshape joined": (
        lambda x: tf.reshape(x, tf.concat([tf.shape(x)[:1], [8]], 0)), f(3, 4, 2)),
    "expand_dims": (lambda x: tf.expand_dims(x, 1), f(3, 4)),
    "squeeze": (lambda x: tf.squeeze(x, 1), f(3, 1, 2)),
    "transpose": (tf.transpose, f(3, 4, 2)),
    "concat": (lambda x, y: tf.concat([x, y], 0), f(3, 4), f(2, 4)),
    "stack": (lambda x, y: tf.stack([x, y], 1), f(3, 4), f(3, 4)),
    "split": (lambda x: tf.split(x, 2, 1), f(3, 4)),
    "split sizes": (lambda x: tf.split(x, [1, 3], 1), f(3, 4)),
    "unstack": (lambda x: tf.unstack(x, 4, axis=1), f(3, 4)),
    "tile": (lambda x: tf.tile(x, [2, 3]), f(3, 4)),
    "repeat": (lambda x: tf.repeat(x, 2, 0), f(3, 4)),
    "repeat each": (lambda x: tf.repeat(x, [1, 2, 0], 0), f(3, 4)),
    "zeros": (lambda x: tf.zeros([tf.shape(x)[0], 2]), f(3, 4)),
    "like": (lambda x: tf.ones_like(x) * x + tf.zeros_like(x), f(3, 4)),
    "fill": (lambda x: tf.fill(tf.shape(x), 2.0) * x, f(3, 4)),
    "eye": (lambda x: tf.eye(tf.shape(x)[0]), f(3, 4)),
    "eye batch": (lambda x: tf.eye(2, batch_shape=tf.shape(x)[:1]), f(3, 4)),
    "one_hot": (lambda x: tf.one_hot(x, tf.size(x)), np.array([1, 0])),
    "gather": (lambda x: tf.gather(x, [[1, 0]], axis=1), f(3, 4)),
    "gather batch": (
        lambda x, i: tf.gather(x, i, batch_dims=1, axis=2), f(3, 2, 4),
        np.array([[1, 2], [0, 1], [3, 3]])),
    "gather_nd": (lambda x: tf.gather_nd(x, [[0, 1], [2, 2]]), f(3, 4)),
    "gather_nd batch": (lambda x: tf.gather_nd(x, [[0], [2], [1]], batch_dims=1), f(3, 4)),
    "where": (lambda x: tf.where(x > 0, x, 0.0), f(3, 4)),
    "where positions": (lambda x: tf.where(x > 0), f(3, 4)),
    "boolean_mask": (lambda x: tf.boolean_mask(x, x[:, 0] > 0), f(3, 4)),
    "pad": (lambda x: tf.pad(x, [[1, 1], [0, 2]]), f(3, 4)),
    "pad reflect": (lambda x: tf.pad(x, [[1, 1], [0, 2]], "REFLECT"), f(3, 4)),
    "pad unknown": (lambda x: tf.pad(x, [[0, tf.shape(x)[0]], [0, 0]]), f(3, 4)),
    "roll": (lambda x: tf.roll(x, 1, 0), f(3, 4)),
    "sequence_mask": (lambda x: tf.sequence_mask(x), np.array([1, 3])),
    "argsort": (tf.argsort, f(3, 4)),
    "unique": (lambda x: tf.unique(x), np.array([1, 3, 1])),
    "slice": (lambda x: tf.slice(x, [1, 0], [-1, 2]), f(3, 4)),
    "slice unknown": (lambda x: tf.slice(x, [tf.shape(x)[0] - 1, 0], [1, 2]), f(3, 4)),
    "meshgrid": (tf.meshgrid, f(3), f(2)),
    "broadcast_to": (lambda x: tf.broadcast_to(x, [2, 3, 4]), f(3, 4)),
    "dynamic_partition": (lambda x: tf.dynamic_partition(x, [0, 1, 0], 2), f(3, 4)),
    "dynamic_stitch": (lambda x: tf.dynamic_stitch([[0, 2, 1]], [x]), f(3, 4)),
    "reverse_sequence": (lambda x: tf.reverse_sequence(x, [2, 3, 1], 1), f(3, 4)),
    "segments": (lambda x: tf.math.unsorted_segment_mean(x, [0, 1, 0], 2), f(3, 4)),
    "trace": (tf.linalg.trace, f(3, 3)),
    "band_part": (lambda x: tf.linalg.band_part(x, 0, -1), f(3, 3)),
    "diag": (tf.linalg.diag, f(3, 4)),
    "clip_by_norm": (lambda x: tf.clip_by_norm(x, 1.0, 1), f(3, 4)),
    "global norm": (lambda x, y: tf.clip_by_global_norm([x, y], 1.0), f(3, 4), f(2)),
    "embedding": (lambda x: nn.embedding_lookup(x, [0, 2]), f(3, 4)),
    "lrn": (lambda x: nn.lrn(x, 1), f(2, 3, 3, 4)),
    "ensure_shape": (lambda x: tf.ensure_shape(x, [None, 4]), f(3, 4)),
    "range": (lambda x: tf.range(tf.shape(x)[0]), f(3, 4)),
    "bincount": (lambda x: tf.math.bincount(x), np.array([1, 2, 1])),
}  # fmt: skip


@pytest.mark.parametrize("known", ["nothing", "all but the batch"])
@pytest.mark.parametrize("name", CASES)
def test_traced_equals_eager(name, known):
    function, *arrays = CASES[name]
    keep = 1 if known != "nothing" else 9
    specs = [
        tf.TensorSpec([None] * min(keep, a.ndim) + list(a.shape[keep:]), tf.as_dtype(a.dtype))
        for a in arrays
    ]
    tensors = [tf.constant(a) for a in arrays]
    close(tf.function(function, input_signature=specs)(*tensors), function(*tensors))
    if any(t.dtype.is_floating for t in tensors):
        gradient = gradients(function)
        close(tf.function(gradient, input_signature=specs)(*tensors), gradient(*tensors))


def gradients(function):
    def run(*tensors):
        with tf.GradientTape() as tape:
            tape.watch([t for t in tensors if t.dtype.is_floating])
            parts = [y for y in tf.nest.flatten(function(*tensors)) if y.dtype.is_floating]
            total = tf.add_n([tf.reduce_sum(y * y * y) for y in parts]) if parts else None
        sources = [t for t in tensors if t.dtype.is_floating]
        if total is None:
            return []
        return [g for g in tape.gradient(total, sources) if g is not None]

    return run


def close(actual, expected):
    pairs = list(zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True))
    for a, e in pairs:
        np.testing.assert_allclose(np.asarray(a), np.asarray(e), rtol=1e-4, atol=1e-5)
