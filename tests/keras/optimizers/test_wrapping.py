"""Optimizers around optimizers: the adaptive loss scale, and one optimizer a variable."""

import json

import numpy as np
import pytest

import distflow as tf
from distflow.keras import layers, models, optimizers
from tests.keras.battery import keras_or_skip

LossScale, Map, Multi = (
    optimizers.LossScaleOptimizer,
    optimizers.OptimizerMap,
    optimizers.MultiOptimizer,
)


def scaled(**settings):
    return LossScale(optimizers.SGD(0.5), initial_scale=8.0, **settings)


def step(optimizer, variable, gradient):
    optimizer.apply_gradients([(tf.reshape(tf.cast(gradient, tf.float32), [1]), variable)])


def test_gradients_are_divided_by_the_scale():
    optimizer, w = scaled(), tf.Variable([1.0])
    step(optimizer, w, 16.0)
    assert w.numpy() == [0.0]


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("traced", [False, True])
def test_a_bad_gradient_halves_the_scale_and_changes_nothing_else(bad, traced):
    optimizer, w = scaled(), tf.Variable([1.0])
    optimizer.build([w])
    run = tf.function(lambda g: step(optimizer, w, g)) if traced else (
        lambda g: step(optimizer, w, g)
    )  # fmt: skip
    run(tf.constant(bad, tf.float32))
    assert w.numpy() == [1.0]
    assert float(optimizer.dynamic_scale) == 4.0
    assert int(optimizer.iterations) == 0


@pytest.mark.parametrize("traced", [False, True])
def test_good_steps_double_the_scale(traced):
    optimizer, w = scaled(dynamic_growth_steps=3), tf.Variable([1.0])
    optimizer.build([w])
    run = tf.function(lambda: step(optimizer, w, 0.0)) if traced else (
        lambda: step(optimizer, w, 0.0)
    )  # fmt: skip
    scales = []
    for _ in range(7):
        run()
        scales.append(float(optimizer.dynamic_scale))
    assert scales == [8, 8, 16, 16, 16, 32, 32]


def test_loss_is_scaled():
    optimizer = scaled()
    assert float(optimizer.scale_loss(tf.constant(2.0))) == 16
    optimizer.build([tf.Variable([1.0])])
    optimizer.dynamic_scale.assign(3.0)
    assert float(optimizer.scale_loss(tf.constant(2.0))) == 6


def test_rate_is_the_inner_one():
    optimizer = scaled()
    optimizer.learning_rate = 0.25
    assert float(optimizer.inner_optimizer.learning_rate) == 0.25
    assert float(optimizer.learning_rate) == 0.25


def test_fit_with_a_loss_scale_gives_the_same_weights_as_without():
    x = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
    found = []
    for make in (lambda: optimizers.SGD(0.1), lambda: LossScale(optimizers.SGD(0.1))):
        tf.keras.utils.set_random_seed(1)
        model = models.Sequential([layers.Input((3,)), layers.Dense(2)])
        model.compile(make(), "mse")
        model.fit(x, x[:, :2], batch_size=8, epochs=2, verbose=0)
        found.append(model.get_weights())
    for one, other in zip(*found):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def two_variables():
    return (
        tf.Variable([1.0], name="dense/kernel"),
        tf.Variable([1.0], name="dense/bias"),
    )


def test_each_variable_goes_to_the_optimizer_of_its_path():
    kernel, bias = two_variables()
    chosen = Map(optimizers.SGD(1.0))
    chosen[r".*/bias"] = optimizers.SGD(0.25)
    optimizer = Multi(chosen)
    for _ in range(2):
        optimizer.apply_gradients([(tf.constant([1.0]), v) for v in (kernel, bias)])
    assert (kernel.numpy(), bias.numpy()) == ([-1.0], [0.5])
    assert int(optimizer.iterations) == 2
    assert [int(o.iterations) for o in optimizer.optimizers] == [2, 2]


def test_a_function_may_choose():
    kernel, bias = two_variables()
    slow, fast = optimizers.SGD(0.0), optimizers.SGD(1.0)
    optimizer = Multi(lambda v: slow if "bias" in v.name else fast)
    optimizer.apply_gradients([(tf.constant([1.0]), v) for v in (kernel, bias)])
    assert (kernel.numpy(), bias.numpy()) == ([0.0], [1.0])


def test_fit_trains_with_several_optimizers():
    x = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
    chosen = Map(optimizers.Adam(0.1))
    chosen[".*frozen.*"] = optimizers.SGD(0.0)
    model = models.Sequential(
        [layers.Input((3,)), layers.Dense(2, name="frozen"), layers.Dense(1, name="free")]
    )
    before = model.get_weights()
    model.compile(Multi(chosen), "mse")
    model.fit(x, x[:, :1], batch_size=8, epochs=2, verbose=0)
    after = model.get_weights()
    same = [np.array_equal(a, b) for a, b in zip(before, after)]
    assert same == [True, True, False, False]


def test_configs_make_equal_optimizers():
    chosen = Map(optimizers.Adam(0.1), {"a.*": optimizers.SGD(0.5, momentum=0.9)})
    for optimizer in (scaled(dynamic_growth_steps=3), Multi(chosen, loss_scale_factor=2.0)):
        config = json.loads(json.dumps(optimizers.serialize(optimizer)))
        again = optimizers.deserialize(config)
        assert again.get_config() == optimizer.get_config()


def test_weights_of_all_are_saved_and_loaded():
    kernel, bias = two_variables()
    pairs = [(tf.constant([1.0]), v) for v in (kernel, bias)]
    first, second = (
        Multi(Map(optimizers.Adam(0.1), {".*bias": optimizers.SGD(0.1, momentum=0.9)}))
        for _ in range(2)
    )
    first.apply_gradients(pairs)
    second.build([kernel, bias])
    second.set_weights(first.get_weights())
    for one, other in zip(first.variables, second.variables):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: LossScale(optimizers.SGD(), dynamic=False), ValueError, "loss_scale_factor"),
        (lambda: LossScale(optimizers.SGD(), clipnorm=1.0), ValueError, "inner_optimizer"),
        (lambda: LossScale("sgd"), ValueError, "inner_optimizer must be"),
        (lambda: Map("sgd"), TypeError, "default_optimizer"),
        (lambda: Map(optimizers.SGD(), [1]), TypeError, "optimizer_map"),
        (lambda: Map(optimizers.SGD()).__setitem__(1, optimizers.SGD()), ValueError, "string"),
        (lambda: Map(optimizers.SGD()).__setitem__("a", "sgd"), ValueError, "an Optimizer"),
        (lambda: Map(optimizers.SGD()).__setitem__("a", scaled()), ValueError, "neither"),
        (lambda: Multi(3), ValueError, "OptimizerMap"),
        (lambda: Multi(Map(optimizers.SGD())).learning_rate, AttributeError, "learning rate"),
        (
            lambda: Map(optimizers.SGD(), {"a.*": optimizers.SGD(), ".*b": optimizers.SGD()})["ab"],
            ValueError, "2 patterns",
        ),
    ],
)  # fmt: skip
def test_mistake_is_one_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["scale", "multi"])
def test_steps_and_configs_equal_those_of_keras(kind):
    keras = keras_or_skip()
    import tensorflow

    def make(module):
        if kind == "scale":
            return module.LossScaleOptimizer(module.Adam(0.1), 4.0, dynamic_growth_steps=3)
        chosen = module.OptimizerMap(module.Adam(0.1), {"b.*": module.SGD(0.1, momentum=0.9)})
        return module.MultiOptimizer(chosen, loss_scale_factor=2.0)

    theirs, ours = make(keras.optimizers), make(optimizers)
    rng = np.random.default_rng(2)
    start = [rng.normal(size=s).astype("float32") for s in ((3, 2), (2,))]
    a = [keras.Variable(v, name=n) for v, n in zip(start, "ab")]
    b = [tf.Variable(v, name=n) for v, n in zip(start, "ab")]
    for i in range(9):
        gradients = [rng.normal(size=s).astype("float32") for s in ((3, 2), (2,))]
        if i == 4 and kind == "scale":
            gradients[1][0] = np.inf
        theirs.apply([tensorflow.constant(g) for g in gradients], a)
        ours.apply_gradients(zip(gradients, b))
        for one, other in zip(a, b):
            np.testing.assert_allclose(other.numpy(), np.asarray(one), rtol=1e-6, atol=1e-6)
    for one, other in zip(theirs.variables, ours.variables):
        np.testing.assert_allclose(other.numpy(), np.asarray(one), rtol=2e-5, atol=1e-6)
    config = ours.get_config()
    again = type(theirs).from_config(json.loads(json.dumps(config)))
    assert type(again).__name__ == type(ours).__name__
    type(ours).from_config(json.loads(json.dumps(theirs.get_config())))


@pytest.fixture
def sixteen_bits():
    """Models of float16 with weights of float32."""
    before = tf.keras.config.dtype_policy()
    tf.keras.config.set_dtype_policy("mixed_float16")
    yield
    tf.keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("scales", [True, False])
def test_compile_scales_the_loss_of_16_bits_unless_told(sixteen_bits, scales):
    model = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(1)])
    model.compile("sgd", "mse", auto_scale_loss=scales)
    assert isinstance(model.optimizer, tf.keras.optimizers.LossScaleOptimizer) is scales
    given = tf.keras.optimizers.LossScaleOptimizer(tf.keras.optimizers.SGD(), 4.0)
    model.compile(given, "mse", auto_scale_loss=scales)
    assert model.optimizer is given


def test_a_step_that_overflows_16_bits_only_halves_the_scale(sixteen_bits):
    dense = tf.keras.layers.Dense(1, kernel_initializer="ones")
    model = tf.keras.Sequential([tf.keras.Input((3,)), dense])
    model.compile(tf.keras.optimizers.SGD(1e-3), "mse")
    x = np.full((4, 3), 8.0, np.float32)
    model.fit(x, np.zeros((4, 1)), epochs=1, verbose=0)
    scale = model.optimizer.dynamic_scale
    assert float(scale) == 2.0**14  # 2**15 * 2 * 24 * 8 is beyond float16
    np.testing.assert_array_equal(dense.kernel.numpy(), np.ones((3, 1), np.float32))
    model.fit(x, np.zeros((4, 1)), epochs=12, verbose=0)
    assert float(scale) < 2.0**9
    assert (dense.kernel.numpy() < 1.0).all()
