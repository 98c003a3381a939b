"""The job of the MPIJob tests: the golden CNN, kept by BackupAndRestore after each epoch.

Usage: kept_job.py FOLDER [SECONDS_PER_STEP]. Says each step, and the hash of weights and slots at
the end. What is not kept on request is done again from the start of its epoch.
"""

import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

import distflow as tf
from tests.distribute import golden_job

STEPS, EPOCHS = 12, 3


class Report(tf.keras.callbacks.Callback):
    needs_batches = False

    def __init__(self, strategy, seconds):
        super().__init__()
        self.strategy, self.seconds = strategy, seconds

    def on_train_batch_end(self, batch, logs=None):
        if self.strategy.is_chief:
            step = int(self.model.optimizer.iterations)
            sys.stdout.write(f"step {step} on {self.strategy.num_workers} worker(s)\n")
            sys.stdout.flush()
        time.sleep(self.seconds)


def main(folder, seconds=0.0):
    strategy = tf.distribute.MultiWorkerMirroredStrategy(logical_replicas=4)
    images, labels = golden_job.data()
    images, labels = images[: STEPS * golden_job.BATCH], labels[: STEPS * golden_job.BATCH]
    tf.keras.utils.set_random_seed(3)
    with strategy.scope():
        model = golden_job.build()
        model.compile(
            tf.keras.optimizers.Adam(1e-2, name="adam"),
            tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
    kept = tf.keras.callbacks.BackupAndRestore(folder)
    model.fit(
        images, labels, batch_size=golden_job.BATCH, epochs=EPOCHS, verbose=0,
        callbacks=[kept, Report(strategy, seconds)],
    )  # fmt: skip
    arrays = [*model.get_weights(), *(v.numpy() for v in model.optimizer.variables)]
    if strategy.is_chief:
        sys.stdout.write(f"weights sha256 {golden_job.digest(arrays)}\n")


if __name__ == "__main__":
    main(sys.argv[1], float((*sys.argv, "0")[2]))
