"""Layers against Keras 3 on TensorFlow: outputs, gradients, shapes, weights and configs."""

import json

import numpy as np
import pytest

from distflow.autodiff import GradientTape
from distflow.core.convert import convert_to_tensor
from distflow.keras import layers
from distflow.ops.reduce import reduce_sum
from tests.keras.battery import LAYERS, keras_or_skip

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def keras():
    return keras_or_skip()


def plain(config):
    return json.loads(json.dumps(config))


NORMS = [sample for sample in LAYERS if sample.name == "BatchNormalization"]


@pytest.mark.parametrize(
    ("sample", "training"), [*((s, False) for s in LAYERS), *((s, True) for s in NORMS)], ids=str
)
def test_layer_equals_keras(keras, sample, training):
    import tensorflow as tf

    theirs, ours = sample.make(keras.layers), sample.make(layers)
    arrays = sample.inputs if isinstance(sample.inputs, list) else [sample.inputs]
    listed = isinstance(sample.inputs, list)
    shapes = [(None, *a.shape[1:]) for a in arrays]
    shapes = shapes if listed else shapes[0]
    theirs.build([a.shape for a in arrays] if listed else arrays[0].shape)
    assert tuple(theirs.compute_output_shape(shapes)) == tuple(ours.compute_output_shape(shapes))
    a = [tf.convert_to_tensor(v) for v in arrays]
    b = [convert_to_tensor(v) for v in arrays]
    ours(b if listed else b[0])
    names = [w.path.split("/")[-1] for w in theirs.weights]
    assert names == [w.path.split("/")[-1] for w in ours.weights]
    values = [np.asarray(w) + 0.1 * np.arange(np.size(w)).reshape(w.shape) for w in theirs.weights]
    theirs.set_weights(values)
    ours.set_weights([v.astype("float32") for v in values])
    arguments = {"training": True} if training else {}
    with tf.GradientTape() as tape:
        tape.watch([v for v in a if v.dtype.is_floating])
        expected = theirs(a if listed else a[0], **arguments)
        factors = np.cos(np.arange(np.prod(expected.shape))).reshape(expected.shape)
        total = tf.reduce_sum(expected * factors.astype("float32"))
    with GradientTape() as our_tape:
        our_tape.watch([v for v in b if v.dtype.is_floating])
        output = ours(b if listed else b[0], **arguments)
        our_total = reduce_sum(output * factors.astype("float32"))
    # What nearly cancels has the error of its terms, which are about as large as other results.
    largest = np.abs(expected.numpy()).max(initial=1.0)
    np.testing.assert_allclose(output.numpy(), expected.numpy(), rtol=2e-6, atol=2e-6 * largest)
    sources = a if arrays[0].dtype.kind == "f" else []
    wanted = tape.gradient(total, [*sources, *[w.value for w in theirs.trainable_weights]])
    found = our_tape.gradient(our_total, [*(b if sources else []), *ours.trainable_weights])
    for one, other in zip(wanted, found):
        if one is not None:
            one = tf.convert_to_tensor(one).numpy()
            np.testing.assert_allclose(other.numpy(), one, rtol=1e-4, atol=3e-5)
    for one, other in zip(theirs.weights, ours.weights):
        np.testing.assert_allclose(other.numpy(), np.asarray(one), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sample", LAYERS, ids=str)
def test_config_equals_that_of_keras(keras, sample):
    layer = sample.make(keras.layers)
    theirs, ours = layer.get_config(), sample.make(layers).get_config()
    theirs["name"] = ours["name"]
    assert plain(theirs) == plain(ours)
    type(layer).from_config(plain(ours))
