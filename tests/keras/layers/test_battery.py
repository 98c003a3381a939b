"""What every layer must fulfil, by the table of samples."""

import json

import numpy as np
import pytest

from distflow.autodiff import GradientTape
from distflow.core.convert import convert_to_tensor
from distflow.function import function
from distflow.keras import layers
from distflow.keras.engine.input_layer import Input
from distflow.ops.reduce import reduce_sum
from tests.keras.battery import LAYERS

each_layer = pytest.mark.parametrize("sample", LAYERS, ids=str)


def as_list(inputs):
    return inputs if isinstance(inputs, list) else [inputs]


def tensors(inputs, dtype=None):
    values = [convert_to_tensor(x.astype(dtype) if dtype and x.dtype.kind == "f" else x)
              for x in as_list(inputs)]  # fmt: skip
    return values if isinstance(inputs, list) else values[0]


def shapes_of(inputs):
    found = [(None, *x.shape[1:]) for x in as_list(inputs)]
    return found if isinstance(inputs, list) else found[0]


@each_layer
def test_output_has_the_announced_shape(sample):
    layer = sample.make(layers)
    announced = layer.compute_output_shape(shapes_of(sample.inputs))
    output = layer(tensors(sample.inputs))
    assert tuple(announced[1:]) == tuple(output.shape[1:])


@each_layer
def test_symbolic_call_gives_shape_and_dtype_of_the_real_one(sample):
    layer = sample.make(layers)
    symbols = [Input(x.shape[1:], dtype=str(x.dtype)) for x in as_list(sample.inputs)]
    symbol = layer(symbols if isinstance(sample.inputs, list) else symbols[0])
    output = layer(tensors(sample.inputs))
    assert symbol.dtype is output.dtype
    assert tuple(symbol.shape[1:]) == tuple(output.shape[1:])


@each_layer
def test_config_makes_an_equal_layer(sample):
    layer = sample.make(layers)
    config = json.loads(json.dumps(layer.get_config()))
    again = type(layer).from_config(config)
    assert json.dumps(again.get_config()) == json.dumps(layer.get_config())


@each_layer
def test_traced_call_equals_eager_call(sample):
    layer = sample.make(layers)
    inputs = tensors(sample.inputs)
    eager = layer(inputs)
    traced = function(lambda x: layer(x))(inputs)
    np.testing.assert_allclose(traced.numpy(), eager.numpy(), rtol=1e-6, atol=1e-6)


def has_gradient(sample):
    # Masking jumps where its input equals the mask's value.
    return as_list(sample.inputs)[0].dtype.kind == "f" and sample.name != "Masking"


@pytest.mark.parametrize("sample", list(filter(has_gradient, LAYERS)), ids=str)
def test_gradient_is_the_slope_along_a_random_direction(sample):
    layer = sample.make(layers, dtype="float64")
    values = [x.astype("float64") for x in as_list(sample.inputs)]
    rng = np.random.default_rng(1)
    directions = [rng.normal(size=x.shape) for x in values]

    def loss(arrays):
        inputs = [convert_to_tensor(x) for x in arrays]
        with GradientTape() as tape:
            tape.watch(inputs)
            output = layer(inputs if isinstance(sample.inputs, list) else inputs[0])
            weights = np.cos(np.arange(np.prod(output.shape))).reshape(output.shape)
            total = reduce_sum(output * weights)
        return float(total), tape.gradient(total, inputs)

    step = 1e-6
    _, gradients = loss(values)
    above, _ = loss([x + step * d for x, d in zip(values, directions)])
    below, _ = loss([x - step * d for x, d in zip(values, directions)])
    slope = sum(float((g.numpy() * d).sum()) for g, d in zip(gradients, directions))
    assert slope == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-6)


@each_layer
def test_weights_are_found_and_can_be_set(sample):
    layer = sample.make(layers)
    layer(tensors(sample.inputs))
    values = [np.full(w.shape, i + 2, "float32") for i, w in enumerate(layer.get_weights())]
    layer.set_weights(values)
    for weight, value in zip(layer.get_weights(), values):
        np.testing.assert_array_equal(weight, value)


def test_the_table_holds_every_layer():
    seen = {sample.name for sample in LAYERS}
    elsewhere = {"Input", "InputLayer", "InputSpec", "Layer", "Lambda", "DenseFeatures", "Wrapper"}
    # Cells are tested inside RNN.
    elsewhere |= {"SimpleRNNCell", "LSTMCell", "GRUCell", "StackedRNNCells"}
    aliases = {n for n in layers.__all__ if getattr(layers, n).__name__ != n or n[0].islower()}
    assert set(layers.__all__) - seen - elsewhere - aliases == set()
