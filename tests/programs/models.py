"""Programs of the Keras guides: Sequential, functional, subclassed models, and their files."""

from tests.programs.table import fill, numbers


def sequential_model(tf, np):
    layers = tf.keras.layers
    model = tf.keras.Sequential(name="my_sequential")
    model.add(layers.Dense(2, activation="relu", name="layer1"))
    model.add(layers.Dense(3, activation="relu", name="layer2"))
    model.add(layers.Dense(4, name="layer3"))
    unbuilt = [model.built, len(model.layers)]
    y = model(tf.ones((3, 3)))
    model.pop()
    return [
        unbuilt,
        y.shape,
        len(model.layers),
        len(model.weights),
        [w.shape for w in model.weights],
    ]


def sequential_with_input(tf, np):
    model = tf.keras.Sequential(
        [
            tf.keras.Input(shape=(4,)),
            tf.keras.layers.Dense(2, activation="relu"),
            tf.keras.layers.Dense(1),
        ]
    )
    fill(model)
    x = numbers(3, 4)
    lines = []
    model.summary(print_fn=lambda line, **_: lines.append(line))
    return [
        model(x), model.predict(x, verbose=0), model.input_shape, model.output_shape,
        model.count_params(),
        "Total params: 13" in "".join(lines), [layer.name for layer in model.layers] != [],
    ]  # fmt: skip


def feature_extraction(tf, np):
    initial = tf.keras.Sequential(
        [
            tf.keras.Input(shape=(12, 12, 3)),
            tf.keras.layers.Conv2D(4, 5, strides=2, activation="relu"),
            tf.keras.layers.Conv2D(4, 3, activation="relu", name="my_intermediate_layer"),
            tf.keras.layers.Flatten(),
        ]
    )
    fill(initial)
    extractor = tf.keras.Model(
        inputs=initial.inputs, outputs=initial.get_layer(name="my_intermediate_layer").output
    )
    every = tf.keras.Model(initial.inputs, [layer.output for layer in initial.layers])
    x = numbers(1, 12, 12, 3)
    return [extractor(x), [o.shape for o in every(x)]]


def functional_autoencoder(tf, np):
    layers, keras = tf.keras.layers, tf.keras
    encoder_input = keras.Input(shape=(8, 8, 1), name="img")
    x = layers.Conv2D(4, 3, activation="relu")(encoder_input)
    x = layers.MaxPooling2D(3)(x)
    encoder_output = layers.GlobalMaxPooling2D()(x)
    encoder = keras.Model(encoder_input, encoder_output, name="encoder")
    decoder_input = keras.Input(shape=(4,), name="encoded_img")
    x = layers.Reshape((2, 2, 1))(decoder_input)
    x = layers.Conv2DTranspose(2, 3, activation="relu")(x)
    x = layers.UpSampling2D(2)(x)
    decoder_output = layers.Conv2DTranspose(1, 1)(x)
    decoder = keras.Model(decoder_input, decoder_output, name="decoder")
    auto_input = keras.Input(shape=(8, 8, 1), name="img")
    autoencoder = keras.Model(auto_input, decoder(encoder(auto_input)), name="autoencoder")
    fill(autoencoder)
    return [autoencoder(numbers(2, 8, 8, 1)), len(autoencoder.layers), autoencoder.count_params()]


def multiple_inputs_and_outputs(tf, np):
    keras, layers = tf.keras, tf.keras.layers
    title = keras.Input(shape=(None,), name="title", dtype="int32")
    tags = keras.Input(shape=(5,), name="tags")
    title_features = layers.GlobalAveragePooling1D()(layers.Embedding(20, 4)(title))
    x = layers.concatenate([title_features, tags])
    priority = layers.Dense(1, name="priority")(x)
    department = layers.Dense(3, name="department")(x)
    model = keras.Model(
        inputs=[title, tags], outputs={"priority": priority, "department": department}
    )
    fill(model)
    model.compile(
        optimizer=keras.optimizers.SGD(1e-1, momentum=0.9),
        loss={
            "priority": keras.losses.BinaryCrossentropy(from_logits=True),
            "department": keras.losses.CategoricalCrossentropy(from_logits=True),
        },
        loss_weights={"priority": 1.0, "department": 0.2},
    )
    ids = np.random.RandomState(0).randint(20, size=(12, 6))
    data = {"title": ids, "tags": numbers(12, 5)}
    targets = {
        "priority": (numbers(12, 1, seed=1) > 0).astype("float32"),
        "department": np.eye(3, dtype="float32")[np.arange(12) % 3],
    }
    history = model.fit(data, targets, epochs=2, batch_size=4, shuffle=False, verbose=0)
    out = model.predict(data, verbose=0)
    return [
        sorted(history.history),
        history.history["loss"],
        out["priority"][:3],
        out["department"].shape,
    ]


def shared_layers_and_residuals(tf, np):
    keras, layers = tf.keras, tf.keras.layers
    shared = layers.Embedding(10, 3)
    a, b = keras.Input((4,), dtype="int32"), keras.Input((4,), dtype="int32")
    pair = keras.Model([a, b], [shared(a), shared(b)])
    fill(pair)
    inputs = keras.Input(shape=(8, 8, 2), name="img")
    x = layers.Conv2D(3, 3, activation="relu")(inputs)
    block1 = layers.MaxPooling2D(2)(x)
    x = layers.Conv2D(3, 3, activation="relu", padding="same")(block1)
    block2 = layers.add([x, block1])
    x = layers.GlobalAveragePooling2D()(block2)
    outputs = layers.Dense(2)(layers.Dropout(0.5)(layers.Dense(4, activation="relu")(x)))
    resnet = fill(keras.Model(inputs, outputs, name="toy_resnet"))
    ids = np.array([[1, 2, 3, 4]])
    return [pair([ids, ids + 1]), len(pair.weights), resnet(numbers(2, 8, 8, 2)), resnet.name]


def models_as_layers_and_ensembles(tf, np):
    keras = tf.keras

    def get_model(seed):
        inputs = keras.Input(shape=(3,))
        return fill(keras.Model(inputs, keras.layers.Dense(1)(inputs)), seed)

    models = [get_model(k) for k in range(3)]
    inputs = keras.Input(shape=(3,))
    ensemble = keras.Model(inputs, keras.layers.average([m(inputs) for m in models]))
    return [ensemble(numbers(2, 3)), len(ensemble.trainable_weights)]


def tensor_operations_between_layers(tf, np):
    inputs = tf.keras.Input((4,))
    x = tf.keras.layers.Dense(4)(inputs)
    x = x * 2.0 + 1.0
    x = x - inputs
    x = x[:, 1:]
    outputs = -x / 3.0
    model = fill(tf.keras.Model(inputs, outputs))
    return [model(numbers(2, 4)), model.output_shape]


def subclassed_model(tf, np):
    class MLP(tf.keras.Model):
        def __init__(self, units):
            super().__init__()
            self.blocks = [tf.keras.layers.Dense(u, activation="relu") for u in units]
            self.head = tf.keras.layers.Dense(1)
            self.dropout = tf.keras.layers.Dropout(0.5)

        def call(self, x, training=False):
            for block in self.blocks:
                x = block(x)
            return self.head(self.dropout(x, training=training))

    model = MLP([4, 3])
    x = numbers(5, 3)
    model(x)
    fill(model)
    return [
        model(x),
        len(model.layers),
        len(model.trainable_variables),
        model.predict(x, verbose=0),
    ]


def variational_autoencoder_parts(tf, np):
    class Sampling(tf.keras.layers.Layer):
        def call(self, inputs):
            z_mean, z_log_var = inputs
            epsilon = 0.5 * tf.ones_like(z_mean)
            return z_mean + tf.exp(0.5 * z_log_var) * epsilon

    class Encoder(tf.keras.layers.Layer):
        def __init__(self, latent_dim=2, intermediate_dim=4, name="encoder", **kwargs):
            super().__init__(name=name, **kwargs)
            self.dense_proj = tf.keras.layers.Dense(intermediate_dim, activation="relu")
            self.dense_mean = tf.keras.layers.Dense(latent_dim)
            self.dense_log_var = tf.keras.layers.Dense(latent_dim)
            self.sampling = Sampling()

        def call(self, inputs):
            x = self.dense_proj(inputs)
            z_mean, z_log_var = self.dense_mean(x), self.dense_log_var(x)
            return z_mean, z_log_var, self.sampling((z_mean, z_log_var))

    class VariationalAutoEncoder(tf.keras.Model):
        def __init__(self, original_dim, name="autoencoder", **kwargs):
            super().__init__(name=name, **kwargs)
            self.encoder = Encoder()
            self.decoder = tf.keras.layers.Dense(original_dim, activation="sigmoid")

        def call(self, inputs):
            z_mean, z_log_var, z = self.encoder(inputs)
            kl = -0.5 * tf.reduce_mean(z_log_var - tf.square(z_mean) - tf.exp(z_log_var) + 1)
            self.add_loss(kl)
            return self.decoder(z)

    vae = VariationalAutoEncoder(6)
    x = numbers(8, 6, low=0)
    vae(x)
    fill(vae)
    optimizer = tf.keras.optimizers.Adam(learning_rate=1e-2)
    mse = tf.keras.losses.MeanSquaredError()
    losses = []
    for _ in range(3):
        with tf.GradientTape() as tape:
            loss = mse(x, vae(x)) + sum(vae.losses)
        grads = tape.gradient(loss, vae.trainable_weights)
        optimizer.apply_gradients(zip(grads, vae.trainable_weights))
        losses.append(float(loss))
    vae.compile(optimizer=tf.keras.optimizers.Adam(1e-2), loss=mse)
    history = vae.fit(x, x, epochs=2, batch_size=4, shuffle=False, verbose=0)
    return [losses, history.history["loss"]]


def saving_and_loading(tf, np):
    model = tf.keras.Sequential(
        [tf.keras.Input((3,)), tf.keras.layers.Dense(4, "relu"),
            tf.keras.layers.BatchNormalization(),
         tf.keras.layers.Dense(1)]
    )  # fmt: skip
    fill(model)
    model.compile("adam", "mse", metrics=["mae"])
    x, y = numbers(8, 3), numbers(8, 1, seed=1)
    model.fit(x, y, epochs=1, shuffle=False, verbose=0)
    model.save("my_model.keras")
    again = tf.keras.models.load_model("my_model.keras")
    model.save_weights("only.weights.h5")
    clone = tf.keras.models.clone_model(model)
    clone.load_weights("only.weights.h5")
    from_json = tf.keras.models.model_from_json(model.to_json())
    more = [m.fit(x, y, epochs=1, shuffle=False, verbose=0).history["loss"] for m in (again, model)]
    same = np.allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-5)
    return [
        more,
        same,
        clone.predict(x, verbose=0),
        len(from_json.layers),
        again.evaluate(x, y, verbose=0),
    ]


def custom_objects_in_files(tf, np):
    @tf.keras.utils.register_keras_serializable(package="programs")
    class Scale(tf.keras.layers.Layer):
        def __init__(self, factor=1.0, **kwargs):
            super().__init__(**kwargs)
            self.factor = factor

        def call(self, x):
            return x * self.factor

        def get_config(self):
            return {**super().get_config(), "factor": self.factor}

    inputs = tf.keras.Input((2,))
    model = tf.keras.Model(inputs, Scale(3.0)(tf.keras.layers.Dense(2)(inputs)))
    fill(model)
    model.save("custom.keras")
    again = tf.keras.models.load_model("custom.keras", custom_objects={"Scale": Scale})
    return [again(numbers(2, 2)), again.layers[-1].factor]


def transfer_learning(tf, np):
    base = tf.keras.Sequential(
        [tf.keras.Input((6, 6, 1)), tf.keras.layers.Conv2D(3, 3, activation="relu"),
         tf.keras.layers.BatchNormalization(), tf.keras.layers.GlobalAveragePooling2D()]
    )  # fmt: skip
    base.trainable = False
    inputs = tf.keras.Input((6, 6, 1))
    outputs = tf.keras.layers.Dense(1)(base(inputs, training=False))
    model = fill(tf.keras.Model(inputs, outputs))
    model.compile(
        tf.keras.optimizers.SGD(0.1), tf.keras.losses.BinaryCrossentropy(from_logits=True)
    )
    x, y = numbers(12, 6, 6, 1), (np.arange(12) % 2).astype("float32")[:, None]
    frozen = [np.array(w) for w in base.get_weights()]
    losses = model.fit(x, y, epochs=2, batch_size=4, shuffle=False, verbose=0).history["loss"]
    kept = all(np.array_equal(a, b) for a, b in zip(frozen, base.get_weights()))
    counts = [len(model.trainable_weights), len(model.non_trainable_weights)]
    base.trainable = True
    base.layers[1].trainable = False  # normalisation stays in inference mode
    model.compile(
        tf.keras.optimizers.SGD(0.01), tf.keras.losses.BinaryCrossentropy(from_logits=True)
    )
    tuned = model.fit(x, y, epochs=1, batch_size=4, shuffle=False, verbose=0).history["loss"]
    return [losses, kept, counts, len(model.trainable_weights), tuned]


def weights_between_models(tf, np):
    def make():
        return tf.keras.Sequential(
            [tf.keras.Input((3,)), tf.keras.layers.Dense(2), tf.keras.layers.Dense(1)]
        )

    a, b = fill(make(), 1), make()
    b.set_weights(a.get_weights())
    b.layers[0].set_weights([np.ones((3, 2), "float32"), np.zeros(2, "float32")])
    return [a(numbers(2, 3)), b(numbers(2, 3)), [w.shape for w in a.get_weights()]]


def siamese_distance(tf, np):
    keras, layers = tf.keras, tf.keras.layers
    embed = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(2)])
    left, right = keras.Input((4,)), keras.Input((4,))
    distance = layers.Lambda(lambda t: tf.reduce_sum(tf.abs(t[0] - t[1]), axis=1, keepdims=True))(
        [embed(left), embed(right)]
    )
    model = fill(keras.Model([left, right], layers.Dense(1, activation="sigmoid")(distance)))
    return [model([numbers(2, 4), numbers(2, 4, seed=1)]), len(model.weights)]


def seed_my_model_with_image_shapes(tf, np):
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [tf.keras.Input((None, None, 1)), layers.Conv2D(4, [3, 3], activation="relu"),
         layers.Conv2D(4, [3, 3], activation="relu"), layers.GlobalAveragePooling2D(),
         layers.Dense(10)]
    )  # fmt: skip
    fill(model)
    return [model(numbers(1, 8, 8, 1)), model(numbers(2, 6, 9, 1))[0, :3], model.output_shape]
