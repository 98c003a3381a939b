import numpy as np
import pytest

from distflow.autodiff import GradientTape
from distflow.base import dtypes, errors
from distflow.core.convert import convert_to_tensor
from distflow.core.variable import Variable, VariableAggregation
from distflow.keras import utils
from distflow.keras.engine.keras_tensor import SpecTensor
from distflow.keras.engine.layer import Layer
from tests.keras.engine.small_layers import Halve, Linear, Statistics, Twin


@pytest.fixture(autouse=True)
def _fresh_names():
    utils.clear_session()


def test_names_count_by_class():
    assert [Linear(1).name, Linear(1).name, Halve().name] == ["linear", "linear_1", "halve"]


def test_clear_session_counts_anew():
    Linear(1)
    utils.clear_session()
    assert Linear(1).name == "linear"


def test_weights_are_named_after_the_layer():
    layer = Linear(3)
    layer.build((None, 2))
    assert [v.path for v in layer.weights] == ["linear/kernel", "linear/bias"]
    assert layer.kernel.name == "linear/kernel:0"


def test_inner_weights_are_named_after_all_layers_around():
    class Outer(Layer):
        def __init__(self):
            super().__init__()
            self.inner = Linear(1)

        def call(self, inputs):
            return self.inner(inputs)

    outer = Outer()
    outer(np.ones((1, 2)))
    assert outer.weights[0].path == "outer/linear/kernel"


def test_first_call_builds_for_the_shape_that_came():
    layer = Linear(3)
    assert not layer.built
    out = layer(np.ones((4, 2), "float32"))
    assert layer.built
    assert tuple(layer.kernel.shape) == (2, 3)
    np.testing.assert_allclose(out.numpy(), np.ones((4, 2)) @ layer.kernel.numpy(), rtol=1e-6)


def test_float64_arrays_are_cast_to_the_compute_dtype():
    assert Linear(1)(np.ones((1, 2), "float64")).dtype is dtypes.float32


def test_integer_arrays_are_not_cast():
    assert Halve()(np.ones((1, 2), "int32")).dtype is dtypes.int32


def test_nested_python_numbers_are_an_input():
    assert tuple(Linear(3)([[1.0, 2.0]]).shape) == (1, 3)


def test_mixed_policy_computes_in_16_bits_and_keeps_float32_weights():
    layer = Linear(3, dtype="mixed_bfloat16")
    out = layer(np.ones((1, 2)))
    assert out.dtype is dtypes.bfloat16
    assert layer.kernel.dtype is dtypes.float32
    assert (layer.compute_dtype, layer.variable_dtype) == ("bfloat16", "float32")


def test_mixed_policy_gives_float32_gradients():
    layer = Linear(3, dtype="mixed_bfloat16")
    with GradientTape() as tape:
        out = layer(np.ones((1, 2)))
    gradient = tape.gradient(out, layer.kernel)
    assert gradient.dtype is dtypes.float32
    np.testing.assert_array_equal(gradient.numpy(), np.ones((2, 3)))


def test_training_defaults_to_the_signature():
    assert Halve()(np.ones((1, 1))).numpy() == 1


def test_training_of_the_outer_call_reaches_inner_layers():
    class Outer(Layer):
        def __init__(self):
            super().__init__()
            self.inner = Halve()

        def call(self, inputs):
            return self.inner(inputs)

    assert Outer()(np.ones((1, 1)), training=True).numpy() == 0.5


def test_explicit_training_beats_the_outer_call():
    class Outer(Layer):
        def __init__(self):
            super().__init__()
            self.inner = Halve()

        def call(self, inputs, training=False):
            return self.inner(inputs, training=False)

    assert Outer()(np.ones((1, 1)), training=True).numpy() == 1


def test_masks_pass_through_layers_that_support_them():
    x = convert_to_tensor(np.ones((1, 2), "float32"))
    x._keras_mask = "mask"
    assert Linear(1)(x)._keras_mask == "mask"


def test_mask_is_handed_to_call():
    seen = []

    class Masked(Layer):
        def call(self, inputs, mask=None):
            seen.append(mask)
            return inputs

    x = convert_to_tensor(np.ones((1, 2), "float32"))
    x._keras_mask = "mask"
    layer = Masked()
    layer.supports_masking = True
    layer(x)
    assert seen == ["mask"]


def test_layer_without_masking_warns_that_it_drops_the_mask():
    x = convert_to_tensor(np.ones((1, 2), "float32"))
    x._keras_mask = "mask"
    with pytest.warns(UserWarning, match="does not support masking"):
        Halve()(x)


def test_weights_to_train_come_first():
    layer = Statistics()
    layer.build((None, 2))
    assert [v.path for v in layer.weights] == ["statistics/scale", "statistics/mean"]
    assert layer.mean.aggregation is VariableAggregation.MEAN


def test_freezing_keeps_the_order_and_thawing_trains_only_what_was_trained():
    layer = Statistics()
    layer.build((None, 2))
    layer.trainable = False
    assert layer.trainable_weights == []
    assert [v.path for v in layer.weights] == ["statistics/scale", "statistics/mean"]
    assert not layer.scale.trainable
    layer.trainable = True
    assert [v.path for v in layer.trainable_weights] == ["statistics/scale"]


def test_layers_in_lists_and_dicts_are_found():
    class Holder(Layer):
        def __init__(self):
            super().__init__()
            self.items = [Linear(1), {"a": Linear(2)}]
            self.own = Variable(1.0)

    holder = Holder()
    holder.items.append(Linear(3))
    for layer in holder._layers:
        layer.build((None, 1))
    assert len(holder.weights) == 7
    assert holder.weights[0] is holder.own


def test_shared_layers_are_counted_once():
    class Holder(Layer):
        def __init__(self):
            super().__init__()
            self.a = Linear(1)
            self.b = self.a

    holder = Holder()
    holder.a.build((None, 1))
    assert len(holder.weights) == 2


def test_losses_hold_regularizers_and_those_added_in_the_call():
    class Adds(Layer):
        def __init__(self):
            super().__init__()
            self.linear = Linear(1, regularizer="l2")

        def call(self, inputs):
            self.add_loss(inputs[0, 0])
            return self.linear(inputs)

    layer = Adds()
    layer(np.full((1, 1), 5.0))
    layer(np.full((1, 1), 3.0))
    kernel = float(layer.linear.kernel.numpy()[0, 0])
    np.testing.assert_allclose([float(x) for x in layer.losses], [3.0, 0.01 * kernel**2], rtol=1e-6)


def test_activity_regularizer_adds_a_loss():
    layer = Halve(activity_regularizer="l2")
    layer(np.full((1, 2), 2.0))
    assert float(layer.losses[0]) == pytest.approx(0.08)


def test_output_shape_comes_from_tracing_call():
    assert Linear(7).compute_output_shape((None, 3)) == (None, 7)


def test_inference_of_shapes_writes_no_variable_and_leaves_no_loss():
    layer = Statistics(activity_regularizer="l2")
    layer.build((None, 2))
    spec = layer.compute_output_spec(SpecTensor((None, 2), "float32"), training=True)
    assert tuple(spec.shape) == (None, 2)
    np.testing.assert_array_equal(layer.mean.numpy(), [0, 0])
    assert layer.losses == []


def test_several_inputs_are_built_by_the_names_of_their_shapes():
    class Two(Layer):
        def build(self, a_shape, b_shape):
            self.seen = (tuple(a_shape), tuple(b_shape))

        def call(self, a, b):
            return a

    layer = Two()
    layer(np.ones((1, 2)), np.ones((1, 3)))
    assert layer.seen == ((1, 2), (1, 3))
    assert layer.get_build_config() == {"shapes_dict": {"a_shape": [1, 2], "b_shape": [1, 3]}}


def test_structured_outputs_come_back_as_they_are():
    out = Twin()(np.ones((1, 1)), np.ones((1, 1)))
    assert out["sum"].numpy() == 2
    assert out["difference"].numpy() == 0


def test_config_without_get_config_is_made_of_the_arguments():
    class Made(Layer):
        def __init__(self, units, scale=2.0, **kwargs):
            super().__init__(**kwargs)

    config = Made(3, name="mine").get_config()
    assert (config["units"], config["name"], config["trainable"]) == (3, "mine", True)
    assert Made.from_config(config).name == "mine"


def test_config_of_a_constructor_without_kwargs_can_be_read_back():
    class Plain(Layer):
        def __init__(self, units):
            super().__init__()
            self.units = units

    assert Plain.from_config(Plain(3).get_config()).units == 3


def test_config_with_an_argument_that_cannot_be_saved_asks_for_get_config():
    class Odd(Layer):
        def __init__(self, thing):
            super().__init__()

    with pytest.raises(NotImplementedError, match="override `get_config\\(\\)`"):
        Odd(object()).get_config()


def test_weights_round_trip():
    a, b = Linear(2), Linear(2)
    a.build((None, 3))
    b.build((None, 3))
    b.set_weights(a.get_weights())
    np.testing.assert_array_equal(a.kernel.numpy(), b.kernel.numpy())


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([np.ones(1)], "weight list of length 1, but the layer was expecting 2"),
        ([np.ones((3, 2)), np.ones(3)], r"weight shape \(2,\) is not compatible with .* \(3,\)"),
    ],
)
def test_wrong_weights_are_refused_and_change_nothing(weights, message):
    layer = Linear(2)
    layer.build((None, 3))
    before = layer.kernel.numpy()
    with pytest.raises(ValueError, match=message):
        layer.set_weights(weights)
    np.testing.assert_array_equal(layer.kernel.numpy(), before)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda layer: layer(np.ones(3)), ValueError, "expected min_ndim=2, found ndim=1"),
        (lambda layer: layer(np.ones((2, 4))), ValueError, "to have value 3, but received"),
        (lambda layer: layer(3), ValueError, "Only input tensors may be passed as positional"),
        (lambda layer: layer(), TypeError, "missing a required argument: 'inputs'"),
        (lambda layer: Linear(1).count_params(), ValueError, "isn't built"),
        (lambda layer: Linear(1, color="red"), ValueError, "Unrecognized keyword arguments"),
        (lambda layer: layer.add_weight((2,)), ValueError, "layer that is already built"),
        (lambda layer: layer.build((None, 4)), ValueError, "layer that is already built"),
        (lambda layer: Linear(2).add_weight((None,)), errors.InvalidArgumentError, "every dimen"),
        (lambda layer: Layer()(np.ones(1)), NotImplementedError, "does not have a `call"),
        (lambda layer: Linear(1, name="a/b"), ValueError, "cannot contain character `/`"),
        (lambda layer: Linear(1, dtype="floaty"), errors.InvalidArgumentError, "DTypePolicy"),
    ],
)  # fmt: skip
def test_misuse_is_one_clear_error(call, error, message):
    layer = Linear(2)
    layer.build((None, 3))
    with pytest.raises(error, match=message):
        call(layer)


def test_forgotten_super_init_is_said():
    class Forgot(Layer):
        def __init__(self):
            self.inner = Linear(1)

        def call(self, inputs):
            return inputs

    with pytest.raises(RuntimeError, match="you forgot to call `super"):
        Forgot()(np.ones((1, 1)))


def test_layer_with_its_own_compute_mask_supports_masking():
    class Passes(Layer):
        def call(self, inputs):
            return inputs + 0.0

        def compute_mask(self, inputs, previous_mask):
            return f"new {previous_mask}"

    x = convert_to_tensor(np.ones((1, 2), "float32"))
    x._keras_mask = "mask"
    assert Passes().supports_masking
    assert Passes()(x)._keras_mask == "new mask"


def test_failed_build_leaves_no_weights_and_can_be_tried_again():
    class Picky(Linear):
        def build(self, input_shape):
            super().build(input_shape)
            if input_shape[-1] > 2:
                raise ValueError("too wide")

    layer = Picky(1)
    with pytest.raises(ValueError, match="too wide"):
        layer(np.ones((1, 3)))
    layer.input_spec = None
    layer(np.ones((1, 2)))
    assert [tuple(v.shape) for v in layer.weights] == [(2, 1), (1,)]
