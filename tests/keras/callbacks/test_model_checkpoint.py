"""ModelCheckpoint and BackupAndRestore on all workers: the chief writes, all hear of an error."""

import numpy as np
import pytest

import distflow as tf
from distflow.checkpoint import layout
from tests.distribute.workers import on_threads

K = tf.keras
pytest.importorskip("h5py")
X = np.arange(24, dtype="f").reshape(12, 2) / 24
Y = X.sum(1, keepdims=True)


def fit(strategy, callbacks, epochs=2):
    with strategy.scope():
        one = K.initializers.Ones()
        dense = K.layers.Dense(1, kernel_initializer=one, name="d")
        model = K.Sequential([K.Input((2,), name="x"), dense], name="m")
        model.compile(K.optimizers.Adam(0.1, name="a"), "mse")
    model.fit(X, Y, batch_size=6, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks)
    return model.get_weights()


def test_the_chief_alone_writes(tmp_path):
    def work(strategy):
        folder = tmp_path / str(strategy.worker_rank)
        return fit(strategy, [K.callbacks.ModelCheckpoint(folder / "at-{epoch}.keras")])

    weights = on_threads(3, 3, work)
    assert sorted(p.name for p in (tmp_path / "0").iterdir()) == ["at-1.keras", "at-2.keras"]
    assert [p.name for p in tmp_path.iterdir()] == ["0"]
    loaded = K.models.load_model(tmp_path / "0" / "at-2.keras")
    for a, b in zip(loaded.get_weights(), weights[2], strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_chief_may_be_the_only_one_that_has_it(tmp_path):
    def work(strategy):
        mine = [K.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")]
        return fit(strategy, mine if strategy.is_chief else [])

    on_threads(2, 2, work)
    assert len(list(tmp_path.iterdir())) == 2


def test_an_error_of_the_chief_ends_the_others_at_once(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")

    def work(strategy):
        path = tmp_path / "file" / "x.keras"  # no folder
        return fit(strategy, [K.callbacks.ModelCheckpoint(path)])

    chief, other = on_threads(2, 2, work)
    assert isinstance(chief, OSError)
    assert isinstance(other, tf.errors.AbortedError)
    assert "File exists" in str(other) or "Not a directory" in str(other)


def test_an_error_of_the_writing_thread_ends_the_others_too(tmp_path, monkeypatch):
    def fail(*args):
        raise tf.errors.ResourceExhaustedError("no space left")

    monkeypatch.setattr(layout, "write", fail)
    backups = [K.callbacks.BackupAndRestore(tmp_path, save_freq=1) for _ in range(2)]
    chief, other = on_threads(2, 2, lambda s: fit(s, [backups[s.worker_rank]]))
    assert isinstance(chief, tf.errors.ResourceExhaustedError)
    assert isinstance(other, tf.errors.OpError)
    assert "no space left" in str(other)
