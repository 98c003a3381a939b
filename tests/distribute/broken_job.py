"""A job whose worker 1 raises in a callback after the first step."""

import numpy as np

import distflow as tf

strategy = tf.distribute.MultiWorkerMirroredStrategy()
with strategy.scope():
    model = tf.keras.Sequential([tf.keras.Input((10,)), tf.keras.layers.Dense(3)])
    model.compile("sgd", "mse")


class Broken(tf.keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if strategy.worker_rank == 1:
            raise KeyError("this callback is broken")


x, y = np.zeros((96, 10), "float32"), np.zeros((96, 3), "float32")
model.fit(x, y, epochs=1000, verbose=0, callbacks=[Broken()])
