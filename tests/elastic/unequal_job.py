"""Steps of a convolutional network, for workers of unequal speed; prints when each has ended.

Usage: unequal_job.py STEPS.
"""

import os
import sys
import time

import numpy as np

import distflow as tf
from distflow.keras import layers

REPLICAS = 8

if __name__ == "__main__":
    strategy = tf.distribute.MultiWorkerMirroredStrategy(logical_replicas=REPLICAS)
    random = np.random.default_rng(0)
    images = random.normal(size=(24 * REPLICAS, 32, 32, 16)).astype("float32")
    labels = random.integers(0, 10, len(images))
    with strategy.scope():
        model = tf.keras.Sequential([tf.keras.Input((32, 32, 16))])
        for _ in range(3):
            model.add(layers.Conv2D(32, 3, padding="same", activation="relu"))
        model.add(layers.GlobalAveragePooling2D())
        model.add(layers.Dense(10))
        entropy = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd", entropy)
    for step in range(1, int(sys.argv[1]) + 1):
        model.train_on_batch(images, labels)
        sys.stdout.write(f"step {step} pid {os.getpid()} at {time.monotonic():.6f}\n")
        sys.stdout.flush()
