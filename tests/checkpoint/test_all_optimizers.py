"""Every optimizer's state comes back, and the next steps are the same to the bit."""

import inspect

import numpy as np
import pytest

import distflow as tf

K = tf.keras
NAMES = sorted(
    name
    for name, cls in vars(K.optimizers).items()
    if inspect.isclass(cls) and issubclass(cls, K.optimizers.Optimizer) and name != "Optimizer"
)
MORE = {
    "ema": lambda: K.optimizers.Adam(0.1, use_ema=True),
    "accumulation": lambda: K.optimizers.SGD(0.1, momentum=0.9, gradient_accumulation_steps=2),
    "schedule": lambda: K.optimizers.Adam(K.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)),
}


def make(name):
    if name in MORE:
        return MORE[name]()
    cls = getattr(K.optimizers, name)
    if name == "MultiOptimizer":
        adam, momentum = K.optimizers.Adam(0.1), K.optimizers.SGD(0.1, momentum=0.9)
        return cls(lambda variable: adam if variable.ndim > 1 else momentum)
    inner = "inner_optimizer" in inspect.signature(cls).parameters
    return cls(K.optimizers.Adam(0.1)) if inner else cls(learning_rate=0.1)


def steps(optimizer, variables, count):
    for i in range(count):
        optimizer.apply([np.float32(0.1 * (i + 1)) * v for v in variables], variables)
    return [*(v.numpy() for v in variables), *(np.asarray(v.numpy()) for v in optimizer.variables)]


def weights():
    values = np.linspace(-1, 1, 6, dtype="f").reshape(2, 3)
    return [tf.Variable(values, name="w"), tf.Variable(values[0], name="b")]


@pytest.mark.parametrize("name", [*NAMES, *MORE])
@pytest.mark.parametrize("built", [True, False])
def test_the_next_steps_are_the_same(tmp_path, name, built):
    optimizer, variables = make(name), weights()
    steps(optimizer, variables, 3)
    path = tf.train.Checkpoint(o=optimizer, v=variables).write(tmp_path / "c")
    expected = steps(optimizer, variables, 3)
    other, fresh = make(name), weights()
    if built:
        other.build(fresh)
    status = tf.train.Checkpoint(o=other, v=fresh).read(path)
    found = steps(other, fresh, 3)
    status.assert_consumed()
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
