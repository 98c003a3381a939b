"""Callbacks that watch a quantity do at each epoch what Keras's do, for the same logs."""

import numpy as np
import pytest

from distflow import keras
from tests.keras.battery import keras_or_skip

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
FALLING = [1.0, 0.9, 0.95, 0.93, 0.8, 0.81, 0.805, 0.803, 0.79, 0.79, 0.79, 0.79]
GROWING = [0.1, 0.3, 0.2, 0.35, 0.35, 0.34, 0.33, 0.36, 0.36, 0.2, 0.2, 0.2]


def small_model(k):
    model = k.Sequential([k.layers.Input((2,)), k.layers.Dense(1, kernel_initializer="ones")])
    model.compile(k.optimizers.SGD(0.5), "mse", metrics=["accuracy"])
    model.fit(np.ones((2, 2)), np.ones((2, 1)), verbose=0)
    model.optimizer.learning_rate = 0.5
    return model


def followed(k, name, settings, values):
    """Returns what is seen after each epoch: whether training stops, best value, rate, weights."""
    model = small_model(k)
    callback = getattr(k.callbacks, name)(**settings)
    callback.set_model(model)
    callback.set_params({"epochs": len(values)})
    model.stop_training = False
    seen = []
    callback.on_train_begin({})
    for epoch, value in enumerate(values):
        model.set_weights([np.full((2, 1), float(epoch)), np.zeros(1)])
        callback.on_epoch_begin(epoch, {})
        logs = {settings.get("monitor", "loss"): value}
        callback.on_epoch_end(epoch, logs)
        rate = round(float(np.asarray(model.optimizer.learning_rate)), 7)
        seen.append((model.stop_training, getattr(callback, "best", None), rate,
                     getattr(callback, "wait", None)))  # fmt: skip
        if model.stop_training:
            break
    callback.on_train_end({})
    return seen, float(np.asarray(model.get_weights()[0])[0, 0])


CASES = [
    *(("EarlyStopping", {"monitor": "loss", **more}, FALLING) for more in (
        {}, {"patience": 1}, {"patience": 2}, {"patience": 3, "min_delta": 0.02},
        {"patience": 2, "restore_best_weights": True}, {"baseline": 0.85, "patience": 3},
        {"patience": 1, "start_from_epoch": 3}, {"mode": "max", "patience": 2},
        {"patience": 20, "restore_best_weights": True},
    )),
    *(("EarlyStopping", {"monitor": "accuracy", **more}, GROWING) for more in (
        {}, {"patience": 2}, {"patience": 2, "min_delta": 0.04, "restore_best_weights": True},
        {"mode": "max", "baseline": 0.32, "patience": 4},
    )),
    *(("ReduceLROnPlateau", {"monitor": "loss", **more}, FALLING) for more in (
        {}, {"patience": 1}, {"patience": 2, "factor": 0.5}, {"patience": 1, "cooldown": 2},
        {"patience": 1, "min_lr": 0.1}, {"patience": 1, "min_delta": 0.1},
        {"patience": 0, "factor": 0.9}, {"mode": "max", "patience": 1},
    )),
    ("ReduceLROnPlateau", {"monitor": "accuracy", "patience": 1, "factor": 0.5}, GROWING),
]  # fmt: skip


@pytest.mark.parametrize(("name", "settings", "values"), CASES)
def test_each_epoch_ends_as_in_keras(name, settings, values):
    theirs = followed(keras_or_skip(), name, settings, values)
    ours = followed(keras, name, settings, values)
    assert ours == theirs


@pytest.mark.parametrize(
    "schedule", [lambda epoch: 0.1 / (epoch + 1), lambda epoch, rate: rate * 0.5]
)
def test_rates_are_set_as_in_keras(schedule):
    settings = {"schedule": schedule}
    theirs = followed(keras_or_skip(), "LearningRateScheduler", settings, FALLING)
    assert followed(keras, "LearningRateScheduler", settings, FALLING) == theirs


@pytest.mark.parametrize("frequency", [None, 3])
def test_swapped_averages_are_those_of_keras(frequency):
    x = np.random.default_rng(0).normal(size=(12, 2)).astype("float32")
    found = []
    for k in (keras_or_skip(), keras):
        model = k.Sequential([k.layers.Input((2,)), k.layers.Dense(1, kernel_initializer="ones")])
        optimizer = k.optimizers.SGD(
            0.1, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=frequency
        )
        model.compile(optimizer, "mse")
        history = model.fit(x, x[:, :1], batch_size=4, epochs=3, shuffle=False, verbose=0,
                            validation_data=(x, x[:, :1]),
                            callbacks=[k.callbacks.SwapEMAWeights(swap_on_epoch=True)])  # fmt: skip
        found.append((history.history["val_loss"], model.get_weights()))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    for one, other in zip(found[0][1], found[1][1]):
        np.testing.assert_allclose(other, one, rtol=1e-5)
