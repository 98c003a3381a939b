"""Trains a model of the benchmarks, prints the SHA-256 of its weights.

Arguments: model, steps, batch, and a dtype policy (default float32).
"""

import hashlib
import sys
from pathlib import Path

import distflow as tf

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

from models import spec, tf_models


def train(name, steps, batch, policy="float32"):
    """Returns the digest of all weights after so many steps."""
    tf.keras.mixed_precision.set_global_policy(policy)
    tf.keras.utils.set_random_seed(0)
    model = tf_models.build(tf, name)
    optimizer = tf.keras.optimizers.Adam(spec.LEARNING_RATE)
    optimizer.build(model.trainable_variables)
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            value = loss(y, tf.cast(model(x, training=True), "float32"))
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return value

    x, y = (tf.constant(a) for a in spec.data(name, batch))
    for _ in range(steps):
        step(x, y)
    digest = hashlib.sha256()
    for variable in model.variables:
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    print("sha256=" + train(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]))
