"""Models as estimators of scikit-learn: fit, predict, scores, pipelines, clones."""

import numpy as np
import pytest

from distflow import keras
from tests.keras.battery import keras_or_skip

sklearn = pytest.importorskip("sklearn", reason="needs scikit-learn: pip install distflow[digits]")
from sklearn.base import clone  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

_RNG = np.random.default_rng(3)
X = _RNG.normal(size=(40, 3))
LABELS = np.where(X[:, 0] > 0, "yes", "no")
VALUES = X @ [1.0, -2.0, 0.5]


def model(k=keras, outputs=2, loss="mse", units=4, seed=5):
    init = k.initializers.GlorotUniform(seed=seed)
    last = "softmax" if loss != "mse" else None
    made = k.Sequential([k.Input((3,)), k.layers.Dense(units, "tanh", kernel_initializer=init),
                         k.layers.Dense(outputs, last, kernel_initializer=init)])  # fmt: skip
    made.compile(k.optimizers.Adam(0.05), loss)
    return made


def classifier(k=keras):
    return k.wrappers.SKLearnClassifier(
        lambda X, y, units: model(k, y.shape[1], "categorical_crossentropy", units),
        model_kwargs={"units": 5}, fit_kwargs={"epochs": 15, "verbose": 0, "shuffle": False},
    )  # fmt: skip


def test_a_classifier_answers_with_the_classes():
    found = classifier().fit(X, LABELS)
    assert found.classes_.tolist() == ["no", "yes"]
    assert found.score(X, LABELS) > 0.9
    assert found.decision_function(X).shape == (40, 2)


def test_a_regressor_keeps_the_form_of_its_targets():
    found = keras.wrappers.SKLearnRegressor(model(outputs=1), fit_kwargs={"verbose": 0})
    assert found.fit(X, VALUES, epochs=40).predict(X).shape == (40,)
    assert found.score(X, VALUES) > 0.8
    assert found.fit(X, VALUES[:, None], epochs=1).predict(X).shape == (40, 1)


def test_a_model_is_cloned_unless_it_starts_warm():
    given = model(outputs=1)
    before = given.get_weights()[0]
    cold = keras.wrappers.SKLearnRegressor(given, fit_kwargs={"verbose": 0}).fit(X, VALUES)
    assert cold.model_ is not given
    np.testing.assert_array_equal(given.get_weights()[0], before)
    warm = keras.wrappers.SKLearnRegressor(given, True, fit_kwargs={"verbose": 0}).fit(X, VALUES)
    assert warm.model_ is given
    trained = warm.model_.get_weights()[0]
    assert not np.array_equal(trained, before)


def test_a_transformer_stands_in_a_pipeline():
    net = keras.wrappers.SKLearnTransformer(model(outputs=1), fit_kwargs={"verbose": 0})
    found = make_pipeline(StandardScaler(), net).fit(X, VALUES)
    assert found.transform(X).shape == (40, 1)


def test_a_clone_has_the_arguments_and_is_not_fitted():
    first = classifier().fit(X, LABELS)
    second = clone(first)
    assert second.model is first.model
    assert not hasattr(second, "model_")
    with pytest.raises(sklearn.exceptions.NotFittedError):
        second.predict(X)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: keras.wrappers.SKLearnRegressor(
            keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])).fit(X, VALUES),
         RuntimeError, "needs to be compiled"),
        (lambda: classifier().fit(X, np.zeros(40)), ValueError, "only one class"),
        (lambda: classifier().fit(X, VALUES), ValueError, "binary and multiclass"),
    ],
)  # fmt: skip
def test_wrong_calls_say_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"distflow\[digits\]"):
        _ = keras.wrappers.SKLearnRegressor


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_a_classifier_equals_that_of_keras():
    keras3 = keras_or_skip()
    mine, other = classifier().fit(X, LABELS), classifier(keras3)
    # Initializers differ in their numbers: the same weights, then.
    other.model = lambda X, y, units: _with(model(keras3, 2, "categorical_crossentropy", units))
    mine.model = lambda X, y, units: _with(model(keras, 2, "categorical_crossentropy", units))
    mine.fit(X, LABELS)
    other.fit(X, LABELS)
    np.testing.assert_allclose(mine.decision_function(X), other.decision_function(X), atol=1e-4)
    assert mine.predict(X).tolist() == other.predict(X).tolist()
    assert mine.get_params().keys() == other.get_params().keys()


def _with(made):
    rng = np.random.default_rng(0)
    made.set_weights([rng.normal(size=w.shape).astype("float32") for w in made.weights])
    return made
