"""A job of one replica a worker whose last worker has no rows in some steps; prints its hash.

Two functions train in turn, so that two programs have buckets of one form.
"""

import hashlib
import sys

import numpy as np

import distflow as tf

ROWS = (6, 6, 4, 6, 2, 6, 6)  # of the global batches; 4 and 2 leave the last of three without any


def main():
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    rng = np.random.default_rng(3)
    with strategy.scope():
        model = tf.keras.Sequential(
            [tf.keras.layers.Dense(300, "tanh"), tf.keras.layers.Dense(3)], name="model"
        )
        model.build((None, 40))
        optimizer = tf.keras.optimizers.Adam(0.01)
        optimizer.build(model.trainable_variables)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape).astype("float32"))

    def replica_step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(model(x) - y)) / 6.0
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return loss

    first = tf.function(lambda x, y: strategy.run(replica_step, args=(x, y)))
    second = tf.function(lambda x, y: strategy.run(replica_step, args=(x, y)))

    def batches():
        for rows in ROWS:
            yield rng.normal(size=(rows, 40)), rng.normal(size=(rows, 3))

    data = tf.data.Dataset.from_generator(
        batches,
        output_signature=(tf.TensorSpec((None, 40)), tf.TensorSpec((None, 3))),
    )
    for i, (x, y) in enumerate(strategy.experimental_distribute_dataset(data)):
        (second if i % 3 == 1 else first)(x, y)
    known = strategy.shared_buckets._known.values()
    sha = hashlib.sha256()
    for array in (*model.get_weights(), *(v.numpy() for v in optimizer.variables)):
        sha.update(array.tobytes())
    sys.stdout.write(
        f"result {sha.hexdigest()} {sum(arrays is not None for arrays in known)} shared\n"
    )


if __name__ == "__main__":
    main()
