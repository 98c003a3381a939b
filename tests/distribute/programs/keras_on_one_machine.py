"""Keras on one machine: fit with callbacks under MirroredStrategy, saving, loading in a new scope.

    python keras_on_one_machine.py FOLDER

The API that TensorFlow's tutorial on distributed training with Keras uses, on generated digits.
"""

import os
import sys

import numpy as np

import distflow as tf

FOLDER = sys.argv[1]
strategy = tf.distribute.MirroredStrategy()
print(f"Number of devices: {strategy.num_replicas_in_sync}")

BUFFER_SIZE = 500
BATCH_SIZE_PER_REPLICA = 16
BATCH_SIZE = BATCH_SIZE_PER_REPLICA * strategy.num_replicas_in_sync

rng = np.random.default_rng(0)
images = rng.integers(0, 255, (301, 8, 8, 1)).astype("uint8")
labels = (images[:, :4].mean((1, 2, 3)) > images[:, 4:].mean((1, 2, 3))).astype("int64")


def scale(image, label):
    image = tf.cast(image, tf.float32)
    image /= 255
    return image, label


whole = tf.data.Dataset.from_tensor_slices((images, labels))
train_dataset = whole.map(scale).cache().shuffle(BUFFER_SIZE).batch(BATCH_SIZE)
eval_dataset = whole.map(scale).batch(BATCH_SIZE)

with strategy.scope():
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Conv2D(4, 3, activation="relu", input_shape=(8, 8, 1)),
            tf.keras.layers.MaxPooling2D(),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(8, activation="relu"),
            tf.keras.layers.Dense(2),
        ]
    )
    model.compile(
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=tf.keras.optimizers.Adam(learning_rate=0.001),
        metrics=["accuracy"],
    )


def decay(epoch):
    return 1e-2 if epoch < 2 else 1e-3


class PrintLR(tf.keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        rate = self.model.optimizer.learning_rate.numpy()
        print(f"\nLearning rate for epoch {epoch + 1} is {rate:.4f}")


checkpoint_prefix = os.path.join(FOLDER, "ckpt_{epoch}.weights.h5")
callbacks = [
    tf.keras.callbacks.ModelCheckpoint(filepath=checkpoint_prefix, save_weights_only=True),
    tf.keras.callbacks.LearningRateScheduler(decay),
    PrintLR(),
]
EPOCHS = 4
history = model.fit(train_dataset, epochs=EPOCHS, callbacks=callbacks, verbose=2)
assert history.history["loss"][-1] < history.history["loss"][0]

model.load_weights(os.path.join(FOLDER, f"ckpt_{EPOCHS}.weights.h5"))
eval_loss, eval_acc = model.evaluate(eval_dataset, verbose=0)
print(f"Eval loss: {eval_loss}, Eval accuracy: {eval_acc}")

path = os.path.join(FOLDER, "model.keras")
model.save(path)
unreplicated_model = tf.keras.models.load_model(path)
unreplicated_model.compile(
    loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    optimizer=tf.keras.optimizers.Adam(),
    metrics=["accuracy"],
)
loss, accuracy = unreplicated_model.evaluate(eval_dataset, verbose=0)
assert abs(loss - eval_loss) < 1e-5
assert accuracy == eval_acc

with strategy.scope():
    replicated_model = tf.keras.models.load_model(path)
    replicated_model.compile(
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=tf.keras.optimizers.Adam(),
        metrics=["accuracy"],
    )
    loss, accuracy = replicated_model.evaluate(eval_dataset, verbose=0)
assert abs(loss - eval_loss) < 1e-6
print("finished")
