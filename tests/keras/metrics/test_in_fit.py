"""Metrics in `fit` and `evaluate`: those made at the first batch, on one replica and on several."""

import contextlib

import numpy as np
import pytest

import distflow as tf
from distflow import keras
from distflow.keras import layers, metrics, optimizers

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 5)).astype("float32")
Y = np.eye(3, dtype="float32")[RNG.integers(0, 3, 48)]
MAKERS = {
    "f1": lambda: metrics.F1Score(average="macro", name="f1"),
    "micro": lambda: metrics.FBetaScore(average="micro", beta=2.0, threshold=0.3, name="micro"),
    "r2": lambda: metrics.R2Score(name="r2"),
    "auc": lambda: metrics.AUC(multi_label=True, name="auc"),
    "iou": lambda: metrics.OneHotMeanIoU(3, name="iou"),
    "pearson": lambda: metrics.PearsonCorrelation(name="pearson"),
    "at": lambda: metrics.PrecisionAtRecall(0.5, name="at"),
}


def trained(strategy=None, optimizer=lambda: "sgd"):
    keras.utils.set_random_seed(0)
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = keras.Sequential([layers.Input((5,)), layers.Dense(3, activation="softmax")])
        model.compile(
            optimizer(), "categorical_crossentropy", metrics=[m() for m in MAKERS.values()]
        )
    model.fit(X, Y, batch_size=16, epochs=2, verbose=0)
    return model


def test_evaluate_gives_what_the_metric_gives_for_all_rows():
    model = trained()
    found = model.evaluate(X, Y, batch_size=16, verbose=0, return_dict=True)
    guess = model.predict(X, verbose=0)
    for name, make in MAKERS.items():
        metric = make()
        metric.update_state(Y, guess)
        assert found[name] == pytest.approx(float(metric.result()), rel=1e-5), name


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: "sgd",
        lambda: optimizers.LossScaleOptimizer(optimizers.SGD(0.1), initial_scale=16.0),
        lambda: optimizers.MultiOptimizer(
            optimizers.OptimizerMap(optimizers.SGD(0.1), {".*bias": optimizers.SGD(0.2)})
        ),
        lambda: optimizers.Muon(0.01),
    ],
    ids=["SGD", "LossScaleOptimizer", "MultiOptimizer", "Muon"],
)
def test_two_replicas_give_what_one_gives(optimizer):
    strategy = tf.distribute.MirroredStrategy(logical_replicas=2)
    one, two = trained(optimizer=optimizer), trained(strategy, optimizer)
    for a, b in zip(one.get_weights(), two.get_weights()):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    a, b = (m.evaluate(X, Y, batch_size=16, verbose=0, return_dict=True) for m in (one, two))
    assert a == pytest.approx(b, rel=1e-4, abs=1e-6)
