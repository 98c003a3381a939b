"""Programs about what surrounds a model: seeds, devices, configurations, sequences, dict inputs."""

from tests.programs.table import fill, numbers


def devices_and_versions(tf, np):
    cpus = tf.config.list_physical_devices("CPU")
    with tf.device("/CPU:0"):
        x = tf.constant([1.0])
    return [
        len(cpus) >= 1, cpus[0].device_type, x.device.endswith("CPU:0"), isinstance(x, tf.Tensor),
        isinstance(tf.__version__, str), tf.executing_eagerly(), tf.keras.backend.floatx(),
        tf.config.list_physical_devices("GPU") == [], tf.keras.backend.image_data_format(),
    ]  # fmt: skip


def seeds_repeat(tf, np):
    def weights():
        tf.keras.utils.set_random_seed(7)
        model = tf.keras.Sequential([tf.keras.Input((4,)), tf.keras.layers.Dense(3)])
        model.compile("sgd", "mse")
        model.fit(numbers(8, 4), numbers(8, 3), batch_size=2, epochs=2, verbose=0)
        return model.get_weights()[0]

    a, b = weights(), weights()
    return bool((a == b).all())


def sequences_with_convolutions(tf, np):
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            tf.keras.Input((10, 2)),
            layers.Conv1D(4, 3, activation="relu", padding="causal"),
            layers.MaxPooling1D(2),
            layers.Conv1D(3, 3, strides=2),
            layers.GlobalMaxPooling1D(),
            layers.Dense(1),
        ]
    )
    fill(model)
    model.compile(tf.keras.optimizers.SGD(0.05), "mse")
    history = model.fit(
        numbers(8, 10, 2), numbers(8, 1, seed=1), batch_size=4, epochs=2, shuffle=False, verbose=0
    )
    return [model(numbers(2, 10, 2)), history.history["loss"]]


def dataset_of_dicts(tf, np):
    x = {"a": numbers(8, 2), "b": numbers(8, 3, seed=1)}
    y = numbers(8, 1, seed=2)
    a, b = tf.keras.Input((2,), name="a"), tf.keras.Input((3,), name="b")
    h = tf.keras.layers.concatenate([tf.keras.layers.Dense(2)(a), b])
    model = fill(tf.keras.Model({"a": a, "b": b}, tf.keras.layers.Dense(1)(h)))
    model.compile(tf.keras.optimizers.SGD(0.1), "mse", metrics=["mae"])
    ds = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
    one = model.fit(ds, verbose=0).history
    two = model.fit(x, y, batch_size=4, shuffle=False, verbose=0).history
    return [one, two, model.predict(x, verbose=0)[:2]]


def padded_text_with_masks(tf, np):
    rows = [[3, 1], [4, 1, 5], [2], [6, 5, 3, 5]]
    ds = tf.data.Dataset.from_generator(
        lambda: iter([(np.array(r, "int32"), len(r) % 2) for r in rows]),
        output_signature=(tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32)),
    ).padded_batch(2)
    model = tf.keras.Sequential(
        [
            tf.keras.Input((None,), dtype="int32"),
            tf.keras.layers.Embedding(7, 3, mask_zero=True),
            tf.keras.layers.GlobalAveragePooling1D(),
            tf.keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    fill(model)
    model.compile(tf.keras.optimizers.SGD(0.1), "binary_crossentropy")
    return [[x.shape for x, _ in ds], model.fit(ds, epochs=2, verbose=0).history["loss"],
            model.predict(ds, verbose=0)]  # fmt: skip


def several_outputs_by_list(tf, np):
    inputs = tf.keras.Input((3,))
    model = tf.keras.Model(
        inputs,
        [tf.keras.layers.Dense(1, name="p")(inputs), tf.keras.layers.Dense(2, name="q")(inputs)],
    )
    fill(model)
    model.compile(
        tf.keras.optimizers.SGD(0.1), loss=["mse", "mae"], loss_weights=[1.0, 0.5],
        metrics=[["mae"], ["mse"]],
    )  # fmt: skip
    y = [numbers(8, 1, seed=1), numbers(8, 2, seed=2)]
    history = model.fit(numbers(8, 3), y, batch_size=4, shuffle=False, verbose=0).history
    return [sorted(history.items()), [p.shape for p in model.predict(numbers(8, 3), verbose=0)]]


def configurations(tf, np):
    model = tf.keras.Sequential(
        [tf.keras.Input((3,)), tf.keras.layers.Dense(4, activation="relu", name="first"),
         tf.keras.layers.Dropout(0.2), tf.keras.layers.Dense(1, name="last")]
    )  # fmt: skip
    again = tf.keras.Sequential.from_config(model.get_config())
    inputs = tf.keras.Input((2,), name="in")
    functional = tf.keras.Model(inputs, tf.keras.layers.Dense(2, name="d")(inputs), name="f")
    twin = tf.keras.Model.from_config(functional.get_config())
    optimizer = tf.keras.optimizers.Adam(0.002, beta_1=0.8)
    rate = tf.keras.optimizers.Adam.from_config(optimizer.get_config()).get_config()
    return [
        [layer.name for layer in again.layers if "dropout" not in layer.name],
        again.get_layer("first").units, twin.name, [layer.name for layer in twin.layers],
        rate["learning_rate"], rate["beta_1"],
        tf.keras.layers.Dense(3, "relu", name="x").get_config()["units"],
    ]  # fmt: skip


def changing_the_learning_rate(tf, np):
    model = fill(tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(1)]))
    model.compile(tf.keras.optimizers.SGD(0.1), "mse")
    x, y = numbers(8, 3), numbers(8, 1, seed=1)
    model.fit(x, y, shuffle=False, verbose=0)
    model.optimizer.learning_rate = 0.01
    model.fit(x, y, shuffle=False, verbose=0)
    model.optimizer.learning_rate.assign(0.5)
    halve = tf.keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=9.0)
    history = model.fit(x, y, epochs=4, shuffle=False, verbose=0, callbacks=[halve]).history
    return [history["loss"], history["learning_rate"], float(model.optimizer.learning_rate)]


def freezing_some_layers(tf, np):
    model = tf.keras.Sequential(
        [tf.keras.Input((3,)), tf.keras.layers.Dense(4, name="keep"), tf.keras.layers.Dense(1)]
    )
    fill(model)
    model.get_layer("keep").trainable = False
    model.compile(tf.keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    before = model.get_weights()
    model.fit(numbers(8, 3), numbers(8, 1, seed=1), epochs=2, shuffle=False, verbose=0)
    same = [bool(np.array_equal(a, b)) for a, b in zip(before, model.get_weights())]
    return [same, len(model.trainable_variables), model.get_weights()[2]]


def metrics_in_functions(tf, np):
    mean = tf.keras.metrics.Mean()
    accuracy = tf.keras.metrics.BinaryAccuracy(threshold=0.4)

    @tf.function
    def step(y, p):
        mean.update_state(tf.reduce_sum(p))
        mean(p, sample_weight=[1.0, 0.0])
        accuracy(y, p)
        return mean.result()

    values = [step(tf.constant([1.0, 0.0]), tf.constant([0.5, v])) for v in (0.1, 0.45, 0.9)]
    return [values, mean.result(), accuracy.result(), len(mean.variables)]


def mirrored_strategy_on_one_device(tf, np):
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    with strategy.scope():
        model = fill(tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(1)]))
        model.compile(tf.keras.optimizers.SGD(0.1), "mse")
    ds = tf.data.Dataset.from_tensor_slices((numbers(8, 3), numbers(8, 1, seed=1))).batch(4)
    return [strategy.num_replicas_in_sync, model.fit(ds, epochs=2, verbose=0).history["loss"]]


def mixed_precision(tf, np):
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        layer = tf.keras.layers.Dense(2, kernel_initializer="ones")
        y = layer(tf.ones([1, 3]))
        return [y.dtype, layer.kernel.dtype, y, layer.compute_dtype]
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")


def groups_and_control(tf, np):
    v = tf.Variable(1.0)

    @tf.function
    def f():
        with tf.control_dependencies([v.assign_add(1.0)]):
            y = v * 10.0
        tf.group(v.assign_add(1.0))
        return y, tf.identity(v)

    return [f(), v, tf.minimum(3, 2), tf.not_equal([1, 2], 1), tf.math.logical_not([True])]


def name_scopes_and_names(tf, np):
    with tf.name_scope("outer"):
        v = tf.Variable(1.0, name="v")
    layer = tf.keras.layers.Dense(2, name="my_dense")
    layer.build((None, 2))
    return [v.name, layer.name, [w.path for w in layer.weights]]
