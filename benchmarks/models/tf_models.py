"""The models in TensorFlow's dialect: the same lines run on TensorFlow and on distflow."""

import numpy as np
from models import spec


def build(tf, model):
    """Returns the Keras model of that name, with its weights made, of the module `tf`."""
    return {"cnn": _cnn, "mlp": _mlp, "resnet": _resnet, "gpt": _gpt, "lstm": _lstm}[model](tf)


def _cnn(tf):
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [
            tf.keras.Input((None, None, 1)),
            layers.Conv2D(16, [3, 3], activation="relu"),
            layers.Conv2D(16, [3, 3], activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
        ]
    )


def _mlp(tf):
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [
            tf.keras.Input((784,)),
            layers.Dense(spec.MLP_UNITS, activation="relu"),
            layers.Dense(spec.MLP_UNITS, activation="relu"),
            layers.Dense(10),
        ]
    )


def _lstm(tf):
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [tf.keras.Input((64, 64)), layers.LSTM(spec.LSTM_UNITS), layers.Dense(10)]
    )


def _resnet(tf):
    layers = tf.keras.layers

    def convolve(x, filters, size, strides):
        x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
        return layers.BatchNormalization(
            momentum=spec.BATCH_NORM_MOMENTUM, epsilon=spec.BATCH_NORM_EPSILON
        )(x)

    inputs = tf.keras.Input((32, 32, 3))
    x = layers.ReLU()(convolve(inputs, spec.RESNET_STAGES[0], 3, 1))
    for stage, filters in enumerate(spec.RESNET_STAGES):
        for block in range(spec.RESNET_BLOCKS):
            strides = 2 if stage > 0 and block == 0 else 1
            y = layers.ReLU()(convolve(x, filters, 3, strides))
            y = convolve(y, filters, 3, 1)
            shortcut = convolve(x, filters, 1, strides) if strides == 2 else x
            x = layers.ReLU()(layers.Add()([y, shortcut]))
    return tf.keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def _gpt(tf):
    layers = tf.keras.layers
    size = spec.GPT
    mask = np.triu(np.full((size.sequence, size.sequence), -1e9, np.float32), 1)

    class Attention(layers.Layer):
        def __init__(self):
            super().__init__()
            self.split = layers.Dense(3 * size.width)
            self.join = layers.Dense(size.width)

        def call(self, x):
            each = [-1, size.sequence, 3, size.heads, size.width // size.heads]
            packed = tf.transpose(tf.reshape(self.split(x), each), [2, 0, 3, 1, 4])
            q, k, v = packed[0], packed[1], packed[2]
            scores = tf.matmul(q, k, transpose_b=True) * (size.width // size.heads) ** -0.5
            mixed = tf.matmul(tf.nn.softmax(scores + mask), v)
            mixed = tf.transpose(mixed, [0, 2, 1, 3])
            return self.join(tf.reshape(mixed, [-1, size.sequence, size.width]))

    class Block(layers.Layer):
        def __init__(self):
            super().__init__()
            self.norm_attention = layers.LayerNormalization(epsilon=spec.LAYER_NORM_EPSILON)
            self.attention = Attention()
            self.norm_dense = layers.LayerNormalization(epsilon=spec.LAYER_NORM_EPSILON)
            self.grow = layers.Dense(4 * size.width, activation="gelu")
            self.shrink = layers.Dense(size.width)

        def call(self, x):
            x = x + self.attention(self.norm_attention(x))
            return x + self.shrink(self.grow(self.norm_dense(x)))

    class Gpt(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.tokens = layers.Embedding(size.vocabulary, size.width)
            self.positions = layers.Embedding(size.sequence, size.width)
            self.blocks = [Block() for _ in range(size.layers)]
            self.norm = layers.LayerNormalization(epsilon=spec.LAYER_NORM_EPSILON)
            self.head = layers.Dense(size.vocabulary, use_bias=False)

        def call(self, x):
            x = self.tokens(x) + self.positions(tf.range(size.sequence))
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x))

    model = Gpt()
    model(tf.zeros([1, size.sequence], tf.int32))  # a subclassed model makes its weights here
    return model
