"""Compiled models come back with optimizer state, losses and metrics."""

import numpy as np
import pytest

from distflow.keras import Input, Sequential, models, optimizers
from tests.keras.engine.small_layers import Linear, Statistics

OBJECTS = {"Linear": Linear, "Statistics": Statistics}
X, Y = np.ones((8, 3), "float32"), np.ones((8, 1), "float32")


def trained(loss="mse", **kwargs):
    model = Sequential([Input((3,)), Linear(2), Statistics(), Linear(1)])
    model.compile(optimizers.Adam(0.01), loss, metrics=["mae"], **kwargs)
    model.fit(X, Y, epochs=2, batch_size=4, verbose=0)
    return model


def test_training_goes_on_where_it_was(tmp_path):
    model = trained()
    model.save(tmp_path / "m.keras")
    copy = models.load_model(tmp_path / "m.keras", custom_objects=OBJECTS)
    assert copy.optimizer.iterations.numpy() == 4
    for m in (model, copy):
        m.fit(X, Y, epochs=1, batch_size=4, verbose=0)
    for a, b in zip(model.get_weights(), copy.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_loss_and_metrics_come_back(tmp_path):
    model = trained()
    model.save(tmp_path / "m.keras")
    copy = models.load_model(tmp_path / "m.keras", custom_objects=OBJECTS)
    assert copy.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)


def test_loading_without_compiling(tmp_path):
    trained().save(tmp_path / "m.keras")
    copy = models.load_model(tmp_path / "m.keras", custom_objects=OBJECTS, compile=False)
    assert not copy.compiled


def test_a_loss_that_cannot_be_saved_is_warned_about(tmp_path):
    model = trained(loss=lambda y, p: (y - p) ** 2)
    with pytest.warns(UserWarning, match="must be compiled again: .*a lambda cannot be saved"):
        model.save(tmp_path / "m.keras")
    assert not models.load_model(tmp_path / "m.keras", custom_objects=OBJECTS).compiled


def test_weights_file_holds_the_optimizer(tmp_path):
    model, other = trained(), trained()
    model.save_weights(tmp_path / "m.weights.h5")
    other.load_weights(tmp_path / "m.weights.h5")
    for a, b in zip(model.optimizer.variables, other.optimizer.variables):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_weights_load_into_a_model_with_another_optimizer_with_a_warning(tmp_path):
    model = trained()
    model.save_weights(tmp_path / "m.weights.h5")
    other = trained()
    other.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="Skipping variable loading for optimizer"):
        other.load_weights(tmp_path / "m.weights.h5")
    np.testing.assert_array_equal(other.get_weights()[0], model.get_weights()[0])
