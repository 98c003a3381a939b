"""A job that is asked to end keeps the step under way, on all workers, and goes on from there."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import distflow as tf
from distflow.base import flags
from distflow.distribute import leaving
from tests.distribute.workers import on_threads

RNG = np.random.default_rng(2)
X = RNG.normal(size=(24, 3)).astype("f")
Y = X.sum(1, keepdims=True)


@pytest.fixture
def launched(monkeypatch):
    """As a launcher starts a job that it may ask to end; the test's process is not ended."""
    monkeypatch.setenv("DISTFLOW_LEAVE", "1")
    monkeypatch.setenv("DISTFLOW_GRACE", "100000")
    before = {number: signal.getsignal(number) for number in leaving.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Ask(tf.keras.callbacks.Callback):
    """Asks this process to end in the middle of a step."""

    def __init__(self, step, number):
        super().__init__()
        self.step, self.number = step, number

    def on_train_batch_begin(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.step:
            os.kill(os.getpid(), self.number)


def fit(folder, *callbacks):
    tf.keras.utils.set_random_seed(5)
    model = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(1, name="one")])
    model.compile(tf.keras.optimizers.Adam(0.1, name="adam"), "mse")
    backup = tf.keras.callbacks.BackupAndRestore(folder)
    steps = []
    seen = tf.keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: steps.append(int(model.optimizer.iterations))
    )
    try:
        model.fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=[seen, backup, *callbacks])
        code = None
    except SystemExit as end:
        code = end.code
        backup._leaving.close()
    return code, steps, [w.tolist() for w in model.get_weights()]


@pytest.mark.parametrize("number", leaving.SIGNALS, ids=["SIGTERM", "SIGUSR1"])
def test_fit_ends_after_the_step_under_way_and_goes_on_from_there(launched, tmp_path, number):
    whole = fit(tmp_path / "whole")
    assert whole[:2] == (None, list(range(1, 13)))
    assert fit(tmp_path / "kept", Ask(7, number))[:2] == (143, [1, 2, 3, 4, 5, 6, 7, 8])
    assert fit(tmp_path / "kept") == (None, [9, 10, 11, 12], whole[2])


def test_signals_are_given_back_at_the_end_of_fit(launched, tmp_path):
    before = [signal.getsignal(number) for number in leaving.SIGNALS]
    fit(tmp_path / "kept")
    assert [signal.getsignal(number) for number in leaving.SIGNALS] == before


def test_signals_are_given_back_though_a_fit_before_has_failed(launched, tmp_path):
    def fail(batch, logs):
        raise ZeroDivisionError

    before = [signal.getsignal(number) for number in leaving.SIGNALS]
    failing = tf.keras.callbacks.LambdaCallback(on_train_batch_end=fail)
    with pytest.raises(ZeroDivisionError):
        fit(tmp_path / "kept", failing)
    assert fit(tmp_path / "kept")[0] is None
    assert [signal.getsignal(number) for number in leaving.SIGNALS] == before
    assert fit(tmp_path / "more", Ask(7, signal.SIGTERM))[:2] == (143, [1, 2, 3, 4, 5, 6, 7, 8])


def test_nothing_is_listened_to_unless_the_launcher_says_so(launched, monkeypatch):
    found = leaving.listen()
    assert found is not None
    found.close()
    with flags.override(DISTFLOW_ELASTIC=(1, 2)):
        assert leaving.listen() is None
    elsewhere = []
    thread = threading.Thread(target=lambda: elsewhere.append(leaving.listen()))
    thread.start()
    thread.join(20)
    assert elsewhere == [None]
    monkeypatch.delenv("DISTFLOW_LEAVE")
    assert leaving.listen() is None


@pytest.mark.parametrize("asked", [[], [0], [2], [0, 1, 2]])
def test_all_workers_end_if_one_is_asked(asked):
    def work(strategy):
        mine = leaving.Leaving()
        mine.is_asked = strategy.communicator.rank in asked
        return mine.agreed(strategy)

    assert on_threads(3, 4, work) == [bool(asked)] * 3


@pytest.mark.spawn
@pytest.mark.parametrize(
    "listens",
    [
        "from distflow.distribute import leaving; heard = leaving.listen()",
        "import types; from distflow.distribute.elastic_job import ElasticJob; "
        "ElasticJob.handle_sigterm(types.SimpleNamespace(is_leaving=False), 0.5)",
    ],
    ids=["fixed size", "elastic"],
)
def test_a_step_that_never_ends_is_ended_within_the_grace(listens):
    program = f"{listens}; print('ready', flush=True)\nwhile True: pass"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "DISTFLOW_LEAVE": "1", "DISTFLOW_GRACE": "0.5"},
    ) as worker:  # fmt: skip
        try:
            assert worker.stdout.readline() == "ready\n"
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(30) == leaving.LEFT_EXIT_CODE == 143
            assert "asked to end: the step has not come to its end in time" in worker.stderr.read()
        finally:
            worker.kill()
