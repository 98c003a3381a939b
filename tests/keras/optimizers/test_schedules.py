"""Learning-rate schedules: formulas, kinds of steps, configs."""

import json

import numpy as np
import pytest

import distflow as tf
from distflow.core.convert import convert_to_tensor
from distflow.keras.optimizers import schedules
from tests.keras.pieces import SCHEDULES

each_schedule = pytest.mark.parametrize("sample", SCHEDULES, ids=str)


def rates(schedule, steps):
    return [float(schedule(step)) for step in steps]


FORMULAS = {
    0: lambda t: 0.1 * 0.9 ** (t / 10),
    1: lambda t: 0.1 * 0.5 ** (t // 4),
    2: lambda t: 0.1 / (1 + 0.9 * t / 10),
    3: lambda t: 1.0 if t <= 3 else 0.5 if t <= 10 else 0.1,
    4: lambda t: (0.1 - 1e-4) * (1 - min(t, 10) / 10) ** 2 + 1e-4,
    5: lambda t: (0.1 - 1e-4) * (1 - t / (7 * max(np.ceil(t / 7), 1))) + 1e-4,
    6: lambda t: 0.1 * (0.9 * 0.5 * (1 + np.cos(np.pi * min(t, 10) / 10)) + 0.1),
    7: lambda t: 0.1 + 0.4 * t / 4 if t < 4 else 0.25 * (1 + np.cos(np.pi * min(t - 4, 10) / 10)),
    9: lambda t: 0.1 * (0.9 * 0.5 * 0.5 ** (t // 4) * (1 + np.cos(np.pi * (t % 4) / 4)) + 0.1),
}


@pytest.mark.parametrize("row", FORMULAS)
def test_schedule_follows_its_formula(row):
    found = rates(SCHEDULES[row].make(schedules), range(25))
    np.testing.assert_allclose(found, [FORMULAS[row](t) for t in range(25)], rtol=1e-5, atol=1e-8)


def test_restarts_grow_longer():
    schedule = schedules.CosineDecayRestarts(1.0, 2)
    found = rates(schedule, [0, 1, 2, 4, 6, 14])
    np.testing.assert_allclose(found, [1, 0.5, 1, 0.5, 1, 1], atol=1e-6)


@each_schedule
@pytest.mark.parametrize("kind", ["int64", "int32", "float32"])
def test_steps_of_any_dtype_give_one_rate(sample, kind):
    schedule = sample.make(schedules)
    step = tf.Variable(np.asarray(5, kind))
    assert float(schedule(step)) == pytest.approx(float(schedule(5)))
    assert schedule(step).dtype == "float32"


@each_schedule
def test_traced_rate_equals_eager_rate(sample):
    schedule = sample.make(schedules)
    traced = tf.function(lambda t: schedule(t))
    for step in (0, 3, 11):
        found = traced(convert_to_tensor(np.int64(step)))
        assert float(found) == pytest.approx(float(schedule(step)), rel=1e-6)


@each_schedule
def test_config_makes_an_equal_schedule(sample):
    schedule = sample.make(schedules)
    config = json.loads(json.dumps(schedules.serialize(schedule)))
    again = schedules.deserialize(config)
    assert rates(again, range(12)) == rates(schedule, range(12))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: schedules.PiecewiseConstantDecay([1, 2], [1.0, 2.0]), "boundaries"),
        (lambda: schedules.CosineDecay(0.1, 0), "decay_steps"),
        (lambda: schedules.ExponentialDecay(0.1, -1, 0.9), "decay_steps"),
    ],
)
def test_mistake_is_one_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()
