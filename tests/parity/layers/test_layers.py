"""Layers against Keras 3 on TensorFlow: outputs, gradients, one training step, configs.

Numbers agree within the tolerances of `TOLERANCES`, in float32: relative to the largest result,
because what nearly cancels has the error of its terms.
"""

import json

import numpy as np
import pytest

import distflow as df
from distflow.keras import layers
from tests.keras.battery import keras_or_skip
from tests.keras.layers.table import LAYERS

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

# What -> relative tolerance. Sums of n products of float32 differ by about sqrt(n) 2^-24 between
# orders of summation; gradients of weights sum over batch and positions as well.
TOLERANCES = {"output": 2e-6, "gradient": 1e-5, "step": 1e-5}
# Layers whose arithmetic allows less, and why.
LOOSER = {
    # A Fourier transform by products of float32, and a logarithm of its smallest powers.
    "MelSpectrogram": 5e-5,
    "STFTSpectrogram": 2e-5,
    # Float32 variances of few entries in both; the division magnifies their rounding.
    "BatchNormalization": 5e-5,
    "GroupNormalization": 3e-5,
    "LayerNormalization": 3e-5,
}

each_layer = pytest.mark.parametrize("sample", LAYERS, ids=str)


@pytest.fixture(scope="module")
def keras():
    return keras_or_skip()


def pair(keras, sample):
    """Returns Keras's layer and ours, built, with the same weights."""
    theirs, ours = sample.make(keras.layers), sample.make(layers)
    sample.call(theirs, keras.ops.convert_to_tensor)
    sample.call(ours)
    names = [w.path.split("/")[-1] for w in theirs.weights]
    assert names == [w.path.split("/")[-1] for w in ours.weights]
    rng = np.random.default_rng(2)
    values = [np.asarray(w) + 0.3 * rng.normal(size=w.shape) for w in theirs.weights]
    values = [np.abs(v) + 0.1 if "variance" in n else v for v, n in zip(values, names)]
    theirs.set_weights(values)
    ours.set_weights([v.astype("float32") for v in values])
    return theirs, ours


def factors(shape):
    return np.cos(np.arange(np.prod(shape))).reshape(shape).astype("float32")


def check(what, name, found, expected):
    tolerance = max(TOLERANCES[what], LOOSER.get(name, 0))
    largest = np.abs(expected).max(initial=1.0)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * largest)


@each_layer
def test_outputs_and_gradients_equal_those_of_keras(keras, sample):
    import tensorflow as tf

    theirs, ours = pair(keras, sample)
    a = [tf.constant(v) for v in sample.arrays]
    b = [df.constant(v) for v in sample.arrays]
    with tf.GradientTape() as tape:
        tape.watch([v for v in a if v.dtype.is_floating])
        expected = sample.call(theirs, lambda v: v, a)
        total = tf.reduce_sum(expected * factors(expected.shape))
    with df.GradientTape() as our_tape:
        our_tape.watch([v for v in b if v.dtype.is_floating])
        output = sample.call(ours, lambda v: v, b)
        our_total = df.reduce_sum(output * factors(output.shape))
    assert tuple(output.shape) == tuple(expected.shape)
    check("output", sample.name, output.numpy(), expected.numpy())
    inputs = sample.is_differentiable
    wanted = tape.gradient(
        total, [*(a if inputs else []), *(w.value for w in theirs.trainable_weights)]
    )
    found = our_tape.gradient(our_total, [*(b if inputs else []), *ours.trainable_weights])
    for one, other in zip(wanted, found):
        if one is None:
            assert other is None or not np.any(other.numpy())
        else:
            check("gradient", sample.name, other.numpy(), tf.convert_to_tensor(one).numpy())


@each_layer
def test_one_training_step_equals_that_of_keras(keras, sample):
    import tensorflow as tf

    theirs, ours = pair(keras, sample)
    training = {"training": not sample.is_random}
    with tf.GradientTape() as tape:
        expected = sample.call(theirs, tf.constant, **training)
        total = tf.reduce_mean(tf.square(expected)) + sum(theirs.losses)
    weights = [w.value for w in theirs.trainable_weights]
    gradients = tape.gradient(total, weights)
    # Keras updates the moments of embeddings row by row, and of rows that come twice twice.
    gradients = [None if g is None else tf.convert_to_tensor(g) for g in gradients]
    optimizer = keras.optimizers.Adam(0.1, epsilon=1e-2)
    used = [(g, w) for g, w in zip(gradients, theirs.trainable_weights) if g is not None]
    if used:
        optimizer.apply_gradients(used)

    our_optimizer = df.keras.optimizers.Adam(0.1, epsilon=1e-2)
    if used:
        our_optimizer.build(ours.trainable_weights)

    @df.function
    def step():
        with df.GradientTape() as tape:
            output = sample.call(ours, **training)
            total = df.reduce_mean(df.square(output)) + sum(ours.losses)
        gradients = tape.gradient(total, ours.trainable_weights)
        if used:
            our_optimizer.apply_gradients(
                [(g, w) for g, w in zip(gradients, ours.trainable_weights) if g is not None]
            )
        return total

    check("output", sample.name, step().numpy(), total.numpy())
    for one, other in zip(theirs.weights, ours.weights):
        check("step", sample.name, other.numpy(), np.asarray(one))


def plain(config):
    return json.loads(json.dumps(config))


@each_layer
def test_configs_are_equal_and_build_each_other(keras, sample):
    # Both count on from here in the names that they give, of layers in layers too.
    keras.utils.clear_session()
    df.keras.utils.clear_session()
    theirs, ours = sample.make(keras.layers), sample.make(layers)
    one, other = theirs.get_config(), ours.get_config()
    one["name"] = other["name"]
    assert plain(one) == plain(other)
    assert plain(type(theirs).from_config(plain(other)).get_config()) == plain(one)
    assert plain(type(ours).from_config(plain(one)).get_config()) == plain(other)


@each_layer
def test_shapes_are_those_of_keras(keras, sample):
    theirs, ours = sample.make(keras.layers), sample.make(layers)
    sample.call(theirs, keras.ops.convert_to_tensor)
    sample.call(ours)
    expected, found = sample.announced_shape(theirs), sample.announced_shape(ours)
    # Keras's EinsumDense leaves open what the caller left open.
    assert len(found) == len(expected)
    assert all(b in (None, a) for a, b in zip(found, expected))


@each_layer
def test_masking_is_supported_where_it_is_in_keras(keras, sample):
    theirs, ours = sample.make(keras.layers), sample.make(layers)
    assert ours.supports_masking == theirs.supports_masking


MASK = np.array([[True, True, False], [True, False, False]])
SEQUENCES = [
    row for row in LAYERS
    if [a.shape[:2] for a in row.arrays] == [(2, 3)] and row.arrays[0].ndim == 3
]  # fmt: skip


@pytest.mark.parametrize("sample", SEQUENCES, ids=str)
def test_masks_come_out_as_in_keras(keras, sample):
    import tensorflow as tf

    theirs, ours = pair(keras, sample)
    x, y = tf.constant(sample.arrays[0]), df.constant(sample.arrays[0])
    x._keras_mask, y._keras_mask = tf.constant(MASK), df.constant(MASK)
    expected, found = theirs(x), ours(y)
    check("output", sample.name, found.numpy(), expected.numpy())
    one, other = (getattr(v, "_keras_mask", None) for v in (expected, found))
    assert (one is None) == (other is None)
    if one is not None:
        np.testing.assert_array_equal(other.numpy(), one.numpy())
