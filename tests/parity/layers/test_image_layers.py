"""Layers of images against Keras 3: the same transformation gives the same images, configs agree.

The numbers that random layers draw differ (another generator); the distributions are tested in
tests/keras/layers/test_image_layers.py.
"""

import json

import numpy as np
import pytest

import distflow as df
from distflow.keras import layers
from tests.keras.battery import keras_or_skip
from tests.keras.layers.image_table import FIXED, IMAGE_LAYERS

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
DRAWN = [row for row in IMAGE_LAYERS if row not in FIXED]
# Layer -> why its transformation is not one of Keras.
OWN_DRAWS = {
    "RandomColorJitter": "Keras's layer draws inside of transform_images",
    "RandomElasticTransform": "the same",
    "RandAugment": "Keras chooses the layers in Python, once a trace",
    "AugMix": "the same",
}
# Keras rounds them back to integers; here they are floats, as documented.
FLOATS = ("ContrastLimitedAdaptiveHistogramEqualization",)


@pytest.fixture(scope="module")
def keras():
    return keras_or_skip()


def ours(value):
    """A transformation of Keras's as tensors of ours."""
    if isinstance(value, dict):
        return {k: ours(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(ours(v) for v in value)
    return df.constant(np.asarray(value)) if hasattr(value, "shape") else value


# Bicubic resizing of TensorFlow reads its weights from a table of 1024 steps; colours are near
# jumps of the hue where float32 rounding decides.
TOLERANCES = {"bicubic": 2e-3, "RandomHue": 2e-5, "RandomSaturation": 2e-5}


def close(row, found, expected):
    kind = row.settings.get("interpolation")
    tolerance = TOLERANCES.get(kind, TOLERANCES.get(row.name, 3e-6))
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * 255)


@pytest.mark.parametrize("row", FIXED, ids=str)
def test_fixed_layers_give_the_same_images(keras, row):
    expected = np.asarray(row.call(row.make(keras.layers), np.asarray))
    close(row, row.call(row.make(layers), np.asarray).numpy(), expected)


NO_FILL = [
    row for row in FIXED if "fill_value" not in row.settings and row.name not in FLOATS
]  # Keras fills floats only


@pytest.mark.parametrize("row", NO_FILL, ids=str)
def test_bytes_are_resized_as_in_keras(keras, row):
    images = row.arrays[0].astype("uint8")
    expected = np.asarray(row.make(keras.layers)(images))
    found = row.make(layers)(images).numpy()
    assert found.dtype == expected.dtype
    if found.dtype.kind == "f":
        close(row, found, expected)
    else:
        # Rounding to integers may turn a difference in the last bit into one of 1.
        assert (np.abs(found.astype(int) - expected.astype(int)) <= 1).all()
        assert (found == expected).mean() > 0.95


@pytest.mark.parametrize("row", DRAWN, ids=str)
def test_the_same_transformation_gives_the_same_images(keras, row):
    import tensorflow as tf

    theirs, here = row.make(keras.layers), row.make(layers)
    images = tf.constant(row.arrays[0])
    if row.name in OWN_DRAWS:
        pytest.skip(OWN_DRAWS[row.name])
    found = theirs.get_random_transformation(images, training=True)
    if row.name == "RandomCrop" and row.settings["height"] > 7:
        pytest.skip("Keras distorts images that are too small, instead of cutting them")
    expected = theirs.transform_images(images, found, training=True)
    output = here.transform_images(df.constant(row.arrays[0]), ours(found), training=True)
    close(row, output.numpy(), np.asarray(expected))


def plain(config):
    return json.loads(json.dumps(config))


@pytest.mark.parametrize("row", IMAGE_LAYERS, ids=str)
def test_configs_are_equal_and_build_each_other(keras, row):
    theirs, here = row.make(keras.layers), row.make(layers)
    one, other = theirs.get_config(), here.get_config()
    one["name"] = other["name"]
    assert plain(one) == plain(other)
    if row.name != "RandomShear":  # Keras refuses the (-f, f) of its own config
        assert plain(type(theirs).from_config(plain(other)).get_config()) == plain(one)
    assert plain(type(here).from_config(plain(one)).get_config()) == plain(other)
