"""A step that fails leaves weights, slots and metrics as they were, wherever it fails."""

import numpy as np
import pytest

import distflow as tf
from distflow.keras.training.loop import StepRunner

keras = tf.keras
SPOILT = 57  # this row makes its batch, the third of five, fail


def refuse_spoilt(array):
    if np.any(array == SPOILT):
        raise ValueError("on purpose")
    return array


def refuse_in_python(y, y_pred):
    return tf.numpy_function(refuse_spoilt, [y], tf.TensorSpec((None, 1), tf.float32))


def refuse_in_pure_python(y, y_pred):
    """Need not run in order, so the program itself sees to the variables."""
    spec = tf.TensorSpec((None, 1), tf.float32)
    return tf.numpy_function(refuse_spoilt, [y], spec, stateful=False)


def gather_beyond(y, y_pred):
    rows = tf.where(tf.cast(y, tf.int32) == SPOILT, 7, 0)
    return y + tf.gather(tf.zeros([3]), rows)


def loop_beyond(y, y_pred):
    total = tf.zeros_like(y)
    for i in tf.range(3):
        total += gather_beyond(y, y_pred) * tf.cast(i, tf.float32)
    return total


class FailsBeforeTheUpdate(keras.Model):
    def __init__(self, fail):
        super().__init__()
        self.dense = keras.layers.Dense(4)
        self.norm = keras.layers.BatchNormalization()
        self.fail = fail

    def call(self, x, training=False):
        return self.norm(self.dense(x), training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return tf.reduce_mean((y_pred - self.fail(y, y_pred)) ** 2)


class FailsAfterTheUpdate(FailsBeforeTheUpdate):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return tf.reduce_mean((y_pred - y) ** 2)

    def train_step(self, data):
        logs = super().train_step(data)
        y = data[1]
        with tf.control_dependencies(list(logs.values())):
            logs["late"] = tf.reduce_sum(self.fail(y, None))
        return logs


class FailingMetric(keras.metrics.Mean):
    """Fails between the updates of its two variables."""

    fail = None

    def update_state(self, y, y_pred, sample_weight=None):
        self.total.assign_add(1.0)
        self.total.assign_add(tf.reduce_sum(self.fail(y, y_pred)))
        self.count.assign_add(1.0)


class Failing(FailsBeforeTheUpdate):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return tf.reduce_mean((y_pred - y) ** 2)


def in_the_loss(fail):
    return FailsBeforeTheUpdate(fail), []


def after_the_update(fail):
    return FailsAfterTheUpdate(fail), []


def in_a_metric(fail):
    metric = FailingMetric(name="failing")
    metric.fail = fail
    return Failing(fail), [metric]


def state(model):
    metrics = [v for metric in model.metrics for v in metric.variables]
    return [v.numpy().copy() for v in (*model.variables, *model.optimizer.variables, *metrics)]


class Watch(keras.callbacks.Callback):
    before = None

    def on_train_batch_end(self, batch, logs=None):
        self.before = state(self.model)


@pytest.mark.parametrize(
    "fail", [refuse_in_python, refuse_in_pure_python, gather_beyond, loop_beyond]
)
@pytest.mark.parametrize("make", [in_the_loss, after_the_update, in_a_metric])
@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.usefixtures("executor")
def test_a_failing_step_leaves_everything_as_it_was(make, fail, replicas):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 5)).astype(np.float32)
    y = rng.normal(size=(100, 1)).astype(np.float32)
    y[50] = SPOILT
    with tf.distribute.MirroredStrategy(logical_replicas=replicas).scope():
        model, metrics = make(fail)
        model.compile("adam", metrics=metrics)
    watch = Watch()
    with pytest.raises(Exception, match=r"on purpose|\[0, 3\)"):
        model.fit(x, y, batch_size=20, shuffle=False, verbose=0, callbacks=[watch])
    assert int(model.optimizer.iterations) == 2
    for now, then in zip(state(model), watch.before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_compiled_step_holds_no_values_of_weights(executor):
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    x, y = np.ones((8, 5), np.float32), np.ones((8, 3), np.float32)
    model.fit(x, y, epochs=2, verbose=0)
    kernel, places = model.weights[0], set()
    for _ in range(3):
        model.fit(x, y, verbose=0)
        places.add(kernel.storage.read().__array_interface__["data"][0])
    if executor == "cpu":
        assert len(places) == 1


@pytest.mark.usefixtures("executor")
def test_what_python_code_wrote_in_a_failing_step_is_undone():
    hidden = tf.Variable(1.0, trainable=False)

    class Meddling(Failing):
        def train_step(self, data):
            tf.py_function(lambda: hidden.assign_add(1.0), [], [])
            return super().train_step(data)

        @property
        def variables(self):
            return [*super().variables, hidden]

    x, y = np.ones((40, 5), np.float32), np.ones((40, 1), np.float32)
    metric = FailingMetric(name="failing")
    metric.fail = refuse_in_python
    model = Meddling(None)
    model.compile("adam", metrics=[metric])
    model.fit(x, y, batch_size=20, verbose=0)
    assert hidden.numpy() == 3.0
    with pytest.raises(Exception, match="on purpose"):
        model.fit(x, y * SPOILT, batch_size=20, verbose=0)
    assert hidden.numpy() == 3.0


@pytest.mark.parametrize("strategy", ["MirroredStrategy", "get_strategy"])
def test_variables_are_listed_once_a_trace(strategy, executor, monkeypatch):
    listed = []
    plain = StepRunner._variables
    monkeypatch.setattr(StepRunner, "_variables", lambda s: listed.append(1) or plain(s))
    two = {"logical_replicas": 2} if strategy == "MirroredStrategy" else {}
    with getattr(tf.distribute, strategy)(**two).scope():
        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
        model.compile("sgd", "mse")
    x, y = np.ones((64, 5), np.float32), np.ones((64, 3), np.float32)
    model.fit(x, y, batch_size=4, epochs=3, verbose=0)
    atomic = executor == "cpu" and not two
    # Before the first trace, and after it; then its graph says whether that is needed.
    assert len(listed) == (1 if atomic else 2)
