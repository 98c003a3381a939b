"""Optimizers: updates by formula in float64, state, clipping, schedules, replicas and errors."""

import json
import types

import numpy as np
import pytest

import distflow as tf
from distflow.core import context
from distflow.core.convert import convert_to_tensor
from distflow.keras import optimizers
from tests.keras.pieces import OPTIMIZERS

each_optimizer = pytest.mark.parametrize("sample", OPTIMIZERS, ids=str)
RNG = np.random.default_rng(0)
STEPS = 20
START = RNG.normal(size=(3, 2))
GRADIENTS = RNG.normal(size=(STEPS, 3, 2)) * 3


def run(optimizer, gradients=GRADIENTS, start=START, dtype="float64"):
    variable = tf.Variable(start.astype(dtype))
    for gradient in gradients:
        optimizer.apply_gradients([(gradient.astype(dtype), variable)])
    return variable.numpy()


# -- formulas ------------------------------------------------------------------------------


def sgd(w, gs, rate=0.01, momentum=0.0, nesterov=False):
    v = np.zeros_like(w)
    for g in gs:
        v = momentum * v - rate * g
        w = w + (momentum * v - rate * g if nesterov else v)
    return w


def adam(w, gs, rate=0.001, b1=0.9, b2=0.999, eps=1e-7, amsgrad=False, decay=0.0):
    m = v = top = np.zeros_like(w)
    for t, g in enumerate(gs, 1):
        w = w - rate * decay * w
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        top = np.maximum(top, v) if amsgrad else v
        w = w - rate * np.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(top) + eps)
    return w


def rmsprop(w, gs, rate=0.001, rho=0.9, momentum=0.0, eps=1e-7, centered=False):
    v = mean = step = np.zeros_like(w)
    for g in gs:
        v, mean = rho * v + (1 - rho) * g * g, rho * mean + (1 - rho) * g
        step = momentum * step + rate * g / np.sqrt(v - (mean**2 if centered else 0) + eps)
        w = w - step
    return w


def adagrad(w, gs, rate=0.001, eps=1e-7):
    s = np.full_like(w, 0.1)
    for g in gs:
        s = s + g * g
        w = w - rate * g / np.sqrt(s + eps)
    return w


def adadelta(w, gs, rate=0.001, rho=0.95, eps=1e-7):
    s = d = np.zeros_like(w)
    for g in gs:
        s = rho * s + (1 - rho) * g * g
        step = -np.sqrt(d + eps) / np.sqrt(s + eps) * g
        d = rho * d + (1 - rho) * step * step
        w = w + rate * step
    return w


def adamax(w, gs, rate=0.001, b1=0.9, b2=0.999, eps=1e-7):
    m = u = np.zeros_like(w)
    for t, g in enumerate(gs, 1):
        m, u = b1 * m + (1 - b1) * g, np.maximum(b2 * u, abs(g))
        w = w - rate / (1 - b1**t) * m / (u + eps)
    return w


def nadam(w, gs, rate=0.001, b1=0.9, b2=0.999, eps=1e-7):
    m = v = np.zeros_like(w)
    product = 1.0
    for t, g in enumerate(gs, 1):
        now, following = (b1 * (1 - 0.5 * 0.96**k) for k in (t, t + 1))
        product *= now
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        hat = following * m / (1 - product * following) + (1 - now) * g / (1 - product)
        w = w - rate * hat / (np.sqrt(v / (1 - b2**t)) + eps)
    return w


def lion(w, gs, rate=0.001, b1=0.9, b2=0.99):
    m = np.zeros_like(w)
    for g in gs:
        w = w - rate * np.sign(b1 * m + (1 - b1) * g)
        m = b2 * m + (1 - b2) * g
    return w


def ftrl(w, gs, rate=0.001):
    s, z = np.full_like(w, 0.1), np.zeros_like(w)
    for g in gs:
        after = s + g * g
        z = z + g - (np.sqrt(after) - np.sqrt(s)) / rate * w
        w, s = -z / (np.sqrt(after) / rate), after
    return w


FORMULAS = [
    (optimizers.SGD, {}, sgd, {}),
    (optimizers.SGD, {"momentum": 0.9}, sgd, {"momentum": 0.9}),
    (optimizers.SGD, {"momentum": 0.9, "nesterov": True}, sgd,
     {"momentum": 0.9, "nesterov": True}),
    (optimizers.Adam, {}, adam, {}),
    # With this beta_2 the second moment falls as well: only then is its largest another one.
    (optimizers.Adam, {"amsgrad": True, "beta_2": 0.5}, adam, {"amsgrad": True, "b2": 0.5}),
    (optimizers.AdamW, {}, adam, {"decay": 0.004}),
    (optimizers.RMSprop, {}, rmsprop, {}),
    (optimizers.RMSprop, {"momentum": 0.5, "centered": True}, rmsprop,
     {"momentum": 0.5, "centered": True}),
    (optimizers.Adagrad, {}, adagrad, {}),
    (optimizers.Adadelta, {}, adadelta, {}),
    (optimizers.Adamax, {}, adamax, {}),
    (optimizers.Nadam, {}, nadam, {}),
    (optimizers.Lion, {}, lion, {}),
    (optimizers.Ftrl, {}, ftrl, {}),
]  # fmt: skip


@pytest.mark.parametrize(("cls", "settings", "formula", "arguments"), FORMULAS)
def test_update_follows_its_formula(cls, settings, formula, arguments):
    found = run(cls(**settings))
    # The rate itself is kept in float32.
    np.testing.assert_allclose(found, formula(START, GRADIENTS, **arguments), rtol=1e-6, atol=1e-7)


# -- settings ------------------------------------------------------------------------------


@each_optimizer
def test_config_makes_an_equal_optimizer(sample):
    optimizer = sample.make(optimizers)
    again = type(optimizer).from_config(json.loads(json.dumps(optimizer.get_config())))
    np.testing.assert_array_equal(run(again), run(optimizer))


@each_optimizer
def test_state_can_be_stored_and_continued(sample):
    whole = run(sample.make(optimizers))
    first, second = sample.make(optimizers), sample.make(optimizers)
    middle = tf.Variable(START)
    for g in GRADIENTS[:7]:
        first.apply_gradients([(g, middle)])
    store = {}
    first.save_own_variables(store)
    second.build([middle])
    second.load_own_variables(store)
    for g in GRADIENTS[7:]:
        second.apply_gradients([(g, middle)])
    np.testing.assert_array_equal(middle.numpy(), whole)


@each_optimizer
def test_traced_steps_equal_eager_steps(sample):
    eager = run(sample.make(optimizers), dtype="float32")
    optimizer, variable = sample.make(optimizers), tf.Variable(START.astype("float32"))
    optimizer.build([variable])
    step = tf.function(lambda g: optimizer.apply_gradients([(g, variable)]))
    for g in GRADIENTS:
        step(convert_to_tensor(g.astype("float32")))
    np.testing.assert_allclose(variable.numpy(), eager, rtol=1e-6, atol=1e-7)


def test_norm_is_clipped_by_gradient():
    found = run(optimizers.SGD(1.0, clipnorm=0.5), [np.full((3, 2), 10.0)])
    assert np.linalg.norm(found - START) == pytest.approx(0.5)


def test_small_gradients_are_not_stretched():
    found = run(optimizers.SGD(1.0, clipnorm=100.0), GRADIENTS[:1])
    np.testing.assert_allclose(found, START - GRADIENTS[0], rtol=1e-6)


def test_global_norm_is_clipped_over_all_gradients():
    variables = [tf.Variable(np.zeros(2)), tf.Variable(np.zeros(3))]
    optimizer = optimizers.SGD(1.0, global_clipnorm=1.0)
    optimizer.apply_gradients(zip([np.full(2, 3.0), np.full(3, 4.0)], variables))
    total = sum((v.numpy() ** 2).sum() for v in variables)
    assert np.sqrt(total) == pytest.approx(1.0)


def test_values_are_clipped():
    found = run(optimizers.SGD(1.0, clipvalue=0.25), [np.full((3, 2), -10.0)])
    np.testing.assert_allclose(found, START + 0.25)


def test_accumulated_gradients_are_applied_as_their_mean():
    found = run(optimizers.SGD(0.1, gradient_accumulation_steps=4), GRADIENTS[:8])
    means = [GRADIENTS[:4].mean(0), GRADIENTS[4:8].mean(0)]
    np.testing.assert_allclose(found, sgd(START, means, rate=0.1), rtol=1e-5)


def test_moving_average_replaces_the_weights_at_the_end():
    optimizer, variable = optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5), tf.Variable([1.0])
    for _ in range(2):
        optimizer.apply_gradients([(np.ones(1, "float32"), variable)])
    optimizer.finalize_variable_values([variable])
    assert variable.numpy()[0] == pytest.approx(0.5 * 0.9 + 0.5 * 0.8)


def test_weight_decay_leaves_excluded_variables_alone():
    bias = tf.Variable([1.0], name="bias")
    kernel = tf.Variable([1.0], name="kernel")
    optimizer = optimizers.SGD(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.apply_gradients([(np.zeros(1, "float32"), v) for v in (bias, kernel)])
    assert (bias.numpy()[0], kernel.numpy()[0]) == (1.0, pytest.approx(0.95))


def test_constraint_holds_after_the_update():
    variable = tf.Variable([1.0], constraint=lambda w: tf.maximum(w, 0.0))
    optimizers.SGD(10.0).apply_gradients([(np.ones(1, "float32"), variable)])
    assert variable.numpy()[0] == 0.0


def test_minimize_takes_a_step_downhill():
    variable = tf.Variable(3.0)
    optimizers.SGD(0.1).minimize(lambda: variable * variable, [variable])
    assert variable.numpy() == pytest.approx(2.4)


def test_schedule_sets_the_rate_of_each_step():
    schedule = optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 0.5])
    optimizer, variable = optimizers.SGD(schedule), tf.Variable([0.0])
    for _ in range(3):
        optimizer.apply_gradients([(np.ones(1, "float32"), variable)])
    assert variable.numpy()[0] == -2.0
    assert float(optimizer.learning_rate) == 0.5


def test_rate_can_be_set():
    optimizer = optimizers.Adam()
    optimizer.learning_rate = 0.5
    assert float(optimizer.learning_rate) == 0.5
    optimizer.learning_rate.assign(0.25)
    assert optimizer.get_config()["learning_rate"] == 0.25


def test_state_comes_in_the_order_of_keras():
    optimizer = optimizers.Adam(amsgrad=True)
    optimizer.build([tf.Variable(np.zeros(2), name=n) for n in "ab"])
    names = [v.name.split("/")[-1] for v in optimizer.variables]
    assert names == [
        "iteration:0", "learning_rate:0", "a_momentum:0", "a_velocity:0", "b_momentum:0",
        "b_velocity:0", "a_velocity_hat:0", "b_velocity_hat:0",
    ]  # fmt: skip


# -- replicas ------------------------------------------------------------------------------


@pytest.fixture
def replica():
    calls = []

    def apply_once(update, gradients, variables):
        calls.append(len(gradients))
        update([g * 2 for g in gradients], variables)

    context.state.replica = types.SimpleNamespace(apply_once=apply_once, calls=calls)
    yield context.state.replica
    context.state.replica = None


def test_update_runs_through_the_replica_context(replica):
    found = run(optimizers.SGD(0.1), GRADIENTS[:1])
    np.testing.assert_allclose(found, START - 0.2 * GRADIENTS[0], rtol=1e-6)
    assert replica.calls == [1]


# -- mistakes ------------------------------------------------------------------------------


def test_unknown_variable_is_refused():
    optimizer = optimizers.SGD()
    optimizer.build([tf.Variable([0.0])])
    with pytest.raises(ValueError, match="Unknown variable"):
        optimizer.apply_gradients([(np.ones(1, "float32"), tf.Variable([0.0]))])


def test_missing_gradients_are_warned_of():
    first, second = tf.Variable([0.0], name="first"), tf.Variable([0.0], name="second")
    with pytest.warns(UserWarning, match="second"):
        optimizers.SGD().apply_gradients([(np.ones(1, "float32"), first), (None, second)])


def test_no_gradient_at_all_is_an_error():
    with pytest.raises(ValueError, match="No gradients provided"):
        optimizers.SGD().apply_gradients([(None, tf.Variable([0.0]))])


def test_gradient_of_a_wrong_shape_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError, match="gradient of weights"):
        optimizers.SGD().apply_gradients([(np.ones(3), tf.Variable([0.0], name="weights"))])


def test_rate_of_a_schedule_cannot_be_set():
    optimizer = optimizers.SGD(optimizers.schedules.ExponentialDecay(0.1, 10, 0.9))
    with pytest.raises(TypeError, match="LearningRateSchedule"):
        optimizer.learning_rate = 0.1


def test_state_of_another_size_is_skipped_with_a_warning():
    optimizer = optimizers.Adam()
    with pytest.warns(UserWarning, match="Skipping variable loading"):
        optimizer.load_own_variables({"0": np.int64(1)})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optimizers.Adam(lr=0.1), "not recognized"),
        (lambda: optimizers.Adam(clipnorm=1, clipvalue=1), "Only one"),
        (lambda: optimizers.SGD(momentum=2.0), "momentum"),
        (lambda: optimizers.AdamW(weight_decay=None), "weight_decay"),
        (lambda: optimizers.SGD(gradient_accumulation_steps=1), "gradient_accumulation_steps"),
        (lambda: optimizers.SGD(use_ema=True, ema_momentum=2), "ema_momentum"),
        (lambda: optimizers.Ftrl(initial_accumulator_value=-1), ">= 0"),
        (lambda: optimizers.get("admm"), "Did you mean 'adam'"),
        (lambda: optimizers.SGD().apply([np.ones(1)]), "without `variables`"),
        (lambda: optimizers.SGD().apply([], [tf.Variable(1.0)]), "one gradient"),
    ],
)
def test_mistake_is_one_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_names_are_known_in_any_case():
    for name in ("sgd", "SGD", "adam", "adamw", "rmsprop", "RMSprop"):
        assert type(optimizers.get(name)).__name__.lower() == name.lower()


def test_schedule_free_follows_the_paper():
    # Defazio et al. 2024, algorithm 1: z takes the steps, x is the mean of all z, y the weights.
    rng = np.random.default_rng(5)
    start = rng.normal(size=4)
    optimizer = optimizers.ScheduleFreeAdamW(0.1, beta_1=0.8, beta_2=0.95, warmup_steps=3)
    w = tf.Variable(start.astype("float32"))
    z, x, v = start.copy(), start.copy(), np.zeros(4)
    for t in range(1, 9):
        g = rng.normal(size=4)
        optimizer.apply_gradients([(tf.constant(g.astype("float32")), w)])
        v = 0.95 * v + 0.05 * g * g
        z = z - 0.1 * min(t / 3, 1) * g / (np.sqrt(v / (1 - 0.95**t)) + 1e-8)
        x = (1 - 1 / t) * x + z / t
        np.testing.assert_allclose(w.numpy(), 0.2 * z + 0.8 * x, rtol=2e-5, atol=1e-6)


def test_muon_steps_are_nearly_orthogonal():
    rng = np.random.default_rng(6)
    for shape in ((5, 3), (3, 5)):
        w = tf.Variable(np.zeros(shape, "float32"))
        optimizer = optimizers.Muon(1.0, weight_decay=None, rms_rate=None)
        gradient = rng.normal(size=shape).astype("float32")
        optimizer.apply_gradients([(tf.constant(gradient), w)])
        values = np.linalg.svd(-w.numpy(), compute_uv=False)
        assert ((values > 0.6) & (values < 1.3)).all()


def test_lamb_steps_are_as_long_as_the_rate_times_the_variable():
    w = tf.Variable([3.0, 4.0])
    optimizers.Lamb(0.1).apply_gradients([(tf.constant([1.0, -2.0]), w)])
    assert np.linalg.norm(w.numpy() - [3.0, 4.0]) == pytest.approx(0.5, rel=1e-5)


def test_adafactor_keeps_two_vectors_of_a_matrix():
    optimizer = optimizers.Adafactor()
    optimizer.build([tf.Variable(np.zeros((3, 5), "float32"))])
    assert [tuple(v.shape) for v in optimizer.variables[2:4]] == [(3,), (5,)]


def test_weights_of_an_unbuilt_optimizer_cannot_be_set():
    with pytest.raises(ValueError, match="has not yet been built"):
        optimizers.Adam().set_weights([0])


def test_weights_of_a_wrong_shape_are_refused():
    optimizer = optimizers.SGD(momentum=0.9)
    optimizer.build([tf.Variable([0.0])])
    with pytest.raises(ValueError, match="set_weights"):
        optimizer.set_weights([0, 0.1, [1.0, 2.0]])
