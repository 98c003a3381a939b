"""Programs of the Module and custom-layer guides."""

from tests.programs.table import numbers


def simple_module(tf, np):
    class SimpleModule(tf.Module):
        def __init__(self, name=None):
            super().__init__(name=name)
            self.a_variable = tf.Variable(5.0, name="train_me")
            self.non_trainable_variable = tf.Variable(5.0, trainable=False, name="do_not_train_me")

        def __call__(self, x):
            return self.a_variable * x + self.non_trainable_variable

    m = SimpleModule(name="simple")
    return [
        m(tf.constant(5.0)), [v.name for v in m.trainable_variables], len(m.variables), m.name,
    ]  # fmt: skip


def nested_modules(tf, np):
    class Dense(tf.Module):
        def __init__(self, in_features, out_features, name=None):
            super().__init__(name=name)
            w = np.linspace(-1, 1, in_features * out_features).reshape(in_features, out_features)
            self.w = tf.Variable(w.astype("float32"), name="w")
            self.b = tf.Variable(tf.zeros([out_features]), name="b")

        def __call__(self, x):
            return tf.nn.relu(tf.matmul(x, self.w) + self.b)

    class SequentialModule(tf.Module):
        def __init__(self, name=None):
            super().__init__(name=name)
            self.layers = [Dense(3, 3), Dense(3, 2)]
            self.extra = {"scale": tf.Variable(2.0, name="scale")}

        def __call__(self, x):
            for layer in self.layers:
                x = layer(x)
            return x * self.extra["scale"]

    model = SequentialModule(name="the_model")
    x = tf.constant([[2.0, 2.0, 2.0]])
    return [
        model(x),
        len(model.submodules),
        [v.shape for v in model.variables],
        [v.name for v in model.variables],
    ]


def flexible_module(tf, np):
    class FlexibleDense(tf.Module):
        def __init__(self, out_features):
            super().__init__()
            self.is_built = False
            self.out_features = out_features

        def __call__(self, x):
            if not self.is_built:
                self.w = tf.Variable(tf.ones([x.shape[-1], self.out_features]), name="w")
                self.b = tf.Variable(tf.zeros([self.out_features]), name="b")
                self.is_built = True
            return tf.matmul(x, self.w) + self.b

    dense = FlexibleDense(3)
    before = len(dense.trainable_variables)
    return [dense(tf.ones([2, 4])), before, len(dense.trainable_variables)]


def custom_layer_with_build(tf, np):
    class MyDenseLayer(tf.keras.layers.Layer):
        def __init__(self, num_outputs):
            super().__init__()
            self.num_outputs = num_outputs

        def build(self, input_shape):
            self.kernel = self.add_weight(
                name="kernel", shape=[int(input_shape[-1]), self.num_outputs], initializer="ones"
            )
            self.bias = self.add_weight(shape=(self.num_outputs,), initializer="zeros", name="bias")

        def call(self, inputs):
            return tf.matmul(inputs, self.kernel) + self.bias

    layer = MyDenseLayer(4)
    y = layer(tf.ones([3, 5]))
    return [
        y,
        [v.shape for v in layer.trainable_variables],
        layer.built,
        layer.count_params(),
        len(layer.weights),
    ]


def composed_resnet_block(tf, np):
    class ResnetIdentityBlock(tf.keras.Model):
        def __init__(self, kernel_size, filters):
            super().__init__(name="")
            filters1, filters2, filters3 = filters
            self.conv2a = tf.keras.layers.Conv2D(filters1, (1, 1))
            self.bn2a = tf.keras.layers.BatchNormalization()
            self.conv2b = tf.keras.layers.Conv2D(filters2, kernel_size, padding="same")
            self.bn2b = tf.keras.layers.BatchNormalization()
            self.conv2c = tf.keras.layers.Conv2D(filters3, (1, 1))
            self.bn2c = tf.keras.layers.BatchNormalization()

        def call(self, input_tensor, training=False):
            x = self.conv2a(input_tensor)
            x = self.bn2a(x, training=training)
            x = tf.nn.relu(x)
            x = self.conv2b(x)
            x = self.bn2b(x, training=training)
            x = tf.nn.relu(x)
            x = self.conv2c(x)
            x = self.bn2c(x, training=training)
            x += input_tensor
            return tf.nn.relu(x)

    block = ResnetIdentityBlock(1, [1, 2, 3])
    zero = block(tf.zeros([1, 2, 3, 3]))
    return [zero, len(block.layers), len(block.variables), len(block.trainable_variables)]


def layers_with_losses_and_regularizers(tf, np):
    class ActivityRegularizationLayer(tf.keras.layers.Layer):
        def __init__(self, rate=1e-2):
            super().__init__()
            self.rate = rate

        def call(self, inputs):
            self.add_loss(self.rate * tf.reduce_sum(inputs))
            return inputs

    class OuterLayer(tf.keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.activity = ActivityRegularizationLayer(0.1)
            self.dense = tf.keras.layers.Dense(
                3, kernel_initializer="ones", kernel_regularizer=tf.keras.regularizers.l2(1e-2)
            )

        def call(self, inputs):
            return self.dense(self.activity(inputs))

    layer = OuterLayer()
    before = len(layer.losses)
    layer(tf.ones([2, 2]))
    first = [float(x) for x in layer.losses]
    layer(tf.ones([1, 2]))
    return [before, first, [float(x) for x in layer.losses]]


def layer_with_state_and_training_flag(tf, np):
    class ComputeSum(tf.keras.layers.Layer):
        def __init__(self, input_dim):
            super().__init__()
            self.total = self.add_weight(shape=(input_dim,), initializer="zeros", trainable=False)

        def call(self, inputs, training=None):
            if training:
                self.total.assign_add(tf.reduce_sum(inputs, axis=0))
            return self.total

    my_sum = ComputeSum(2)
    x = tf.ones((2, 2))
    return [
        my_sum(x, training=True), my_sum(x), my_sum(x, training=True),
        len(my_sum.non_trainable_weights), my_sum.trainable_weights,
    ]  # fmt: skip


def config_round_trip(tf, np):
    class Linear(tf.keras.layers.Layer):
        def __init__(self, units=32, **kwargs):
            super().__init__(**kwargs)
            self.units = units

        def build(self, input_shape):
            self.w = self.add_weight(shape=(input_shape[-1], self.units), initializer="ones")

        def call(self, inputs):
            return tf.matmul(inputs, self.w)

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    layer = Linear(7, name="linear_seven")
    config = layer.get_config()
    again = Linear.from_config(config)
    return [config["units"], config["name"], again(tf.ones([1, 2])), again.name]


def layer_freezing(tf, np):
    layer = tf.keras.layers.Dense(3)
    layer.build((None, 4))
    counts = [len(layer.trainable_weights), len(layer.non_trainable_weights)]
    layer.trainable = False
    counts += [len(layer.trainable_weights), len(layer.non_trainable_weights)]
    inner = tf.keras.Sequential(
        [tf.keras.Input((3,)), tf.keras.layers.Dense(3), tf.keras.layers.Dense(2)]
    )
    outer = tf.keras.Sequential([tf.keras.Input((3,)), inner, tf.keras.layers.Dense(1)])
    outer.trainable = False
    return [counts, inner.layers[0].trainable, len(outer.trainable_weights), len(outer.weights)]


def batch_normalization_modes(tf, np):
    bn = tf.keras.layers.BatchNormalization(momentum=0.9)
    x = tf.constant(numbers(6, 3, low=0, high=4))
    results = [bn(x, training=False), bn(x, training=True), bn.moving_mean, bn.moving_variance]
    results.append(bn(x))
    bn.trainable = False
    results += [bn(x, training=True), bn.moving_mean, len(bn.trainable_weights)]
    return results


def dropout_modes(tf, np):
    layer = tf.keras.layers.Dropout(0.5)
    x = tf.ones([1000])
    trained = layer(x, training=True).numpy()
    return [
        bool((layer(x) == x).numpy().all()), sorted(set(trained.tolist())),
        abs(trained.mean() - 1) < 0.2, bool((layer(x, training=False) == x).numpy().all()),
    ]  # fmt: skip


def masks(tf, np):
    ids = np.array([[71, 13, 6, 0], [7, 8, 0, 0]])
    embedding = tf.keras.layers.Embedding(100, 3, mask_zero=True)
    out = embedding(ids)
    dense = tf.keras.layers.Dense(2, kernel_initializer="ones")

    class MaskedMean(tf.keras.layers.Layer):
        def compute_mask(self, inputs, mask=None):
            return None

        def call(self, inputs, mask=None):
            m = tf.cast(mask, tf.float32)[..., tf.newaxis]
            return tf.reduce_sum(inputs * m, 1) / tf.reduce_sum(m, 1)

    embedding.set_weights([np.arange(300, dtype="float32").reshape(100, 3) / 100])
    inputs = tf.keras.Input((None,), dtype="int32")
    pooled = MaskedMean()(tf.keras.layers.Dropout(0.3)(embedding(inputs)))
    model = tf.keras.Model(inputs, pooled)
    masked = tf.keras.layers.Masking(0.0)(tf.constant([[[1.0, 2.0], [0.0, 0.0]]]))
    return [embedding.compute_mask(ids), out.shape, model(ids), dense(out).shape, masked]


def layers_by_name(tf, np):
    x = tf.constant(numbers(2, 6, 6, 2))
    layers = tf.keras.layers
    made = [
        layers.MaxPooling2D(), layers.AveragePooling2D(3, strides=2, padding="same"),
        layers.GlobalAveragePooling2D(), layers.GlobalMaxPooling2D(), layers.Flatten(),
        layers.Reshape((12, -1)), layers.Permute((3, 1, 2)), layers.ZeroPadding2D(1),
        layers.UpSampling2D(2), layers.Cropping2D(1), layers.Activation("relu"), layers.ReLU(6.0),
        layers.LeakyReLU(), layers.Softmax(), layers.LayerNormalization(),
        layers.Rescaling(1 / 255),
    ]  # fmt: skip
    outputs = [layer(x) for layer in made]
    return [[o.shape, tf.reduce_sum(o), tf.reduce_max(o)] for o in outputs]


def merging_layers(tf, np):
    a, b = tf.constant([[1.0, 2.0]]), tf.constant([[3.0, 5.0]])
    layers = tf.keras.layers
    return [
        layers.Add()([a, b]), layers.Concatenate()([a, b]), layers.Multiply()([a, b]),
        layers.Average()([a, b]), layers.Maximum()([a, b]), layers.Subtract()([a, b]),
        layers.Dot(axes=1)([a, b]), layers.concatenate([a, b]), layers.add([a, b]),
        layers.Lambda(lambda t: t * 2)(a),
    ]  # fmt: skip


def losses_and_metrics_alone(tf, np):
    k = tf.keras
    y_true, y_pred = np.array([[0.0, 1.0], [0.0, 0.0]]), np.array([[0.6, 0.4], [0.4, 0.6]])
    mean = k.metrics.Mean()
    for v in (1, 3, 5):
        mean.update_state(v)
    accuracy = k.metrics.SparseCategoricalAccuracy()
    accuracy.update_state([1, 0], [[0.2, 0.8], [0.3, 0.7]])
    total = float(mean.result())
    mean.reset_state()
    return {
        "losses": [
            k.losses.MeanSquaredError()(y_true, y_pred),
            k.losses.MeanAbsoluteError()(y_true, y_pred),
            k.losses.BinaryCrossentropy()(y_true, y_pred), k.losses.Huber()(y_true, y_pred),
            k.losses.BinaryCrossentropy(from_logits=True)(y_true, y_pred),
            k.losses.CategoricalCrossentropy()([[0.0, 1.0]], [[0.2, 0.8]]),
            k.losses.CategoricalCrossentropy(label_smoothing=0.1)([[0.0, 1.0]], [[0.2, 0.8]]),
            k.losses.SparseCategoricalCrossentropy(from_logits=True)(np.array([1, 0]),
            np.array([[1.0, 2.0], [0.5, 0.1]])),
            k.losses.MeanSquaredError(reduction="sum")(y_true, y_pred),
            k.losses.MeanSquaredError(reduction=None)(y_true, y_pred),
            k.losses.MeanSquaredError()(y_true, y_pred, sample_weight=[1.0, 0.0]),
            k.losses.sparse_categorical_crossentropy(np.array([1]), np.array([[0.1, 0.9]])),
            k.losses.KLDivergence()([[0.4, 0.6]], [[0.5, 0.5]]),
            k.losses.Hinge()([[1.0, -1.0]], [[0.3, 0.4]]),
            k.losses.CosineSimilarity(axis=1)(y_true, y_pred), k.losses.get("mse")([1.0], [3.0]),
        ],
        "metrics": [total, float(mean.result()), accuracy.result(), accuracy.name],
        "more": [
            m(y_t, y_p) for m, y_t, y_p in (
                (k.metrics.BinaryAccuracy(), [1.0, 0.0, 1.0], [0.9, 0.6, 0.7]),
                (k.metrics.AUC(), [0.0, 0.0, 1.0, 1.0], [0.0, 0.5, 0.3, 0.9]),
                (k.metrics.Precision(), [0, 1, 1, 1], [1, 0, 1, 1]),
                (k.metrics.Recall(), [0, 1, 1, 1], [1, 0, 1, 1]),
                (k.metrics.MeanSquaredError(), [1.0, 2.0], [1.5, 2.0]),
                (k.metrics.CategoricalAccuracy(), [[0, 1], [1, 0]], [[0.4, 0.6], [0.3, 0.7]]),
                (k.metrics.RootMeanSquaredError(), [1.0, 2.0], [2.0, 2.0]),
            )
        ],
        "top_k": k.metrics.SparseTopKCategoricalAccuracy(k=2)([2, 1],
        [[0.1, 0.9, 0.8], [0.1, 0.2, 0.7]]),
    }  # fmt: skip


def initializers_and_regularizers(tf, np):
    k = tf.keras
    glorot = k.initializers.GlorotUniform(seed=1)((200, 100))
    he = k.initializers.HeNormal(seed=1)((200, 100))
    return [
        bool(tf.reduce_max(tf.abs(tf.convert_to_tensor(glorot))) <= np.sqrt(6 / 300)),
        abs(float(tf.math.reduce_std(tf.convert_to_tensor(he))) - np.sqrt(2 / 200)) < 0.01,
        k.initializers.Constant(3.0)((2,)), k.initializers.Ones()((2,)),
        k.initializers.Identity()((2, 2)),
        k.regularizers.L2(0.1)(tf.constant([1.0, 2.0])),
        k.regularizers.L1(0.1)(tf.constant([-1.0, 2.0])),
        k.regularizers.l1_l2(0.1, 0.1)(tf.constant([-1.0, 2.0])),
        k.constraints.MaxNorm(1.0)(tf.constant([[3.0], [4.0]])),
        k.constraints.NonNeg()(tf.constant([-1.0, 2.0])),
        k.activations.get("relu")(tf.constant([-1.0, 2.0])),
        k.activations.swish(tf.constant([1.0])),
    ]  # fmt: skip


def optimizers_alone(tf, np):
    o = tf.keras.optimizers
    results = {}
    for name, make in {
        "sgd": lambda: o.SGD(0.1), "momentum": lambda: o.SGD(0.1, momentum=0.9),
        "nesterov": lambda: o.SGD(0.1, momentum=0.9, nesterov=True), "adam": lambda: o.Adam(0.1),
        "rmsprop": lambda: o.RMSprop(0.1), "adamw": lambda: o.AdamW(0.1, weight_decay=0.01),
        "adagrad": lambda: o.Adagrad(0.5), "clipped": lambda: o.SGD(0.1, clipnorm=0.5),
        "amsgrad": lambda: o.Adam(0.1, amsgrad=True),
        "global": lambda: o.SGD(0.1, global_clipnorm=0.5),
    }.items():  # fmt: skip
        v = tf.Variable([1.0, -2.0])
        optimizer = make()
        for _ in range(4):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(v**2)
            optimizer.apply_gradients(zip(tape.gradient(loss, [v]), [v]))
        results[name] = [v, optimizer.iterations]
    return results


def learning_rate_schedules(tf, np):
    s = tf.keras.optimizers.schedules
    made = [
        s.ExponentialDecay(0.1, 10, 0.5), s.ExponentialDecay(0.1, 10, 0.5, staircase=True),
        s.PiecewiseConstantDecay([5, 10], [1.0, 0.5, 0.1]), s.PolynomialDecay(0.1, 10, 0.01),
        s.InverseTimeDecay(0.1, 10, 0.5), s.CosineDecay(0.1, 20),
    ]  # fmt: skip
    optimizer = tf.keras.optimizers.SGD(made[0])
    v = tf.Variable(1.0)
    for _ in range(3):
        optimizer.apply_gradients([(tf.constant(1.0), v)])
    return (
        [[float(f(step)) for step in (0, 7, 15)] for f in made],
        v,
        float(optimizer.learning_rate),
    )
