"""Compiled steps of losses, metrics, optimizers and schedules: all of them run wholly native.

What does not is on the list, with the reason; a piece that leaves the list, or joins it, fails.
"""

import re

import numpy as np
import pytest

import distflow as tf
from distflow.base import flags
from distflow.keras import losses, metrics, optimizers
from tests.keras.pieces import LOSSES, METRICS, OPTIMIZERS, SCHEDULES, weights_of

pytest.importorskip("llvmlite")

# Piece -> why a part of its step runs on NumPy.
ON_NUMPY = {
    "Precision(top_k)": "the k largest of a row are found by sorting, which has no loop form",
    "Recall(top_k)": "as for Precision",
}


@pytest.fixture(autouse=True)
def _cpu_executor():
    with flags.override(DISTFLOW_EXECUTOR="cpu"):
        yield


def on_numpy(text):
    """Returns the lines of an explanation about operations that NumPy runs."""
    count = int(re.search(r"(\d+) on the host", text)[1])
    lines = [line.strip() for line in text.splitlines() if re.match(r"\s*(host|numpy)", line, re.I)]
    return lines or ["?"] * count


def check(sample, text):
    name = getattr(sample, "name", sample)
    if "top_k" in getattr(sample, "settings", ()):
        name += "(top_k)"
    found = on_numpy(text)
    assert bool(found) == (name in ON_NUMPY), (found, text)


@pytest.mark.parametrize("sample", LOSSES, ids=str)
def test_a_loss_and_its_gradient_run_native(sample):
    loss = sample.make(losses)
    truth, guess = (tf.constant(x) for x in sample.inputs)

    @tf.function
    def step(truth, guess):
        with tf.GradientTape() as tape:
            tape.watch(guess)
            value = loss(truth, guess)
        return value, tape.gradient(value, guess)

    check(sample, step.explain(truth, guess))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sample", METRICS, ids=str)
def test_a_metric_s_update_and_result_run_native(sample, weighted):
    metric = sample.make(metrics)
    given = [tf.constant(x) for x in sample.inputs]
    if weighted:
        given.append(tf.constant(weights_of(sample)))

    @tf.function
    def step(*given):
        metric.update_state(*given)
        return metric.result()

    check(sample, step.explain(*given))


@pytest.mark.parametrize("sample", OPTIMIZERS, ids=str)
def test_an_optimizer_s_step_runs_native(sample):
    rng = np.random.default_rng(0)
    optimizer = sample.make(optimizers)
    shapes = ((3, 4), (4,), (2, 3, 4))
    variables = [tf.Variable(rng.normal(size=s).astype("float32")) for s in shapes]
    gradients = [tf.constant(rng.normal(size=s).astype("float32")) for s in shapes]
    optimizer.build(variables)

    @tf.function
    def step(*gradients):
        optimizer.apply_gradients(zip(gradients, variables))

    check(sample, step.explain(*gradients))


@pytest.mark.parametrize(
    "make",
    [
        lambda: optimizers.LossScaleOptimizer(optimizers.Adam()),
        lambda: optimizers.MultiOptimizer(optimizers.OptimizerMap(optimizers.Adam())),
    ],
    ids=["LossScaleOptimizer", "MultiOptimizer"],
)
def test_an_optimizer_of_others_runs_native(make):
    optimizer, variable = make(), tf.Variable(np.ones((3, 4), "float32"))
    optimizer.build([variable])

    @tf.function
    def step(gradient):
        optimizer.apply_gradients([(gradient, variable)])

    check(type(optimizer).__name__, step.explain(tf.ones((3, 4))))


@pytest.mark.parametrize("sample", SCHEDULES, ids=str)
def test_a_step_at_a_scheduled_rate_runs_native(sample):
    optimizer = optimizers.SGD(sample.make(optimizers.schedules))
    variable = tf.Variable(np.ones((3, 4), "float32"))
    optimizer.build([variable])

    @tf.function
    def step(gradient):
        optimizer.apply_gradients([(gradient, variable)])

    check(sample, step.explain(tf.ones((3, 4))))
