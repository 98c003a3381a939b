"""Keras on several workers: fit on a data set, callbacks, evaluate, predict, saving by the chief.

    python keras_on_workers.py FOLDER

The API that TensorFlow's tutorial on multi-worker training with Keras uses, on generated digits.
"""

import os
import sys
import tempfile

import numpy as np

import distflow as tf

FOLDER = sys.argv[1]
PER_WORKER_BATCH_SIZE = 16


def mnist_dataset(batch_size):
    rng = np.random.default_rng(0)
    x_train = (rng.integers(0, 255, (160, 8, 8)) / np.float32(255)).astype("float32")
    y_train = (x_train[:, :4].mean((1, 2)) > x_train[:, 4:].mean((1, 2))).astype(np.int64)
    return (
        tf.data.Dataset.from_tensor_slices((x_train, y_train))
        .shuffle(160)
        .repeat()
        .batch(batch_size)
    )


def build_and_compile_cnn_model():
    model = tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer(input_shape=(8, 8)),
            tf.keras.layers.Reshape(target_shape=(8, 8, 1)),
            tf.keras.layers.Conv2D(4, 3, activation="relu"),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(8, activation="relu"),
            tf.keras.layers.Dense(2),
        ]
    )
    model.compile(
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=tf.keras.optimizers.SGD(learning_rate=0.1),
        metrics=["accuracy"],
    )
    return model


strategy = tf.distribute.MultiWorkerMirroredStrategy()
tf.keras.utils.set_random_seed(1)
global_batch_size = PER_WORKER_BATCH_SIZE * 2
options = tf.data.Options()
options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
multi_worker_dataset = mnist_dataset(global_batch_size).with_options(options)

with strategy.scope():
    multi_worker_model = build_and_compile_cnn_model()

task_type = strategy.cluster_resolver.task_type
task_id = strategy.cluster_resolver.task_id
cluster_spec = strategy.cluster_resolver.cluster_spec()


def _is_chief(task_type, task_id, cluster_spec):
    return (
        task_type is None
        or task_type == "chief"
        or (task_type == "worker" and task_id == 0 and "chief" not in cluster_spec.as_dict())
    )


chief = _is_chief(task_type, task_id, cluster_spec)
assert chief == strategy.is_chief


class StopOnChiefsWish(tf.keras.callbacks.Callback):
    """Counts epochs: all workers must stop after the same one."""

    def __init__(self):
        super().__init__()
        self.epochs = 0

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += 1


counter = StopOnChiefsWish()
history = multi_worker_model.fit(
    multi_worker_dataset,
    epochs=6,
    steps_per_epoch=5,
    verbose=0,
    callbacks=[
        counter,
        tf.keras.callbacks.ModelCheckpoint(os.path.join(FOLDER, "at-{epoch}.keras")),
        tf.keras.callbacks.EarlyStopping(monitor="loss", min_delta=100.0, patience=2),
    ],
)
losses = multi_worker_model.evaluate(multi_worker_dataset, steps=2, verbose=0)
rows = np.linspace(0, 1, 7 * 64, dtype="float32").reshape(7, 8, 8)
predictions = multi_worker_model.predict(rows, batch_size=4, verbose=0)
assert predictions.shape == (7, 2)


def write_filepath(filepath, task_type, task_id, cluster_spec):
    if _is_chief(task_type, task_id, cluster_spec):
        return filepath
    return os.path.join(tempfile.mkdtemp(dir=FOLDER, prefix=f"worker_{task_id}_"), "temp.keras")


path = os.path.join(FOLDER, "saved.keras")
mine = write_filepath(path, task_type, task_id, cluster_spec)
multi_worker_model.save(mine)
loaded = tf.keras.models.load_model(mine)
np.testing.assert_allclose(loaded.predict(rows, verbose=0), predictions, rtol=1e-4, atol=1e-5)
sys.stdout.write(
    f"result epochs={counter.epochs} loss={history.history['loss'][-1]!r} "
    f"evaluated={losses!r} predicted={float(predictions.sum())!r}\n"
)
