"""The eager update as one program: the same values as plain, and what is left to run plainly."""

import gc
import weakref

import numpy as np
import pytest

import distflow as tf
from distflow.base import flags
from distflow.keras.optimizers import compiled

pytest.importorskip("llvmlite")

O = tf.keras.optimizers
MAKERS = {
    "sgd": lambda: O.SGD(0.1),
    "momentum": lambda: O.SGD(0.1, momentum=0.9, nesterov=True),
    "adam": lambda: O.Adam(0.1),
    "amsgrad": lambda: O.Adam(0.1, amsgrad=True),
    "adamw": lambda: O.AdamW(0.1),
    "adamax": lambda: O.Adamax(0.1),
    "nadam": lambda: O.Nadam(0.1),
    "rmsprop": lambda: O.RMSprop(0.1, momentum=0.5, centered=True),
    "adagrad": lambda: O.Adagrad(0.1),
    "adadelta": lambda: O.Adadelta(0.1),
    "ftrl": lambda: O.Ftrl(0.1),
    "lion": lambda: O.Lion(0.1),
    "lamb": lambda: O.Lamb(0.1),
    "adafactor": lambda: O.Adafactor(0.1),
    "schedule-free": lambda: O.ScheduleFreeAdamW(0.1, warmup_steps=5),
    "muon": lambda: O.Muon(0.1),
    "schedule": lambda: O.SGD(O.schedules.ExponentialDecay(0.1, 2, 0.5)),
    "clipnorm": lambda: O.SGD(0.1, clipnorm=0.5),
    "global_clipnorm": lambda: O.SGD(0.1, global_clipnorm=0.5),
    "weight decay": lambda: O.SGD(0.1, weight_decay=0.1),
    "ema": lambda: O.SGD(0.1, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=3),
    "accumulation": lambda: O.Adam(0.1, gradient_accumulation_steps=3),
    "loss scale": lambda: O.SGD(0.1, loss_scale_factor=4.0),
}
STEPS = 8


@pytest.fixture(autouse=True)
def _cpu_executor():
    with flags.override(DISTFLOW_EXECUTOR="cpu"):
        yield


def made():
    rng = np.random.default_rng(0)
    return [
        tf.Variable(rng.normal(size=(3, 4)).astype(np.float32)),
        tf.Variable(np.float32(rng.normal()), constraint=tf.keras.constraints.NonNeg()),
    ]


def gradients(step):
    rng = np.random.default_rng(step + 1)
    return [tf.constant(rng.normal(size=s).astype(np.float32)) for s in ((3, 4), ())]


def train(optimizer, variables, steps=STEPS):
    for step in range(steps):
        optimizer.apply_gradients(zip(gradients(step), variables))
    return [v.numpy() for v in (*variables, *optimizer.variables)]


def num_programs(optimizer):
    return len(compiled._programs.get(optimizer, ()))


@pytest.mark.parametrize("name", MAKERS)
def test_compiled_and_plain_updates_agree(name):
    optimizer = MAKERS[name]()
    found = train(optimizer, made())
    assert num_programs(optimizer) == 1
    with flags.override(DISTFLOW_EXECUTOR="numpy"):
        expected = train(MAKERS[name](), made())
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)


def test_the_first_steps_are_plain():
    optimizer = O.Adam()
    train(optimizer, made(), 4)
    assert num_programs(optimizer) == 0


def test_a_setting_that_changes_between_steps_counts():
    optimizer, variables = O.SGD(0.0), made()
    train(optimizer, variables)
    before = variables[0].numpy()
    optimizer.learning_rate = 1.0
    optimizer.clipvalue = 0.125
    optimizer.apply_gradients([(tf.fill([3, 4], 2.0), variables[0])])
    np.testing.assert_array_equal(variables[0].numpy(), before - 0.125)


def test_an_optimizer_of_the_user_runs_its_python_at_each_step():
    steps = []

    class Own(O.SGD):
        def update_step(self, gradient, variable, learning_rate):
            steps.append(1)
            super().update_step(gradient, variable, learning_rate)

    train(Own(0.1), made())
    assert len(steps) == 2 * STEPS


def test_a_constraint_of_the_user_runs_its_python_at_each_step():
    calls = []
    variable = tf.Variable(1.0, constraint=lambda v: calls.append(1) or v)
    optimizer = O.SGD(0.1)
    for _ in range(STEPS):
        optimizer.apply_gradients([(tf.constant(1.0), variable)])
    assert len(calls) == STEPS


def test_a_learning_rate_of_the_user_runs_its_python_at_each_step():
    calls = []
    variable = tf.Variable(1.0)
    optimizer = O.SGD(lambda: calls.append(1) or 0.1)
    for _ in range(STEPS):
        optimizer.apply_gradients([(tf.constant(1.0), variable)])
    assert len(calls) == STEPS


def test_some_variables_of_many_get_a_program_of_their_own():
    optimizer, variables = O.Adam(0.1), made()
    optimizer.build(variables)
    train(optimizer, variables)
    optimizer.apply_gradients([(gradients(0)[0], variables[0])])
    assert num_programs(optimizer) == 2


def test_values_read_before_an_update_stay():
    optimizer, variables = O.SGD(0.1), made()
    train(optimizer, variables)
    value, copy = variables[0].value(), variables[0].numpy()
    train(optimizer, variables, 1)
    np.testing.assert_array_equal(value.numpy(), copy)
    assert not np.array_equal(variables[0].numpy(), copy)


def test_very_many_variables_are_updated_plainly():
    optimizer = O.SGD(1.0)
    variables = [tf.Variable(0.0) for _ in range(100)]
    for _ in range(STEPS):
        optimizer.apply_gradients([(tf.constant(1.0), v) for v in variables])
    assert {float(v) for v in variables} == {-STEPS}
    assert num_programs(optimizer) == 0


def test_tapes_do_not_see_the_update():
    optimizer, variables = O.SGD(0.1), made()
    train(optimizer, variables)
    with tf.GradientTape() as tape:
        optimizer.apply_gradients(zip(gradients(0), variables))
    assert tape.watched_variables() == ()


def test_programs_go_with_their_optimizer():
    gc.collect()
    before = len(compiled._programs)
    optimizer = O.SGD(0.1)
    train(optimizer, made())
    reference = weakref.ref(optimizer)
    del optimizer
    gc.collect()
    assert reference() is None
    assert len(compiled._programs) <= before


def test_run_functions_eagerly_runs_updates_plainly():
    optimizer = O.SGD(0.1)
    tf.config.run_functions_eagerly(True)
    try:
        train(optimizer, made())
    finally:
        tf.config.run_functions_eagerly(False)
    assert num_programs(optimizer) == 0
