"""Optimizers and schedules against Keras 3 on TensorFlow over 20 steps; state and configs too."""

import numpy as np
import pytest

import distflow as tf
from distflow.keras import optimizers
from tests.keras.battery import keras_or_skip
from tests.keras.pieces import OPTIMIZERS, SCHEDULES

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
each_optimizer = pytest.mark.parametrize("sample", OPTIMIZERS, ids=str)


@pytest.fixture(scope="module")
def keras():
    return keras_or_skip()


NAMES = ("first", "second")
# Optimizer -> steps that are compared, where later ones differ for a reason:
# Keras on TensorFlow reads the slot of ScheduleFreeAdamW after it was changed, where the paper
# (and Keras on JAX) takes the value before; in the first step the two are the same.
STEPS = {"ScheduleFreeAdamW": 1}


def arrays(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return [(rng.normal(size=s) * scale).astype("float32") for s in ((3, 2), (2,))]


def compare(keras, theirs, ours, steps=20, names=NAMES):
    import tensorflow

    start = arrays(0)
    a = [keras.Variable(v, name=n) for v, n in zip(start, names)]
    b = [tf.Variable(v, name=n) for v, n in zip(start, names)]
    for step in range(1, steps + 1):
        gradients = arrays(step, 3.0)
        theirs.apply([tensorflow.constant(g) for g in gradients], a)
        ours.apply_gradients(zip(gradients, b))
        for one, other in zip(a, b):
            np.testing.assert_allclose(other.numpy(), np.asarray(one), rtol=1e-6, atol=1e-6)


@each_optimizer
def test_twenty_steps_equal_those_of_keras(keras, sample):
    theirs, ours = sample.make(keras.optimizers), sample.make(optimizers)
    compare(keras, theirs, ours, STEPS.get(sample.name, 20))
    one = [v.path.split("/")[-1] for v in theirs.variables]
    other = [v.name.split("/")[-1].split(":")[0] for v in ours.variables]
    # Keras numbers the variable that has no name.
    assert [n if "variable" not in n else "variable" for n in one] == other
    for v, w in zip(theirs.variables, ours.variables):
        np.testing.assert_allclose(w.numpy(), np.asarray(v), rtol=2e-5, atol=1e-6)


@each_optimizer
def test_config_equals_that_of_keras(keras, sample):
    theirs, ours = (o.get_config() for o in (sample.make(keras.optimizers),
                                             sample.make(optimizers)))  # fmt: skip
    theirs["name"] = ours["name"]
    assert list(theirs.items()) == list(ours.items())
    assert getattr(optimizers, sample.name).from_config(theirs).get_config() == ours
    again = getattr(keras.optimizers, sample.name).from_config(ours).get_config()
    assert again == theirs


def test_steps_with_a_schedule_equal_those_of_keras(keras):
    theirs = keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 3, 0.7))
    ours = optimizers.Adam(optimizers.schedules.ExponentialDecay(0.1, 3, 0.7))
    compare(keras, theirs, ours)
    assert (
        keras.optimizers.serialize(theirs)["config"]["learning_rate"]
        == (optimizers.serialize(ours)["config"]["learning_rate"])
    )


@pytest.mark.parametrize("sample", SCHEDULES, ids=str)
def test_schedule_equals_that_of_keras(keras, sample):
    theirs, ours = sample.make(keras.optimizers.schedules), sample.make(optimizers.schedules)
    for step in range(25):
        assert float(ours(step)) == pytest.approx(float(theirs(step)), rel=1e-6, abs=1e-8)
    config = ours.get_config()
    assert list(theirs.get_config().items()) == list(config.items())
    assert type(theirs).from_config(config).get_config() == config
    assert type(ours).from_config(theirs.get_config()).get_config() == config


@each_optimizer
def test_state_saved_by_keras_is_read(keras, sample):
    theirs, ours = sample.make(keras.optimizers), sample.make(optimizers)
    compare(keras, theirs, ours, STEPS.get(sample.name, 20))
    store = {}
    theirs.save_own_variables(store)
    fresh = sample.make(optimizers)
    fresh.build([tf.Variable(v, name=n) for v, n in zip(arrays(0), NAMES)])
    fresh.load_own_variables(store)
    for v, w in zip(theirs.variables, fresh.variables):
        np.testing.assert_array_equal(w.numpy(), np.asarray(v))
        assert w.dtype.name == keras.backend.standardize_dtype(v.dtype)
