"""The job of the golden-hash tests: a CNN with BatchNormalization and Dropout, 50 steps of Adam.

As a script it joins whatever cluster the environment describes and prints the hash of all weights.
"""

import hashlib
import sys

import numpy as np

import distflow as tf
from distflow.keras import layers

REPLICAS = 4
STEPS = 50
BATCH = 24


def data():
    """Images of mixed magnitude: sums of small integers would be exact in any order."""
    rng = np.random.default_rng(11)
    images = rng.normal(size=(STEPS * BATCH, 8, 8, 1)) * 10.0 ** rng.uniform(-2, 1, (1, 8, 8, 1))
    labels = (images.mean((1, 2, 3)) > 0).astype("int64") + 2 * (images[:, 0, 0, 0] > 0)
    return images.astype("float32"), labels


def build():
    """Every layer has a name and a seed, so that several workers can live in one process."""
    init = tf.keras.initializers.GlorotUniform
    return tf.keras.Sequential(
        [
            tf.keras.Input((8, 8, 1), name="images"),
            layers.Conv2D(6, 3, activation="relu", kernel_initializer=init(seed=1), name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.Flatten(name="flat"),
            layers.Dropout(0.25, seed=5, name="drop"),
            layers.Dense(4, kernel_initializer=init(seed=2), name="dense"),
        ],
        name="golden",
    )


def train(strategy, steps=STEPS):
    """Returns the SHA-256 of weights and slots after training under a strategy."""
    return digest(trained(strategy, steps))


def trained(strategy, steps=STEPS, run_eagerly=False):
    """Returns weights and slots after training under a strategy."""
    images, labels = data()
    with strategy.scope():
        model = build()
        model.compile(
            optimizer=tf.keras.optimizers.Adam(1e-2, name="adam"),
            loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            run_eagerly=run_eagerly,
        )
    model.fit(images, labels, batch_size=BATCH, steps_per_epoch=steps, shuffle=False, verbose=0)
    return [*model.get_weights(), *(v.numpy() for v in model.optimizer.variables)]


def digest(arrays):
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


if __name__ == "__main__":
    strategy = tf.distribute.MultiWorkerMirroredStrategy(logical_replicas=REPLICAS)
    sys.stdout.write(f"workers={strategy.num_workers} sha256={train(strategy)}\n")
