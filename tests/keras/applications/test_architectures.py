"""Every architecture: its published number of parameters, and the layers that Keras has."""

import inspect
import json

import numpy as np
import pytest

from distflow import keras
from distflow.core.convert import convert_to_tensor
from distflow.keras import applications, initializers
from tests.keras.battery import keras_or_skip

# From the table of keras.io/api/applications and the papers, with the classifier of 1000 classes.
PARAMETERS = {
    "VGG16": 138_357_544, "VGG19": 143_667_240, "Xception": 22_910_480,
    "ResNet50": 25_636_712, "ResNet101": 44_707_176, "ResNet152": 60_419_944,
    "ResNet50V2": 25_613_800, "ResNet101V2": 44_675_560, "ResNet152V2": 60_380_648,
    "InceptionV3": 23_851_784, "InceptionResNetV2": 55_873_736,
    "MobileNet": 4_253_864, "MobileNetV2": 3_538_984,
    "MobileNetV3Small": 2_554_968, "MobileNetV3Large": 5_507_432,
    "DenseNet121": 8_062_504, "DenseNet169": 14_307_880, "DenseNet201": 20_242_984,
    "NASNetMobile": 5_326_716, "NASNetLarge": 88_949_818,
    "EfficientNetB0": 5_330_571, "EfficientNetB1": 7_856_239, "EfficientNetB2": 9_177_569,
    "EfficientNetB3": 12_320_535, "EfficientNetB4": 19_466_823, "EfficientNetB5": 30_562_527,
    "EfficientNetB6": 43_265_143, "EfficientNetB7": 66_658_687,
    "EfficientNetV2B0": 7_200_312, "EfficientNetV2B1": 8_212_124, "EfficientNetV2B2": 10_178_374,
    "EfficientNetV2B3": 14_467_622, "EfficientNetV2S": 21_612_360,
    "EfficientNetV2M": 54_431_388, "EfficientNetV2L": 119_027_848,
    "ConvNeXtTiny": 28_589_128, "ConvNeXtSmall": 50_223_688, "ConvNeXtBase": 88_591_464,
    "ConvNeXtLarge": 197_767_336, "ConvNeXtXLarge": 350_196_968,
}  # fmt: skip


# One of each family: the others are other rows of the same tables.
SISTERS = (
    "Xception", "ResNet50", "ResNet50V2", "InceptionV3", "InceptionResNetV2", "MobileNet",
    "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large", "DenseNet121", "NASNetMobile",
    "EfficientNetB1", "EfficientNetV2B1", "EfficientNetV2S", "ConvNeXtTiny",
)  # fmt: skip


@pytest.fixture
def zeros(monkeypatch):
    """Random initializers give zeros: a hundred million numbers take long to draw."""

    def draw(self, shape, dtype=None):
        return convert_to_tensor(np.zeros(shape, dtype or "float32"))

    monkeypatch.setattr(initializers.VarianceScaling, "__call__", draw)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if c > 100e6 else n for n, c in PARAMETERS.items()],
)
def test_number_of_parameters_is_the_published_one(name, zeros):
    model = getattr(applications, name)(weights=None)
    assert model.count_params() == PARAMETERS[name]
    assert model.output_shape == (None, 1000)


def test_every_model_of_the_room_is_in_the_table():
    functions = {n for n in applications.__all__ if callable(getattr(applications, n))}
    assert functions == set(PARAMETERS)


@pytest.mark.parametrize("name", SISTERS)
@pytest.mark.parametrize("pooling", [None, "max"])
def test_without_the_classifier_there_are_features(name, pooling, zeros):
    model = getattr(applications, name)(weights=None, include_top=False, pooling=pooling)
    assert len(model.output_shape) == (4 if pooling is None else 2)


SMALL = (
    "MobileNet", "MobileNetV2", "MobileNetV3Small", "ResNet50", "ResNet50V2", "DenseNet121",
    "EfficientNetB0", "EfficientNetV2B0",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_small_image_gives_chances(name):
    model = getattr(applications, name)(weights=None, classes=7, input_shape=(32, 32, 3))
    rows = model(np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32"))
    assert rows.shape == (2, 7)
    np.testing.assert_allclose(rows.numpy().sum(-1), 1, rtol=1e-5)


def test_filters_follow_alpha(zeros):
    wide, thin = (applications.MobileNet(weights=None, alpha=a).count_params() for a in (1, 0.25))
    assert (wide, thin) == (4_253_864, 475_544)


def test_a_model_starts_at_a_tensor(zeros):
    image = keras.Input((64, 64, 3), name="image")
    model = applications.MobileNetV2(weights=None, input_tensor=image, include_top=False)
    assert model.inputs[0] is image
    assert model.output_shape == (None, 2, 2, 1280)


def test_config_makes_an_equal_model(zeros):
    for name in ("InceptionResNetV2", "ConvNeXtTiny", "MobileNetV3Small"):
        model = getattr(applications, name)(weights=None, include_top=False)
        again = keras.models.model_from_json(model.to_json()) if hasattr(
            keras.models, "model_from_json"
        ) else type(model).from_config(json.loads(json.dumps(model.get_config())))  # fmt: skip
        assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
        assert again.count_params() == model.count_params()


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SISTERS)
def test_layers_and_weights_are_those_of_keras(name, zeros, monkeypatch):
    theirs = keras_or_skip()

    def draw(self, shape, dtype=None):
        return theirs.ops.zeros(shape, dtype or "float32")

    monkeypatch.setattr(theirs.initializers.VarianceScaling, "__call__", draw)
    theirs.backend.clear_session()
    keras.backend.clear_session()
    settings = {"weights": None, "input_shape": (96, 96, 3), "classes": 10}
    a = getattr(theirs.applications, name)(**settings)
    b = getattr(applications, name)(**settings)
    assert [(x.name, type(x).__name__) for x in a.layers] == [
        (x.name, type(x).__name__) for x in b.layers
    ]
    assert [tuple(w.shape) for w in a.weights] == [tuple(w.shape) for w in b.weights]
    names, ours = ([w.path.split("/")[-2:] for w in m.weights] for m in (a, b))
    # Keras numbers the one weight that has no name.
    assert [n for n in names if "variable" not in n[1]] == [n for n in ours if n[1] != "variable"]
    for one, other in zip(a.layers, b.layers):
        assert tuple(one.output.shape) == tuple(other.output.shape), one.name


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PARAMETERS)
def test_arguments_are_those_of_keras(name):
    theirs, ours = (
        inspect.signature(getattr(module, name))
        for module in (keras_or_skip().applications, applications)
    )
    assert [(p.name, p.default) for p in theirs.parameters.values()] == [
        (p.name, p.default) for p in ours.parameters.values()
    ]
