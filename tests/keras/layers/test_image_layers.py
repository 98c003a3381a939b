"""Layers of images: the battery by table, distributions, labels and masks, pipelines."""

import json

import numpy as np
import pytest

import distflow as tf
from distflow import keras
from distflow.keras import layers
from tests.keras.layers.image_table import FIXED, IMAGE_LAYERS, IMAGES

each_layer = pytest.mark.parametrize("row", IMAGE_LAYERS, ids=str)
DRAWN = [row for row in IMAGE_LAYERS if row not in FIXED]


def make(row):
    settings = {} if row in FIXED or "seed" in row.settings else {"seed": 4}
    return row.make(layers, **settings)


@each_layer
def test_output_has_the_announced_shape_and_float32(row):
    layer = make(row)
    images = row.arrays[0]
    output = layer(images, training=True)
    assert tuple(layer.compute_output_shape(images.shape)) == tuple(output.shape)
    assert output.dtype is tf.float32
    assert tuple(layer(images[0], training=True).shape) == tuple(output.shape[1:])


@each_layer
def test_config_makes_an_equal_layer(row):
    layer = make(row)
    config = json.loads(json.dumps(layer.get_config()))
    again = type(layer).from_config(config)
    assert json.loads(json.dumps(again.get_config())) == config


@each_layer
def test_compiled_call_equals_the_eager_one(row, executor):
    one, other = make(row), make(row)
    if "seed" not in one.get_config():
        for layer in (one, other):
            if hasattr(layer, "generator"):
                layer.generator.state.assign([3, 0])
    images = tf.constant(row.arrays[0])
    expected = one(images, training=True)
    found = tf.function(lambda x: other(x, training=True))(images)
    # A point between two pixels may be read from either.
    assert np.isclose(found.numpy(), expected.numpy(), rtol=1e-4, atol=2e-2).mean() > 0.99


@pytest.mark.parametrize("row", DRAWN, ids=str)
def test_outside_of_training_images_stay(row):
    if row.name == "RandomCrop":
        output = make(row)(row.arrays[0], training=False)
        assert output.shape[1:3] == (row.settings["height"], row.settings["width"])
    else:
        np.testing.assert_array_equal(make(row)(row.arrays[0], training=False), row.arrays[0])


@pytest.mark.parametrize("row", DRAWN, ids=str)
def test_draws_differ_from_call_to_call_and_repeat_with_the_seed(row):
    one, other = make(row), make(row)
    if "seed" not in one.get_config():
        for layer in (one, other):
            layer.generator.state.assign([3, 0])
    images = row.arrays[0]
    calls = [one(images, training=True).numpy() for _ in range(8)]
    for call in calls:
        np.testing.assert_array_equal(other(images, training=True).numpy(), call)
    if not (row.name == "RandomCrop" and row.settings["height"] > 7):
        assert any((call != calls[0]).any() for call in calls)


def test_a_model_with_augmentation_trains():
    model = keras.Sequential([
        keras.Input((7, 10, 3)), layers.RandomFlip(), layers.RandomRotation(0.1),
        layers.RandomContrast(0.2), layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(1),
    ])  # fmt: skip
    model.compile("sgd", "mse")
    history = model.fit(IMAGES, np.zeros((3, 1)), epochs=2, verbose=0).history["loss"]
    assert np.isfinite(history).all()


def test_resizing_in_a_pipeline_of_images_of_all_sizes():
    data = tf.data.Dataset.from_generator(
        lambda: (IMAGES[0, : 4 + i] for i in range(3)),
        output_signature=tf.TensorSpec([None, 10, 3], tf.float32),
    )
    sizes = {tuple(x.shape) for x in data.map(layers.Resizing(5, 6))}
    assert sizes == {(5, 6, 3)}


def test_a_flip_flips_masks_as_their_images():
    layer = layers.RandomFlip("horizontal", seed=1)
    images = IMAGES
    masks = np.floor(IMAGES[..., :1])
    out = layer({"images": images, "segmentation_masks": masks, "labels": np.arange(3)})
    for i in range(3):
        flipped = not np.array_equal(out["images"].numpy()[i], images[i])
        expected = masks[i, :, ::-1] if flipped else masks[i]
        np.testing.assert_array_equal(out["segmentation_masks"].numpy()[i], expected)
    assert out["labels"].numpy().tolist() == [0, 1, 2]


def test_half_of_the_images_flip():
    flips = layers.RandomFlip(seed=2).get_random_transformation(tf.zeros([4000, 1, 1, 3]))["flips"]
    assert flips.numpy().mean() == pytest.approx(0.5, abs=0.03)


def test_ranges_of_what_is_drawn():
    images = tf.zeros([3000, 10, 20, 3])

    def drawn(layer, key):
        found = layer.get_random_transformation(images)[key].numpy()
        return found.min(0).ravel(), found.max(0).ravel()

    rows = [
        (layers.RandomBrightness(0.2), "rgb_delta", [-51], [51]),
        (layers.RandomContrast((0.5, 1.0)), "contrast_factor", [0.5], [2.0]),
        (layers.RandomRotation(0.2), "angle", [-72], [72]),
        (layers.RandomTranslation(0.2, (-0.3, 0)), "translations", [-6, -2], [0, 2]),
        (layers.RandomZoom((0.1, 0.2)), "height_zoom", [1.1], [1.2]),
        (layers.RandomHue(0.2), "factor", [-0.1], [0.1]),
        (layers.RandomSaturation((0.3, 0.8)), "factor", [3 / 7], [4.0]),
    ]
    for layer, key, low, high in rows:
        least, most = drawn(layer, key)
        spread = np.subtract(high, low)
        assert (least >= np.subtract(low, 1e-3)).all()
        assert (most <= np.add(high, 1e-3)).all()
        assert (most - least > 0.97 * spread).all()


def test_half_a_turn_about_the_middle_reverses_both_axes():
    layer = layers.RandomRotation((0.5, 0.5))
    np.testing.assert_allclose(layer(IMAGES), IMAGES[:, ::-1, ::-1], rtol=1e-3, atol=1e-2)


def test_shifts_by_whole_pixels_move_the_image():
    layer = layers.RandomTranslation((0.0, 0.0), (0.2, 0.2), fill_mode="constant")
    output = layer(IMAGES).numpy()
    np.testing.assert_allclose(output[:, :, 2:], IMAGES[:, :, :-2], rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(output[:, :, :2], 0)


def test_doubling_a_size_by_nearest_repeats_pixels():
    output = layers.Resizing(14, 20, "nearest")(IMAGES)
    np.testing.assert_array_equal(output, IMAGES.repeat(2, 1).repeat(2, 2))


def test_antialiased_halving_of_a_ramp_keeps_it_a_ramp():
    ramp = np.broadcast_to(np.arange(16, dtype="float32")[None, :, None, None], (1, 16, 4, 1))
    output = layers.Resizing(8, 4, antialias=True)(ramp).numpy()[0, :, 0, 0]
    np.testing.assert_allclose(output[1:-1], np.arange(8)[1:-1] * 2 + 0.5, rtol=1e-5)
