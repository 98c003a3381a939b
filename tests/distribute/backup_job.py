"""The job of the tests that kill: the golden CNN over shuffled epochs, with a backup of each step.

Usage: backup_job.py FOLDER [SECONDS_PER_STEP [BYTES]]. Says each step, and the hash at the end. A
process that has written so many bytes of backups dies of kill -9, in the middle of a write.
"""

import os
import signal
import sys
import time

import distflow as tf
from distflow.checkpoint import disk
from tests.distribute import golden_job

STEPS, EPOCHS = 6, 2


class KilledAt(disk.Disk):
    """Kills the process when so many bytes are written."""

    def __init__(self, budget):
        self.budget = budget

    def write(self, file, data):
        data = memoryview(data).cast("B")
        super().write(file, data[: max(self.budget, 0)])
        self.budget -= len(data)
        if self.budget < 0:
            file.flush()
            say(f"dies in {os.path.basename(file.name)}")
            os.kill(os.getpid(), signal.SIGKILL)


class Report(tf.keras.callbacks.Callback):
    needs_batches = False

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def on_train_batch_end(self, batch, logs=None):
        say(f"pid {os.getpid()} step {int(self.model.optimizer.iterations)}")
        if not getattr(self.model.distribute_strategy, "is_catching_up", False):
            time.sleep(self.seconds)


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def train(strategy, folder, seconds=0.0):
    """Returns the hash of weights and slots."""
    images, labels = golden_job.data()
    rows = STEPS * golden_job.BATCH - 5
    # The order of the first process: a later one takes its seed from the backup.
    tf.keras.utils.set_random_seed(3 if not folder or not list_of(folder) else 4)
    with strategy.scope():
        model = golden_job.build()
        model.compile(
            tf.keras.optimizers.Adam(1e-2, name="adam"),
            tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
    callbacks = [Report(seconds)]
    if folder:
        callbacks.insert(0, tf.keras.callbacks.BackupAndRestore(folder, save_freq=1))
    model.fit(
        images[:rows], labels[:rows], batch_size=golden_job.BATCH, epochs=EPOCHS, verbose=0,
        callbacks=callbacks,
    )  # fmt: skip
    arrays = [*model.get_weights(), *(v.numpy() for v in model.optimizer.variables)]
    return golden_job.digest(arrays)


def list_of(folder):
    return tf.train.latest_checkpoint(folder)


if __name__ == "__main__":
    strategy = tf.distribute.MultiWorkerMirroredStrategy(logical_replicas=golden_job.REPLICAS)
    if len(sys.argv) > 3:
        disk.disk = KilledAt(int(sys.argv[3]))
    result = train(strategy, sys.argv[1], float((*sys.argv, "0")[2]))
    say(f"workers={strategy.num_workers} sha256={result}")
