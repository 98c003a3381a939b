"""Metrics: values by counting, state, weights, masks, names by shape and errors."""

import json

import numpy as np
import pytest

import distflow as tf
from distflow.core.convert import convert_to_tensor
from distflow.core.variable import VariableAggregation, VariableSynchronization
from distflow.keras import losses, metrics
from tests.keras.pieces import METRICS, weights_of

each_metric = pytest.mark.parametrize("sample", METRICS, ids=str)


def value(metric):
    return metric.result().numpy()


@each_metric
def test_config_makes_an_equal_metric(sample):
    metric = sample.make(metrics)
    again = type(metric).from_config(json.loads(json.dumps(metric.get_config())))
    assert json.dumps(again.get_config()) == json.dumps(metric.get_config())


@each_metric
def test_two_halves_equal_the_whole(sample):
    truth, guess = sample.inputs
    whole, halves = sample.make(metrics), sample.make(metrics)
    weights = weights_of(sample)
    whole.update_state(truth, guess, weights)
    if sample.settings.get("axis") == 0:
        return
    halves.update_state(truth[:3], guess[:3], weights[:3])
    halves.update_state(truth[3:], guess[3:], weights[3:])
    np.testing.assert_allclose(value(halves), value(whole), rtol=1e-5, atol=1e-6)


@each_metric
def test_merged_state_equals_the_whole(sample):
    truth, guess = sample.inputs
    whole, first, second = (sample.make(metrics) for _ in range(3))
    whole.update_state(truth, guess)
    first.update_state(truth[:2], guess[:2])
    second.update_state(truth[2:], guess[2:])
    first.merge_state([second])
    np.testing.assert_allclose(value(first), value(whole), rtol=1e-5, atol=1e-6)


@each_metric
def test_weights_of_zero_leave_examples_out(sample):
    if sample.settings.get("num_regressors"):
        pytest.skip("the adjusted score knows how many examples there were")
    truth, guess = sample.inputs
    part, weighted = sample.make(metrics), sample.make(metrics)
    part.update_state(truth[:4], guess[:4])
    kind = weights_of(sample).dtype
    weighted.update_state(truth, guess, np.array([1, 1, 1, 1, 0, 0], kind))
    np.testing.assert_allclose(value(weighted), value(part), rtol=1e-5, atol=1e-6)


@each_metric
def test_reset_forgets_everything(sample):
    metric = sample.make(metrics)
    metric.update_state(*sample.inputs)
    metric.reset_state()
    assert all((v.numpy() == 0).all() for v in metric.variables)


@each_metric
def test_traced_update_equals_eager_update(sample):
    eager, traced = sample.make(metrics), sample.make(metrics)
    tensors = [convert_to_tensor(x) for x in sample.inputs]
    eager.update_state(*tensors)
    traced.update_state(*tensors)
    traced.reset_state()
    tf.function(lambda a, b: traced.update_state(a, b))(*tensors)
    np.testing.assert_allclose(value(traced), value(eager), rtol=1e-6)


def test_state_adds_up_over_replicas():
    for variable in metrics.Mean().variables:
        assert variable.synchronization is VariableSynchronization.ON_READ
        assert variable.aggregation is VariableAggregation.SUM
        assert not variable.trainable


def test_mean_is_weighted():
    metric = metrics.Mean()
    metric.update_state([1.0, 3.0], sample_weight=[3.0, 1.0])
    metric.update_state(5.0)
    assert float(metric.result()) == pytest.approx((3 + 3 + 5) / 5)


def test_mean_of_nothing_is_zero():
    assert float(metrics.Mean().result()) == 0


def test_calling_updates_and_returns_the_value():
    metric = metrics.Sum()
    metric([1.0, 2.0])
    assert float(metric([3.0])) == 6


TRUTH = np.array([0, 1, 1, 1, 0], "float32")
GUESS = np.array([0.1, 0.9, 0.4, 0.7, 0.6], "float32")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("TruePositives", 2), ("FalsePositives", 1), ("TrueNegatives", 1), ("FalseNegatives", 1),
        ("Precision", 2 / 3), ("Recall", 2 / 3), ("BinaryAccuracy", 3 / 5),
    ],
)  # fmt: skip
def test_counts_at_one_half(name, expected):
    metric = getattr(metrics, name)()
    metric.update_state(TRUTH, GUESS)
    assert float(metric.result()) == pytest.approx(expected)


def test_auc_is_the_chance_that_a_positive_ranks_above_a_negative():
    pairs = [float(p > n) for p in GUESS[TRUTH == 1] for n in GUESS[TRUTH == 0]]
    metric = metrics.AUC()
    metric.update_state(TRUTH, GUESS)
    assert float(metric.result()) == pytest.approx(np.mean(pairs), abs=1e-5)


def test_root_is_taken_of_the_whole_mean():
    metric = metrics.RootMeanSquaredError()
    metric.update_state([[0.0]], [[3.0]])
    metric.update_state([[0.0]], [[4.0]])
    assert float(metric.result()) == pytest.approx(np.sqrt(12.5))


def test_masked_examples_do_not_count():
    guess = convert_to_tensor(np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]], "float32"))
    guess._keras_mask = convert_to_tensor([True, True, False])
    metric = metrics.SparseCategoricalAccuracy()
    metric.update_state([1, 0, 0], guess)
    assert float(metric.result()) == 1


@pytest.mark.parametrize(
    ("truth", "guess", "kind"),
    [
        ((None,), (None, 1), "BinaryAccuracy"),
        ((None, 1), (None, 1), "BinaryAccuracy"),
        ((None,), (None, 4), "SparseCategoricalAccuracy"),
        ((None, 1), (None, 4), "SparseCategoricalAccuracy"),
        ((None, 4), (None, 4), "CategoricalAccuracy"),
        ((None, 5), (None, 5, 4), "SparseCategoricalAccuracy"),
        ((None, 5, 4), (None, 5, 4), "CategoricalAccuracy"),
    ],
)
def test_accuracy_is_chosen_by_the_shapes(truth, guess, kind):
    metric = metrics.resolve_metric("acc", truth, guess)
    assert (type(metric).__name__, metric.name) == (kind, "acc")


def test_metric_made_from_a_name_keeps_it():
    assert metrics.resolve_metric("mae", (None,), (None,)).name == "mae"
    metric = metrics.resolve_metric(losses.mean_squared_error, (None,), (None,))
    assert metric.name == "mean_squared_error"


def test_cross_entropy_by_name_takes_logits_like_the_loss():
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    metric = metrics.resolve_metric("crossentropy", (None,), (None, 3), loss)
    assert metric.get_config()["from_logits"]


def test_own_metric_with_variables_of_its_own():
    class Largest(metrics.Metric):
        def __init__(self, name="largest"):
            super().__init__(name=name)
            self.best = self.add_weight(name="best", initializer="zeros")

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.best.assign(tf.maximum(self.best, tf.reduce_max(y_pred)))

        def result(self):
            return self.best.value()

    metric = Largest()
    metric.update_state([0.0], [3.0])
    metric.update_state([0.0], [2.0])
    assert float(metric.result()) == 3
    assert metric.best.name == "largest/best:0"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.get("accurracy"), "Did you mean 'accuracy'"),
        (lambda: metrics.Mean().update_state([1.0, 2.0], sample_weight=[1.0, 2.0, 3.0]), "rows"),
        (lambda: metrics.Precision(thresholds=1.5), "thresholds"),
        (lambda: metrics.AUC(curve="foo"), "curve"),
        (lambda: metrics.AUC(num_thresholds=1), "num_thresholds"),
        (lambda: metrics.Precision().update_state([1.0], [[0.1, 0.2]]), "y_true"),
        (
            lambda: metrics.SparseCategoricalAccuracy().update_state([1, 2], [[0.1, 0.2]]),
            "labels",
        ),
    ],
)
def test_mistake_is_one_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_own_metric_must_call_super():
    class Careless(metrics.Metric):
        def __init__(self):
            self.add_weight(name="x")

    with pytest.raises(RuntimeError, match="super"):
        Careless()


def test_logits_have_the_threshold_zero():
    metric = metrics.BinaryAccuracy(threshold=0.0)
    metric.update_state([[1.0], [0.0], [1.0]], [[0.5], [-3.0], [-0.1]])
    assert float(metric.result()) == pytest.approx(2 / 3)
