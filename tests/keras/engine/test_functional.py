import json

import numpy as np
import pytest

from distflow.autodiff import GradientTape
from distflow.base import dtypes
from distflow.core.convert import convert_to_tensor
from distflow.keras import Input, Model, Sequential, utils
from distflow.keras.engine.layer import Layer
from distflow.keras.models import Functional, clone_model, model_from_json
from distflow.keras.registry import custom_object_scope
from distflow.ops import math
from tests.keras.engine.small_layers import Halve, Linear, Twin

OBJECTS = {"Linear": Linear, "Halve": Halve, "Twin": Twin}


@pytest.fixture(autouse=True)
def _fresh_names():
    utils.clear_session()


def two_inputs():
    a, b = Input((3,), name="a"), Input((2,), name="b")
    shared = Linear(4, name="shared")
    x = shared(Linear(3, name="left")(a))
    y = shared(Linear(3, name="right")(b))
    return Model([a, b], {"product": x * y + 1.0, "first": y[:, :1]}, name="pair")


def dense(x, layer):
    return x @ layer.kernel.numpy() + layer.bias.numpy()


def test_model_of_inputs_and_outputs_is_functional():
    x = Input((3,))
    model = Model(x, Linear(2)(x))
    assert isinstance(model, Functional)
    assert isinstance(model, Model)
    assert model.name == "functional"


def test_outputs_equal_the_layers_applied_by_hand():
    model = two_inputs()
    a, b = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    b = b[:, :2]
    out = model([a, b])
    shared = model.get_layer("shared")
    x = dense(dense(a, model.get_layer("left")), shared)
    y = dense(dense(b, model.get_layer("right")), shared)
    np.testing.assert_allclose(out["product"].numpy(), x * y + 1, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(out["first"].numpy(), y[:, :1], rtol=1e-4, atol=1e-5)


def test_inputs_may_come_by_name():
    model = two_inputs()
    a, b = np.ones((1, 3), "float32"), np.ones((1, 2), "float32")
    by_name = model({"b": b, "a": a})["product"].numpy()
    np.testing.assert_array_equal(by_name, model([a, b])["product"].numpy())


def test_layers_keep_keras_order():
    # Order as Keras 3.15 gives it for the same graph.
    names = [layer.name for layer in two_inputs().layers]
    assert names == ["b", "a", "right", "left", "shared"]


def test_operations_on_symbolic_tensors_have_shapes_and_dtypes():
    x = Input((4, 3))
    y = math.cast(x[:, 1:, ::2] > 0.0, "int32")
    assert (tuple(y.shape), y.dtype) == ((None, 3, 2), dtypes.int32)


def test_inner_models_are_layers():
    x = Input((3,))
    inner = Model(x, Linear(2)(x), name="inner")
    y = Input((3,))
    outer = Model(y, inner(y) + 1.0)
    ones = np.ones((1, 3), "float32")
    np.testing.assert_allclose(outer(ones).numpy(), inner(ones).numpy() + 1, rtol=1e-6)
    assert len(outer.weights) == 2


def test_model_of_inner_tensors_gets_inputs_of_its_own():
    x = Input((3,))
    middle = Linear(2)(x)
    model = Model(middle, Linear(1)(middle))
    assert tuple(model(np.ones((4, 2), "float32")).shape) == (4, 1)
    assert model.input_shape == (None, 2)


def test_training_reaches_the_layers():
    x = Input((1,))
    model = Model(x, Halve()(x))
    one = np.ones((1, 1), "float32")
    assert (model(one, training=True).numpy(), model(one).numpy()) == (0.5, 1)


def test_training_given_when_connecting_stays():
    x = Input((1,))
    model = Model(x, Halve()(x, training=True))
    assert model(np.ones((1, 1), "float32")).numpy() == 0.5


def test_masks_pass_through_the_model():
    x = Input((1,))
    model = Model(x, Linear(1)(x))
    value = convert_to_tensor(np.ones((1, 1), "float32"))
    value._keras_mask = "mask"
    assert model(value)._keras_mask == "mask"


def test_integers_are_cast_to_the_input_dtype():
    x = Input((2,))
    assert Model(x, Linear(1)(x))(np.ones((1, 2), "int64")).dtype is dtypes.float32


def test_missing_last_axis_of_size_one_is_added():
    x = Input((1,))
    assert tuple(Model(x, Linear(2)(x))(np.ones(3, "float32")).shape) == (3, 2)


def test_gradients_reach_shared_layers_from_both_sides():
    x = Input((1,))
    layer = Linear(1)
    model = Model(x, layer(layer(x)))
    with GradientTape() as tape:
        y = model(np.full((1, 1), 3.0, "float32"))
    kernel = float(layer.kernel.numpy()[0, 0])
    gradient = tape.gradient(y, layer.kernel)
    assert gradient.numpy()[0, 0] == pytest.approx(2 * kernel * 3, rel=1e-5)


def test_config_round_trip_gives_equal_outputs():
    model = two_inputs()
    config = json.loads(json.dumps(model.get_config()))
    with custom_object_scope(OBJECTS):
        copy = Model.from_config(config)
    copy.set_weights(model.get_weights())
    data = [np.ones((2, 3), "float32"), np.ones((2, 2), "float32")]
    np.testing.assert_array_equal(copy(data)["product"].numpy(), model(data)["product"].numpy())
    assert copy.get_config() == model.get_config()


def test_json_round_trip():
    model = two_inputs()
    copy = model_from_json(model.to_json(), OBJECTS)
    assert [layer.name for layer in copy.layers] == [layer.name for layer in model.layers]


def test_calls_of_a_layer_on_a_list_are_saved():
    class Total(Layer):
        def call(self, inputs):
            return inputs[0] + inputs[1]

    x, y = Input((2,)), Input((2,))
    model = Model([x, y], Total()([x, y]))
    copy = Model.from_config(model.get_config(), custom_objects={"Total": Total})
    assert copy([np.ones((1, 2)), np.ones((1, 2))]).numpy().tolist() == [[2, 2]]


def test_clone_has_new_weights_of_the_same_shapes():
    model = two_inputs()
    clone = clone_model(model)
    assert [w.shape for w in clone.weights] == [w.shape for w in model.weights]
    assert not any(a is b for a, b in zip(clone.weights, model.weights))
    data = [np.ones((2, 3), "float32"), np.ones((2, 2), "float32")]
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone(data)["first"].numpy(), model(data)["first"].numpy())


def test_clone_function_makes_the_layers():
    x = Input((3,))
    model = Model(x, Linear(2, name="d")(x))
    clone = clone_model(model, clone_function=lambda layer: Linear(2, name="other"))
    assert clone.layers[1].name == "other"


def test_subclass_that_passes_inputs_and_outputs_is_functional():
    class Mine(Model):
        def __init__(self, units, **kwargs):
            x = Input((3,))
            super().__init__(inputs=x, outputs=Linear(units)(x), **kwargs)
            self.units = units

    model = Mine(2)
    assert isinstance(model, Functional)
    assert tuple(model(np.ones((1, 3), "float32")).shape) == (1, 2)
    assert Mine.from_config(model.get_config()).units == 2


def test_sequential_is_a_layer_of_a_functional_model():
    x = Input((3,))
    model = Model(x, Sequential([Linear(2), Linear(1)])(x))
    assert tuple(model(np.ones((2, 3), "float32")).shape) == (2, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x, y: Model(x, Linear(1)(y)), "not connected to `inputs`"),
        (lambda x, y: Model(x, 3), "All `outputs` values must be KerasTensors"),
        (lambda x, y: Model(3, x), "All `inputs` values must be KerasTensors"),
        (lambda x, y: Model([x, x], Linear(1)(x)), "must be different tensors"),
        (
            lambda x, y: Model(x, [Linear(1, name="n")(x), Linear(1, name="n")(x)]),
            'The name "n" is used 2 times',
        ),
        (lambda x, y: Model(x, Linear(1)(x))(np.ones((2, 4), "f4")), "found shape=.2, 4."),
        (lambda x, y: Model([x, y], x + y)(np.ones((2, 3), "f4")), "expected 2 input"),
        (lambda x, y: Model(x, x + 1.0)({"z": np.ones((2, 3), "f4")}), 'Missing data for input "'),
        (lambda x, y: float(x), "cannot convert it to a float"),
        (lambda x, y: np.asarray(x), "cannot convert it to a NumPy array"),
        (lambda x, y: Input(), "You must pass a `shape`"),
    ],
)
def test_misuse_is_one_clear_error(make, message):
    with pytest.raises(ValueError, match=message):
        make(Input((3,)), Input((3,)))


def test_symbolic_tensor_is_no_boolean():
    with pytest.raises(TypeError, match="cannot be used as a boolean"):
        bool(Input((3,)))


def test_calls_of_a_shared_layer_keep_their_numbers_when_read_back():
    # The first call waits for a layer that is listed later; the second could go at once.
    a, b = Input((2,), name="a"), Input((2,), name="b")
    shared = Linear(2, name="shared")
    late = shared(Linear(2, name="f")(a))
    deep = Linear(1)(Linear(2)(Linear(2)(shared(b))))
    model = Model([a, b], [deep, late])
    copy = Model.from_config(model.get_config(), custom_objects=OBJECTS)
    copy.set_weights(model.get_weights())
    data = [np.ones((1, 2), "float32"), np.full((1, 2), 5.0, "float32")]
    for x, y in zip(model(data), copy(data)):
        np.testing.assert_array_equal(x.numpy(), y.numpy())


def test_casts_of_mixed_precision_are_no_operations_of_the_model():
    x = Input((2,))
    y = Linear(2, dtype="mixed_bfloat16")(x)
    model = Model(x, Linear(1)(y))
    assert y.dtype is dtypes.bfloat16
    assert len(model.operations) == 3
    assert model(np.ones((1, 2), "float32")).dtype is dtypes.float32
