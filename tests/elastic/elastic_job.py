"""The job of the elastic tests: the CNN of the golden-hash tests, by `fit` or by a custom loop.

Usage: elastic_job.py fit|loop|large STEPS [SECONDS_PER_STEP]. Prints the hash of all weights at its
end, and a line after each step, so that a test knows when to disturb it. "large" is an MLP of
10 MB, whose gradients take the bulk connections.
"""

import hashlib
import itertools
import os
import socket
import struct
import sys
import time

import numpy as np

import distflow as tf
from distflow.checkpoint import disk
from distflow.comm import faults
from distflow.comm.transport import bulk, grpc
from distflow.distribute import elastic_donor
from distflow.keras import layers

REPLICAS = 5
_sizes = []  # of the job, after each step of this worker; 0 while it catches up
BATCH = 24


def data(steps):
    """Images of mixed magnitude: sums of small integers would be exact in any order."""
    rng = np.random.default_rng(11)
    images = rng.normal(size=(steps * BATCH, 8, 8, 1)) * 10.0 ** rng.uniform(-2, 1, (1, 8, 8, 1))
    labels = (images.mean((1, 2, 3)) > 0).astype("int64") + 2 * (images[:, 0, 0, 0] > 0)
    return images.astype("float32"), labels


def build():
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


class Report(tf.keras.callbacks.Callback):
    """Says where training is, and takes its time."""

    def __init__(self, strategy, seconds):
        super().__init__()
        self.strategy, self.seconds, self.steps = strategy, seconds, 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        say(f"step {self.steps}")
        rest(self.strategy, self.steps, self.seconds)


def rest(strategy, step, seconds):
    """Lets a step take a while, so that there is time to disturb it; newcomers need not wait.

    After the step ELASTIC_HOLD it waits until a newcomer stands at the door, unless one has come
    already.
    """
    if getattr(strategy, "is_catching_up", False):
        _sizes.append(0)
        return
    _sizes.append(getattr(strategy, "num_workers", 1))
    time.sleep(seconds)
    has_come = any(before < after for before, after in itertools.pairwise(_sizes))
    is_held = str(step) == os.environ.get("ELASTIC_HOLD") and not has_come
    over = time.monotonic() + 60
    if is_held and hasattr(strategy, "is_awaited"):
        while not strategy.is_awaited and time.monotonic() < over:
            time.sleep(0.02)


def say(text):
    if __name__ == "__main__":
        sys.stdout.write(f"{text} pid {os.getpid()}\n")
        sys.stdout.flush()


def fit(strategy, steps, seconds=0.0):
    """Shuffled epochs with metrics, validation and a learning rate that depends on logs."""
    tf.keras.utils.set_random_seed(7)
    images, labels = data(steps)
    with strategy.scope():
        model = build()
        model.compile(
            optimizer=tf.keras.optimizers.Adam(1e-2, name="adam"),
            loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
    halved = tf.keras.callbacks.ReduceLROnPlateau(monitor="loss", patience=1, min_delta=10.0)
    callbacks = [halved, Report(strategy, seconds)]
    if folder := os.environ.get("ELASTIC_BACKUP"):
        callbacks.append(tf.keras.callbacks.BackupAndRestore(folder, save_freq=4))
    history = model.fit(
        images, labels, batch_size=BATCH, epochs=3, verbose=0,
        validation_data=(images[:BATCH], labels[:BATCH]), callbacks=callbacks,
    )  # fmt: skip
    say(f"history {history.history}")
    return [*model.get_weights(), *(v.numpy() for v in model.optimizer.variables)]


def loop(strategy, steps, seconds=0.0):
    """A custom loop whose random numbers, metric and early end depend on every step."""
    images, labels = data(steps)
    tf.random.set_seed(3)
    with strategy.scope():
        model = build()
        optimizer = tf.keras.optimizers.SGD(0.05, momentum=0.9)
        mean = tf.keras.metrics.Mean()
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(64, seed=9)
    dataset = strategy.experimental_distribute_dataset(dataset.batch(BATCH))
    entropy = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")

    def step(inputs):
        x, y = inputs
        x = x + tf.random.normal(tf.shape(x), stddev=0.01)
        with tf.GradientTape() as tape:
            each = entropy(y, model(x, training=True))
            loss = tf.nn.compute_average_loss(each, global_batch_size=BATCH)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        mean.update_state(each)
        return loss

    @tf.function
    def train(inputs):
        return strategy.reduce("SUM", strategy.run(step, args=(inputs,)), axis=None)

    losses = []
    for _ in range(3):
        for inputs in dataset:
            losses.append(float(train(inputs)))
            say(f"step {len(losses)}")
            rest(strategy, len(losses), seconds)
        optimizer.learning_rate = 0.05 / (1.0 + float(mean.result()))
        mean.reset_state()
    say(f"history {losses}")
    return [*model.get_weights(), *(v.numpy() for v in optimizer.variables)]


def large(strategy, steps, seconds=0.0):
    """Steps of an MLP with 10 MB of weights, saved by the chief on the way."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(BATCH, 512)).astype("float32")
    y = rng.normal(size=(BATCH, 10)).astype("float32")
    init = tf.keras.initializers.GlorotUniform
    with strategy.scope():
        model = tf.keras.Sequential(
            [
                tf.keras.Input((512,), name="x"),
                layers.Dense(2048, "tanh", kernel_initializer=init(seed=1), name="first"),
                layers.Dense(768, "tanh", kernel_initializer=init(seed=2), name="second"),
                layers.Dense(10, kernel_initializer=init(seed=3), name="third"),
            ],
            name="large",
        )
        model.compile(tf.keras.optimizers.SGD(0.01, momentum=0.9, name="sgd"), "mse")
    manager = None
    if "ELASTIC_CHECKPOINTS" in os.environ:
        saved = tf.train.Checkpoint(model=model)
        manager = tf.train.CheckpointManager(saved, os.environ["ELASTIC_CHECKPOINTS"], 3)
    for step in range(1, steps + 1):
        model.train_on_batch(x, y)
        say(f"step {step}")
        catching_up = getattr(strategy, "is_catching_up", False)
        if manager is not None and strategy.is_chief and not catching_up:
            manager.save(step)
        rest(strategy, step, seconds)
    return [*model.get_weights(), *(v.numpy() for v in model.optimizer.variables)]


class FaultyDisk(disk.Disk):
    """Comes to the phase "checkpoint" between what is written of a file and its rename."""

    def rename(self, source, target):
        faults.reach("checkpoint")
        super().rename(source, target)


def go_through_proxies(control):
    """Lets peers find this worker's ports behind proxies of the test."""
    host, _, port = control.partition(":")

    def proxied(kind, behind):
        with socket.create_connection((host, int(port)), timeout=20) as asking:
            asking.sendall(b"%s %d\n" % (kind, behind))
            return int(asking.makefile().readline())

    plain = bulk.BulkServer.welcome.fget
    start_donor = elastic_donor.Donor.__init__

    def welcome(self):
        _, nonce = struct.unpack("<H16s", plain(self))
        return struct.pack("<H16s", proxied(b"bulk", self.port), nonce)

    def donor(self, *arguments, **more):
        start_donor(self, *arguments, **more)
        self.address = f"127.0.0.1:{proxied(b'donor', int(self.address.rpartition(':')[2]))}"

    grpc.GrpcServer.address = property(lambda self: f"127.0.0.1:{proxied(b'data', self.port)}")
    bulk.BulkServer.welcome = property(welcome)
    elastic_donor.Donor.__init__ = donor


def digest(arrays):
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


if __name__ == "__main__":
    kind, steps = sys.argv[1], int(sys.argv[2])
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
    disk.disk = FaultyDisk()
    if "ELASTIC_PROXY" in os.environ:
        go_through_proxies(os.environ["ELASTIC_PROXY"])
    strategy = tf.distribute.MultiWorkerMirroredStrategy(logical_replicas=REPLICAS)
    trained = {"fit": fit, "loop": loop, "large": large}[kind](strategy, steps, seconds)
    sys.stdout.write(f"sha256={digest(trained)}\n")
