"""What every layer must fulfil, by the table of layers and configurations."""

import json

import numpy as np
import pytest

import distflow as tf
from distflow import keras
from distflow.keras import layers
from tests.keras.layers.data_table import DATA_LAYERS
from tests.keras.layers.image_table import IMAGE_LAYERS
from tests.keras.layers.table import LAYERS

each_layer = pytest.mark.parametrize("row", LAYERS, ids=str)


@each_layer
def test_output_has_the_announced_shape(row):
    layer = row.make(layers)
    announced = row.announced_shape(layer)
    output = row.call(layer)
    assert tuple(announced[1:]) == tuple(output.shape[1:])


@each_layer
def test_symbolic_call_gives_shape_and_dtype_of_the_real_one(row):
    layer = row.make(layers)
    symbol = row.call(layer, arrays=row.symbols(), convert=lambda v: v)
    output = row.call(layer)
    assert symbol.dtype is output.dtype
    assert tuple(symbol.shape[1:]) == tuple(output.shape[1:])


@each_layer
def test_config_makes_an_equal_layer(row):
    layer = row.make(layers)
    config = json.loads(json.dumps(layer.get_config()))
    again = type(layer).from_config(config)
    assert json.dumps(again.get_config()) == json.dumps(layer.get_config())


@each_layer
def test_mixed_precision_computes_in_16_bits_and_keeps_float32_weights(row):
    layer = row.make(layers, dtype="mixed_bfloat16")
    output = row.call(layer)
    wide = row.call(row.make(layers)).dtype
    assert output.dtype is (tf.bfloat16 if wide is tf.float32 else wide)
    assert {w.dtype for w in layer.weights} <= {tf.float32}


@each_layer
def test_compiled_training_step_equals_the_eager_one(row, executor):
    training = not row.is_random
    layer, twin = row.make(layers), row.make(layers)
    for one in (layer, twin):
        row.call(one)
    twin.set_weights(layer.get_weights())

    def step(layer, arrays):
        with tf.GradientTape() as tape:
            if row.is_differentiable:
                tape.watch(arrays)
            output = row.call(layer, arrays=arrays, convert=tf.convert_to_tensor,
                              training=training)  # fmt: skip
            loss = tf.reduce_mean(tf.square(output)) + sum(layer.losses)
        weights = layer.trainable_weights
        sources = [*(arrays if row.is_differentiable else []), *weights]
        slopes = tape.gradient(loss, sources)
        for slope, weight in zip(slopes[len(sources) - len(weights) :], weights):
            if slope is not None:
                weight.assign_sub(0.1 * slope)
        return [output, *slopes]

    arrays = [tf.constant(a) for a in row.arrays]
    eager = step(layer, arrays)
    compiled = tf.function(step)(twin, arrays)
    for one, other in zip([*eager, *layer.weights], [*compiled, *twin.weights]):
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_allclose(other.numpy(), one.numpy(), rtol=2e-5, atol=2e-6)


def has_gradient(row):
    # Masking jumps where its input equals the mask's value.
    return row.is_differentiable and row.name != "Masking"


@pytest.mark.parametrize("row", list(filter(has_gradient, LAYERS)), ids=str)
def test_gradient_is_the_slope_along_a_random_direction(row):
    layer = row.make(layers, dtype="float64")
    values = [x.astype("float64") for x in row.arrays]
    rng = np.random.default_rng(1)
    directions = [rng.normal(size=x.shape) for x in values]

    def loss(arrays):
        inputs = [tf.constant(x) for x in arrays]
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            output = row.call(layer, arrays=inputs, convert=tf.convert_to_tensor)
            weights = np.cos(np.arange(np.prod(output.shape))).reshape(output.shape)
            total = tf.reduce_sum(output * weights)
        return float(total), tape.gradient(total, inputs)

    step = 1e-6
    _, gradients = loss(values)
    above, _ = loss([x + step * d for x, d in zip(values, directions)])
    below, _ = loss([x - step * d for x, d in zip(values, directions)])
    slope = sum(
        float((g.numpy() * d).sum()) for g, d in zip(gradients, directions) if g is not None
    )
    assert slope == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-6)


@each_layer
def test_weights_are_found_and_can_be_set(row):
    layer = row.make(layers)
    row.call(layer)
    values = [np.full(w.shape, i + 2, "float32") for i, w in enumerate(layer.get_weights())]
    layer.set_weights(values)
    for weight, value in zip(layer.get_weights(), values):
        np.testing.assert_array_equal(weight, value)


@each_layer
def test_a_saved_model_computes_the_same(row, tmp_path):
    pytest.importorskip("h5py")
    layer, symbols = row.make(layers), row.symbols()
    model = keras.Model(symbols, row.call(layer, arrays=symbols, convert=tf.convert_to_tensor))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    inputs = [tf.constant(a) for a in row.arrays]
    np.testing.assert_array_equal(again(inputs).numpy(), model(inputs).numpy())


MASK = np.array([[True, True, False], [True, False, False]])
SEQUENCES = [
    row for row in LAYERS
    if [a.shape[:2] for a in row.arrays] == [(2, 3)] and row.arrays[0].ndim == 3
]  # fmt: skip


@pytest.mark.parametrize("row", SEQUENCES, ids=str)
@pytest.mark.filterwarnings("ignore:Layer .* destroy the mask")
def test_layers_hand_masks_on_or_drop_them(row):
    layer = row.make(layers)
    x = tf.constant(row.arrays[0])
    x._keras_mask = tf.constant(MASK)
    mask = getattr(layer(x), "_keras_mask", None)
    if not layer.supports_masking:
        assert mask is None
    elif mask is not None and row.name != "Masking":
        np.testing.assert_array_equal(mask.numpy(), MASK)


def test_the_table_holds_every_layer():
    seen = {row.name for row in [*LAYERS, *DATA_LAYERS, *IMAGE_LAYERS]}
    elsewhere = {"Input", "InputLayer", "InputSpec", "Layer", "Lambda", "DenseFeatures", "Wrapper"}
    # Tested in test_mixing.py.
    elsewhere |= {"MixUp", "CutMix", "Pipeline", "MaxNumBoundingBoxes", "ThresholdedReLU"}
    # Cells are tested inside RNN.
    elsewhere |= {"SimpleRNNCell", "LSTMCell", "GRUCell", "StackedRNNCells"}
    aliases = {n for n in layers.__all__ if getattr(layers, n).__name__ != n or n[0].islower()}
    assert set(layers.__all__) - seen - elsewhere - aliases == set()
