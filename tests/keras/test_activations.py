"""Activations, regularizers and constraints: values by formula, names, errors, Keras."""

import math

import numpy as np
import pytest

import distflow.ops.operators  # noqa: F401
from distflow.autodiff import GradientTape
from distflow.core.convert import convert_to_tensor
from distflow.keras import activations, constraints, regularizers
from distflow.ops.reduce import reduce_sum
from tests.keras.battery import keras_or_skip

X = np.linspace(-4, 4, 18).reshape(3, 6)
SIGMOID = 1 / (1 + np.exp(-X))
FORMULAS = {
    "linear": X,
    "relu": np.maximum(X, 0),
    "relu6": np.clip(X, 0, 6),
    "leaky_relu": np.where(X > 0, X, 0.2 * X),
    "elu": np.where(X > 0, X, np.exp(X) - 1),
    "selu": 1.05070098 * np.where(X > 0, X, 1.67326324 * (np.exp(X) - 1)),
    "celu": np.where(X > 0, X, np.exp(X) - 1),
    "sigmoid": SIGMOID,
    "tanh": np.tanh(X),
    "softplus": np.log1p(np.exp(X)),
    "softsign": X / (1 + abs(X)),
    "silu": X * SIGMOID,
    "swish": X * SIGMOID,
    "gelu": X * 0.5 * (1 + np.vectorize(math.erf)(X / np.sqrt(2))),
    "exponential": np.exp(X),
    "hard_sigmoid": np.clip(X + 3, 0, 6) / 6,
    "hard_silu": X * np.clip(X + 3, 0, 6) / 6,
    "hard_tanh": np.clip(X, -1, 1),
    "hard_shrink": np.where(abs(X) > 0.5, X, 0),
    "soft_shrink": np.sign(X) * np.maximum(abs(X) - 0.5, 0),
    "tanh_shrink": X - np.tanh(X),
    "log_sigmoid": np.log(SIGMOID),
    "mish": X * np.tanh(np.log1p(np.exp(X))),
    "squareplus": (X + np.sqrt(X * X + 4)) / 2,
    "sparse_plus": np.where(X <= -1, 0, np.where(X < 1, 0.25 * (X + 1) ** 2, X)),
    "sparse_sigmoid": np.clip(0.5 * (X + 1), 0, 1),
    "glu": X[:, :3] * SIGMOID[:, 3:],
    "softmax": np.exp(X) / np.exp(X).sum(-1, keepdims=True),
    "log_softmax": X - np.log(np.exp(X).sum(-1, keepdims=True)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_activation_follows_its_formula(name):
    found = activations.get(name)(convert_to_tensor(X)).numpy()
    np.testing.assert_allclose(found, FORMULAS[name], rtol=1e-6, atol=1e-7)


def test_table_of_formulas_is_complete():
    others = {"hard_swish", "sparsemax", "threshold"}
    assert set(activations.NAMES) - set(FORMULAS) == others


@pytest.mark.parametrize("name", sorted(set(activations.NAMES) - {"threshold"}))
def test_large_numbers_stay_finite(name):
    if name == "exponential":
        return
    x = convert_to_tensor(np.array([[-300.0, -100.0, 100.0, 300.0]], "float32"))
    with GradientTape() as tape:
        tape.watch(x)
        y = reduce_sum(activations.get(name)(x))
    assert np.isfinite(tape.gradient(y, x).numpy()).all()


def test_sparsemax_adds_up_to_one_in_every_row():
    found = activations.sparsemax(convert_to_tensor(X * 0.3)).numpy()
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-6)
    assert (found >= 0).all()
    assert (found == 0).any()


def test_relu_has_no_slope_at_zero():
    x = convert_to_tensor([0.0])
    with GradientTape() as tape:
        tape.watch(x)
        y = activations.relu(x)
    assert tape.gradient(y, x).numpy()[0] == 0


def test_names_functions_and_none_are_accepted():
    assert activations.get(None) is activations.linear
    assert activations.get(np.tanh) is np.tanh
    assert activations.serialize(activations.relu) == "relu"
    assert activations.deserialize("relu") is activations.relu


def test_unknown_name_lists_near_ones():
    with pytest.raises(ValueError, match="Did you mean 'softmax'"):
        activations.get("sofmax")


W = np.arange(-3.0, 3.0).reshape(2, 3)


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("L1", {"l1": 0.1}, 0.1 * abs(W).sum()),
        ("L2", {"l2": 0.1}, 0.1 * (W**2).sum()),
        ("L1L2", {"l1": 0.1, "l2": 0.2}, 0.1 * abs(W).sum() + 0.2 * (W**2).sum()),
    ],
)
def test_regularizer_follows_its_formula(name, settings, expected):
    regularizer = getattr(regularizers, name)(**settings)
    assert float(regularizer(W)) == pytest.approx(expected)
    again = regularizers.get(regularizers.serialize(regularizer))
    assert again.get_config() == settings


def test_orthogonal_regularizer_is_zero_for_right_angles():
    assert float(regularizers.OrthogonalRegularizer(1.0)(np.eye(3))) == pytest.approx(0, abs=1e-7)


def test_regularizer_refuses_negative_factors():
    with pytest.raises(ValueError, match="non-negative"):
        regularizers.L2(-1.0)


def norms(w):
    return np.sqrt((np.asarray(w) ** 2).sum(0))


def test_constraints_limit_the_norm_of_columns():
    assert norms(constraints.MaxNorm(1.0)(W)).max() <= 1
    np.testing.assert_allclose(norms(constraints.UnitNorm()(W)), 1, rtol=1e-6)
    between = norms(constraints.MinMaxNorm(0.5, 1.5)(W))
    assert between.min() >= 0.499
    assert between.max() <= 1.5
    np.testing.assert_array_equal(constraints.NonNeg()(W).numpy(), np.maximum(W, 0))


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(set(activations.NAMES) - {"sparsemax"}))
def test_value_and_gradient_equal_those_of_keras(name):
    # Keras's sparsemax of several rows does not add up to 1, so it is not asked.
    keras = keras_or_skip()
    import tensorflow

    extra = {"threshold": 0.5, "default_value": 2.0} if name == "threshold" else {}
    x = X.astype("float32")
    a, b = tensorflow.constant(x), convert_to_tensor(x)
    with tensorflow.GradientTape() as tape:
        tape.watch(a)
        theirs = getattr(keras.activations, name)(a, **extra)
    with GradientTape() as our_tape:
        our_tape.watch(b)
        ours = activations.get(name)(b, **extra)
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        our_tape.gradient(ours, b).numpy(), tape.gradient(theirs, a).numpy(), rtol=1e-5, atol=1e-5
    )
