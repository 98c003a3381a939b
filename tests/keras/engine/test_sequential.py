import numpy as np
import pytest

from distflow.base import dtypes
from distflow.keras import Input, Sequential, utils
from distflow.keras.engine.layer import Layer
from distflow.keras.models import Model, clone_model
from distflow.ops.prims.elementwise import cast
from tests.keras.engine.small_layers import Halve, Linear


@pytest.fixture(autouse=True)
def _fresh_names():
    utils.clear_session()


def test_input_builds_at_once():
    model = Sequential([Input((3,)), Linear(2), Linear(1)])
    assert model.built
    assert (model.input_shape, model.output_shape) == ((None, 3), (None, 1))
    assert model.weights[0].path == "sequential/linear/kernel"


def test_input_shape_of_the_first_layer_builds_at_once():
    model = Sequential([Linear(2, input_shape=(3,))])
    assert model.output_shape == (None, 2)


def test_without_input_the_first_call_builds():
    model = Sequential([Linear(2), Linear(1)])
    assert not model.built
    assert model.weights == []
    model(np.ones((4, 3)))
    assert model.built
    assert model.count_params() == 3 * 2 + 2 + 2 + 1


def test_build_takes_a_shape():
    model = Sequential([Linear(2)])
    model.build((None, 3))
    assert model.output_shape == (None, 2)


def test_calls_run_the_layers_in_order():
    model = Sequential([Linear(2), Linear(1)])
    x = np.ones((4, 3), "float32")
    by_hand = model.layers[1](model.layers[0](x)).numpy()
    np.testing.assert_array_equal(model(x).numpy(), by_hand)


def test_training_reaches_the_layers():
    assert Sequential([Halve()])(np.ones((1, 1)), training=True).numpy() == 0.5


def test_add_and_pop():
    model = Sequential([Input((3,)), Linear(2)])
    model.add(Linear(5))
    assert model.output_shape == (None, 5)
    assert model.pop().units == 5
    assert model.output_shape == (None, 2)
    assert len(model.weights) == 2


def test_inner_outputs_are_tensors_to_build_models_on():
    model = Sequential([Input((3,)), Linear(2), Linear(1)])
    features = Model(model.inputs, model.layers[0].output)
    assert tuple(features(np.ones((2, 3), "float32")).shape) == (2, 2)


def test_a_first_layer_may_take_a_dict():
    class Features(Layer):
        def call(self, inputs):
            return inputs["a"] + inputs["b"]

    model = Sequential([Features(), Linear(2)])
    out = model({"a": np.ones((4, 3)), "b": np.ones((4, 3))})
    assert tuple(out.shape) == (4, 2)
    assert len(model.weights) == 2


def test_integers_reach_the_first_layer_as_integers():
    seen = []

    class Look(Layer):
        def call(self, inputs):
            seen.append(inputs.dtype)
            return cast(inputs, dtype=dtypes.float32)

    model = Sequential([Look(), Linear(1)])
    model(np.full((1, 1), 2**24 + 1, "int32"))
    assert set(seen) == {dtypes.int32}


def test_layers_that_need_values_are_built_by_the_first_call():
    class NeedsValues(Layer):
        def call(self, inputs):
            return inputs * float(inputs.numpy().max())

    model = Sequential([NeedsValues(), Linear(1)])
    assert tuple(model(np.ones((2, 2))).shape) == (2, 1)


def test_config_round_trip():
    model = Sequential([Input((3,)), Linear(2), Linear(1)], name="stack")
    copy = Sequential.from_config(model.get_config(), custom_objects={"Linear": Linear})
    assert copy.get_config() == model.get_config()
    assert copy.built


def test_clone_has_new_weights():
    model = Sequential([Input((3,)), Linear(2)])
    clone = clone_model(model)
    assert clone.weights[0] is not model.weights[0]
    assert clone.output_shape == (None, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sequential([3]), "Only instances of `keras.Layer`"),
        (lambda: Sequential([Linear(1, name="a"), Linear(1, name="a")]), "have unique names"),
        (lambda: Sequential().build((None, 1)), "it has no layers"),
        (lambda: Sequential([Linear(1)]).build(), "must provide an `input_shape`"),
        (lambda: Sequential([Linear(1)]).count_params(), "isn't built"),
        (lambda: Sequential([Input((1,)), Linear(1), Input((2,))]), "has its input already"),
    ],
)  # fmt: skip
def test_misuse_is_one_clear_error(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_output_of_an_unbuilt_model_is_said_to_be_unknown():
    with pytest.raises(AttributeError, match="no defined outputs yet"):
        _ = Sequential([Linear(1)]).output
