"""Models as Keras's users write them: a table of functions that return (model, x, y) of one batch.

`K` is `tf.keras` of TensorFlow or of distflow; the models are compiled, with Adam.
"""

import numpy as np

BATCH = 32


def _compiled(K, model, loss=None, **more):
    loss = loss or K.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss, **more)
    return model


def _words(rng, length, vocabulary, batch=BATCH):
    return rng.integers(0, vocabulary, (batch, length)).astype(np.int32)


def _labels(rng, count, batch=BATCH):
    return rng.integers(0, count, batch).astype(np.int32)


def _floats(rng, *shape):
    return rng.random(shape, dtype=np.float32)


def text_average(K, rng):
    """200 words of 20,000, their mean of 128 numbers, a hidden layer."""
    L = K.layers
    layers = [K.Input((200,), dtype="int32"), L.Embedding(20000, 128), L.GlobalAveragePooling1D()]
    model = K.Sequential([*layers, L.Dense(64, activation="relu"), L.Dense(2)])
    return _compiled(K, model), _words(rng, 200, 20000), _labels(rng, 2)


def text_convolution(K, rng):
    """400 words of 5,000, 250 filters of 3 words, the largest of each."""
    L = K.layers
    layers = [K.Input((400,), dtype="int32"), L.Embedding(5000, 50)]
    layers += [L.Conv1D(250, 3, activation="relu"), L.GlobalMaxPooling1D()]
    layers += [L.Dense(250, activation="relu"), L.Dropout(0.2), L.Dense(2)]
    return _compiled(K, K.Sequential(layers)), _words(rng, 400, 5000), _labels(rng, 2)


def bidirectional_lstm(K, rng):
    """80 words of 20,000, an LSTM of 64 units each way."""
    L = K.layers
    layers = [K.Input((80,), dtype="int32"), L.Embedding(20000, 64), L.Bidirectional(L.LSTM(64))]
    return (
        _compiled(K, K.Sequential([*layers, L.Dense(2)])),
        _words(rng, 80, 20000),
        _labels(rng, 2),
    )


def two_grus(K, rng):
    """50 steps of 32 numbers, GRUs of 128 and 64 units."""
    L = K.layers
    layers = [K.Input((50, 32)), L.GRU(128, return_sequences=True), L.GRU(64), L.Dense(10)]
    return _compiled(K, K.Sequential(layers)), _floats(rng, BATCH, 50, 32), _labels(rng, 10)


def transformer(K, rng):
    """64 words of 8,000, two blocks of width 128 with 4 heads."""
    L = K.layers
    words = K.Input((64,), dtype="int32")
    x = L.Embedding(8000, 128)(words)
    for _ in range(2):
        x = L.LayerNormalization()(x + L.MultiHeadAttention(4, 32)(x, x))
        x = L.LayerNormalization()(x + L.Dense(128)(L.Dense(512, activation="gelu")(x)))
    model = K.Model(words, L.Dense(2)(L.GlobalAveragePooling1D()(x)))
    return _compiled(K, model), _words(rng, 64, 8000), _labels(rng, 2)


def image_classifier(K, rng):
    """64 x 64 pixels, three convolutions of 3 x 3 with batch normalization."""
    L = K.layers
    layers = [K.Input((64, 64, 3))]
    for filters in (32, 64, 128):
        layers += [L.Conv2D(filters, 3, padding="same", use_bias=False), L.BatchNormalization()]
        layers += [L.ReLU(), L.MaxPooling2D()]
    model = K.Sequential([*layers, L.GlobalAveragePooling2D(), L.Dense(10)])
    return _compiled(K, model), _floats(rng, BATCH, 64, 64, 3), _labels(rng, 10)


def mobilenet(K, rng):
    """MobileNetV2 for 96 x 96 pixels, 16 images."""
    model = K.applications.MobileNetV2((96, 96, 3), weights=None, classes=10)
    loss = K.losses.SparseCategoricalCrossentropy()
    return _compiled(K, model, loss), _floats(rng, 16, 96, 96, 3), _labels(rng, 10, 16)


def unet(K, rng):
    """A U of two levels for 64 x 64 pixels, 8 images."""
    L = K.layers

    def convolved(x, filters):
        return L.Conv2D(filters, 3, padding="same", activation="relu")(x)

    image = K.Input((64, 64, 3))
    top = convolved(image, 32)
    middle = convolved(L.MaxPooling2D()(top), 64)
    bottom = convolved(L.MaxPooling2D()(middle), 128)
    x = convolved(L.Concatenate()([L.Conv2DTranspose(64, 2, strides=2)(bottom), middle]), 64)
    x = convolved(L.Concatenate()([L.UpSampling2D()(x), top]), 32)
    model = _compiled(K, K.Model(image, L.Conv2D(1, 1)(x)), K.losses.BinaryCrossentropy(True))
    return model, _floats(rng, 8, 64, 64, 3), np.rint(_floats(rng, 8, 64, 64, 1))


def autoencoder(K, rng):
    """784 - 256 - 64 - 256 - 784, 128 rows."""
    L = K.layers
    layers = [K.Input((784,)), *(L.Dense(n, activation="relu") for n in (256, 64, 256))]
    model = K.Sequential([*layers, L.Dense(784, activation="sigmoid")])
    x = _floats(rng, 128, 784)
    return _compiled(K, model, "binary_crossentropy"), x, x


def recommender(K, rng):
    """Embeddings of 50,000 users and 20,000 items, a hidden layer, 256 pairs."""
    L = K.layers
    inputs, parts, x = [], [], []
    for count in (50000, 20000):
        inputs.append(K.Input((1,), dtype="int32"))
        parts.append(L.Flatten()(L.Embedding(count, 32)(inputs[-1])))
        x.append(_words(rng, 1, count, 256))
    hidden = L.Dense(64, activation="relu")(L.Concatenate()(parts))
    return _compiled(K, K.Model(inputs, L.Dense(1)(hidden)), "mse"), x, _floats(rng, 256, 1)


def tabular(K, rng):
    """30 columns, batch normalization, two hidden layers with dropout, accuracy."""
    L = K.layers
    layers = [K.Input((30,)), L.BatchNormalization(), L.Dense(64, activation="relu")]
    layers += [L.Dropout(0.3), L.Dense(32, activation="relu"), L.Dense(1)]
    loss = K.losses.BinaryCrossentropy(from_logits=True)
    model = _compiled(K, K.Sequential(layers), loss, metrics=["accuracy"])
    return model, _floats(rng, BATCH, 30), _labels(rng, 2)[:, None].astype(np.float32)


MODELS = {
    function.__name__: function
    for function in (
        text_average, text_convolution, bidirectional_lstm, two_grus, transformer,
        image_classifier, mobilenet, unet, autoencoder, recommender, tabular,
    )
}  # fmt: skip
