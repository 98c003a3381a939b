"""Every class of models that distflow has comes back compiled as it was."""

import pathlib
import re

import numpy as np
import pytest

import distflow
from distflow import keras
from distflow.base import errors

layers = keras.layers


def functional():
    x = keras.Input((4,), name="x")
    a, b = layers.Dense(3, name="a")(x), layers.Dense(2, name="b")(x)
    model = keras.Model(x, {"a": a, "b": b}, name="two")
    data = np.ones((2, 4)), {"a": np.ones((2, 3)), "b": np.ones((2, 2))}
    model.compile(
        keras.optimizers.Adam(0.02), {"a": "mse", "b": keras.losses.Huber(0.5)},
        loss_weights={"a": 0.3, "b": 2.0}, metrics={"a": ["mae", keras.metrics.MeanSquaredError()]},
        weighted_metrics={"b": ["mae"]}, run_eagerly=True, steps_per_execution=2,
    )  # fmt: skip
    model.train_on_batch(*data)
    return model


def sequential():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)], name="row")
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True),
                  metrics=["accuracy"])  # fmt: skip
    return model


def distiller():
    teacher, student = (keras.Sequential([keras.Input((4,)), layers.Dense(3)]) for _ in range(2))
    model = keras.distillation.Distiller(
        teacher, student, keras.distillation.LogitsDistillation(2.0), student_loss_weight=0.25
    )
    model.compile(keras.optimizers.SGD(0.1), keras.losses.Huber(0.5), metrics=["mae"],
                  run_eagerly=True)  # fmt: skip
    return model


MAKERS = {"Distiller": distiller, "Functional": functional, "Sequential": sequential}


def test_the_table_has_every_class():
    root = pathlib.Path(distflow.__file__).parent / "keras"
    found = re.findall(
        r"^class (\w+)\([^)]*\b(?:Model|Functional|Sequential)\b[^)]*\):",
        "\n".join(path.read_text() for path in sorted(root.rglob("*.py"))),
        re.MULTILINE,
    )
    assert sorted(found) == sorted(MAKERS)


@pytest.mark.parametrize("way", ["description", "file"])
@pytest.mark.parametrize("name", sorted(MAKERS))
def test_a_compiled_model_comes_back_as_it_was(name, way, tmp_path):
    model = MAKERS[name]()
    if way == "file":
        model.save(tmp_path / "m.keras")
        again = keras.models.load_model(tmp_path / "m.keras")
    else:
        described = keras.saving.serialize_keras_object(model)
        again = keras.saving.deserialize_keras_object(described)
    assert type(again) is type(model)
    assert again.compiled
    assert again.get_config() == model.get_config()
    assert again.get_compile_config() == model.get_compile_config()


@keras.saving.register_keras_serializable("tests")
class OwnCompile(keras.Sequential):
    def compile(self, first, **kwargs):
        super().compile(**kwargs)
        self.first = first


@keras.saving.register_keras_serializable("tests")
class OwnConfig(OwnCompile):
    def get_compile_config(self):
        return {"first": self.first, "optimizer": "sgd", "loss": "mse"}

    def compile_from_config(self, config):
        self.compile(**config)


def compiled(cls):
    model = cls([keras.Input((4,)), layers.Dense(3)])
    model.compile(7, optimizer="sgd", loss="mse")
    return model


def test_a_compile_of_ones_own_is_not_guessed_at(tmp_path):
    compiled(OwnCompile).save(tmp_path / "m.keras")
    with pytest.warns(UserWarning, match="method is custom"):
        again = keras.models.load_model(tmp_path / "m.keras")
    assert type(again) is OwnCompile
    assert not again.compiled


def test_a_compile_of_ones_own_comes_back_by_a_config_of_ones_own(tmp_path):
    compiled(OwnConfig).save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    assert (again.first, again.loss) == (7, "mse")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [*((name, {"optimizer": "best"}) for name in sorted(MAKERS)),
     ("Functional", {"loss_weights": {"a": "much"}})],
)  # fmt: skip
def test_a_refused_compile_leaves_the_model_compiled_as_it_was(name, wrong):
    model = MAKERS[name]()
    before = model.get_compile_config()
    kept = model.optimizer, model.compile_loss, getattr(model, "_student_loss", None)
    with pytest.raises(errors.InvalidArgumentError):
        model.compile(**{"optimizer": "adam", "loss": "mae", **wrong})
    assert model.get_compile_config() == before
    assert kept == (model.optimizer, model.compile_loss, getattr(model, "_student_loss", None))
