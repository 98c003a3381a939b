"""The subclassed MyModel of the TensorFlow 2.0 guide, trained on generated data."""

import numpy as np

import distflow as tf
from distflow.keras import layers

class MyModel(tf.keras.Model):

  def __init__(self, num_classes=10):
    super(MyModel, self).__init__(name='my_model')
    self.num_classes = num_classes
    # Define your layers here.
    self.dense_1 = layers.Dense(32, activation='relu')
    self.dense_2 = layers.Dense(num_classes, activation='sigmoid')

  def call(self, inputs):
    # Define your forward pass here,
    # using layers you previously defined (in `__init__`).
    x = self.dense_1(inputs)
    return self.dense_2(x)

  def compute_output_shape(self, input_shape):
    # You need to override this function if you want to use the subclassed model
    # as part of a functional-style model.
    # Otherwise, this method is optional.
    shape = tf.TensorShape(input_shape).as_list()
    shape[-1] = self.num_classes
    return tf.TensorShape(shape)

rng = np.random.default_rng(0)
data = rng.normal(size=(1000, 32)).astype("float32")
labels = np.eye(10, dtype="float32")[data[:, :10].argmax(1)]

model = MyModel(num_classes=10)
model.compile(optimizer=tf.keras.optimizers.RMSprop(0.001),
              loss='categorical_crossentropy',
              metrics=['accuracy'])
history = model.fit(data, labels, batch_size=32, epochs=5)
print(f"accuracy {history.history['accuracy'][-1]:.3f}")
