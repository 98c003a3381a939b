"""Callbacks that watch, send and swap: what is better, a server of logs, moving averages."""

import http.server
import json
import threading
import urllib.parse

import numpy as np
import pytest

from distflow import keras
from distflow.base import errors
from distflow.keras import layers
from distflow.keras.callbacks import (
    Callback,
    EarlyStopping,
    LambdaCallback,
    ReduceLROnPlateau,
    RemoteMonitor,
    SwapEMAWeights,
)

X = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
Y = X[:, :1]


def small_model(optimizer=None, metrics=()):
    model = keras.Sequential([layers.Input((3,)), layers.Dense(1)])
    model.compile(optimizer or keras.optimizers.SGD(0.05), "mse", metrics=list(metrics))
    return model


# -- which way is up -----------------------------------------------------------------------------


class Odd(keras.metrics.Mean):
    def __init__(self, direction=None):
        super().__init__("odd")
        self._direction = direction

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(y_pred)


@pytest.mark.parametrize(("direction", "kept"), [("up", 3.0), ("down", 1.0)])
def test_a_metric_says_whether_it_should_grow(direction, kept):
    model = small_model(metrics=[Odd(direction)])
    callback = EarlyStopping("odd", patience=9)
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, value in enumerate([2.0, 3.0, 1.0]):
        callback.on_epoch_end(epoch, {"odd": value})
    assert callback.best == kept


@pytest.mark.parametrize("kind", [EarlyStopping, ReduceLROnPlateau])
def test_a_metric_that_does_not_say_needs_a_mode(kind):
    callback = kind("odd")
    callback.set_model(small_model(metrics=[Odd()]))
    callback.on_train_begin()
    with pytest.raises(ValueError, match="mode='max'"):
        callback.on_epoch_end(0, {"odd": 1.0})


def test_an_unknown_mode_is_refused():
    with pytest.raises(errors.InvalidArgumentError, match="mode"):
        EarlyStopping(mode="largest")


# -- a server of logs ----------------------------------------------------------------------------


@pytest.fixture
def server():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.server.received.append((self.path, dict(self.headers), body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    found = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    found.received = []
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


def root_of(server):
    return f"http://127.0.0.1:{server.server_port}"


def test_logs_are_posted_as_a_form(server):
    small_model().fit(X, Y, epochs=2, verbose=0, callbacks=[RemoteMonitor(root_of(server))])
    paths = [path for path, _, _ in server.received]
    assert paths == ["/publish/epoch/end/"] * 2
    fields = urllib.parse.parse_qs(server.received[1][2])
    logs = json.loads(fields["data"][0])
    assert logs["epoch"] == 1
    assert logs["loss"] > 0


def test_logs_are_posted_as_json_with_headers(server):
    callback = RemoteMonitor(root_of(server), "/here", headers={"X-A": "b"}, send_as_json=True)
    small_model().fit(X, Y, verbose=0, callbacks=[callback])
    ((path, headers, body),) = server.received
    assert path == "/here"
    assert headers["X-A"] == "b"
    assert headers["Content-Type"] == "application/json"
    assert set(json.loads(body)) == {"epoch", "loss"}


def test_no_server_is_a_warning(server):
    root = root_of(server)
    server.server_close()
    with pytest.warns(UserWarning, match="Could not reach RemoteMonitor"):
        small_model().fit(X, Y, verbose=0, callbacks=[RemoteMonitor(root)])


# -- moving averages -----------------------------------------------------------------------------


class Watch(Callback):
    """Notes the weights that evaluation and the end of an epoch see."""

    def on_train_begin(self, logs=None):
        self.evaluated, self.at_end, self.at_begin = [], [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.at_begin.append(self.model.get_weights()[0])

    def on_test_begin(self, logs=None):
        self.evaluated.append(self.model.get_weights()[0])

    def on_epoch_end(self, epoch, logs=None):
        self.at_end.append(self.model.get_weights()[0])


def averaged(swap_on_epoch, optimizer=None):
    optimizer = optimizer or keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9)
    keras.utils.set_random_seed(3)
    model = small_model(optimizer)
    watch = Watch()
    model.fit(X, Y, batch_size=8, epochs=2, verbose=0, validation_data=(X, Y),
              callbacks=[SwapEMAWeights(swap_on_epoch), watch])  # fmt: skip
    return model, watch


def averages_of(epochs):
    """Returns the weights and their averages after each epoch, by NumPy."""
    keras.utils.set_random_seed(3)
    model = small_model(keras.optimizers.SGD(0.1))
    weights, average, found = [], None, []

    def note(batch, logs):
        nonlocal average
        w = model.get_weights()[0]
        average = w if average is None else 0.9 * average + 0.1 * w

    def end(epoch, logs):
        weights.append(model.get_weights()[0])
        found.append(average)

    callback = LambdaCallback(on_train_batch_end=note, on_epoch_end=end)
    model.fit(X, Y, batch_size=8, epochs=epochs, verbose=0, callbacks=[callback])
    return weights, found


def test_evaluation_sees_the_averages_and_training_the_weights():
    weights, averages = averages_of(2)
    model, watch = averaged(False)
    for found, expected in zip(watch.evaluated, averages):
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(watch.at_begin[1], weights[0], rtol=1e-5)
    np.testing.assert_allclose(model.get_weights()[0], averages[1], rtol=1e-5)


def test_averages_are_there_at_the_end_of_epochs():
    _, averages = averages_of(2)
    model, watch = averaged(True)
    for found, expected in zip(watch.at_end, averages):
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(model.get_weights()[0], averages[1], rtol=1e-5)


def test_prediction_sees_the_averages_and_leaves_the_weights():
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
    model = small_model(optimizer)
    model.train_on_batch(X, Y)
    model.train_on_batch(X, Y)
    before = model.get_weights()
    plain = model.predict(X, verbose=0)
    swapped = model.predict(X, verbose=0, callbacks=[SwapEMAWeights()])
    assert abs(plain - swapped).max() > 1e-4
    for one, other in zip(before, model.get_weights()):
        np.testing.assert_array_equal(one, other)


def test_an_optimizer_without_averages_is_refused():
    with pytest.raises(ValueError, match="use_ema=True"):
        averaged(False, keras.optimizers.SGD(0.1))


def test_averages_of_one_of_several_optimizers_are_enough():
    chosen = keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.1))
    chosen[".*kernel"] = keras.optimizers.SGD(0.1, use_ema=True)
    averaged(False, keras.optimizers.MultiOptimizer(chosen))
