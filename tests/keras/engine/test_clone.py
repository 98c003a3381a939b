import numpy as np
import pytest

from distflow import keras

X = np.arange(12, dtype=np.float32).reshape(4, 3)


def nested():
    x = keras.Input((3,))
    inner = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="deep")], name="inner")
    return keras.Model(x, inner(keras.layers.Dense(2, name="outer")(x)))


def copy_noting(names):
    def copy(layer):
        names.append(layer.name)
        return type(layer).from_config(layer.get_config())

    return copy


@pytest.mark.parametrize(
    ("recursive", "expected"), [(False, ["outer", "inner"]), (True, ["outer", "deep"])]
)
def test_models_inside_are_cloned_layer_by_layer_if_asked(recursive, expected):
    names = []
    model = nested()
    clone = keras.models.clone_model(model, clone_function=copy_noting(names), recursive=recursive)
    assert names == expected
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone(X), model(X))


def test_a_function_calls_the_new_layers():
    called = []

    def call(layer, *args, **kwargs):
        called.append(layer.name)
        return layer(*args, **kwargs)

    keras.models.clone_model(nested(), call_function=call)
    assert called == ["outer", "inner"]


def test_a_stack_has_no_calls():
    stack = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="`call_function` argument is not supported"):
        keras.models.clone_model(stack, call_function=lambda layer, x: layer(x))


def moved(node, outer, inside):
    """The moving mean after a call: it moves in training only."""
    x, norm = keras.Input((3,)), keras.layers.BatchNormalization(momentum=0.5)
    layer = norm
    if inside:
        i = keras.Input((3,))
        layer = keras.Model(i, norm(i))
    keras.Model(x, layer(x, training=node))(X, training=outer)
    return bool(norm.moving_mean.numpy().any())


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    ("node", "outer", "expected"),
    [(None, None, False), (None, True, True), (False, None, False), (False, True, True),
     (True, None, True), (True, False, False)],
)  # fmt: skip
def test_the_caller_s_training_counts_as_in_keras_3_15(node, outer, expected, inside):
    assert moved(node, outer, inside) == expected


@pytest.mark.parametrize("make", [nested, lambda: keras.Sequential([keras.layers.Dense(2)])])
def test_a_clone_is_compiled_as_its_model_is(make):
    model = make()
    assert not keras.models.clone_model(model).compiled
    model.compile(keras.optimizers.SGD(0.25), "mae")
    clone = keras.models.clone_model(model)
    assert (float(clone.optimizer.learning_rate), clone.loss) == (0.25, "mae")
    assert clone.optimizer is not model.optimizer
