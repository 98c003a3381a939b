"""The jobs of the golden matrix: five kinds of models, each with three optimizers, V = 8.

As a script it joins whatever cluster the environment describes, and prints the SHA-256 of weights
and slots after each job on each executor. Data are of mixed magnitude: sums of small integers would
be exact in any order.
"""

import hashlib
import os
import sys

import numpy as np

import distflow as tf
from distflow.base import flags

K = tf.keras
L = K.layers
REPLICAS = 8
EXECUTORS = ("numpy", "cpu")
STEPS = int(os.environ.get("GOLDEN_STEPS", "20"))
BATCH = 26  # no multiple of V: replicas have 4 rows or 3
WORDS, LENGTH = 30, 6


def _mixed(shape):
    rng = np.random.default_rng(5)
    return (rng.normal(size=shape) * 10.0 ** rng.uniform(-2, 1, shape[1:])).astype("float32")


def _words(shape):
    return np.random.default_rng(6).zipf(1.4, shape).clip(1, WORDS - 1).astype("int64")


def _init(seed):
    return K.initializers.GlorotUniform(seed=seed)


def _dense(units, seed, name, **more):
    return L.Dense(units, kernel_initializer=_init(seed), name=name, **more)


def mlp():
    return [_dense(16, 1, "one", activation="relu"), _dense(12, 2, "two", activation="tanh")]


def cnn():
    return [
        L.Conv2D(4, 3, activation="relu", kernel_initializer=_init(1), name="conv"),
        L.BatchNormalization(name="norm"),
        L.MaxPooling2D(name="pool"),
        L.Flatten(name="flat"),
        L.Dropout(0.25, seed=5, name="drop"),
    ]


def embedding():
    table = K.initializers.RandomUniform(-1, 1, seed=1)
    return [
        L.Embedding(WORDS, 5, embeddings_initializer=table, name="words"),
        L.Flatten(name="flat"),
        L.LayerNormalization(name="norm"),
    ]


def lstm():
    recurrent = K.initializers.RandomNormal(stddev=0.2, seed=2)
    return [
        L.LSTM(6, kernel_initializer=_init(1), recurrent_initializer=recurrent, name="lstm"),
    ]


class Attention(L.Layer):
    """Self-attention with what stands around it in a transformer."""

    def __init__(self):
        super().__init__(name="block")
        self.attention = L.MultiHeadAttention(
            2, 3, dropout=0.1, seed=4, kernel_initializer=_init(1), name="attention"
        )
        self.norm = L.LayerNormalization(name="norm")

    def call(self, x, training=False):
        return self.norm(x + self.attention(x, x, training=training))


def attention():
    return [Attention(), L.GlobalAveragePooling1D(name="mean")]


# Shape of the inputs, and the layers before the last one.
MODELS = {
    "mlp": ((10,), _mixed, mlp),
    "cnn": ((8, 8, 1), _mixed, cnn),
    "embedding": ((LENGTH,), _words, embedding),
    "lstm": ((LENGTH, 3), _mixed, lstm),
    "attention": ((LENGTH, 8), _mixed, attention),
}
OPTIMIZERS = {
    "momentum": lambda: K.optimizers.SGD(0.05, momentum=0.9, name="o"),
    "adam": lambda: K.optimizers.Adam(1e-2, name="o"),
    "clipnorm": lambda: K.optimizers.Adam(1e-2, global_clipnorm=0.1, name="o"),
}
JOBS = [(model, optimizer) for model in MODELS for optimizer in OPTIMIZERS]


def data(model_name, steps, last=BATCH):
    """Returns rows of `steps` global batches, `last` in the last of them, and their classes."""
    shape, inputs, _ = MODELS[model_name]
    x = inputs(((steps - 1) * BATCH + last, *shape))
    flat = x.reshape(len(x), -1).astype("float64")
    y = ((flat.mean(1) > np.median(flat.mean(1))) + 2 * (flat[:, 0] > flat[:, 1])).astype("int64")
    return x, y


def build(model_name):
    """Returns the model, not compiled."""
    shape, inputs, layers = MODELS[model_name]
    dtype = "int64" if inputs is _words else "float32"
    first = K.Input(shape, dtype=dtype, name="x")
    return K.Sequential([first, *layers(), _dense(4, 9, "last")], name=model_name)


def train(strategy, model_name, optimizer_name, steps=STEPS, last=BATCH):
    """Returns the SHA-256 of weights and slots after training under a strategy."""
    x, y = data(model_name, steps, last)
    with strategy.scope():
        model = build(model_name)
        model.compile(
            OPTIMIZERS[optimizer_name](), K.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)
    return digest([*model.get_weights(), *(v.numpy() for v in model.optimizer.variables)])


def digest(arrays):
    """Returns the SHA-256 of the arrays' bytes."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


if __name__ == "__main__":
    strategy = tf.distribute.MultiWorkerMirroredStrategy(logical_replicas=REPLICAS)
    for executor in EXECUTORS:
        with flags.override(DISTFLOW_EXECUTOR=executor):
            for names in JOBS:
                row = "/".join((executor, *names))
                result = train(strategy, *names)
                sys.stdout.write(f"workers={strategy.num_workers} {row} sha256={result}\n")
