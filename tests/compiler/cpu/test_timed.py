"""Programs on the timeline: forward, backward and apply in their order, and the same bits."""

import itertools
import json

import numpy as np
import pytest

import distflow as tf
from distflow.base import flags
from distflow.compiler.cpu import timed
from distflow.telemetry import timeline

if flags.executor() != "cpu":
    pytest.skip("needs the executor cpu", allow_module_level=True)

X = np.random.default_rng(0).normal(size=(64, 32)).astype("float32")
Y = X[:, :4].copy()


@pytest.fixture
def recorder(tmp_path):
    with flags.override(DISTFLOW_TIMELINE=str(tmp_path)):
        timeline.start()
        timeline.stop()
        yield timeline._opened
        timeline.close()


def make_train(optimizer="adam"):
    tf.keras.utils.set_random_seed(3)
    model = tf.keras.Sequential(
        [tf.keras.layers.Dense(256, "relu"), tf.keras.layers.Dense(256, "relu"),
         tf.keras.layers.Dense(4)]
    )  # fmt: skip
    model.build((None, 32))
    update = tf.keras.optimizers.get(optimizer)

    @tf.function
    def train(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x) - y) ** 2)
        weights = model.trainable_variables
        update.apply_gradients(zip(tape.gradient(loss, weights), weights))
        return loss

    return model, train


def stretches(recorder):
    recorder.flush()
    found = json.loads(recorder.path.read_text())
    return [e for e in found if e["ph"] == "X" and e["cat"] == "compute"]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_step_is_forward_then_backward_then_apply(recorder, optimizer, monkeypatch):
    monkeypatch.setattr(timed, "_LEAST_SHARE", 0.0)  # however short a stretch is
    _, train = make_train(optimizer)
    train(X, Y)
    timeline.start()
    train(X, Y)
    timeline.stop()
    names = [e["name"] for e in stretches(recorder) if " " not in e["name"]]
    assert names.index("forward") < names.index("backward") < names.index("apply")
    assert set(names) == {"forward", "backward", "apply"}


def test_stretches_follow_one_another(recorder):
    _, train = make_train()
    train(X, Y)
    timeline.start()
    train(X, Y)
    timeline.stop()
    found = stretches(recorder)
    for before, after in itertools.pairwise(found):
        assert after["ts"] >= before["ts"] + before["dur"] - 0.01


def test_what_computes_no_gradient_is_forward(recorder):
    model, _ = make_train()
    predict = tf.function(model)
    predict(X)
    timeline.start()
    predict(X)
    timeline.stop()
    assert {e["name"] for e in stretches(recorder)} == {"forward"}


def test_recording_changes_no_bit(recorder):
    results = []
    for records in (False, True):
        model, train = make_train()
        if records:
            timeline.start()
        for _ in range(3):
            train(X, Y)
        timeline.stop()
        results.append([w.numpy().tobytes() for w in model.weights])
    assert results[0] == results[1]


def test_counters_of_both_forms_of_a_segment_are_told_apart():
    together = timed._Stretches(5, [0, 3], ["forward", "backward"])
    alone = timed._Stretches(3, [0, 1], ["forward", "apply"])
    counters = timed._Counters(together, alone)
    counters.words[:5] = [1, 2, 3, 4, 5]
    assert counters.read() == (["forward", "backward"], [6, 9])
    counters.words[:] = 0
    counters.words[:3] = [1, 2, 3]
    assert counters.read() == (["forward", "apply"], [1, 5])


def test_a_segment_is_cut_at_the_shares_of_its_cycles_short_stretches_with_their_neighbour():
    names = ["forward", "backward", "forward", "backward"]
    assert timed._shares(names, [30, 69, 1, 100]) == [("forward", 0.15), ("backward", 1.0)]
    assert timed._shares(["forward"], [0]) == [("forward", 1.0)]
