"""A training loop of one's own under a strategy: GradientTape, strategy.run, strategy.reduce.

distflow run -n 2 examples/custom_distributed_loop.py
"""

import numpy as np

import distflow as tf

GLOBAL_BATCH = 64
EPOCHS = 3

strategy = tf.distribute.MultiWorkerMirroredStrategy(logical_replicas=4)
tf.keras.utils.set_random_seed(3)

rng = np.random.default_rng(0)
features = rng.normal(size=(1024, 20)).astype("float32")
labels = (features @ rng.normal(size=(20, 4))).argmax(1)
dataset = tf.data.Dataset.from_tensor_slices((features, labels)).shuffle(1024, seed=1)
dist_dataset = strategy.experimental_distribute_dataset(dataset.batch(GLOBAL_BATCH))

with strategy.scope():
    model = tf.keras.Sequential(
        [
            tf.keras.Input((20,)),
            tf.keras.layers.Dense(32, activation="tanh"),
            tf.keras.layers.Dense(4),
        ]
    )
    optimizer = tf.keras.optimizers.SGD(0.1, momentum=0.9)
    loss_object = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")
    accuracy = tf.keras.metrics.SparseCategoricalAccuracy(name="accuracy")


def train_step(inputs):
    x, y = inputs
    with tf.GradientTape() as tape:
        logits = model(x, training=True)
        # Each replica gives its share of the global batch's mean; the sum over replicas is it.
        loss = tf.nn.compute_average_loss(loss_object(y, logits), global_batch_size=GLOBAL_BATCH)
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    accuracy.update_state(y, logits)
    return loss


@tf.function
def distributed_train_step(inputs):
    per_replica = strategy.run(train_step, args=(inputs,))
    return strategy.reduce(tf.distribute.ReduceOp.SUM, per_replica, axis=None)


for epoch in range(EPOCHS):
    losses = [float(distributed_train_step(inputs)) for inputs in dist_dataset]
    reached = float(accuracy.result())
    accuracy.reset_state()
    if strategy.is_chief:
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}, accuracy {reached:.4f}")
