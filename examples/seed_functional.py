"""The functional model of the TensorFlow 2.0 guide, trained on generated data."""

import numpy as np

import distflow as tf

inputs = tf.keras.Input(shape=(3,))
x = tf.keras.layers.Dense(4, activation=tf.nn.relu)(inputs)
outputs = tf.keras.layers.Dense(5, activation=tf.nn.softmax)(x)
model = tf.keras.Model(inputs=inputs, outputs=outputs)

model.summary()
rng = np.random.default_rng(0)
features = rng.normal(size=(512, 3)).astype("float32")
classes = (features.sum(1) > 0) + 2 * (features[:, 0] > 0)
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(features, classes, epochs=5, verbose=2)
print(f"loss {history.history['loss'][0]:.3f} -> {history.history['loss'][-1]:.3f}")
