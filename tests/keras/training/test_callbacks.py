"""Callbacks: when they are called, and what they do."""

import io
import re
import sys

import numpy as np
import pytest

import distflow as tf

keras = tf.keras


def model_and_data():
    keras.utils.set_random_seed(2)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 4)).astype("float32")
    y = x @ rng.normal(size=(4, 1)).astype("float32")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05), "mse")
    return model, x, y


def test_hooks_come_in_order():
    calls = []

    class Note(keras.callbacks.Callback):
        def __getattribute__(self, name):
            if name.startswith("on_") and "batch_begin" not in name and name != "on_batch_end":
                return lambda *args: calls.append(name)
            return super().__getattribute__(name)

    model, x, y = model_and_data()
    model.fit(x, y, batch_size=20, validation_data=(x, y), verbose=0, callbacks=[Note()])
    assert calls == [
        "on_train_begin", "on_epoch_begin", "on_train_batch_end", "on_train_batch_end",
        "on_test_begin", "on_test_batch_end", "on_test_batch_end", "on_test_end",
        "on_epoch_end", "on_train_end",
    ]  # fmt: skip


class Feed(keras.callbacks.Callback):
    """Puts chosen values into the logs before the others see them."""

    def __init__(self, values):
        super().__init__()
        self.values = values

    def on_epoch_end(self, epoch, logs=None):
        logs["val_loss"] = self.values[epoch]
        self.model.set_weights([np.full((4, 1), epoch, "f"), np.zeros(1, "f")])


def run_early_stopping(values, **options):
    model, x, y = model_and_data()
    stop = keras.callbacks.EarlyStopping(**options)
    history = model.fit(x, y, epochs=len(values), verbose=0, callbacks=[Feed(values), stop])
    return len(history.epoch), model.get_weights()[0][0, 0]


def test_early_stopping_waits_for_its_patience():
    epochs, _ = run_early_stopping([3, 2, 2.5, 2.4, 2.3, 1], patience=2)
    assert epochs == 4


def test_early_stopping_restores_the_best_weights():
    epochs, weight = run_early_stopping(
        [3, 2, 2.5, 2.4, 2.3, 1], patience=3, restore_best_weights=True
    )
    assert (epochs, weight) == (5, 1.0)


def test_early_stopping_min_delta_and_mode():
    assert run_early_stopping([3, 2.95, 2.9, 2.85], min_delta=0.5, patience=2)[0] == 3
    assert run_early_stopping([1, 2, 3, 2.9, 2.8], patience=1, mode="max")[0] == 4


def test_learning_rate_scheduler_sets_and_logs_the_rate():
    model, x, y = model_and_data()
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5)
    history = model.fit(x, y, epochs=3, verbose=0, callbacks=[schedule])
    np.testing.assert_allclose(history.history["learning_rate"], [0.025, 0.0125, 0.00625])


def test_reduce_lr_on_plateau():
    model, x, y = model_and_data()
    reduce = keras.callbacks.ReduceLROnPlateau(factor=0.1, patience=2, min_delta=0)
    values = [1, 1, 1, 1, 1]
    history = model.fit(x, y, epochs=5, verbose=0, callbacks=[Feed(values), reduce])
    np.testing.assert_allclose(
        history.history["learning_rate"], [0.05, 0.05, 0.05, 0.005, 0.005], rtol=1e-6
    )


def test_model_checkpoint_keeps_the_best(tmp_path):
    model, x, y = model_and_data()
    path = tmp_path / "best.weights.h5"
    save = keras.callbacks.ModelCheckpoint(path, save_best_only=True, save_weights_only=True)
    model.fit(x, y, epochs=4, verbose=0, callbacks=[Feed([3, 1, 2, 1.5]), save])
    model.load_weights(path)
    assert model.get_weights()[0][0, 0] == 1.0


def test_model_checkpoint_names_files_by_epoch(tmp_path):
    model, x, y = model_and_data()
    save = keras.callbacks.ModelCheckpoint(str(tmp_path / "{epoch:02d}.keras"))
    model.fit(x, y, epochs=2, verbose=0, callbacks=[save])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["01.keras", "02.keras"]


def test_model_checkpoint_refuses_a_wrong_ending():
    with pytest.raises(ValueError, match=r"\.keras"):
        keras.callbacks.ModelCheckpoint("model.pb")


def test_csv_logger_writes_a_line_an_epoch(tmp_path):
    model, x, y = model_and_data()
    path = tmp_path / "log.csv"
    model.fit(x, y, epochs=2, verbose=0, callbacks=[keras.callbacks.CSVLogger(path)])
    lines = path.read_text().splitlines()
    assert lines[0] == "epoch,loss"
    assert len(lines) == 3


def fit_output(monkeypatch, terminal, verbose):
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stdout", stream)
    model, x, y = model_and_data()
    model.fit(x, y, epochs=2, batch_size=10, verbose=verbose)
    return stream.getvalue()


def test_a_log_file_gets_one_plain_line_an_epoch(monkeypatch):
    out = fit_output(monkeypatch, False, "auto")
    assert "\r" not in out
    assert "\x1b" not in out
    lines = out.splitlines()
    assert len(lines) == 2
    assert re.fullmatch(r"Epoch 1/2 - 4/4 \S+ \S+/step - loss: \d+\.\d{4}", lines[0])


def test_a_terminal_gets_a_bar(monkeypatch):
    out = fit_output(monkeypatch, True, 1)
    assert "Epoch 1/2\n" in out
    assert "━" in out
    assert out.count("\n") == 4


def test_a_bar_that_is_rewritten_never_wraps(monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    out = fit_output(monkeypatch, True, 1)
    drawn = re.findall(r"\r([^\r\n]*)\x1b\[K(?!\n)", out)
    assert drawn
    for line in drawn:
        assert len(re.sub(r"\x1b\[[0-9;]*m", "", line)) < 50
    assert "loss: " in out


def test_the_time_of_a_step_is_without_validation(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("distflow.keras.callbacks.progress.time.monotonic", lambda: now[0])
    logger = keras.callbacks.ProgbarLogger()
    logger.set_params({"verbose": 2, "epochs": 1, "steps": 2, "phase": "fit"})
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    logger.on_epoch_begin(0)
    now[0] = 4.0
    logger.on_train_batch_end(1, {})
    now[0] = 100.0
    logger.on_epoch_end(0, {"loss": 1.0})
    assert "2/2 4s 2.0s/step" in stream.getvalue()


def test_verbose_zero_is_silent(monkeypatch):
    assert fit_output(monkeypatch, True, 0) == ""


def test_terminate_on_nan_may_raise():
    callback = keras.callbacks.TerminateOnNaN(raise_error=True)
    with pytest.raises(RuntimeError, match="NaN or Inf loss encountered at batch 3"):
        callback.on_batch_end(3, {"loss": float("nan")})
