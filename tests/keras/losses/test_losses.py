"""Losses: values by formula, reductions, weights, masks, names and errors."""

import itertools
import json
import types

import numpy as np
import pytest

import distflow as tf
from distflow.autodiff import GradientTape
from distflow.core import context
from distflow.core.convert import convert_to_tensor
from distflow.keras import activations, losses
from tests.keras.pieces import LOSSES

each_loss = pytest.mark.parametrize("sample", LOSSES, ids=str)
TRUTH = np.array([[0.0, 1.0], [2.0, 3.0]], "float32")
GUESS = np.array([[1.0, 1.0], [0.0, 6.0]], "float32")
CHANCES = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]], "float32")
LABELS = np.array([1, 0])


@each_loss
def test_config_makes_an_equal_loss(sample):
    loss = sample.make(losses)
    again = type(loss).from_config(json.loads(json.dumps(loss.get_config())))
    assert json.dumps(again.get_config()) == json.dumps(loss.get_config())
    truth, guess = sample.inputs
    assert float(again(truth, guess)) == float(loss(truth, guess))


@each_loss
def test_traced_value_equals_eager_value(sample):
    loss = sample.make(losses)
    truth, guess = map(convert_to_tensor, sample.inputs)
    traced = tf.function(lambda a, b: loss(a, b))(truth, guess)
    assert float(traced) == pytest.approx(float(loss(truth, guess)), rel=1e-6)


@each_loss
def test_gradient_is_the_slope_along_a_random_direction(sample):
    settings = {**sample.settings, "dtype": "float64"}
    loss = getattr(losses, sample.name)(**settings)
    truth, guess = sample.inputs
    # Away from 0 and 1, where probabilities are cut off.
    guess = np.clip(guess, 0.01, 0.99) if guess.min() >= 0 else guess
    guess = guess.astype("float64")
    direction = np.random.default_rng(2).normal(size=guess.shape)

    def value(x):
        x = convert_to_tensor(x)
        with GradientTape() as tape:
            tape.watch(x)
            total = loss(truth, x)
        return float(total), tape.gradient(total, x).numpy()

    step = 1e-7
    _, gradient = value(guess)
    slope = (value(guess + step * direction)[0] - value(guess - step * direction)[0]) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-4, abs=1e-6)


FORMULAS = {
    "MeanSquaredError": ((TRUTH - GUESS) ** 2).mean(-1),
    "MeanAbsoluteError": abs(TRUTH - GUESS).mean(-1),
    "Huber": np.array([0.25, (1.5 + 2.5) / 2]),
    "LogCosh": np.log(np.cosh(TRUTH - GUESS)).mean(-1),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_loss_follows_its_formula(name):
    found = getattr(losses, name)(reduction="none")(TRUTH, GUESS)
    np.testing.assert_allclose(found.numpy(), FORMULAS[name], rtol=1e-5)


def test_sparse_cross_entropy_is_minus_the_logarithm_of_the_label_s_chance():
    found = losses.SparseCategoricalCrossentropy(reduction="none")(LABELS, CHANCES)
    np.testing.assert_allclose(found.numpy(), -np.log([0.5, 0.1]), rtol=1e-5)


def test_cross_entropies_of_one_hot_and_integer_labels_agree():
    one_hot = np.eye(3, dtype="float32")[LABELS]
    sparse = losses.sparse_categorical_crossentropy(LABELS, CHANCES)
    dense = losses.categorical_crossentropy(one_hot, CHANCES)
    np.testing.assert_allclose(sparse.numpy(), dense.numpy(), rtol=1e-5)


def test_binary_cross_entropy_of_certain_errors_stays_finite():
    found = losses.BinaryCrossentropy()(np.ones((2, 1)), np.zeros((2, 1)))
    assert float(found) == pytest.approx(-np.log(1e-7), rel=1e-5)


def test_cross_entropy_uses_the_logits_behind_a_softmax():
    logits = convert_to_tensor(np.array([[100.0, -100.0]], "float32"))
    found = losses.SparseCategoricalCrossentropy()([1], activations.softmax(logits))
    assert float(found) == pytest.approx(200.0)


def test_logits_declared_for_probabilities_are_warned_of():
    chances = activations.softmax(convert_to_tensor(CHANCES))
    with pytest.warns(UserWarning, match="from_logits=True"):
        losses.SparseCategoricalCrossentropy(from_logits=True)(LABELS, chances)


VALUES = np.array([0.5, 3.5])
WEIGHTS = np.array([1.0, 3.0], "float32")
REDUCTIONS = {
    "sum_over_batch_size": (VALUES * WEIGHTS).mean(),
    "mean": (VALUES * WEIGHTS).mean(),
    "sum": (VALUES * WEIGHTS).sum(),
    "mean_with_sample_weight": (VALUES * WEIGHTS).sum() / WEIGHTS.sum(),
    "none": VALUES * WEIGHTS,
}


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_weights_multiply_before_the_reduction(reduction):
    truth = np.zeros((2, 1), "float32")
    guess = np.sqrt(VALUES).astype("float32").reshape(2, 1)
    found = losses.MeanSquaredError(reduction=reduction)(truth, guess, WEIGHTS)
    np.testing.assert_allclose(found.numpy(), REDUCTIONS[reduction], rtol=1e-5)


def test_masked_examples_do_not_count():
    guess = convert_to_tensor(GUESS)
    guess._keras_mask = convert_to_tensor([True, False])
    found = losses.MeanSquaredError()(TRUTH, guess)
    assert float(found) == pytest.approx(0.5, rel=1e-5)


def test_ignored_class_does_not_count():
    found = losses.SparseCategoricalCrossentropy(ignore_class=0)(LABELS, CHANCES)
    assert float(found) == pytest.approx(-np.log(0.5), rel=1e-5)


@pytest.mark.parametrize("name", ["mse", "MSE", "mean_squared_error", "MeanSquaredError"])
def test_names_are_known(name):
    found = losses.get(name)
    value = found(TRUTH, GUESS)
    assert float(np.mean(value)) == pytest.approx(((TRUTH - GUESS) ** 2).mean())


def test_every_loss_is_serialised_and_found_again():
    for name, item in losses.NAMES.items():
        if name == "LossFunctionWrapper":
            continue
        found = losses.get(name)
        assert type(losses.deserialize(losses.serialize(found))) is type(found), (name, item)


@pytest.mark.parametrize("label", [3, -1])
def test_label_out_of_range_is_named_with_the_range(label):
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"\[0, 3\).*received {label}"):
        losses.SparseCategoricalCrossentropy()([label, 0], CHANCES)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.MeanSquaredError(reduction="foo"), "reduction"),
        (lambda: losses.get("mean_sqared_error"), "Did you mean 'mean_squared_error'"),
        (lambda: losses.MeanSquaredError()(TRUTH, np.zeros((2, 3))), "broadcast"),
        (lambda: losses.CategoricalCrossentropy()(np.zeros((2, 2)), CHANCES), "same shape"),
        (lambda: losses.SparseCategoricalCrossentropy()(np.zeros((2, 3)), CHANCES), "labels"),
        (lambda: losses.CategoricalCrossentropy(label_smoothing=2), "label_smoothing"),
    ],
)
def test_mistake_is_one_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.fixture
def replica():
    context.state.replica = types.SimpleNamespace()
    yield context.state.replica
    context.state.replica = None


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "mean"])
def test_mean_over_a_replica_s_batch_is_refused(replica, reduction):
    loss = losses.MeanSquaredError(reduction=reduction)
    with pytest.raises(ValueError, match=r"Reduction\.SUM"):
        loss(TRUTH, GUESS)


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_sums_are_fine_in_a_replica(replica, reduction):
    losses.MeanSquaredError(reduction=reduction)(TRUTH, GUESS)


def test_fit_may_take_means_in_a_replica(replica):
    replica.allow_mean_loss = True
    losses.MeanSquaredError()(TRUTH, GUESS)


def test_own_loss_needs_only_call():
    class Largest(losses.Loss):
        def call(self, y_true, y_pred):
            return abs(y_true - y_pred).max() if isinstance(y_true, np.ndarray) else (
                tf.reduce_max(tf.abs(y_true - y_pred), axis=-1)
            )  # fmt: skip

    assert float(Largest()(TRUTH, GUESS)) == pytest.approx(2.0)


def test_ctc_is_the_sum_over_all_paths():
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(1, 4, 3)).astype("float32")
    chances = np.exp(logits[0]) / np.exp(logits[0]).sum(-1, keepdims=True)
    total = 0.0
    for path in itertools.product(range(3), repeat=4):
        kept = [c for c, _ in itertools.groupby(path) if c != 0]
        if kept == [1, 1]:
            total += np.prod([chances[t, c] for t, c in enumerate(path)])
    assert float(losses.CTC()([[1, 1]], logits)) == pytest.approx(-np.log(total), rel=1e-5)


def test_ctc_without_a_path_is_infinite():
    assert np.isinf(losses.ctc(np.array([[1, 1]]), np.zeros((1, 2, 3), "float32")).numpy()).all()


def test_circle_of_single_examples_has_finite_gradients():
    guess = tf.Variable(np.eye(3, dtype="float32"))
    with tf.GradientTape() as tape:
        value = losses.Circle()([0, 1, 2], guess)
    assert np.isfinite(tape.gradient(value, guess).numpy()).all()


def test_generalized_cross_entropy_is_between_its_ends():
    chance = np.array([[0.25, 0.75]], "float32")
    near_zero = losses.CategoricalGeneralizedCrossEntropy(q=1e-3)([0], chance)
    near_one = losses.CategoricalGeneralizedCrossEntropy(q=0.999)([0], chance)
    assert float(near_zero) == pytest.approx(-np.log(0.25), rel=2e-3)
    assert float(near_one) == pytest.approx(0.75, rel=2e-3)
