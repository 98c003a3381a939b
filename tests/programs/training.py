"""Programs of the Keras training guides: compile, fit, evaluate, predict, callbacks."""

from tests.programs.table import fill, numbers


def _digits(np, n=24):
    """Returns tiny `images` [n, 6, 6] of 0..255 and labels that depend on them."""
    random = np.random.RandomState(3)
    images = random.randint(0, 256, size=(n, 6, 6)).astype("uint8")
    labels = (images[:, :3].mean((1, 2)) > images[:, 3:].mean((1, 2))).astype("int64")
    return images, labels


def _small(tf, inputs=3, outputs=1, activation=None):
    return fill(
        tf.keras.Sequential(
            [tf.keras.Input((inputs,)), tf.keras.layers.Dense(4, activation="relu"),
             tf.keras.layers.Dense(outputs, activation=activation)]
        )
    )  # fmt: skip


def quickstart_for_beginners(tf, np):
    x, y = _digits(np)
    x_train, x_test = x[:16] / 255.0, x[16:] / 255.0
    y_train, y_test = y[:16], y[16:]
    model = tf.keras.models.Sequential(
        [
            tf.keras.layers.Input((6, 6)),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(8, activation="relu"),
            tf.keras.layers.Dropout(0.0),
            tf.keras.layers.Dense(10),
        ]
    )
    fill(model)
    predictions = model(x_train[:1]).numpy()
    loss_fn = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    first = loss_fn(y_train[:1], predictions).numpy()
    model.compile(optimizer="adam", loss=loss_fn, metrics=["accuracy"])
    history = model.fit(x_train, y_train, epochs=3, batch_size=4, shuffle=False, verbose=0)
    test = model.evaluate(x_test, y_test, verbose=0)
    probability_model = tf.keras.Sequential([model, tf.keras.layers.Softmax()])
    return [predictions, first, history.history, test, probability_model(x_test[:3])]


def quickstart_for_experts(tf, np):
    x, y = _digits(np)
    x = (x / 255.0)[..., tf.newaxis].astype("float32")
    train_ds = tf.data.Dataset.from_tensor_slices((x[:16], y[:16])).shuffle(1).batch(4)
    test_ds = tf.data.Dataset.from_tensor_slices((x[16:], y[16:])).batch(4)

    class MyModel(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.conv1 = tf.keras.layers.Conv2D(4, 3, activation="relu")
            self.flatten = tf.keras.layers.Flatten()
            self.d1 = tf.keras.layers.Dense(8, activation="relu")
            self.d2 = tf.keras.layers.Dense(10)

        def call(self, x):
            x = self.conv1(x)
            x = self.flatten(x)
            x = self.d1(x)
            return self.d2(x)

    model = MyModel()
    model(x[:1])
    fill(model)
    loss_object = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = tf.keras.optimizers.Adam()
    train_loss = tf.keras.metrics.Mean(name="train_loss")
    train_accuracy = tf.keras.metrics.SparseCategoricalAccuracy(name="train_accuracy")
    test_loss = tf.keras.metrics.Mean(name="test_loss")
    test_accuracy = tf.keras.metrics.SparseCategoricalAccuracy(name="test_accuracy")

    @tf.function
    def train_step(images, labels):
        with tf.GradientTape() as tape:
            predictions = model(images, training=True)
            loss = loss_object(labels, predictions)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        train_loss(loss)
        train_accuracy(labels, predictions)

    @tf.function
    def test_step(images, labels):
        predictions = model(images, training=False)
        test_loss(loss_object(labels, predictions))
        test_accuracy(labels, predictions)

    results = []
    for _ in range(2):
        for metric in (train_loss, train_accuracy, test_loss, test_accuracy):
            metric.reset_state()
        for images, labels in train_ds:
            train_step(images, labels)
        for test_images, test_labels in test_ds:
            test_step(test_images, test_labels)
        results.append(
            [m.result().numpy() for m in (train_loss, train_accuracy, test_loss, test_accuracy)]
        )
    return results


def classification_end_to_end(tf, np):
    images, labels = _digits(np, 32)
    x = images.reshape(32, 36).astype("float32") / 255
    inputs = tf.keras.Input(shape=(36,), name="digits")
    h = tf.keras.layers.Dense(8, activation="relu", name="dense_1")(inputs)
    outputs = tf.keras.layers.Dense(3, activation="softmax", name="predictions")(h)
    model = fill(tf.keras.Model(inputs=inputs, outputs=outputs))
    model.compile(
        optimizer=tf.keras.optimizers.RMSprop(),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(),
        metrics=[tf.keras.metrics.SparseCategoricalAccuracy()],
    )
    history = model.fit(
        x[:24], labels[:24], batch_size=8, epochs=2, shuffle=False, verbose=0,
        validation_data=(x[24:], labels[24:]),
    )  # fmt: skip
    return [history.history,
        model.evaluate(x[24:], labels[24:], batch_size=4, verbose=0, return_dict=True),
            model.predict(x[24:27], verbose=0)]  # fmt: skip


def regression_with_normalised_features(tf, np):
    x, noise = numbers(40, 3, low=0, high=9), numbers(40, 1, seed=1)
    y = x @ np.array([[1.0], [-2.0], [0.5]], "float32") + 0.1 * noise
    x = (x - x.mean(0)) / x.std(0)
    model = _small(tf)
    model.compile(
        loss="mean_absolute_error", optimizer=tf.keras.optimizers.Adam(0.01), metrics=["mse", "mae"]
    )
    history = model.fit(
        x, y, validation_split=0.25, epochs=3, batch_size=10, shuffle=False, verbose=0
    )
    return [history.history, history.epoch, model.metrics_names[:1]]


def weights_of_classes_and_samples(tf, np):
    x, y = numbers(16, 3), np.arange(16) % 2
    model = _small(tf, outputs=2)
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"])
    a = model.fit(x, y, class_weight={0: 1.0, 1: 3.0}, batch_size=8, shuffle=False, verbose=0)
    weight = np.where(y == 1, 2.0, 0.5).astype("float32")
    b = model.fit(x, y, sample_weight=weight, batch_size=8, shuffle=False, verbose=0)
    ds = tf.data.Dataset.from_tensor_slices((x, y, weight)).batch(8)
    c = model.fit(ds, verbose=0)
    return [
        sorted(a.history.items()),
        b.history["loss"],
        c.history["loss"],
        model.evaluate(x, y, sample_weight=weight, verbose=0),
    ]


def training_from_a_dataset(tf, np):
    x, y = numbers(20, 3), numbers(20, 1, seed=1)
    ds = tf.data.Dataset.from_tensor_slices((x, y))
    model = _small(tf)
    model.compile(optimizer=tf.keras.optimizers.SGD(0.05), loss="mse", metrics=["mae"])
    a = model.fit(ds.batch(4).repeat(), epochs=2, steps_per_epoch=3, verbose=0)
    b = model.fit(
        ds.batch(5), epochs=1, validation_data=ds.batch(10), validation_steps=1, verbose=0
    )
    return [
        a.history,
        b.history,
        model.evaluate(ds.batch(5), steps=2, verbose=0),
        model.predict(ds.batch(6), verbose=0).shape,
    ]


def generators_and_batches(tf, np):
    x, y = numbers(12, 3), numbers(12, 1, seed=1)

    def generator():
        for k in range(0, 12, 4):
            yield x[k : k + 4], y[k : k + 4]

    model = _small(tf)
    model.compile(optimizer="sgd", loss="mse")
    history = model.fit(generator(), verbose=0)
    model.reset_metrics()
    one = [model.train_on_batch(x[:4], y[:4])]
    model.reset_metrics()
    one.append(model.test_on_batch(x[:4], y[:4]))
    return [history.history["loss"], one, model.predict_on_batch(x[:2])]


def custom_losses_and_metrics(tf, np):
    def mean_of_cubes(y_true, y_pred):
        return tf.reduce_mean(tf.abs(y_true - y_pred) ** 3, axis=-1)

    class RegularizedMSE(tf.keras.losses.Loss):
        def __init__(self, factor=0.1, name="custom_mse"):
            super().__init__(name=name)
            self.factor = factor

        def call(self, y_true, y_pred):
            return tf.reduce_mean(tf.square(y_true - y_pred), -1) + self.factor * tf.reduce_mean(
                tf.square(0.5 - y_pred), -1
            )

    class CountPositive(tf.keras.metrics.Metric):
        def __init__(self, name="positive", **kwargs):
            super().__init__(name=name, **kwargs)
            self.count = self.add_weight(name="ctp", initializer="zeros")

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.count.assign_add(tf.reduce_sum(tf.cast(y_pred > 0, "float32")))

        def result(self):
            return self.count

        def reset_state(self):
            self.count.assign(0.0)

    x, y = numbers(12, 3), numbers(12, 1, seed=1)
    out = []
    for loss in (mean_of_cubes, RegularizedMSE()):
        model = _small(tf)
        model.compile("sgd", loss, metrics=[CountPositive(), mean_of_cubes])
        out.append(model.fit(x, y, epochs=2, batch_size=4, shuffle=False, verbose=0).history)
    return out


def add_loss_and_regularizers(tf, np):
    class LogisticEndpoint(tf.keras.layers.Layer):
        def __init__(self, name=None):
            super().__init__(name=name)
            self.loss_fn = tf.keras.losses.BinaryCrossentropy(from_logits=True)

        def call(self, targets, logits, sample_weights=None):
            self.add_loss(self.loss_fn(targets, logits, sample_weights))
            return tf.nn.softmax(logits)

    inputs = tf.keras.Input((3,), name="inputs")
    targets = tf.keras.Input((2,), name="targets")
    logits = tf.keras.layers.Dense(
        2, kernel_regularizer="l2", activity_regularizer=tf.keras.regularizers.L1(1e-3)
    )(inputs)
    model = fill(
        tf.keras.Model([inputs, targets], LogisticEndpoint(name="predictions")(targets, logits))
    )
    model.compile(optimizer=tf.keras.optimizers.Adam(0.01))
    data = {"inputs": numbers(8, 3), "targets": np.eye(2, dtype="float32")[np.arange(8) % 2]}
    return model.fit(data, epochs=2, batch_size=4, shuffle=False, verbose=0).history["loss"]


def callbacks(tf, np):
    log = []

    class Recorder(tf.keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            log.append(["train begin", sorted(logs or {}), self.params["epochs"]])

        def on_epoch_begin(self, epoch, logs=None):
            log.append(["epoch", epoch])

        def on_train_batch_end(self, batch, logs=None):
            log.append(["batch", batch, sorted(logs)])

        def on_epoch_end(self, epoch, logs=None):
            log.append(["epoch end", epoch, sorted(logs)])
            if epoch == 1:
                self.model.stop_training = True

        def on_test_begin(self, logs=None):
            log.append(["test"])

        def on_predict_end(self, logs=None):
            log.append(["predicted"])

    x, y = numbers(8, 3), numbers(8, 1, seed=1)
    model = _small(tf)
    model.compile("sgd", "mse", metrics=["mae"])
    model.fit(
        x, y, epochs=9, batch_size=4, callbacks=[Recorder()], validation_data=(x, y), verbose=0
    )
    model.predict(x, verbose=0, callbacks=[Recorder()])
    return log


def early_stopping_checkpoints_and_rates(tf, np):
    x, y = numbers(16, 3), numbers(16, 1, seed=1)
    model = _small(tf)
    model.compile(tf.keras.optimizers.SGD(0.1), "mse")
    rates = []
    history = model.fit(
        x, y, epochs=12, batch_size=8, shuffle=False, verbose=0, validation_data=(x, -y),
        callbacks=[
            tf.keras.callbacks.EarlyStopping(monitor="val_loss", patience=2,
            restore_best_weights=True),
            tf.keras.callbacks.ModelCheckpoint("best.keras", monitor="val_loss",
            save_best_only=True),
            tf.keras.callbacks.ModelCheckpoint("w.weights.h5", save_weights_only=True),
            tf.keras.callbacks.LearningRateScheduler(lambda epoch, lr: lr * 0.9),
            tf.keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch,
            logs: rates.append(float(model.optimizer.learning_rate))),
        ],
    )  # fmt: skip
    best = tf.keras.models.load_model("best.keras")
    return [
        len(history.epoch),
        history.history["val_loss"],
        rates,
        best.predict(x[:2], verbose=0),
        model.predict(x[:2], verbose=0),
    ]


def customised_train_step(tf, np):
    class CustomModel(tf.keras.Model):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                y_pred = self(x, training=True)
                loss = self.compute_loss(y=y, y_pred=y_pred)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply(gradients, self.trainable_variables)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(y, y_pred)
            return {m.name: m.result() for m in self.metrics}

    inputs = tf.keras.Input((3,))
    model = fill(CustomModel(inputs, tf.keras.layers.Dense(1)(inputs)))
    model.compile(optimizer=tf.keras.optimizers.Adam(0.01), loss="mse", metrics=["mae"])
    x, y = numbers(12, 3), numbers(12, 1, seed=1)
    return model.fit(x, y, epochs=2, batch_size=4, shuffle=False, verbose=0).history["loss"]


def train_step_with_own_trackers(tf, np):
    class CustomModel(tf.keras.Model):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.loss_tracker = tf.keras.metrics.Mean(name="loss")
            self.mae_metric = tf.keras.metrics.MeanAbsoluteError(name="mae")
            self.loss_fn = tf.keras.losses.MeanSquaredError()

        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                y_pred = self(x, training=True)
                loss = self.loss_fn(y, y_pred)
            grads = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(grads, self.trainable_variables))
            self.loss_tracker.update_state(loss)
            self.mae_metric.update_state(y, y_pred)
            return {"loss": self.loss_tracker.result(), "mae": self.mae_metric.result()}

        def test_step(self, data):
            x, y = data
            y_pred = self(x, training=False)
            self.mae_metric.update_state(y, y_pred)
            return {"mae": self.mae_metric.result()}

        @property
        def metrics(self):
            return [self.loss_tracker, self.mae_metric]

    inputs = tf.keras.Input((3,))
    model = fill(CustomModel(inputs, tf.keras.layers.Dense(1)(inputs)))
    model.compile(optimizer="adam")
    x, y = numbers(12, 3), numbers(12, 1, seed=1)
    history = model.fit(x, y, epochs=3, batch_size=4, shuffle=False, verbose=0).history
    return [history, model.evaluate(x, y, verbose=0, return_dict=True)]


def gan_with_two_optimizers(tf, np):
    keras, layers = tf.keras, tf.keras.layers
    discriminator = fill(
        keras.Sequential([keras.Input((2,)), layers.Dense(4, "relu"), layers.Dense(1)]), 1
    )
    generator = fill(
        keras.Sequential([keras.Input((3,)), layers.Dense(4, "relu"), layers.Dense(2)]), 2
    )

    class GAN(keras.Model):
        def __init__(self, discriminator, generator):
            super().__init__()
            self.discriminator, self.generator = discriminator, generator
            self.d_loss_tracker = keras.metrics.Mean(name="d_loss")
            self.g_loss_tracker = keras.metrics.Mean(name="g_loss")

        def compile(self, d_optimizer, g_optimizer, loss_fn):
            super().compile()
            self.d_optimizer, self.g_optimizer, self.loss_fn = d_optimizer, g_optimizer, loss_fn

        @property
        def metrics(self):
            return [self.d_loss_tracker, self.g_loss_tracker]

        def train_step(self, real):
            if isinstance(real, tuple):
                real = real[0]
            n = tf.shape(real)[0]
            noise = tf.ones((n, 3)) * 0.3
            combined = tf.concat([self.generator(noise), real], axis=0)
            labels = tf.concat([tf.ones((n, 1)), tf.zeros((n, 1))], axis=0)
            with tf.GradientTape() as tape:
                d_loss = self.loss_fn(labels, self.discriminator(combined))
            grads = tape.gradient(d_loss, self.discriminator.trainable_weights)
            self.d_optimizer.apply_gradients(zip(grads, self.discriminator.trainable_weights))
            with tf.GradientTape() as tape:
                g_loss = self.loss_fn(tf.zeros((n, 1)), self.discriminator(self.generator(noise)))
            grads = tape.gradient(g_loss, self.generator.trainable_weights)
            self.g_optimizer.apply_gradients(zip(grads, self.generator.trainable_weights))
            self.d_loss_tracker.update_state(d_loss)
            self.g_loss_tracker.update_state(g_loss)
            return {"d_loss": self.d_loss_tracker.result(), "g_loss": self.g_loss_tracker.result()}

    gan = GAN(discriminator, generator)
    gan.compile(keras.optimizers.Adam(0.01), keras.optimizers.Adam(0.02),
                keras.losses.BinaryCrossentropy(from_logits=True))  # fmt: skip
    ds = tf.data.Dataset.from_tensor_slices(numbers(12, 2)).batch(4)
    return gan.fit(ds, epochs=2, verbose=0).history


def cnn_with_batch_normalisation(tf, np):
    images, labels = _digits(np)
    x = images[..., None].astype("float32") / 255
    layers = tf.keras.layers
    model = tf.keras.Sequential([tf.keras.Input((6, 6, 1)),
        layers.Conv2D(3, 3, padding="same", use_bias=False),
        layers.BatchNormalization(), layers.Activation("relu"), layers.MaxPooling2D(),
        layers.Conv2D(4, 2, activation="relu"), layers.Flatten(), layers.Dense(2)])  # fmt: skip
    fill(model)
    model.compile(
        tf.keras.optimizers.Adam(0.01),
        tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = model.fit(x, labels, epochs=3, batch_size=8, shuffle=False, verbose=0).history
    return [history, model.evaluate(x, labels, verbose=0), model.layers[1].moving_mean]


def text_like_embedding_classifier(tf, np):
    ids = np.random.RandomState(1).randint(0, 30, size=(24, 7))
    labels = (ids.sum(1) > 100).astype("float32")
    model = tf.keras.Sequential([tf.keras.Input((7,), dtype="int32"),
        tf.keras.layers.Embedding(30, 4),
        tf.keras.layers.Dropout(0.0), tf.keras.layers.GlobalAveragePooling1D(),
        tf.keras.layers.Dense(1, activation="sigmoid")])  # fmt: skip
    fill(model)
    model.compile(loss=tf.keras.losses.BinaryCrossentropy(), optimizer="adam",
                  metrics=[tf.keras.metrics.BinaryAccuracy(threshold=0.5)])  # fmt: skip
    return model.fit(ids, labels, epochs=2, batch_size=8, shuffle=False, verbose=0).history


def overfit_with_l2_and_schedule(tf, np):
    x, y = numbers(32, 4), (numbers(32, 1, seed=2) > 0).astype("float32")
    schedule = tf.keras.optimizers.schedules.InverseTimeDecay(
        0.05, decay_steps=4, decay_rate=1, staircase=False
    )
    l2 = tf.keras.regularizers.l2(0.01)
    model = fill(tf.keras.Sequential([tf.keras.Input((4,)),
        tf.keras.layers.Dense(8, "elu", kernel_regularizer=l2),
        tf.keras.layers.Dense(1, kernel_regularizer=l2)]))  # fmt: skip
    bce = tf.keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(tf.keras.optimizers.Adam(schedule), bce,
                  metrics=[tf.keras.losses.BinaryCrossentropy(from_logits=True, name="bce"),
                      "accuracy"])  # fmt: skip
    history = model.fit(x, y, epochs=3, batch_size=8, shuffle=False, verbose=0).history
    return [history["loss"], history["accuracy"], len(model.losses)]


def eager_fit_and_metric_strings(tf, np):
    x, y = numbers(8, 3), np.eye(2, dtype="float32")[np.arange(8) % 2]
    model = _small(tf, outputs=2, activation="softmax")
    model.compile(
        loss="categorical_crossentropy",
        optimizer="rmsprop",
        metrics=["accuracy", "AUC"],
        run_eagerly=True,
    )
    history = model.fit(x, y, epochs=2, batch_size=4, shuffle=False, verbose=0).history
    return [sorted(history), history["loss"], history["accuracy"]]
