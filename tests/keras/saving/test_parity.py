"""Files written here load in Keras 3 and the other way round, with equal predictions."""

import json
import os
import warnings

import numpy as np
import pytest

from distflow import keras as ours

# Warnings here are those of the other side.
pytestmark = [pytest.mark.parity, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def theirs():
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("keras", reason="needs Keras 3: pip install distflow[parity]")


RNG = np.random.default_rng(7)
IMAGES = RNG.normal(size=(16, 8, 8, 1)).astype("float32")
ROWS = RNG.normal(size=(16, 5)).astype("float32")
LABELS = RNG.integers(0, 3, 16)


def stack(k):
    return k.Sequential([
        k.Input((8, 8, 1)),
        k.layers.Conv2D(4, 3, activation="relu", kernel_regularizer="l2"),
        k.layers.BatchNormalization(),
        k.layers.MaxPooling2D(),
        k.layers.Flatten(),
        k.layers.Dropout(0.3),
        k.layers.Dense(3, activation="softmax"),
    ], name="stack")  # fmt: skip


def branched(k):
    image, row = k.Input((8, 8, 1), name="image"), k.Input((5,), name="row")
    x = k.layers.GlobalAveragePooling2D()(k.layers.Conv2D(4, 3)(image))
    shared = k.layers.Dense(4, activation="relu", name="shared")
    y = shared(k.layers.Dense(4)(row))
    z = k.layers.Concatenate()([shared(x), k.layers.LayerNormalization()(y)])
    z = k.layers.Add()([z, k.layers.Activation("tanh")(z)])
    return k.Model([image, row], k.layers.Dense(3, activation="softmax")(z), name="branched")


MODELS = {"stack": (stack, IMAGES), "branched": (branched, [IMAGES, ROWS])}


def subclass(k):
    class Mixed(k.Model):
        def __init__(self):
            super().__init__()
            self.first = k.layers.Dense(4, activation="relu")
            self.blocks = [k.layers.Dense(4), k.layers.BatchNormalization()]
            self._hidden = k.layers.Dense(3)
            self.table = {"norm": k.layers.LayerNormalization()}
            self.inner = k.Sequential([k.layers.Dense(3)])

        def call(self, inputs, training=False):
            x = self.first(inputs)
            for layer in self.blocks:
                x = layer(x)
            return self.inner(self.table["norm"](self._hidden(x)))

    return Mixed()


def trained(k, make, data, optimizer="adam"):
    model = make(k)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(data, LABELS, batch_size=8, epochs=2, verbose=0, shuffle=False)
    return model


def outputs(model, data):
    return np.asarray(model.predict(data, verbose=0))


def same_state(a, b):
    assert len(a.variables) == len(b.variables) > 0
    for x, y in zip(_values(a.variables), _values(b.variables)):
        np.testing.assert_allclose(x, y, rtol=1e-6)


def _values(variables):
    return [np.asarray(v.numpy()) for v in variables]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop"])
def test_keras_loads_what_is_written_here(theirs, tmp_path, name, optimizer):
    make, data = MODELS[name]
    model = trained(ours, make, data, optimizer)
    model.save(tmp_path / "m.keras")
    loaded = theirs.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(outputs(loaded, data), outputs(model, data), rtol=1e-4, atol=1e-6)
    same_state(model.optimizer, loaded.optimizer)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop"])
def test_what_keras_writes_is_loaded_here(theirs, tmp_path, name, optimizer):
    make, data = MODELS[name]
    model = trained(theirs, make, data, optimizer)
    model.save(tmp_path / "m.keras")
    loaded = ours.models.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(outputs(loaded, data), outputs(model, data), rtol=1e-4, atol=1e-6)
    same_state(loaded.optimizer, model.optimizer)


def test_weights_of_a_subclass_go_both_ways(theirs, tmp_path):
    a, b = subclass(ours), subclass(theirs)
    a(ROWS)
    b(ROWS)
    a.save_weights(tmp_path / "a.weights.h5")
    b.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_allclose(outputs(b, ROWS), outputs(a, ROWS), rtol=1e-4, atol=1e-5)
    c = subclass(ours)
    c(ROWS)
    b.save_weights(tmp_path / "b.weights.h5")
    c.load_weights(tmp_path / "b.weights.h5")
    np.testing.assert_array_equal(outputs(c, ROWS), outputs(a, ROWS))


def test_operations_go_both_ways(theirs, tmp_path):
    def make(k):
        x, y = k.Input((5,), name="x"), k.Input((5,), name="y")
        return k.Model([x, y], (x * 2.0 + y) / 3.0 - (-x))

    data = [ROWS, ROWS + 1]
    for here, load in ((ours, theirs.saving.load_model), (theirs, ours.models.load_model)):
        model = make(here)
        model.save(tmp_path / "m.keras")
        loaded = load(tmp_path / "m.keras")
        np.testing.assert_allclose(outputs(loaded, data), outputs(model, data), rtol=1e-5)


def test_policies_and_string_keys_survive(theirs, tmp_path):
    x = ours.Input((5,), name="x")
    layer = ours.layers.Dense(2, dtype="mixed_bfloat16", name="half")
    ours.Model({"key": x}, {"out": layer(x)}).save(tmp_path / "m.keras")
    loaded = theirs.saving.load_model(tmp_path / "m.keras")
    assert loaded.get_layer("half").compute_dtype == "bfloat16"
    assert set(loaded({"key": ROWS})) == {"out"}


@pytest.mark.parametrize("name", MODELS)
def test_summaries_are_equal(theirs, tmp_path, name):
    make, _ = MODELS[name]
    texts = []
    for k in (ours, theirs):
        k.utils.clear_session()
        make(k).summary(print_fn=lambda text, **_: texts.append(text))
    assert texts[0] == texts[1]


@pytest.mark.parametrize("name", MODELS)
def test_configurations_are_equal(theirs, tmp_path, name):
    make, _ = MODELS[name]
    configs = []
    for k in (ours, theirs):
        k.utils.clear_session()
        configs.append(_known(json.loads(make(k).to_json())))
    assert configs[0] == configs[1]


def _known(config):
    """Leaves out what only one side has: build shapes of layers without weights, quantisation."""
    gone = ("build_config", "quantization_config", "shared_object_id", "compile_config")
    if isinstance(config, dict):
        return {k: _known(v) for k, v in config.items() if k not in gone}
    return [_known(v) for v in config] if isinstance(config, list) else config


def test_archives_of_a_subclass_go_both_ways(theirs, tmp_path):
    classes = {}
    for k in (ours, theirs):

        class Pair(k.Model):
            def __init__(self, units=3, **kwargs):
                super().__init__(**kwargs)
                self.units = units
                self.first = type(self).library.layers.Dense(4, activation="relu")
                self.second = type(self).library.layers.Dense(units, activation="softmax")

            def call(self, inputs):
                return self.second(self.first(inputs))

            def get_config(self):
                return {**super().get_config(), "units": self.units}

        Pair.library = k
        classes[k] = Pair
    for here, there in ((ours, theirs), (theirs, ours)):
        model = trained(here, lambda k: classes[k](), ROWS)
        model.save(tmp_path / "m.keras")
        loaded = there.models.load_model(
            tmp_path / "m.keras", custom_objects={"Pair": classes[there]}
        )
        np.testing.assert_allclose(outputs(loaded, ROWS), outputs(model, ROWS), rtol=1e-5)
        pair = (model, loaded) if here is ours else (loaded, model)
        same_state(pair[0].optimizer, pair[1].optimizer)
