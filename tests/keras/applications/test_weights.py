"""Weights from files and downloads, transfer learning, preparation, names of classes, mistakes."""

import json
import sys

import numpy as np
import pytest

from distflow import keras
from distflow.base import errors
from distflow.core.convert import convert_to_tensor
from distflow.keras import applications, layers, models
from distflow.keras.applications import imagenet_utils
from distflow.keras.datasets import files
from tests.keras.battery import keras_or_skip

RNG = np.random.default_rng(2)
IMAGES = RNG.uniform(0, 255, (4, 32, 32, 3)).astype("float32")
TINY = {"alpha": 0.35, "include_top": False, "input_shape": (32, 32, 3)}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(files, "_download", lambda *args: "no network in tests")
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.mark.parametrize("ending", [".weights.h5", ".keras"])
def test_weights_of_a_file_are_loaded(tmp_path, ending):
    pytest.importorskip("h5py")
    first = applications.MobileNetV2(weights=None, **TINY)
    path = str(tmp_path / f"model{ending}")
    first.save_weights(path) if ending == ".weights.h5" else first.save(path)
    second = applications.MobileNetV2(weights=path, **TINY)
    for one, other in zip(first.weights, second.weights):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_frozen_layers_keep_their_weights_and_a_new_head_learns():
    keras.utils.set_random_seed(1)
    base = applications.MobileNetV2(weights=None, pooling="avg", **TINY)
    for w in base.weights:
        if w.path.endswith("moving_variance"):  # else the features of random layers die out
            w.assign(w * 0 + 0.3)
    base.trainable = False
    image = layers.Input((32, 32, 3))
    x = applications.mobilenet_v2.preprocess_input(image)
    x = base(x, training=False)
    model = models.Model(image, layers.Dense(2, activation="softmax")(x))
    assert len(model.trainable_weights) == 2
    before = [w.numpy() for w in base.weights]
    model.compile(keras.optimizers.Adam(0.001), "sparse_categorical_crossentropy")
    labels = np.array([0, 1, 0, 1])
    history = model.fit(IMAGES, labels, epochs=10, verbose=0).history["loss"]
    assert history[-1] < history[0]
    for one, other in zip(before, base.weights):
        np.testing.assert_array_equal(one, other.numpy())


def test_thawed_layers_learn():
    keras.utils.set_random_seed(1)
    base = applications.MobileNetV2(weights=None, pooling="avg", **TINY)
    base.trainable = False
    for layer in base.layers[-3:]:
        layer.trainable = True
    base.trainable = True
    for layer in base.layers[:-10]:
        layer.trainable = False
    model = models.Sequential([base, layers.Dense(2)])
    model.compile("sgd", "mse")
    name = "Conv_1"
    frozen, free = base.get_layer("block_3_expand"), base.get_layer(name)
    before = frozen.kernel.numpy(), free.kernel.numpy()
    model.fit(IMAGES / 255, np.ones((4, 2)), verbose=0)
    np.testing.assert_array_equal(frozen.kernel.numpy(), before[0])
    assert (free.kernel.numpy() != before[1]).any()


PUBLISHED = {
    "VGG16": "vgg16_weights_tf_dim_ordering_tf_kernels.h5",
    "ResNet50V2": "resnet50v2_weights_tf_dim_ordering_tf_kernels.h5",
    "MobileNet": "mobilenet_1_0_224_tf.h5",
    "MobileNetV2": "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5",
    "DenseNet121": "densenet121_weights_tf_dim_ordering_tf_kernels.h5",
    "EfficientNetB0": "efficientnetb0.h5",
    "EfficientNetV2B0": "efficientnetv2-b0.h5",
    "NASNetMobile": "NASNet-mobile.h5",
}


@pytest.mark.parametrize("name", [n for n in PUBLISHED if n != "VGG16"])
def test_missing_weights_say_which_file_belongs_where(cache, name):
    with pytest.raises(errors.NotFoundError) as raised:
        getattr(applications, name)()
    text = str(raised.value)
    assert f"{name}: expected the file {cache}/{PUBLISHED[name]}" in text
    assert "Get https://storage.googleapis.com/" in text


def test_classes_have_names(cache):
    index = {str(i): [f"n{i:08d}", f"class {i}"] for i in range(1000)}
    (cache / "imagenet_class_index.json").write_text(json.dumps(index))
    imagenet_utils._class_names.cache_clear()
    scores = np.zeros((1, 1000), "float32")
    scores[0, [3, 900]] = 0.3, 0.6
    ((best, second),) = applications.vgg16.decode_predictions(scores, top=2)
    assert best == ("n00000900", "class 900", np.float32(0.6))
    assert second[1] == "class 3"
    imagenet_utils._class_names.cache_clear()


def test_missing_names_of_classes_say_which_file_belongs_where(cache):
    imagenet_utils._class_names.cache_clear()
    with pytest.raises(errors.NotFoundError, match=r"models/imagenet_class_index\.json"):
        applications.resnet.decode_predictions(np.zeros((1, 1000)))


def refused(name, **settings):
    return lambda: getattr(applications, name)(**{"weights": None, **settings})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (refused("VGG16", weights="nowhere.h5"), "weights must be None, 'imagenet'"),
        (refused("VGG16", weights="imagenet", classes=10), "classes must be 1000"),
        (refused("VGG16", weights="imagenet", classifier_activation="relu"), "classifier_activ"),
        (refused("VGG16", weights="imagenet", input_shape=(64, 64, 3)), r"\(224, 224, 3\)"),
        (refused("VGG16", input_shape=(31, 64, 3)), "at least 32"),
        (refused("Xception", input_shape=(64, 64, 3)), "at least 71"),
        (refused("VGG16", input_shape=(None, None, 3)), "must be known"),
        (refused("VGG16", input_shape=(64, 64)), "three integers"),
        (refused("VGG16", input_shape=(64, 64, 1), weights="imagenet", include_top=False),
         "3 channels"),
        (refused("VGG16", include_top=False, pooling="mean"), "pooling"),
        (refused("ResNet50", input_tensor=np.zeros((1, 64, 64, 3))), "Keras tensor"),
        (refused("MobileNet", weights="imagenet", alpha=0.3), "alpha"),
        (refused("MobileNet", weights="imagenet", depth_multiplier=2), "depth_multiplier"),
        (refused("MobileNetV2", weights="imagenet", alpha=0.3), "alpha"),
        (refused("MobileNetV3Small", weights="imagenet", alpha=0.5), "alpha"),
        (lambda: imagenet_utils.preprocess_input(IMAGES, mode="jax"), "mode"),
        (lambda: imagenet_utils.preprocess_input(IMAGES, data_format="first"), "data_format"),
        (lambda: imagenet_utils.decode_predictions(np.zeros((2, 10))), "1000"),
    ],
)  # fmt: skip
def test_mistake_is_one_clear_error(call, message):
    with pytest.raises(errors.InvalidArgumentError, match=message):
        call()


def test_more_channels_are_a_warning():
    with pytest.warns(UserWarning, match="1 or 3 input channels"):
        applications.MobileNetV2(weights=None, alpha=0.35, include_top=False,
                                 input_shape=(32, 32, 5))  # fmt: skip


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
@pytest.mark.parametrize("first", [False, True])
def test_tensors_are_prepared_as_arrays_are(mode, first):
    images = np.moveaxis(IMAGES, -1, 1) if first else IMAGES
    layout = "channels_first" if first else "channels_last"
    expected = imagenet_utils.preprocess_input(images.copy(), layout, mode)
    found = imagenet_utils.preprocess_input(convert_to_tensor(images), layout, mode)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)
    one = imagenet_utils.preprocess_input(images[0].copy(), layout, mode)
    np.testing.assert_allclose(one, expected[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("module", ["vgg16", "resnet_v2", "densenet", "efficientnet", "convnext"])
def test_images_are_prepared_as_in_keras(module):
    theirs = getattr(keras_or_skip().applications, module).preprocess_input(IMAGES.copy())
    ours = getattr(applications, module).preprocess_input(IMAGES.copy())
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("MobileNetV2", {"alpha": 0.35}), ("ResNet50", {}), ("EfficientNetV2B0", {}),
        ("ConvNeXtTiny", {}), ("MobileNetV3Small", {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("legacy", [False, True])
def test_weights_that_keras_wrote_give_its_features(name, settings, legacy, tmp_path):
    theirs = keras_or_skip()
    h5py = pytest.importorskip("h5py")
    settings = {"include_top": False, "input_shape": (32, 32, 3), **settings}
    theirs.utils.set_random_seed(0)
    theirs.backend.clear_session()
    keras.backend.clear_session()
    a = getattr(theirs.applications, name)(weights=None, **settings)
    for w in a.weights:  # means and variances that are not 0 and 1
        if "moving" in w.path:
            w.assign(np.abs(RNG.normal(1, 0.1, w.shape)))
    path = str(tmp_path / ("a.h5" if legacy else "a.weights.h5"))
    if legacy:  # the form of the published files
        legacy_format = sys.modules["keras.src.legacy.saving.legacy_h5_format"]
        with h5py.File(path, "w") as file:
            legacy_format.save_weights_to_hdf5_group(file, a)
    else:
        a.save_weights(path)
    b = getattr(applications, name)(weights=path, **settings)
    expected = np.asarray(a(IMAGES, training=False))
    found = b(IMAGES, training=False).numpy()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * scale)
