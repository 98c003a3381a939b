"""Losses against Keras 3 on TensorFlow: values for all reductions, weights and masks; configs."""

import json

import numpy as np
import pytest

from distflow.autodiff import GradientTape
from distflow.core.convert import convert_to_tensor
from distflow.keras import losses
from tests.keras.battery import WEIGHTS, keras_or_skip
from tests.keras.pieces import LOSSES

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
each_loss = pytest.mark.parametrize("sample", LOSSES, ids=str)
REDUCTIONS = ("sum_over_batch_size", "sum", "none", "mean", "mean_with_sample_weight")
# Settings that Keras forgets in its config and distflow keeps.
_KEPT = {"delta", "axis"}


@pytest.fixture(scope="module")
def keras():
    return keras_or_skip()


def both(keras, sample, reduction):
    settings = {**sample.settings, "reduction": reduction}
    return getattr(keras.losses, sample.name)(**settings), getattr(losses, sample.name)(**settings)


@each_loss
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_value_equals_that_of_keras(keras, sample, reduction, weighted):
    theirs, ours = both(keras, sample, reduction)
    if sample.settings.get("axis") == 0 and weighted:
        pytest.skip("no losses by example")
    weights = WEIGHTS if weighted else None
    expected = np.asarray(theirs(*sample.inputs, sample_weight=weights))
    found = ours(*sample.inputs, sample_weight=weights).numpy()
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6)
    assert np.shape(found) == expected.shape


# The gradient of a value near 0 or 1 is a small difference of large terms: rounding of the value
# is divided by what is left. Loss: (relative, absolute) tolerance of its gradient.
GRADIENT_TOLERANCES = {
    "BinaryFocalCrossentropy": (1e-4, 1e-5),  # (1 - p)^gamma log(p) with p next to 1
    "CTC": (1e-4, 1e-6),  # a product of as many chances as there are steps
    "Circle": (1e-4, 1e-5),  # exponents are multiplied by gamma = 80
}


@each_loss
def test_gradient_equals_that_of_keras(keras, sample):
    import tensorflow as tf

    theirs, ours = both(keras, sample, "sum")
    truth, guess = sample.inputs
    one, other = tf.convert_to_tensor(guess), convert_to_tensor(guess)
    with tf.GradientTape() as tape:
        tape.watch(one)
        value = theirs(truth, one)
    with GradientTape() as our_tape:
        our_tape.watch(other)
        our_value = ours(truth, other)
    rtol, atol = GRADIENT_TOLERANCES.get(sample.name, (1e-5, 1e-6))
    expected = tf.convert_to_tensor(tape.gradient(value, one)).numpy()
    found = our_tape.gradient(our_value, other).numpy()
    finite = np.isfinite(expected)
    assert finite.all() or sample.name == "CTC"
    np.testing.assert_allclose(found[finite], expected[finite], rtol=rtol, atol=atol)
    assert np.isfinite(found).all()


@each_loss
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
def test_masked_value_equals_that_of_keras(keras, sample, reduction):
    import tensorflow as tf

    theirs, ours = both(keras, sample, reduction)
    if sample.name == "Dice" or sample.settings.get("axis") == 0:
        pytest.skip("no losses by example")
    truth, guess = sample.inputs
    mask = np.array([True, True, False, True, False, True])
    one, other = tf.convert_to_tensor(guess), convert_to_tensor(guess)
    one._keras_mask, other._keras_mask = tf.constant(mask), convert_to_tensor(mask)
    expected = float(theirs(truth, one, sample_weight=WEIGHTS))
    found = float(ours(truth, other, sample_weight=WEIGHTS))
    assert found == pytest.approx(expected, rel=3e-6, abs=1e-6)


def plain(config):
    return json.loads(json.dumps(config))


@each_loss
def test_config_equals_that_of_keras(keras, sample):
    theirs, ours = (loss.get_config() for loss in both(keras, sample, "sum"))
    extra = {key for key in ours if key not in theirs}
    assert extra <= _KEPT
    kept = {key: value for key, value in ours.items() if key not in extra}
    assert plain(theirs) == plain(kept)
    getattr(keras.losses, sample.name).from_config(ours)
    getattr(losses, sample.name).from_config(theirs)


def test_names_equal_those_of_keras(keras):
    for name in losses.NAMES:
        if name in ("logcosh", "LossFunctionWrapper") or "generalized" in name.lower():
            continue
        theirs, ours = keras.losses.get(name), losses.get(name)
        label = getattr(theirs, "__name__", type(theirs).__name__)
        assert label == getattr(ours, "__name__", type(ours).__name__)
        assert keras.losses.serialize(theirs) == losses.serialize(ours)


def test_softmax_logits_are_used_as_keras_uses_them(keras):
    import tensorflow as tf

    from distflow.keras import activations

    logits = np.array([[30.0, -30.0, 0.0]], "float32")
    theirs = keras.losses.SparseCategoricalCrossentropy()(
        np.array([1]), keras.activations.softmax(tf.constant(logits))
    )
    ours = losses.SparseCategoricalCrossentropy()(
        [1], activations.softmax(convert_to_tensor(logits))
    )
    assert float(ours) == pytest.approx(float(theirs))
