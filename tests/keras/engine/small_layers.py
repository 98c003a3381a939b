"""Layers for tests of the engine, which does not depend on the real ones."""

from distflow.keras.engine.input_spec import InputSpec
from distflow.keras.engine.layer import Layer
from distflow.ops.matmul import matmul
from distflow.ops.prims.elementwise import cast


class Linear(Layer):
    def __init__(self, units, regularizer=None, **kwargs):
        super().__init__(**kwargs)
        self.units, self.regularizer = units, regularizer
        self.input_spec = InputSpec(min_ndim=2)
        self.supports_masking = True

    def build(self, input_shape):
        self.kernel = self.add_weight(
            (input_shape[-1], self.units), name="kernel", regularizer=self.regularizer
        )
        self.bias = self.add_weight((self.units,), name="bias", initializer="zeros")
        self.input_spec = InputSpec(min_ndim=2, axes={-1: input_shape[-1]})

    def call(self, inputs):
        return matmul(inputs, self.kernel) + self.bias

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Halve(Layer):
    """Halves its input when training, so that tests see the resolved value."""

    def call(self, inputs, training=False):
        return inputs / 2.0 if training else inputs


class Twin(Layer):
    """Has two inputs and a dict of outputs."""

    def call(self, first, second):
        return {"sum": first + second, "difference": first - second}


class Statistics(Layer):
    """Keeps a running value that is not trained, beside one that is."""

    def build(self, input_shape):
        self.mean = self.add_weight(
            (input_shape[-1],), name="mean", initializer="zeros", trainable=False,
            aggregation="mean",
        )  # fmt: skip
        self.scale = self.add_weight((input_shape[-1],), name="scale", initializer="ones")

    def call(self, inputs, training=False):
        if training:
            self.mean.assign_add(cast(inputs, dtype=self.mean.dtype)[0])
        return inputs * self.scale
