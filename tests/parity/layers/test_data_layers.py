"""Layers that prepare data against Keras 3 on TensorFlow: what adapt finds, outputs, configs."""

import json

import numpy as np
import pytest

from distflow.keras import layers
from tests.keras.battery import keras_or_skip
from tests.keras.layers.data_table import DATA_LAYERS, LOOKUPS, TEXT

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
each_layer = pytest.mark.parametrize("row", DATA_LAYERS, ids=str)


@pytest.fixture(scope="module")
def keras():
    return keras_or_skip()


@each_layer
def test_outputs_equal_those_of_keras(keras, row):
    expected = np.asarray(row.call(row.ready(keras.layers), np.asarray))
    found = row.call(row.ready(layers), np.asarray).numpy()
    assert found.shape == expected.shape
    if expected.dtype == object:
        assert found.tolist() == expected.tolist()
        return
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def plain(config):
    """A config as JSON, its floats to six digits: adapt's have rounding."""
    found = json.loads(json.dumps(config))
    if found.get("bin_boundaries"):
        found["bin_boundaries"] = [float(f"{b:.4g}") for b in found["bin_boundaries"]]
    return found


@each_layer
def test_configs_are_equal_and_build_each_other(keras, row):
    theirs, ours = row.ready(keras.layers), row.ready(layers)
    one, other = theirs.get_config(), ours.get_config()
    one["name"] = other["name"]
    assert plain(one) == plain(other)
    type(theirs).from_config(plain(other))
    type(ours).from_config(plain(one))


@pytest.mark.parametrize("row", [*LOOKUPS, *TEXT], ids=str)
def test_vocabularies_equal_those_of_keras(keras, row):
    expected = [str(t) for t in row.ready(keras.layers).get_vocabulary()]
    assert [str(t) for t in row.ready(layers).get_vocabulary()] == expected
