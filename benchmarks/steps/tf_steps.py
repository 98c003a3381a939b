"""Training and inference steps in TensorFlow's dialect, for TensorFlow and for distflow."""

import importlib

import numpy as np
from models import spec, tf_models


class Steps:
    """A model of TensorFlow or distflow: variant is eager, function or xla."""

    def __init__(self, module, variant, model):
        self._tf = tf = importlib.import_module(module)
        self.version = tf.__version__
        self._variant = variant
        self._name = model
        tf.keras.utils.set_random_seed(0)
        self._model = tf_models.build(tf, model)
        self._optimizer = tf.keras.optimizers.Adam(spec.LEARNING_RATE, epsilon=spec.ADAM_EPSILON)
        self._optimizer.build(self._model.trainable_variables)
        self._loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        x, y = spec.data(model, spec.SPECS[model].batch)
        self._x, self._y = tf.constant(x), tf.constant(y)
        self._compiled = self._function(self._train)

    def step(self) -> float:
        """Trains on the batch once and fetches the loss."""
        return float(self._compiled(self._x, self._y).numpy())

    def inference(self, batch):
        """Returns a function that fetches the logits of `batch` examples."""
        x = self._tf.constant(spec.data(self._name, batch)[0])
        predict = self._function(lambda x: self._model(x, training=False))
        return lambda: np.asarray(predict(x))

    def _train(self, x, y):
        with self._tf.GradientTape() as tape:
            loss = self._loss(y, self._model(x, training=True))
        variables = self._model.trainable_variables
        gradients = tape.gradient(loss, variables)
        self._optimizer.apply_gradients(zip(gradients, variables))
        return loss

    def _function(self, python_function):
        if self._variant == "eager":
            return python_function
        if self._variant == "xla":
            return self._tf.function(python_function, jit_compile=True)
        return self._tf.function(python_function)
