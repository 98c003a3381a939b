"""fit, evaluate, predict: what they compute, what they log, and what they refuse."""

import numpy as np
import pytest

import distflow as tf
from distflow.base import errors

keras = tf.keras


def data(rows=100, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 5)).astype("float32")
    return x, (x @ rng.normal(size=(5, 3))).argmax(1)


def classifier(optimizer=None, metrics=("accuracy",), **options):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    model.compile(
        optimizer=optimizer or keras.optimizers.SGD(0.1),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=list(metrics),
        **options,
    )
    return model


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sgd_by_hand(x, y, w, b, rate, batch, weights=None):
    """One epoch of softmax regression in float64; returns (w, b, mean loss of the epoch)."""
    total = 0.0
    for start in range(0, len(x), batch):
        rows = slice(start, start + batch)
        p = softmax(x[rows] @ w + b)
        n = len(p)
        scale = np.ones(n) if weights is None else weights[rows]
        total += (-np.log(p[np.arange(n), y[rows]]) * scale).sum()
        g = p.copy()
        g[np.arange(n), y[rows]] -= 1
        g *= scale[:, None] / n
        w, b = w - rate * x[rows].T @ g, b - rate * g.sum(0)
    return w, b, total / len(x)


@pytest.mark.parametrize("run_eagerly", [False, True])
@pytest.mark.parametrize("batch", [32, 100])
def test_fit_is_gradient_descent(run_eagerly, batch):
    x, y = data()
    model = classifier(run_eagerly=run_eagerly)
    w, b = (a.astype("float64") for a in model.get_weights())
    history = model.fit(x, y, batch_size=batch, epochs=3, shuffle=False, verbose=0)
    losses = []
    for _ in range(3):
        w, b, loss = sgd_by_hand(x, y, w, b, 0.1, batch)
        losses.append(loss)
    np.testing.assert_allclose(history.history["loss"], losses, rtol=1e-5)
    np.testing.assert_allclose(model.get_weights()[0], w, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model.get_weights()[1], b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("replicas", [1, 2, 3, 4, 7])
def test_a_strategy_gives_the_same_mathematics_for_any_number_of_replicas(replicas):
    x, y = data()
    with tf.distribute.MirroredStrategy(logical_replicas=replicas).scope():
        model = classifier()
    w, b = (a.astype("float64") for a in model.get_weights())
    # 100 = 32 + 32 + 32 + 4: the last batch leaves some of 7 replicas without rows.
    history = model.fit(x, y, batch_size=32, epochs=2, shuffle=False, verbose=0)
    for _ in range(2):
        w, b, loss = sgd_by_hand(x, y, w, b, 0.1, 32)
    np.testing.assert_allclose(history.history["loss"][-1], loss, rtol=1e-5)
    np.testing.assert_allclose(model.get_weights()[0], w, rtol=1e-4, atol=1e-6)
    accuracy = ((x @ w + b).argmax(1) == y).mean()
    assert model.evaluate(x, y, verbose=0)[1] == pytest.approx(accuracy, abs=1e-6)
    np.testing.assert_allclose(model.predict(x, verbose=0), x @ w + b, rtol=1e-3, atol=1e-5)


def test_class_weight_and_sample_weight_scale_the_losses():
    x, y = data()
    table = {0: 1.0, 1: 0.5, 2: 3.0}
    weights = np.asarray([table[label] for label in y])
    results = []
    for arguments in ({"class_weight": table}, {"sample_weight": weights}):
        model = classifier()
        w, b = (a.astype("float64") for a in model.get_weights())
        model.fit(x, y, batch_size=50, shuffle=False, verbose=0, **arguments)
        results.append(model.get_weights()[0])
    expected, _, _ = sgd_by_hand(x, y, w, b, 0.1, 50, weights)
    for result in results:
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-6)


def test_history_and_validation():
    x, y = data()
    model = classifier()
    history = model.fit(x, y, epochs=2, validation_split=0.25, verbose=0)
    assert list(history.history) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert history.epoch == [0, 1]
    last = model.evaluate(x[75:], y[75:], verbose=0, return_dict=True)
    assert history.history["val_loss"][-1] == pytest.approx(last["loss"], rel=1e-6)
    assert history.history["val_accuracy"][-1] == last["accuracy"]


def test_validation_freq_and_initial_epoch():
    x, y = data()
    history = classifier().fit(
        x, y, epochs=5, initial_epoch=1, validation_data=(x, y), validation_freq=2, verbose=0
    )
    assert history.epoch == [1, 2, 3, 4]
    assert len(history.history["val_loss"]) == 2


def test_shuffled_epochs_differ_and_repeat_with_the_seed():
    x, y = data()

    def train():
        model = classifier()
        return model.fit(x, y, batch_size=10, epochs=2, verbose=0).history["loss"], model

    first, model = train()
    again, other = train()
    assert first == again
    np.testing.assert_array_equal(model.get_weights()[0], other.get_weights()[0])


def test_data_sets_generators_and_dicts_give_the_same_as_arrays():
    x, y = data(64)

    def generator():
        for start in range(0, 64, 16):
            yield x[start : start + 16], y[start : start + 16]

    sources = [
        lambda model: model.fit(x, y, batch_size=16, shuffle=False, verbose=0),
        lambda model: model.fit(tf.data.Dataset.from_tensor_slices((x, y)).batch(16), verbose=0),
        lambda model: model.fit(generator(), verbose=0),
    ]
    results = []
    for fit in sources:
        model = classifier()
        fit(model)
        results.append(model.get_weights()[0])
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_a_repeating_data_set_goes_on_where_the_epoch_ended():
    x, y = data(40)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(10).repeat()
    history = classifier().fit(dataset, epochs=3, steps_per_epoch=3, verbose=0)
    assert len(history.history["loss"]) == 3


def test_train_on_batch_and_test_on_batch():
    x, y = data(32)
    model = classifier()
    w, b = (a.astype("float64") for a in model.get_weights())
    loss, _ = model.train_on_batch(x, y)
    _, _, expected = sgd_by_hand(x, y, w, b, 0.1, 32)
    assert loss == pytest.approx(expected, rel=1e-5)
    model.reset_metrics()
    results = model.test_on_batch(x, y, return_dict=True)
    assert results["loss"] < expected
    assert model.predict_on_batch(x).shape == (32, 3)


def test_two_outputs_with_their_own_losses_weights_and_metrics():
    x, y = data()
    inputs = keras.Input((5,))
    a = keras.layers.Dense(3, name="a")(inputs)
    b = keras.layers.Dense(1, name="b")(inputs)
    model = keras.Model(inputs, [a, b])
    model.compile(
        "sgd",
        loss=[keras.losses.SparseCategoricalCrossentropy(from_logits=True), "mse"],
        loss_weights=[1.0, 0.5],
        metrics=[["accuracy"], ["mae"]],
    )
    target = x[:, :1] * 2
    logs = model.fit(x, [y, target], verbose=0, batch_size=100).history
    assert logs["loss"][0] == pytest.approx(logs["a_loss"][0] + 0.5 * logs["b_loss"][0], rel=1e-5)
    assert {"a_accuracy", "b_mae"} <= set(logs)


def test_a_weighted_metric_of_the_same_name_keeps_its_own_entry():
    x, y = data()
    model = classifier(weighted_metrics=["accuracy"])
    weights = (y == 0).astype("float32")
    logs = model.fit(x, y, sample_weight=weights, verbose=0).history
    assert sorted(logs) == ["accuracy", "loss", "weighted_accuracy"]


def test_a_model_without_a_strategy_in_a_job_of_several_workers_warns(monkeypatch, caplog):
    monkeypatch.setenv("DISTFLOW_WORLD_SIZE", "2")
    logger = tf.get_logger()
    monkeypatch.setattr(logger, "propagate", True)
    x, y = data()
    classifier().fit(x, y, verbose=0)
    assert "each worker trains its own" in caplog.text


def test_a_model_may_override_train_step():
    class Doubled(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3)

        def call(self, inputs):
            return self.dense(inputs)

        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = 2.0 * self.compute_loss(y=y, y_pred=self(x, training=True))
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
            return {"doubled": loss}

    x, y = data()
    model = Doubled()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(x, y, epochs=2, batch_size=100, verbose=0)
    assert list(history.history) == ["doubled"]
    assert history.history["doubled"][1] < history.history["doubled"][0]


def test_python_control_flow_on_tensors_in_call_and_train_step():
    class Branching(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3)

        def call(self, inputs):
            y = self.dense(inputs)
            if tf.reduce_sum(inputs) > 0.0:
                y = y * 0.0
            return y

        def train_step(self, data):
            logs = super().train_step(data)
            if logs["loss"] > 1e9:
                logs["large"] = tf.constant(1.0)
            else:
                logs["large"] = tf.constant(0.0)
            return logs

    model = Branching()
    model.compile("sgd", "mse")
    x = np.ones((8, 5), "float32")
    history = model.fit(x, np.zeros((8, 3)), verbose=0).history
    assert history == {"large": [0.0], "loss": [0.0]}
    assert model.fit(-x, np.zeros((8, 3)), verbose=0).history["loss"][0] > 0.0


def test_add_loss_and_regularizers_count():
    x, _ = data()
    model = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(2, kernel_regularizer=keras.regularizers.L2(0.1))]
    )
    model.compile("sgd", "mse")
    w = model.get_weights()[0].astype("float64")
    zeros = np.zeros((100, 2), "float32")
    loss = model.evaluate(x, zeros, verbose=0)
    expected = ((x @ w) ** 2).mean() + 0.1 * (w**2).sum()
    assert loss == pytest.approx(expected, rel=1e-5)


def test_activity_regularizers_are_means_over_rows():
    x, _ = data(40)
    model = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(2, activity_regularizer=keras.regularizers.L2(0.1))]
    )
    model.compile("sgd", "mse")
    out = x.astype("float64") @ model.get_weights()[0]
    expected = (out**2).mean() + 0.1 * (out**2).sum() / 40
    loss = model.evaluate(x, np.zeros((40, 2)), batch_size=40, verbose=0)
    assert loss == pytest.approx(expected, rel=1e-5)


# -- refused ---------------------------------------------------------------------------------


def refused(error, match, action):
    with pytest.raises(error, match=match):
        action()


def test_bad_arguments_are_clear_errors():
    x, y = data()
    model = classifier()
    invalid = errors.InvalidArgumentError
    refused(invalid, "same number of samples", lambda: model.fit(x, y[:-1], verbose=0))
    refused(invalid, "batch_size", lambda: model.fit(x, y, batch_size=0, verbose=0))
    refused(invalid, r"metrics=\[", lambda: model.compile("sgd", "mse", ["accuracy"]))
    model = classifier()
    refused(invalid, "epochs", lambda: model.fit(x, y, epochs="3", verbose=0))
    refused(invalid, "validation_split", lambda: model.fit(x, y, validation_split=1.5))
    refused(
        ValueError,
        "y must not be given",
        lambda: model.fit(tf.data.Dataset.from_tensor_slices((x, y)).batch(8), y, verbose=0),
    )
    refused(invalid, "x must be given", lambda: model.fit(verbose=0))
    refused(ValueError, "3", lambda: model.fit(x[:, :3], y, verbose=0))
    refused(TypeError, "callbacks", lambda: model.fit(x, y, callbacks=[3], verbose=0))


def test_fit_before_compile_says_so():
    x, y = data()
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    refused(errors.FailedPreconditionError, "compile", lambda: model.fit(x, y, verbose=0))


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("run_eagerly", [False, True])
def test_labels_out_of_range_leave_the_weights_as_they_were(replicas, run_eagerly):
    x, y = data()
    y[57] = 11
    with tf.distribute.MirroredStrategy(logical_replicas=replicas).scope():
        model = classifier("adam", run_eagerly=run_eagerly)
    before = None

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            nonlocal before
            before = self.model.get_weights()

    with pytest.raises(errors.InvalidArgumentError, match=r"11.*|\[0, 3\)"):
        model.fit(x, y, batch_size=20, shuffle=False, verbose=0, callbacks=[Watch()])
    for now, then in zip(model.get_weights(), before):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("replicas", [1, 3])
def test_a_nan_loss_is_an_error_before_the_update(replicas):
    x, y = data()
    x[41] = np.nan
    with tf.distribute.MirroredStrategy(logical_replicas=replicas).scope():
        model = keras.Sequential(
            [keras.Input((5,)), keras.layers.BatchNormalization(), keras.layers.Dense(3)]
        )
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(errors.InvalidArgumentError, match="loss must be a finite number"):
        model.fit(x, y, batch_size=20, shuffle=False, verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert int(model.optimizer.iterations) == 2


def test_terminate_on_nan_stops_without_an_error():
    x, y = data()
    x[41] = np.nan
    history = classifier().fit(
        x, y, epochs=5, verbose=0, shuffle=False, callbacks=[keras.callbacks.TerminateOnNaN()]
    )
    assert len(history.epoch) == 1


def test_fit_ends_with_the_moving_averages_in_the_weights():
    x = np.ones((4, 1), np.float32)
    model = tf.keras.Sequential([tf.keras.Input((1,)), tf.keras.layers.Dense(1, use_bias=False)])
    model.compile(tf.keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5), "mse")
    kernel = model.get_weights()[0].item()
    model.fit(x, 3 * x, batch_size=2, verbose=0)
    first = kernel - 0.1 * 2 * (kernel - 3)
    second = first - 0.1 * 2 * (first - 3)
    # The average starts at the first value (Keras), then moves half of the way.
    np.testing.assert_allclose(model.get_weights()[0].item(), (first + second) / 2, rtol=1e-5)
