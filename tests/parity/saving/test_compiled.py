"""What `compile` was given, and the optimizer's state, come through files of either library."""

import numpy as np
import pytest

from distflow import keras as ours
from tests.parity.saving.models import ROWS

# Warnings here are those of the other side.
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
TARGETS = np.random.default_rng(1).normal(size=(8, 2)).astype("float32")
CLASSES = np.random.default_rng(2).integers(0, 2, 8)


def schedule(k):
    return k.optimizers.schedules.ExponentialDecay(0.1, 3, 0.5)


OPTIMIZERS = {
    "sgd": lambda k: k.optimizers.SGD(0.1),
    "momentum": lambda k: k.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "adam": lambda k: k.optimizers.Adam(0.01, amsgrad=True),
    "adamw": lambda k: k.optimizers.AdamW(0.01, weight_decay=0.1),
    "adamax": lambda k: k.optimizers.Adamax(0.01),
    "nadam": lambda k: k.optimizers.Nadam(0.01),
    "rmsprop": lambda k: k.optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    "adagrad": lambda k: k.optimizers.Adagrad(0.1),
    "adadelta": lambda k: k.optimizers.Adadelta(0.1),
    "ftrl": lambda k: k.optimizers.Ftrl(0.1),
    "lion": lambda k: k.optimizers.Lion(0.01),
    "schedule": lambda k: k.optimizers.Adam(schedule(k)),
    "clipped": lambda k: k.optimizers.Adam(0.01, clipnorm=1.0),
    "average": lambda k: k.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9),
    "accumulating": lambda k: k.optimizers.SGD(0.1, gradient_accumulation_steps=2),
    "named": lambda k: "adam",
}


def mlp(k):
    # No dropout: training that goes on must not depend on chance.
    return k.Sequential([k.Input((5,)), k.layers.Dense(4, activation="tanh"),
                         k.layers.BatchNormalization(), k.layers.Dense(2)])  # fmt: skip


def trained(k, optimizer):
    model = mlp(k)
    model.compile(optimizer, "mse", metrics=["mae"])
    model.fit(ROWS, TARGETS, batch_size=4, epochs=2, verbose=0, shuffle=False)
    return model


def values(variables):
    return [np.asarray(v.numpy(), np.float32) for v in variables]


def continued(model):
    """The weights after another epoch."""
    model.fit(ROWS, TARGETS, batch_size=4, epochs=1, verbose=0, shuffle=False)
    return values(model.trainable_weights)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("ours_writes", [True, False], ids=["written_here", "written_by_keras"])
def test_training_goes_on_in_the_other_library(theirs, tmp_path, name, ours_writes):
    here, there = (ours, theirs) if ours_writes else (theirs, ours)
    model = trained(here, OPTIMIZERS[name](here))
    model.save(tmp_path / "m.keras")
    loaded = there.saving.load_model(tmp_path / "m.keras")
    mine, others = values(model.optimizer.variables), values(loaded.optimizer.variables)
    assert len(mine) == len(others) > 0
    for a, b in zip(mine, others):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(continued(model), continued(loaded)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def heads(k):
    x = k.Input((5,), name="x")
    kind = k.layers.Dense(2, activation="softmax", name="kind")(x)
    return k.Model(x, {"value": k.layers.Dense(2, name="value")(x), "kind": kind})


LOSSES = {
    "names": ({"value": "mse", "kind": "sparse_categorical_crossentropy"},
              {"value": ["mae"], "kind": ["accuracy"]}, None),
    "objects": (
        lambda k: {"value": k.losses.Huber(), "kind": k.losses.SparseCategoricalCrossentropy()},
        lambda k: {"value": [k.metrics.RootMeanSquaredError(name="root")],
                   "kind": [k.metrics.SparseCategoricalAccuracy(name="right"), "accuracy"]},
        {"value": 0.5, "kind": 2.0},
    ),
    "functions": (
        lambda k: {"value": k.losses.mean_absolute_error,
                   "kind": k.losses.sparse_categorical_crossentropy}, None, None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("ours_writes", [True, False], ids=["written_here", "written_by_keras"])
def test_losses_and_metrics_of_several_outputs_survive(theirs, tmp_path, name, ours_writes):
    here, there = (ours, theirs) if ours_writes else (theirs, ours)
    losses, metrics, weights = (x(here) if callable(x) else x for x in LOSSES[name])
    model = heads(here)
    model.compile("sgd", losses, metrics=metrics, loss_weights=weights)
    targets = {"value": TARGETS, "kind": CLASSES}
    model.fit(ROWS, targets, verbose=0, shuffle=False)
    model.save(tmp_path / "m.keras")
    loaded = there.saving.load_model(tmp_path / "m.keras")
    before = model.evaluate(ROWS, targets, verbose=0, return_dict=True)
    after = loaded.evaluate(ROWS, targets, verbose=0, return_dict=True)
    assert set(before) == set(after)
    for key, value in before.items():
        np.testing.assert_allclose(after[key], value, rtol=1e-4, atol=1e-6, err_msg=key)


def test_a_model_loads_without_its_compilation(theirs, tmp_path):
    trained(theirs, "adam").save(tmp_path / "m.keras")
    assert not ours.saving.load_model(tmp_path / "m.keras", compile=False).compiled


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("ours_writes", [True, False], ids=["written_here", "written_by_keras"])
def test_models_in_16_bits_survive_with_their_optimizers(theirs, tmp_path, policy, ours_writes):
    here, there = (ours, theirs) if ours_writes else (theirs, ours)
    model = here.Sequential([here.Input((5,)), here.layers.Dense(3, dtype=policy),
                             here.layers.Dense(2, dtype="float32")])  # fmt: skip
    model.compile(here.optimizers.Adam(0.01), "mse")
    model.fit(ROWS, TARGETS, batch_size=4, verbose=0, shuffle=False)
    model.save(tmp_path / "m.keras")
    loaded = there.saving.load_model(tmp_path / "m.keras")
    assert loaded.layers[0].compute_dtype == policy[6:]
    for a, b in zip(values(model.weights), values(loaded.weights), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(model.optimizer.variables) == len(loaded.optimizer.variables)
