"""Layers and models inside tf.function, under control flow, and on symbolic tensors of models."""

import numpy as np
import pytest

import distflow as tf
from distflow import keras
from distflow.base import errors
from distflow.ops.prims.host import host_call
from tests.keras.engine.small_layers import Linear, Statistics

ONES = np.ones((3, 2), "float32")


def test_compiled_model_equals_the_eager_one():
    model = keras.Sequential([Linear(3), Linear(1)])
    run = tf.function(lambda x: model(x))
    np.testing.assert_allclose(run(tf.constant(ONES)).numpy(), model(ONES).numpy(), rtol=1e-6)


def test_state_is_written_once_a_call_and_not_while_tracing():
    model = keras.Sequential([Statistics()])
    run = tf.function(lambda x: model(x, training=True))
    for _ in range(2):
        run(tf.constant(ONES))
    np.testing.assert_array_equal(model.layers[0].mean.numpy(), [2, 2])


def test_mixed_policy_has_float32_gradients_in_a_function():
    model = keras.Sequential([Linear(3, dtype="mixed_bfloat16"), Linear(1)])

    @tf.function
    def gradients(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(x))
        return tape.gradient(loss, model.trainable_variables)

    assert {g.dtype for g in gradients(tf.constant(ONES))} == {tf.float32}


class Branches(keras.Layer):
    def build(self, input_shape):
        self.scale = self.add_weight((input_shape[-1],), name="scale", initializer="ones")

    def call(self, inputs):
        y = tf.cond(tf.reduce_sum(inputs) > 0.0, lambda: inputs * self.scale, lambda: -inputs)
        _, y = tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * 2.0), (tf.constant(0), y))
        return y


def test_control_flow_in_layers_is_inferred_and_run():
    x = keras.Input((2,))
    model = keras.Model(x, Branches()(x))
    assert model.output_shape == (None, 2)
    np.testing.assert_array_equal(model(ONES).numpy(), 8 * ONES)
    np.testing.assert_array_equal(model(-ONES).numpy(), 8 * ONES)


def test_control_flow_on_symbolic_tensors_is_refused():
    x = keras.Input((2,))
    with pytest.raises(errors.InvalidArgumentError, match="Put the computation into a layer"):
        tf.cond(tf.reduce_sum(x) > 0.0, lambda: x, lambda: x * 2.0)


def test_operations_on_symbolic_tensors_are_saved_and_loaded(tmp_path):
    x = keras.Input((2,))
    parts = tf.split(tf.nn.softmax(x), 2, axis=1)
    y = tf.where(parts[0] > 0.5, x, tf.concat([parts[1], parts[0]], 1))
    model = keras.Model(x, tf.reshape(y, (-1, 1)))
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    data = np.random.default_rng(0).normal(size=(5, 2)).astype("float32")
    np.testing.assert_array_equal(loaded(data).numpy(), model(data).numpy())


def test_operation_with_a_function_inside_is_not_saved(tmp_path):
    x = keras.Input((2,))
    (y,) = host_call(x, fn=lambda a: a, dtypes=(tf.float32,), shapes=((None, 2),))
    model = keras.Model(x, y)
    with pytest.raises(TypeError, match="cannot be saved: its attribute 'fn'"):
        model.save(tmp_path / "m.keras")


def op(name, kind, inputs, config=None, kwargs=None):
    """One operation as Keras 3 describes it."""
    return {
        "module": "keras.src.ops.numpy", "class_name": kind, "registered_name": kind,
        "config": {"name": name, **(config or {})}, "name": name,
        "inbound_nodes": [{"args": inputs, "kwargs": kwargs or {}}],
    }  # fmt: skip


def at(name):
    config = {"shape": [None, 2], "dtype": "float32", "keras_history": [name, 0, 0]}
    return {"class_name": "__keras_tensor__", "config": config}


def slice_of(start, stop):
    config = {"start": start, "stop": stop, "step": None}
    return {"class_name": "__slice__", "config": config}


EVERY = slice_of(None, None)


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        (op("o", "Subtract", [1.0, at("x")]), lambda x: 1 - x),
        (op("o", "Mean", [at("x")], {"axis": [1], "keepdims": True}), lambda x: x.mean(1)[:, None]),
        (op("o", "GetItem", [at("x"), [EVERY, slice_of(1, None)]]), lambda x: x[:, 1:]),
        (op("o", "Reshape", [at("x")], {"newshape": [2, -1]}), lambda x: x.reshape(2, -1)),
        (op("o", "Concatenate", [[at("x"), at("x")]], {"axis": 1}), lambda x: np.hstack([x, x])),
    ],
)  # fmt: skip
def test_operations_of_keras_files_are_read(described, expected):
    start = keras.Input((2,), name="x")
    config = keras.Model(start, start * 1.0).get_config()
    config["layers"] = [config["layers"][0], described]
    config["output_layers"] = ["o", 0, 0]
    data = np.random.default_rng(0).normal(size=(4, 2)).astype("float32")
    out = keras.Model.from_config(config)(data)
    np.testing.assert_allclose(out.numpy(), expected(data), rtol=1e-6)


def test_unknown_operation_of_a_keras_file_is_named():
    start = keras.Input((2,), name="x")
    config = keras.Model(start, start * 1.0).get_config()
    config["layers"] = [config["layers"][0], op("o", "Resize", [at("x")])]
    with pytest.raises(
        errors.UnimplementedError, match=r"keras.ops that is there; received Resize"
    ):
        keras.Model.from_config(config)
