import json
import zipfile

import numpy as np
import pytest

from distflow.base import errors
from distflow.keras import Input, Model, Sequential, utils
from distflow.keras.engine.layer import Layer
from distflow.keras.saving import load_model
from tests.keras.engine.small_layers import Linear, Statistics

OBJECTS = {"Linear": Linear, "Statistics": Statistics}


@pytest.fixture(autouse=True)
def _fresh_names():
    utils.clear_session()


def branched():
    a, b = Input((3,), name="a"), Input((2,), name="b")
    x = Statistics()(Linear(4)(a)) * 2.0
    return Model({"a": a, "b": b}, [x[:, 1:], Linear(1)(b)])


DATA = {"a": np.ones((2, 3), "float32"), "b": np.ones((2, 2), "float32")}


def test_functional_model_comes_back_with_its_operations(tmp_path):
    model = branched()
    model.layers[-1].set_weights([w + 1 for w in model.layers[-1].get_weights()])
    model.save(tmp_path / "m.keras")
    copy = load_model(tmp_path / "m.keras", custom_objects=OBJECTS)
    for x, y in zip(model(DATA), copy(DATA)):
        np.testing.assert_array_equal(x.numpy(), y.numpy())


def test_archive_holds_the_three_parts(tmp_path):
    branched().save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        assert archive.namelist() == ["metadata.json", "config.json", "model.weights.h5"]
        assert json.loads(archive.read("config.json"))["class_name"] == "Functional"


def test_subclass_comes_back_by_its_config(tmp_path):
    class Mine(Model):
        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.inner = Linear(units)

        def call(self, inputs):
            return self.inner(inputs)

    model = Mine(3)
    out = model(np.ones((2, 4), "float32"))
    model.save(tmp_path / "m.keras")
    copy = load_model(tmp_path / "m.keras", custom_objects={"Mine": Mine})
    np.testing.assert_array_equal(copy(np.ones((2, 4), "float32")).numpy(), out.numpy())


def test_weights_are_read_out_of_an_archive(tmp_path):
    a, b = branched(), branched()
    a.save(tmp_path / "m.keras")
    b.load_weights(tmp_path / "m.keras")
    np.testing.assert_array_equal(a.get_weights()[0], b.get_weights()[0])


def test_frozen_layers_stay_frozen(tmp_path):
    model = Sequential([Input((3,)), Linear(2), Linear(1)])
    model.layers[0].trainable = False
    model.save(tmp_path / "m.keras")
    copy = load_model(tmp_path / "m.keras", custom_objects=OBJECTS)
    assert len(copy.trainable_weights) == 2


def test_failed_save_leaves_the_old_file(tmp_path):
    class Odd(Layer):
        def __init__(self, thing):
            super().__init__()

        def call(self, inputs):
            return inputs

    path = tmp_path / "m.keras"
    branched().save(path)
    before = path.read_bytes()
    with pytest.raises(NotImplementedError, match="override `get_config"):
        Sequential([Input((1,)), Odd(object())]).save(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda p: branched().save(p / "m.h5"), ValueError, "Invalid filepath extension"),
        (lambda p: load_model(p / "none.keras"), ValueError, "File not found"),
        (lambda p: load_model(p / "m.h6"), ValueError, "File format not supported"),
        (lambda p: load_model(_garbage(p)), errors.DataLossError, "to be a zip with config.json"),
        (lambda p: load_model(_saved(p)), TypeError, "Could not locate class 'Linear'"),
    ],
)
def test_misuse_is_one_clear_error(tmp_path, act, error, message):
    with pytest.raises(error, match=message):
        act(tmp_path)


def _garbage(folder):
    (folder / "m.keras").write_bytes(b"not a zip")
    return folder / "m.keras"


def _saved(folder):
    branched().save(folder / "m.keras")
    return folder / "m.keras"
