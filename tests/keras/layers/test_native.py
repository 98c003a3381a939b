"""Compiled training steps of layers: which run wholly native, and why the others do not.

The list of layers with operations on the host is in docs/keras_names.py; a layer that leaves it, or
joins it, fails the test.
"""

import pytest

import distflow as tf
from distflow.base import flags
from distflow.keras import layers
from tests.keras.layers.data_table import CATEGORIES, LOOKUPS, NUMBERS, TEXT
from tests.keras.layers.image_table import IMAGE_LAYERS
from tests.keras.layers.table import LAYERS
from tests.support.docs import script

ON_THE_HOST = script("keras_names").ON_THE_HOST


def explanation(row, layer):
    """Returns what runs a training step of the layer: forward, backward, update of the weights."""
    training = {"training": True} if "training" in layer._call_signature.parameters else {}
    row.call(layer, tf.constant, **training)

    @tf.function
    def step(*arrays):
        with tf.GradientTape() as tape:
            output = row.call(layer, arrays=list(arrays), convert=tf.convert_to_tensor, **training)
            loss = tf.reduce_mean(tf.square(tf.cast(output, "float32"))) + sum(layer.losses)
        weights = layer.trainable_weights
        for slope, weight in zip(tape.gradient(loss, weights), weights):
            if slope is not None:
                weight.assign_sub(0.1 * slope)
        return loss

    with flags.override(DISTFLOW_EXECUTOR="cpu"):
        return step.explain(*(tf.constant(a) for a in row.arrays))


def host_operations(text):
    """Returns the lines of operations that run on NumPy."""
    assert "on the host" in text
    return [line.strip() for line in text.splitlines() if line.strip().startswith("numpy:")]


@pytest.mark.parametrize("row", [*LAYERS, *IMAGE_LAYERS, *NUMBERS], ids=str)
def test_training_step_runs_wholly_native(row):
    pytest.importorskip("llvmlite")
    layer = row.ready(layers) if row in NUMBERS else row.make(layers)
    found = host_operations(explanation(row, layer))
    assert bool(found) == (row.name in ON_THE_HOST), found


NUMERIC = [row for row in [*CATEGORIES, *LOOKUPS, *TEXT] if not row.settings.get("invert")]


@pytest.mark.parametrize("row", NUMERIC, ids=str)
def test_only_the_layers_of_the_list_call_the_host(row):
    pytest.importorskip("llvmlite")
    found = host_operations(explanation(row, row.ready(layers)))
    assert bool(found) == (row.name in ON_THE_HOST)
    if found:
        # Rows of text have no known length, so what follows is done on the host as well.
        assert any("host_call" in line for line in found)


def test_every_layer_of_the_list_is_tested():
    assert {row.name for row in [*NUMERIC, *IMAGE_LAYERS]} >= set(ON_THE_HOST)
