"""Regularizers and constraints against Keras 3: values, gradients, configs both ways."""

import json

import numpy as np
import pytest

from distflow import keras
from distflow.autodiff import GradientTape
from distflow.core.convert import convert_to_tensor
from tests.keras.battery import keras_or_skip, samples

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
RNG = np.random.default_rng(3)
MATRIX = (2 * RNG.normal(size=(4, 5))).astype("float32")
KERNEL = RNG.normal(size=(2, 2, 3, 4)).astype("float32")
REGULARIZERS = samples([
    ("L1", {}, MATRIX), ("L1", {"l1": 0.3}, KERNEL), ("L2", {}, KERNEL),
    ("L2", {"l2": 0.3}, MATRIX),
    ("L1L2", {}, MATRIX), ("L1L2", {"l1": 0.1}, MATRIX), ("L1L2", {"l1": 0.1, "l2": 0.2}, KERNEL),
    ("OrthogonalRegularizer", {}, MATRIX), ("OrthogonalRegularizer",
                                            {"factor": 0.1, "mode": "columns"}, MATRIX),
])  # fmt: skip
CONSTRAINTS = samples([
    ("MaxNorm", {}, MATRIX), ("MaxNorm", {"max_value": 0.5, "axis": 1}, MATRIX),
    ("MaxNorm", {"max_value": 1, "axis": [0, 1, 2]}, KERNEL), ("NonNeg", {}, MATRIX),
    ("UnitNorm", {}, MATRIX), ("UnitNorm", {"axis": [0, 1, 2]}, KERNEL), ("MinMaxNorm", {}, MATRIX),
    ("MinMaxNorm", {"min_value": 1.0, "max_value": 2.0, "rate": 0.3, "axis": 1}, MATRIX),
])  # fmt: skip


def near(config):
    """Returns a config whose numbers are rounded: Keras writes some as float32 holds them."""
    plain = json.loads(json.dumps(config))
    return {k: round(v, 6) if isinstance(v, float) else v for k, v in plain.items()}


def check_configs(theirs, ours):
    assert near(theirs.get_config()) == near(ours.get_config())
    assert near(type(theirs).from_config(ours.get_config()).get_config()) == near(
        theirs.get_config()
    )
    assert near(type(ours).from_config(theirs.get_config()).get_config()) == near(ours.get_config())


@pytest.mark.parametrize("sample", REGULARIZERS, ids=str)
def test_loss_and_gradient_equal_those_of_keras(sample):
    theirs = sample.make(keras_or_skip().regularizers)
    import tensorflow as tf

    ours = sample.make(keras.regularizers)
    one, other = tf.constant(sample.inputs), convert_to_tensor(sample.inputs)
    with tf.GradientTape() as tape:
        tape.watch(one)
        expected = theirs(one)
    with GradientTape() as our_tape:
        our_tape.watch(other)
        found = ours(other)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    slope = tape.gradient(expected, one)
    if slope is not None:  # none where both factors are 0
        np.testing.assert_allclose(
            our_tape.gradient(found, other).numpy(), slope.numpy(), rtol=1e-5, atol=1e-7
        )
    check_configs(theirs, ours)


@pytest.mark.parametrize("sample", CONSTRAINTS, ids=str)
def test_allowed_weights_equal_those_of_keras(sample):
    theirs = sample.make(keras_or_skip().constraints)
    ours = sample.make(keras.constraints)
    expected = np.asarray(theirs(sample.inputs))
    np.testing.assert_allclose(ours(sample.inputs).numpy(), expected, rtol=1e-5, atol=1e-7)
    check_configs(theirs, ours)


@pytest.mark.parametrize("room", ["regularizers", "constraints", "initializers", "activations"])
def test_names_mean_what_they_mean_in_keras(room):
    theirs, ours = getattr(keras_or_skip(), room), getattr(keras, room)
    for name in ours.NAMES:
        try:
            one = theirs.get(name)
        except (ValueError, TypeError, KeyError):
            continue  # names that are there besides, or need arguments
        other = ours.get(name)
        labels = [getattr(x, "__name__", type(x).__name__) for x in (one, other)]
        assert labels[0] == labels[1], name
