"""Losses against Keras 3 on TensorFlow: values for all reductions, weights and masks; configs."""

import numpy as np
import pytest

from distflow.core.convert import convert_to_tensor
from distflow.keras import losses
from tests.keras.battery import LOSSES, WEIGHTS, keras_or_skip

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


@each_loss
def test_config_equals_that_of_keras(keras, sample):
    theirs, ours = (loss.get_config() for loss in both(keras, sample, "sum"))
    extra = {key for key in ours if key not in theirs}
    assert extra <= _KEPT
    assert theirs == {key: value for key, value in ours.items() if key not in extra}
    getattr(keras.losses, sample.name).from_config(ours)


def test_names_equal_those_of_keras(keras):
    for name in losses.NAMES:
        if name in ("logcosh", "LossFunctionWrapper"):
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
