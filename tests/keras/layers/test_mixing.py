"""MixUp, CutMix, Pipeline, and layers as configs."""

import numpy as np
import pytest

import distflow as tf
from distflow.keras import layers

IMAGES = np.random.default_rng(3).uniform(0, 255, size=(6, 8, 9, 3)).astype("float32")
LABELS = np.eye(6, dtype="float32")


def test_mixup_mixes_images_and_labels_by_the_same_share():
    out = layers.MixUp(alpha=1.0, seed=1)({"images": IMAGES, "labels": LABELS}, training=True)
    labels = out["labels"].numpy()
    np.testing.assert_allclose(labels.sum(1), 1, rtol=1e-5)
    expected = np.tensordot(labels, IMAGES, 1)
    np.testing.assert_allclose(out["images"].numpy(), expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_shares_follow_the_beta_distribution(alpha):
    found = layers.MixUp(alpha, seed=1).get_random_transformation(tf.zeros([20000, 1, 1, 1]))
    share = found["mix_weight"].numpy()
    assert share.mean() == pytest.approx(0.5, abs=0.01)
    assert share.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)


def test_cutmix_mixes_labels_by_the_share_of_pixels():
    out = layers.CutMix(seed=2)({"images": IMAGES, "labels": LABELS}, training=True)
    images, labels = out["images"].numpy(), out["labels"].numpy()
    for i in range(6):
        own = (images[i] == IMAGES[i]).all(-1).mean()
        if labels[i, i] < 1:
            assert own == pytest.approx(labels[i, i], abs=1e-5)
            assert np.isin(images[i], IMAGES).all()


def test_outside_of_training_nothing_is_mixed():
    out = layers.CutMix()({"images": IMAGES, "labels": LABELS}, training=False)
    np.testing.assert_array_equal(out["images"].numpy(), IMAGES)


def test_labels_of_integers_are_refused():
    with pytest.raises(TypeError, match="labels of floats"):
        layers.MixUp()({"images": IMAGES, "labels": np.arange(6)}, training=True)


def test_a_pipeline_is_its_layers_one_after_another():
    pipeline = layers.Pipeline([layers.Resizing(4, 4), layers.Rescaling(1 / 255)])
    expected = layers.Resizing(4, 4)(IMAGES).numpy() / 255
    np.testing.assert_allclose(pipeline(tf.constant(IMAGES)).numpy(), expected, rtol=1e-5)
    again = layers.Pipeline.from_config(pipeline.get_config())
    np.testing.assert_allclose(again(tf.constant(IMAGES)).numpy(), expected, rtol=1e-5)


def test_a_layer_comes_back_from_its_config():
    again = layers.deserialize(layers.serialize(layers.Dense(3, activation="relu")))
    assert (type(again).__name__, again.units) == ("Dense", 3)
    with pytest.raises(ValueError, match="config of a layer"):
        layers.deserialize(3)


BOXES = {
    "boxes": np.arange(24, dtype="float32").reshape(2, 3, 4),
    "labels": np.array([[1, 2, 3], [4, 5, 6]]),
}


@pytest.mark.parametrize("count", [2, 5])
def test_boxes_are_cut_or_filled_to_one_number(count):
    out = layers.MaxNumBoundingBoxes(count)({"images": IMAGES[:2], "bounding_boxes": BOXES})
    found = out["bounding_boxes"]
    kept = min(count, 3)
    np.testing.assert_array_equal(found["boxes"][:, :kept], BOXES["boxes"][:, :kept])
    np.testing.assert_array_equal(found["labels"][:, :kept], BOXES["labels"][:, :kept])
    assert (found["boxes"].numpy()[:, kept:] == -1).all()
    assert found["labels"].shape == (2, count)


def test_what_holds_no_boxes_is_refused():
    with pytest.raises(ValueError, match="bounding_boxes"):
        layers.MaxNumBoundingBoxes(2)({"images": IMAGES})


def test_a_thresholded_relu_passes_what_is_above_theta():
    out = layers.ThresholdedReLU(0.5)(np.array([[-1.0, 0.4, 0.5, 0.6]], "float32"))
    np.testing.assert_allclose(out.numpy(), [[0, 0, 0, 0.6]])
    assert layers.ThresholdedReLU.from_config(layers.ThresholdedReLU(0.5).get_config()).theta == 0.5
