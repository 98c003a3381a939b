"""A custom loop on several workers: one pipeline a worker, next(iterator) inside the function.

    python custom_loop_on_workers.py FOLDER

The API that TensorFlow's tutorial on multi-worker custom loops uses, on generated digits.
"""

import os
import sys

import numpy as np

import distflow as tf

FOLDER = sys.argv[1]
PER_WORKER_BATCH_SIZE = 16
NUM_EPOCHS = 3
NUM_STEPS_PER_EPOCH = 5


def dataset_fn(global_batch_size, input_context):
    batch_size = input_context.get_per_replica_batch_size(global_batch_size)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(320, 8, 8)).astype("float32")
    y = (x[:, :4].mean((1, 2)) > x[:, 4:].mean((1, 2))).astype("int64")
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(320, seed=4).repeat()
    dataset = dataset.shard(input_context.num_input_pipelines, input_context.input_pipeline_id)
    dataset = dataset.batch(batch_size)
    return dataset.prefetch(tf.data.AUTOTUNE)


def build_cnn_model():
    return tf.keras.Sequential(
        [
            tf.keras.Input(shape=(8, 8)),
            tf.keras.layers.Reshape(target_shape=(8, 8, 1)),
            tf.keras.layers.Conv2D(4, 3, activation="relu"),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(8, activation="relu"),
            tf.keras.layers.Dense(2),
        ]
    )


strategy = tf.distribute.MultiWorkerMirroredStrategy()
tf.keras.utils.set_random_seed(3)
num_workers = strategy.num_workers
global_batch_size = PER_WORKER_BATCH_SIZE * strategy.num_replicas_in_sync

with strategy.scope():
    multi_worker_model = build_cnn_model()
    multi_worker_dataset = strategy.distribute_datasets_from_function(
        lambda input_context: dataset_fn(global_batch_size, input_context)
    )
    optimizer = tf.keras.optimizers.RMSprop(learning_rate=0.005)
    train_accuracy = tf.keras.metrics.SparseCategoricalAccuracy(name="train_accuracy")


@tf.function
def train_step(iterator):
    def step_fn(inputs):
        x, y = inputs
        with tf.GradientTape() as tape:
            predictions = multi_worker_model(x, training=True)
            per_example_loss = tf.keras.losses.SparseCategoricalCrossentropy(
                from_logits=True, reduction="none"
            )(y, predictions)
            loss = tf.nn.compute_average_loss(per_example_loss)
        grads = tape.gradient(loss, multi_worker_model.trainable_variables)
        optimizer.apply_gradients(zip(grads, multi_worker_model.trainable_variables))
        train_accuracy.update_state(y, predictions)
        return loss

    per_replica_losses = strategy.run(step_fn, args=(next(iterator),))
    return strategy.reduce(tf.distribute.ReduceOp.SUM, per_replica_losses, axis=None)


epoch = tf.Variable(initial_value=tf.constant(0, dtype=tf.int64), name="epoch")
step_in_epoch = tf.Variable(initial_value=tf.constant(0, dtype=tf.int64), name="step_in_epoch")
losses = []
while epoch.numpy() < NUM_EPOCHS:
    iterator = iter(multi_worker_dataset)
    total_loss, num_batches = 0.0, 0
    while step_in_epoch.numpy() < NUM_STEPS_PER_EPOCH:
        total_loss += train_step(iterator)
        num_batches += 1
        step_in_epoch.assign_add(1)
    train_loss = total_loss / num_batches
    losses.append(float(train_loss))
    sys.stdout.write(
        f"result epoch={epoch.numpy()} accuracy={float(train_accuracy.result())!r} "
        f"loss={float(train_loss)!r}\n"
    )
    train_accuracy.reset_state()
    if strategy.is_chief:
        multi_worker_model.save_weights(os.path.join(FOLDER, "ckpt.weights.h5"))
    epoch.assign_add(1)
    step_in_epoch.assign(0)
assert losses[-1] < losses[0], losses
