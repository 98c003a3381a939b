"""Classes of the user's own in files of either library."""

import numpy as np
import pytest

from distflow import keras as ours
from tests.parity.saving.models import ROWS

# Warnings here are those of the other side.
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]


def classes(k):
    """Makes the same classes for one library."""

    class Scale(k.layers.Layer):
        """A layer with settings, a weight, and layers in a list and a dict."""

        def __init__(self, factor=2.0, units=(4, 3), **kwargs):
            super().__init__(**kwargs)
            self.factor, self.units = factor, tuple(units)
            self.stack = [k.layers.Dense(n, activation="tanh") for n in self.units]
            self.named = {"norm": k.layers.LayerNormalization(), "drop": k.layers.Dropout(0.1)}
            self._last = k.layers.Dense(2)

        def build(self, input_shape):
            self.offset = self.add_weight(shape=(2,), initializer="ones", name="offset")
            shape = tuple(input_shape)
            for layer in self.stack:
                layer.build(shape)
                shape = (*shape[:-1], layer.units)
            self.named["norm"].build(shape)
            self._last.build(shape)

        def call(self, inputs, training=False):
            x = inputs
            for layer in self.stack:
                x = layer(x)
            x = self.named["drop"](self.named["norm"](x), training=training)
            return self._last(x) * self.factor + self.offset

        def compute_output_shape(self, input_shape):
            return (*input_shape[:-1], 2)

        def get_config(self):
            return {**super().get_config(), "factor": self.factor, "units": self.units}

    class Net(k.Model):
        """A subclass with a model inside."""

        def __init__(self, width=4, activation="relu", **kwargs):
            super().__init__(**kwargs)
            self.width, self.activation = width, activation
            self.encoder = k.Sequential([k.layers.Dense(width, activation=activation)])
            self.heads = [Scale(units=(width,)), k.layers.Dense(2)]

        def call(self, inputs):
            x = self.encoder(inputs)
            return self.heads[0](x) + self.heads[1](x)

        def get_config(self):
            own = {"width": self.width, "activation": self.activation}
            return {**super().get_config(), **own}

    def swishy(x):
        return x * k.ops.sigmoid(x)

    class Cell(k.layers.Layer):
        """A recurrent cell."""

        def __init__(self, units=3, **kwargs):
            super().__init__(**kwargs)
            self.units, self.state_size, self.output_size = units, units, units

        def build(self, input_shape):
            self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel")
            self.inner = self.add_weight(shape=(self.units, self.units), name="inner")

        def call(self, inputs, states):
            out = k.ops.tanh(
                k.ops.matmul(inputs, self.kernel) + k.ops.matmul(states[0], self.inner)
            )
            return out, [out]

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    return {"Scale": Scale, "Net": Net, "swishy": swishy, "Cell": Cell}


CLASSES = {}


@pytest.fixture
def sides(theirs):
    if not CLASSES:
        CLASSES.update({ours: classes(ours), theirs: classes(theirs)})
    return CLASSES


def in_a_graph(k, own):
    x = k.Input((5,))
    return k.Model(x, own["Scale"](3.0)(k.layers.Dense(4, activation=own["swishy"])(x)))


def stacked(k, own):
    return k.Sequential([k.Input((5,)), own["Scale"](), k.layers.Dense(1)])


def subclassed(k, own):
    model = own["Net"](6, activation="tanh")
    model(ROWS)
    return model


def wrapped(k, own):
    x = k.Input((5,))
    y = k.layers.RepeatVector(4)(x)
    y = k.layers.RNN(own["Cell"](3), return_sequences=True)(y)
    return k.Model(x, k.layers.TimeDistributed(own["Scale"]())(y))


MODELS = {"graph": in_a_graph, "stack": stacked, "subclass": subclassed, "wrapped": wrapped}


def scrambled(model):
    rng = np.random.default_rng(3)
    for v in model.weights:
        v.assign(rng.uniform(0.1, 0.9, tuple(v.shape)).astype("float32"))
    return model


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("ours_writes", [True, False], ids=["written_here", "written_by_keras"])
@pytest.mark.parametrize("how", ["argument", "scope"])
def test_custom_classes_go_both_ways(theirs, sides, tmp_path, name, ours_writes, how):
    here, there = (ours, theirs) if ours_writes else (theirs, ours)
    model = scrambled(MODELS[name](here, sides[here]))
    model.save(tmp_path / "m.keras")
    if how == "argument":
        loaded = there.saving.load_model(tmp_path / "m.keras", custom_objects=sides[there])
    else:
        with there.saving.custom_object_scope(sides[there]):
            loaded = there.saving.load_model(tmp_path / "m.keras")
    for a, b in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    np.testing.assert_allclose(
        np.asarray(model(ROWS)), np.asarray(loaded(ROWS)), rtol=1e-4, atol=1e-5
    )


def test_registered_names_are_keras_s(theirs, tmp_path):
    made = {}
    for k in (ours, theirs):

        @k.saving.register_keras_serializable("shop", "twice")
        class Double(k.layers.Layer):
            def call(self, x):
                return x * 2.0

        made[k] = Double
        assert k.saving.get_registered_name(Double) == "shop>twice"
    for here, there in ((ours, theirs), (theirs, ours)):
        model = here.Sequential([here.Input((5,)), made[here]()])
        model.save(tmp_path / "m.keras")
        loaded = there.saving.load_model(tmp_path / "m.keras")
        assert type(loaded.layers[0]) is made[there]
        np.testing.assert_array_equal(np.asarray(loaded(ROWS)), ROWS * 2)


def test_python_code_of_keras_s_files_is_refused(theirs, tmp_path):
    x = theirs.Input((5,))
    theirs.Model(x, theirs.layers.Lambda(lambda t: t * 2)(x)).save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match="lambda"):
        ours.saving.load_model(tmp_path / "m.keras")
    with pytest.raises(ValueError, match="lambda"):
        ours.saving.load_model(tmp_path / "m.keras", safe_mode=False)
