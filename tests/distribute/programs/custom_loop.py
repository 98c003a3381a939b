"""A custom loop: distributed data sets, strategy.run in functions, metrics, regularisation losses.

The API that TensorFlow's tutorial on custom training with strategies uses, on generated digits.
"""

import sys

import numpy as np

import distflow as tf

strategy = (
    tf.distribute.MirroredStrategy()
    if "mirrored" in sys.argv
    else tf.distribute.MultiWorkerMirroredStrategy()
)
tf.keras.utils.set_random_seed(2)
GLOBAL_BATCH_SIZE = 24
EPOCHS = 3

rng = np.random.default_rng(0)
images = rng.normal(size=(100, 8, 8, 1)).astype("float32")
labels = (images[:, :4].mean((1, 2, 3)) > images[:, 4:].mean((1, 2, 3))).astype("int64")

whole = tf.data.Dataset.from_tensor_slices((images, labels))
train_dataset = whole.shuffle(100).batch(GLOBAL_BATCH_SIZE)
test_dataset = whole.batch(GLOBAL_BATCH_SIZE)
train_dist_dataset = strategy.experimental_distribute_dataset(train_dataset)
test_dist_dataset = strategy.experimental_distribute_dataset(test_dataset)


def create_model():
    regularizer = tf.keras.regularizers.L2(1e-5)
    return tf.keras.Sequential(
        [
            tf.keras.layers.Conv2D(4, 3, activation="relu", kernel_regularizer=regularizer),
            tf.keras.layers.MaxPooling2D(),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(8, activation="relu", kernel_regularizer=regularizer),
            tf.keras.layers.Dense(2, kernel_regularizer=regularizer),
        ]
    )


with strategy.scope():
    loss_object = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")

    def compute_loss(labels, predictions, model_losses):
        per_example_loss = loss_object(labels, predictions)
        loss = tf.nn.compute_average_loss(per_example_loss, global_batch_size=GLOBAL_BATCH_SIZE)
        if model_losses:
            loss += tf.nn.scale_regularization_loss(tf.add_n(model_losses))
        return loss

    test_loss = tf.keras.metrics.Mean(name="test_loss")
    train_accuracy = tf.keras.metrics.SparseCategoricalAccuracy(name="train_accuracy")
    test_accuracy = tf.keras.metrics.SparseCategoricalAccuracy(name="test_accuracy")
    model = create_model()
    optimizer = tf.keras.optimizers.Adam(learning_rate=0.01)


def train_step(inputs):
    images, labels = inputs
    with tf.GradientTape() as tape:
        predictions = model(images, training=True)
        loss = compute_loss(labels, predictions, model.losses)
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    train_accuracy.update_state(labels, predictions)
    return loss


def test_step(inputs):
    images, labels = inputs
    predictions = model(images, training=False)
    t_loss = loss_object(labels, predictions)
    test_loss.update_state(t_loss)
    test_accuracy.update_state(labels, predictions)


@tf.function
def distributed_train_step(dataset_inputs):
    per_replica_losses = strategy.run(train_step, args=(dataset_inputs,))
    return strategy.reduce(tf.distribute.ReduceOp.SUM, per_replica_losses, axis=None)


@tf.function
def distributed_test_step(dataset_inputs):
    return strategy.run(test_step, args=(dataset_inputs,))


for epoch in range(EPOCHS):
    total_loss = 0.0
    num_batches = 0
    for x in train_dist_dataset:
        total_loss += distributed_train_step(x)
        num_batches += 1
    train_loss = total_loss / num_batches
    for x in test_dist_dataset:
        distributed_test_step(x)
    sys.stdout.write(
        f"result epoch={epoch + 1} loss={float(train_loss)!r} "
        f"accuracy={float(train_accuracy.result() * 100)!r} "
        f"test loss={float(test_loss.result())!r} "
        f"test accuracy={float(test_accuracy.result() * 100)!r}\n"
    )
    test_loss.reset_state()
    train_accuracy.reset_state()
    test_accuracy.reset_state()

# With an iterator and a fixed number of steps.
train_iter = iter(train_dist_dataset)
total = sum(float(distributed_train_step(next(train_iter))) for _ in range(3))
sys.stdout.write(
    f"result iterator={total!r} weights={float(sum(map(np.sum, model.get_weights())))!r}\n"
)
