"""Programs of keras.io's examples: text, series, sequences, pictures, tables, transformers."""

import csv
import os
from pathlib import Path

from tests.programs.table import fill, numbers

_SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def _file(name):
    """Returns the path of a data file, or None where the data are not installed."""
    path = Path(os.environ.get("DISTFLOW_TEST_DATA") or _SHARED) / name
    return path if path.exists() else None


def _trained(model, x, y, **settings):
    """Returns the losses of two epochs in fixed order, and predictions."""
    history = model.fit(x, y, epochs=2, batch_size=8, shuffle=False, verbose=0, **settings)
    return [history.history, model.predict(x, batch_size=8, verbose=0)[:3]]


def text_classification(tf, np):
    layers = tf.keras.layers
    texts = np.array([
        "the film was great", "a great, great cast!", "I hated this film", "boring and bad",
        "what a GREAT story", "the worst story, bad acting", "loved it", "not my film: boring",
    ])  # fmt: skip
    labels = np.array([1, 1, 0, 0, 1, 0, 1, 0])
    vectorize = layers.TextVectorization(max_tokens=20, output_sequence_length=6)
    vectorize.adapt(texts)
    model = tf.keras.Sequential([
        layers.Embedding(20, 4, mask_zero=True), layers.GlobalAveragePooling1D(),
        layers.Dense(4, activation="relu"), layers.Dense(1, activation="sigmoid"),
    ])  # fmt: skip
    ids = vectorize(texts)
    model(ids)
    fill(model)
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    found = _trained(model, np.asarray(ids), labels)
    export = tf.keras.Sequential([tf.keras.Input((1,), dtype="string"), vectorize, model])
    raw = export.predict(tf.constant([["great film"], ["bad and boring"]]), verbose=0)
    return [vectorize.get_vocabulary()[:6], ids, found, raw]


def time_series_by_lstm(tf, np):
    layers = tf.keras.layers
    series = np.sin(np.arange(60) / 3).astype("float32")
    windows = tf.keras.utils.timeseries_dataset_from_array(
        series[:-1], series[8:], sequence_length=8, batch_size=8
    )
    model = tf.keras.Sequential([
        tf.keras.Input((8, 1)), layers.LSTM(4, return_sequences=True),
        layers.GRU(3), layers.Dense(1),
    ])  # fmt: skip
    fill(model)
    model.compile(tf.keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
    data = windows.map(lambda x, y: (tf.expand_dims(x, -1), y))
    history = model.fit(data, epochs=2, verbose=0).history
    return [history, model.evaluate(data, verbose=0, return_dict=True)]


def sequence_to_sequence_with_masks(tf, np):
    layers = tf.keras.layers
    source = np.array([[1, 2, 3, 0], [4, 5, 0, 0], [2, 1, 0, 0], [3, 3, 3, 3]] * 2)
    target = np.array([[1, 3, 2, 0], [5, 4, 0, 0], [1, 2, 0, 0], [3, 3, 3, 3]] * 2)
    shifted = np.pad(target, ((0, 0), (1, 0)))[:, :-1] + 1
    reads = tf.keras.Input((None,), dtype="int64")
    writes = tf.keras.Input((None,), dtype="int64")
    x = layers.Embedding(6, 4, mask_zero=True)(reads)
    x = layers.Bidirectional(layers.GRU(3, return_state=True))(x)
    state = layers.Concatenate()(x[1:])
    y = layers.Embedding(7, 4, mask_zero=True)(writes)
    y = layers.GRU(6, return_sequences=True)(y, initial_state=state)
    model = tf.keras.Model([reads, writes], layers.Dense(6)(y))
    fill(model)
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0)
    # Not Adam: it makes whole steps of gradients that are 0 but for rounding.
    model.compile(tf.keras.optimizers.SGD(0.1), loss)
    return _trained(model, [source, shifted], target)


def transformer_block(tf, np):
    layers = tf.keras.layers

    class Block(layers.Layer):
        def __init__(self, width, heads, hidden, rate=0.0, **kwargs):
            super().__init__(**kwargs)
            self.attention = layers.MultiHeadAttention(heads, width // heads)
            self.hidden = tf.keras.Sequential(
                [layers.Dense(hidden, activation="relu"), layers.Dense(width)]
            )
            self.norms = [layers.LayerNormalization(epsilon=1e-6) for _ in range(2)]
            self.dropouts = [layers.Dropout(rate) for _ in range(2)]

        def call(self, inputs, training=None):
            x = self.dropouts[0](self.attention(inputs, inputs), training=training)
            x = self.norms[0](inputs + x)
            return self.norms[1](x + self.dropouts[1](self.hidden(x), training=training))

    class Positions(layers.Layer):
        def __init__(self, length, size, width, **kwargs):
            super().__init__(**kwargs)
            self.tokens = layers.Embedding(size, width)
            self.places = layers.Embedding(length, width)

        def call(self, x):
            at = tf.range(start=0, limit=tf.shape(x)[-1], delta=1)
            return self.tokens(x) + self.places(at)

    inputs = tf.keras.Input((6,), dtype="int32")
    x = Block(8, 2, 6)(Positions(6, 10, 8)(inputs))
    x = layers.GlobalAveragePooling1D()(x)
    model = tf.keras.Model(inputs, layers.Dense(2, activation="softmax")(x))
    ids = (np.arange(48).reshape(8, 6) * 7) % 10
    fill(model)
    model.compile(tf.keras.optimizers.SGD(0.05), "sparse_categorical_crossentropy",
                  metrics=["accuracy"])  # fmt: skip
    return [len(model.weights), _trained(model, ids, ids.sum(1) % 2)]


def causal_language_model(tf, np):
    layers = tf.keras.layers
    inputs = tf.keras.Input((None,), dtype="int32")
    x = layers.Embedding(8, 6)(inputs)
    y = layers.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True)
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    model = tf.keras.Model(inputs, layers.Dense(8)(x))
    fill(model)
    ids = (np.arange(56).reshape(8, 7) * 3) % 8
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf.keras.optimizers.SGD(0.1), loss)
    found = _trained(model, ids[:, :-1], ids[:, 1:])
    before = model.predict(ids[:1, :4], verbose=0)
    after = model.predict(ids[:1, :6], verbose=0)
    # What comes later changes nothing.
    return [found, bool(np.allclose(before, after[:, :4], atol=1e-5))]


def convolutions_on_real_digits(tf, np):
    path = _file("mnist_1773.npz")
    layers = tf.keras.layers
    if path is None:
        images, labels = numbers(48, 28, 28), np.arange(48) % 10
    else:
        with np.load(path) as file:
            images, labels = file["x"][:48] / 255.0, file["y"][:48].astype("int64")
    model = tf.keras.Sequential([
        tf.keras.Input((28, 28, 1)),
        layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(),
        layers.Conv2D(6, 3, activation="relu"), layers.MaxPooling2D(), layers.Flatten(),
        layers.Dropout(0.0), layers.Dense(10, activation="softmax"),
    ])  # fmt: skip
    fill(model)
    model.compile(tf.keras.optimizers.SGD(0.05), "sparse_categorical_crossentropy",
                  metrics=["accuracy"])  # fmt: skip
    found = _trained(model, images[..., None].astype("float32"), labels, validation_split=0.25)
    # The numbers are those of the real digits only where these are.
    return [[sorted(found[0]), found[1].shape, bool(found[0]["loss"][1] < found[0]["loss"][0])]]


def structured_data_with_preprocessing(tf, np):
    layers, path = tf.keras.layers, _file("heart.csv")
    if path is None:
        ages, kinds = 40 + np.arange(24) % 30, np.array(["fixed", "normal", "reversible"] * 8)
    else:
        with path.open() as file:
            rows = list(csv.DictReader(file))[:24]
        ages, kinds = np.array([float(r["age"]) for r in rows]), np.array([r["thal"] for r in rows])
    age, kind = tf.keras.Input((1,), name="age"), tf.keras.Input((1,), name="kind", dtype="string")
    normalize = layers.Normalization()
    normalize.adapt(ages.astype("float32")[:, None])
    lookup = layers.StringLookup(output_mode="one_hot", vocabulary=["fixed", "normal"])
    x = layers.Concatenate()([normalize(age), lookup(kind)])
    model = tf.keras.Model({"age": age, "kind": kind}, layers.Dense(1, activation="sigmoid")(x))
    fill(model)
    model.compile("adam", "binary_crossentropy")
    data = {"age": tf.constant(ages.astype("float32")[:, None]),
            "kind": tf.constant([[k] for k in kinds.tolist()])}  # fmt: skip
    labels = (np.arange(24) % 2).astype("float32")
    pairs = tf.data.Dataset.from_tensor_slices((data, labels)).batch(8)
    history = model.fit(pairs, epochs=2, verbose=0).history
    return [sorted(history), model.predict(pairs, verbose=0).shape, model.output_shape]


def augmentation_inside_a_model(tf, np):
    layers = tf.keras.layers
    augment = tf.keras.Sequential([
        layers.RandomFlip("horizontal"), layers.RandomRotation(0.1), layers.RandomZoom(0.1),
        layers.RandomContrast(0.1),
    ])  # fmt: skip
    inputs = tf.keras.Input((8, 8, 3))
    x = layers.Rescaling(1 / 255)(augment(inputs))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, padding="same")(x))
    model = tf.keras.Model(inputs, layers.Dense(2)(x))
    images = 255 * np.abs(numbers(8, 8, 8, 3))
    fill(model)
    model.compile("sgd", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images, np.arange(8) % 2, epochs=1, verbose=0)
    fill(model)
    still = [bool(np.allclose(augment(images, training=False), images))]
    return [still, model.predict(images, verbose=0)]


def fine_tuning_an_application(tf, np):
    base = tf.keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), include_top=False, weights=None, alpha=0.35, pooling="avg"
    )
    base.trainable = False
    inputs = tf.keras.Input((32, 32, 3))
    x = tf.keras.applications.mobilenet_v2.preprocess_input(inputs)
    outputs = tf.keras.layers.Dense(1, name="head")(base(x, training=False))
    model = tf.keras.Model(inputs, outputs)
    counts = [len(base.weights), len(model.trainable_weights), model.count_params()]
    frozen = [np.array(w) for w in base.get_weights()]
    model.compile("adam", tf.keras.losses.BinaryCrossentropy(from_logits=True))
    images = 255 * np.abs(numbers(4, 32, 32, 3))
    model.fit(images, np.array([0, 1, 0, 1]), epochs=1, verbose=0)
    kept = all(np.array_equal(a, b) for a, b in zip(frozen, base.get_weights()))
    base.trainable = True
    for layer in base.layers[:-10]:
        layer.trainable = False
    return [counts, kept, len(model.trainable_weights)]


def own_pieces_in_a_file(tf, np):
    keras = tf.keras

    @keras.utils.register_keras_serializable(package="Guide")
    class Scaled(keras.layers.Layer):
        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.units = units

        def build(self, input_shape):
            self.w = self.add_weight(shape=(input_shape[-1], self.units), name="w")

        def call(self, inputs):
            return tf.matmul(inputs, self.w) * 2.0

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    @keras.utils.register_keras_serializable(package="Guide")
    class Worst(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return tf.reduce_max(tf.square(y_true - y_pred), axis=-1)

    @keras.utils.register_keras_serializable(package="Guide")
    class Largest(keras.metrics.Metric):
        def __init__(self, name="largest", **kwargs):
            super().__init__(name=name, **kwargs)
            self.value = self.add_weight(name="value", initializer="zeros")

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.value.assign(tf.maximum(self.value, tf.reduce_max(y_pred)))

        def result(self):
            return self.value

    model = keras.Sequential([keras.Input((3,)), Scaled(2)])
    fill(model)
    model.compile("sgd", Worst(), metrics=[Largest()])
    x, y = numbers(8, 3), numbers(8, 2)
    first = _trained(model, x, y)
    model.save("own.keras")
    again = keras.models.load_model("own.keras")
    return [first, again.evaluate(x, y, verbose=0, return_dict=True), _trained(again, x, y)]


def stateful_rows_and_time_distributed(tf, np):
    layers = tf.keras.layers
    model = tf.keras.Sequential([
        tf.keras.Input(batch_shape=(2, 3, 4)),
        layers.TimeDistributed(layers.Dense(3, activation="tanh")),
        layers.LSTM(4, stateful=True, return_sequences=True), layers.SimpleRNN(2),
    ])  # fmt: skip
    fill(model)
    x = numbers(2, 3, 4)
    one, two = model.predict(x, verbose=0), model.predict(x, verbose=0)
    for layer in model.layers:
        if hasattr(layer, "reset_state") and getattr(layer, "stateful", False):
            layer.reset_state()
    return [one, two, model.predict(x, verbose=0)]
