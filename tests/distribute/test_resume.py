"""A run that was interrupted in mid-epoch goes on with another number of workers: the same bits."""

import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
from distflow_launcher import verify

import distflow as tf
from distflow.base import flags
from distflow.distribute import MirroredStrategy
from distflow.keras.training import adapters
from tests.distribute import golden_job
from tests.distribute.workers import digest, on_threads

K = tf.keras
STEPS, EPOCHS = 5, 2


class Interrupted(Exception):
    pass


class Interrupt(K.callbacks.Callback):
    needs_batches = False
    comes_last = True

    def __init__(self, at):
        super().__init__()
        self.left = at

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            raise Interrupted


def train(strategy, callbacks=()):
    """Returns the digest of weights and slots, and the history, of two shuffled epochs."""
    images, labels = golden_job.data()
    rows = STEPS * golden_job.BATCH - 3
    with strategy.scope():
        model = golden_job.build()
        model.compile(
            K.optimizers.Adam(1e-2, name="adam"),
            K.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
    history = model.fit(
        images[:rows], labels[:rows], batch_size=golden_job.BATCH, epochs=EPOCHS, verbose=0,
        callbacks=list(callbacks),
    ).history  # fmt: skip
    arrays = [*model.get_weights(), *(v.numpy() for v in model.optimizer.variables)]
    return digest(arrays), {name: values[-1] for name, values in history.items()}


def order(seed):
    """The seed that fit draws for the data's order: worker threads share one random generator."""
    return mock.patch.object(adapters, "fresh_seed", return_value=seed)


def uninterrupted():
    with order(7):
        return train(MirroredStrategy(logical_replicas=4))


@pytest.fixture(scope="module")
def golden():
    """Of one worker that is not interrupted."""
    return uninterrupted()


def interrupt(world_size, folder, at):
    backups = [K.callbacks.BackupAndRestore(folder, save_freq=1) for _ in range(world_size)]

    def work(strategy):
        train(strategy, [backups[strategy.worker_rank], Interrupt(at)])

    with order(7):
        errors = on_threads(world_size, 4, work)
    assert any(isinstance(error, Interrupted) for error in errors)
    for backup in backups:
        backup._checkpoint.sync()


def resume(world_size, folder):
    def work(strategy):
        return train(strategy, [K.callbacks.BackupAndRestore(folder, save_freq=1)])

    with order(8):
        return on_threads(world_size, 4, work)


@pytest.mark.usefixtures("executor")
def test_three_workers_then_two_end_with_the_bits_of_one(tmp_path):
    golden = uninterrupted()
    interrupt(3, tmp_path, 7)
    assert list(tmp_path.glob("*.index"))
    assert resume(2, tmp_path) == [golden] * 2


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 4, 5, 8])
@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 1), (2, 3)])
def test_any_number_of_workers_goes_on(golden, tmp_path, before, after, at):
    interrupt(before, tmp_path, at)
    assert resume(after, tmp_path) == [golden] * after


def test_workers_that_see_no_backup_get_it_from_the_chief(golden, tmp_path):
    interrupt(1, tmp_path / "chief", 7)

    def work(strategy):
        folder = tmp_path / ("chief" if strategy.is_chief else "elsewhere")
        return train(strategy, [K.callbacks.BackupAndRestore(folder)])

    assert on_threads(2, 4, work) == [golden] * 2
    assert not (tmp_path / "elsewhere").exists()


def test_another_number_of_replicas_is_warned_of(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(tf.get_logger(), "propagate", True)
    interrupt(1, tmp_path, 7)
    train(MirroredStrategy(logical_replicas=2), [K.callbacks.BackupAndRestore(tmp_path)])
    assert "of 4 logical replicas, this run has 2" in caplog.text


def test_metrics_are_saved_for_each_replica_and_read_with_another_number(tmp_path):
    strategy = MirroredStrategy(logical_replicas=3)
    with strategy.scope():
        metric = K.metrics.Mean(name="m")

    def update():
        replica = tf.distribute.get_replica_context().replica_id
        metric.update_state([1.0, float(replica)])

    strategy.run(update)
    path = tf.train.Checkpoint(m=metric).write(tmp_path / "c")
    shapes = dict(tf.train.list_variables(path))
    assert shapes["m/total/.ATTRIBUTES/VARIABLE_VALUE"] == [3]
    for replicas in 3, 2:
        with MirroredStrategy(logical_replicas=replicas).scope():
            other = K.metrics.Mean(name="m")
        tf.train.Checkpoint(m=other).read(path).assert_consumed()
        np.testing.assert_allclose(float(other.result()), 1.0)


def test_digests_of_a_run_and_its_continuation_are_those_of_one_run(tmp_path, capsys):
    def digests(folder):
        return flags.override(DISTFLOW_DIGEST_DIR=str(tmp_path / folder))

    with digests("whole"):
        uninterrupted()
    with digests("parts"):
        interrupt(3, tmp_path / "backup", 7)
        resume(2, tmp_path / "backup")
    assert verify.run(str(tmp_path / "whole"), str(tmp_path / "parts")) == 0
    text = capsys.readouterr().out
    assert f"equal: {STEPS * EPOCHS} steps" in text
    assert "on 1 worker and 2/3 workers" in text


@pytest.mark.spawn
def test_a_program_without_keras_can_save_what_replicas_keep_apart(tmp_path):
    code = f"""
import distflow as tf
strategy = tf.distribute.MirroredStrategy(3)
def make():
    with strategy.scope():
        return tf.Variable(0.0, synchronization=tf.VariableSynchronization.ON_READ,
                           aggregation=tf.VariableAggregation.SUM)
v = make()
strategy.run(lambda: v.assign_add(
    tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group + 1, tf.float32)))
path = tf.train.Checkpoint(v=v).write({str(tmp_path / "c")!r})
other = make()
tf.train.Checkpoint(v=other).read(path).assert_consumed()
assert tf.train.list_variables(path) == [("v/.ATTRIBUTES/VARIABLE_VALUE", [3])]
assert float(other) == 6, other
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
