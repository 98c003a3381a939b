"""Trains a CNN on scikit-learn's handwritten digits, on as many workers as the job has.

    distflow run -n 2 examples/multi_worker_digits.py
    mpirun -n 2 python examples/multi_worker_digits.py
    python examples/multi_worker_digits.py                  # one worker

The replicas, not the workers, decide the result: with the same --replicas the digest printed at
the end is the same on 1, 2, 3 or 4 workers.
"""

import argparse
import hashlib
import os
import time

import numpy as np
from sklearn.datasets import load_digits

import distflow as tf


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=6, help="passes over the data (6)")
    parser.add_argument("--batch-size", type=int, default=64, help="global batch (64)")
    parser.add_argument("--replicas", type=int, help="logical replicas (DISTFLOW_REPLICAS, or 4)")
    parser.add_argument("--seed", type=int, default=7, help="seed of weights and order (7)")
    parser.add_argument("--save", metavar="FILE.keras", help="where the chief saves the model")
    return parser.parse_args()


def load_data():
    digits = load_digits()
    images = (digits.images[..., np.newaxis] / 16).astype("float32")
    labels = digits.target.astype("int64")
    return (images[:1536], labels[:1536]), (images[1536:], labels[1536:])


def build_model():
    return tf.keras.Sequential(
        [
            tf.keras.Input((8, 8, 1)),
            tf.keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            tf.keras.layers.BatchNormalization(momentum=0.9),
            tf.keras.layers.Conv2D(32, 3, activation="relu"),
            tf.keras.layers.MaxPooling2D(2),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dropout(0.3),
            tf.keras.layers.Dense(10),
        ]
    )


def digest(model):
    """Returns the SHA-256 of all weights: equal digests mean equal bits."""
    sha = hashlib.sha256()
    for weight in model.get_weights():
        sha.update(np.ascontiguousarray(weight).tobytes())
    return sha.hexdigest()


def main():
    arguments = parse_arguments()
    replicas = arguments.replicas or (None if os.environ.get("DISTFLOW_REPLICAS") else 4)
    strategy = tf.distribute.MultiWorkerMirroredStrategy(logical_replicas=replicas)
    tf.keras.utils.set_random_seed(arguments.seed)
    (train_images, train_labels), (test_images, test_labels) = load_data()

    with strategy.scope():
        model = build_model()
        model.compile(
            optimizer=tf.keras.optimizers.Adam(2e-3),
            loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
    if strategy.is_chief:
        print(
            f"{strategy.num_replicas_in_sync} logical replicas on {strategy.num_workers} worker(s)"
        )
    started = time.perf_counter()
    model.fit(
        train_images,
        train_labels,
        batch_size=arguments.batch_size,
        epochs=arguments.epochs,
        validation_data=(test_images, test_labels),
    )
    seconds = time.perf_counter() - started
    loss, accuracy = model.evaluate(test_images, test_labels, verbose=0)
    if strategy.is_chief:
        print(f"test loss {loss:.4f}, test accuracy {accuracy:.4f}, {seconds:.1f} s")
        print(f"weights sha256 {digest(model)}")
        if arguments.save:
            model.save(arguments.save)


if __name__ == "__main__":
    main()
