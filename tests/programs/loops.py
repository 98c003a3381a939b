"""Programs that train without `fit`: loops from scratch, in the guides' manner."""

from tests.programs.table import fill, numbers


def loop_from_scratch_with_metrics(tf, np):
    keras = tf.keras
    inputs = keras.Input(shape=(5,))
    h = keras.layers.Dense(6, activation="relu")(inputs)
    model = fill(keras.Model(inputs, keras.layers.Dense(3)(h)))
    optimizer = keras.optimizers.SGD(learning_rate=0.1)
    loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    train_metric = keras.metrics.SparseCategoricalAccuracy()
    val_metric = keras.metrics.SparseCategoricalAccuracy()
    x, y = numbers(24, 5), np.arange(24) % 3
    train = tf.data.Dataset.from_tensor_slices((x[:16], y[:16])).batch(4)
    val = tf.data.Dataset.from_tensor_slices((x[16:], y[16:])).batch(4)

    @tf.function
    def train_step(x, y):
        with tf.GradientTape() as tape:
            logits = model(x, training=True)
            loss_value = loss_fn(y, logits)
            loss_value += sum(model.losses)
        grads = tape.gradient(loss_value, model.trainable_weights)
        optimizer.apply(grads, model.trainable_weights)
        train_metric.update_state(y, logits)
        return loss_value

    @tf.function
    def test_step(x, y):
        val_metric.update_state(y, model(x, training=False))

    losses, accuracies = [], []
    for _ in range(2):
        for x_batch, y_batch in train:
            losses.append(train_step(x_batch, y_batch).numpy())
        accuracies.append(float(train_metric.result()))
        train_metric.reset_state()
        for x_batch, y_batch in val:
            test_step(x_batch, y_batch)
        accuracies.append(float(val_metric.result()))
        val_metric.reset_state()
    return [losses, accuracies, optimizer.iterations]


def loop_in_plain_eager(tf, np):
    layers = tf.keras.layers

    class MyModel(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.conv1 = layers.Conv2D(4, 3, activation="relu", kernel_regularizer="l2")
            self.bn = layers.BatchNormalization()
            self.pool = layers.GlobalAveragePooling2D()
            self.d1 = layers.Dense(2)

        def call(self, x, training=None):
            return self.d1(self.pool(self.bn(self.conv1(x), training=training)))

    model = MyModel()
    x, y = numbers(8, 6, 6, 1), np.arange(8) % 2
    model(x[:1])
    fill(model)
    optimizer = tf.keras.optimizers.Adam(0.05)
    loss_object = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    history = []
    for _ in range(4):
        with tf.GradientTape() as tape:
            loss = loss_object(y, model(x, training=True)) + tf.add_n(model.losses)
        grads = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(grads, model.trainable_variables))
        history.append(loss.numpy().mean())
    return [history, model(x[:2]), model.bn.moving_variance]


def logistic_regression_with_core(tf, np):
    x = numbers(40, 3)
    y = (x @ np.array([1.0, -1.0, 0.5], "float32") > 0).astype("float32")[:, None]

    class LogisticRegression(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(tf.zeros([3, 1]), name="w")
            self.b = tf.Variable(0.0, name="b")

        @tf.function
        def __call__(self, x, train=True):
            z = tf.add(tf.matmul(x, self.w), self.b)
            if train:
                return z
            return tf.sigmoid(z)

    def log_loss(y_pred, y):
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=y_pred))

    model = LogisticRegression()
    losses = []
    for _ in range(3):
        batch_losses = []
        for x_batch, y_batch in tf.data.Dataset.from_tensor_slices((x, y)).batch(10):
            with tf.GradientTape() as tape:
                loss = log_loss(model(x_batch), y_batch)
            for g, v in zip(tape.gradient(loss, model.variables), model.variables):
                v.assign_sub(0.5 * g)
            batch_losses.append(loss)
        losses.append(tf.reduce_mean(batch_losses))
    accuracy = tf.reduce_mean(tf.cast(tf.round(model(x, train=False)) == y, tf.float32))
    return [losses, accuracy, model.w]


def multilayer_perceptron_with_core(tf, np):
    def xavier_like(shape, seed):
        return numbers(*shape, seed=seed, low=-0.4, high=0.4)

    class DenseLayer(tf.Module):
        def __init__(self, in_dim, out_dim, activation=tf.identity, seed=0):
            super().__init__()
            self.w = tf.Variable(xavier_like((in_dim, out_dim), seed))
            self.b = tf.Variable(tf.zeros([out_dim]))
            self.activation = activation

        def __call__(self, x):
            return self.activation(tf.add(tf.matmul(x, self.w), self.b))

    class MLP(tf.Module):
        def __init__(self, layers):
            super().__init__()
            self.layers = layers

        @tf.function
        def __call__(self, x, preds=False):
            for layer in self.layers:
                x = layer(x)
            return x

    class Adam:
        def __init__(self, learning_rate=0.01, beta_1=0.9, beta_2=0.999, ep=1e-7):
            self.beta_1, self.beta_2, self.lr, self.ep = beta_1, beta_2, learning_rate, ep
            self.t, self.v, self.s, self.built = 1.0, [], [], False

        def apply_gradients(self, grads, variables):
            if not self.built:
                for var in variables:
                    self.v.append(tf.Variable(tf.zeros(shape=var.shape)))
                    self.s.append(tf.Variable(tf.zeros(shape=var.shape)))
                self.built = True
            for i, (g, var) in enumerate(zip(grads, variables)):
                self.v[i].assign(self.beta_1 * self.v[i] + (1 - self.beta_1) * g)
                self.s[i].assign(self.beta_2 * self.s[i] + (1 - self.beta_2) * tf.square(g))
                v_hat = self.v[i] / (1 - self.beta_1**self.t)
                s_hat = self.s[i] / (1 - self.beta_2**self.t)
                var.assign_sub(self.lr * v_hat / (tf.sqrt(s_hat) + self.ep))
            self.t += 1.0

    mlp = MLP([DenseLayer(4, 6, tf.nn.relu, 1), DenseLayer(6, 3, seed=2)])
    x, y = numbers(30, 4), np.arange(30) % 3
    optimizer = Adam()
    losses = []
    for _ in range(4):
        with tf.GradientTape() as tape:
            logits = mlp(x)
            ce = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
            loss = tf.reduce_mean(ce)
        optimizer.apply_gradients(tape.gradient(loss, mlp.variables), mlp.variables)
        losses.append(loss)
    predicted = tf.argmax(tf.nn.softmax(mlp(x)), axis=1)
    return [losses, predicted]


def fitting_a_quadratic(tf, np):
    x = tf.cast(tf.linspace(-2, 2, 41), tf.float32)
    y = x**2 + 2 * x - 1

    class Model(tf.Module):
        def __init__(self):
            super().__init__()
            self.w_q, self.w_l, self.b = (tf.Variable(v) for v in (0.1, -0.3, 0.2))

        @tf.function
        def __call__(self, x):
            return self.w_q * (x**2) + self.w_l * x + self.b

    model = Model()
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    for _ in range(20):
        for x_batch, y_batch in dataset:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(model(x_batch) - y_batch))
            grads = tape.gradient(loss, model.variables)
            for g, v in zip(grads, model.variables):
                v.assign_sub(0.01 * g)
    return [loss, [v.numpy() for v in (model.w_q, model.w_l, model.b)]]


def style_by_optimising_the_input(tf, np):
    target = tf.constant(numbers(1, 4, 4, 2, low=0))
    kernel = tf.constant(numbers(3, 3, 2, 3, seed=1))

    def gram(t):
        result = tf.linalg.einsum("bijc,bijd->bcd", t, t)
        shape = tf.shape(t)
        return result / tf.cast(shape[1] * shape[2], tf.float32)

    wanted = gram(tf.nn.conv2d(target, kernel, 1, "SAME"))
    image = tf.Variable(tf.zeros_like(target) + 0.5)
    optimizer = tf.keras.optimizers.Adam(learning_rate=0.02, beta_1=0.99, epsilon=1e-1)

    @tf.function()
    def train_step(image):
        with tf.GradientTape() as tape:
            got = gram(tf.nn.conv2d(image, kernel, 1, "SAME"))
            loss = tf.add_n([tf.reduce_mean((got - wanted) ** 2), tf.reduce_sum(image**2) * 1e-3])
        grad = tape.gradient(loss, image)
        optimizer.apply_gradients([(grad, image)])
        image.assign(tf.clip_by_value(image, clip_value_min=0.0, clip_value_max=1.0))
        return loss

    return [[train_step(image) for _ in range(3)], image]


def adversarial_example(tf, np):
    model = fill(
        tf.keras.Sequential([tf.keras.Input((5,)), tf.keras.layers.Dense(3, activation="softmax")])
    )
    image = tf.convert_to_tensor(numbers(1, 5))
    label = tf.reshape(tf.one_hot(1, 3), (1, 3))
    with tf.GradientTape() as tape:
        tape.watch(image)
        loss = tf.keras.losses.CategoricalCrossentropy()(label, model(image))
    signed = tf.sign(tape.gradient(loss, image))
    return [signed, model(tf.clip_by_value(image + 0.1 * signed, -1, 1))]


def actor_critic_returns(tf, np):
    @tf.function
    def expected_return(rewards, gamma, standardize=True):
        n = tf.shape(rewards)[0]
        returns = tf.TensorArray(dtype=tf.float32, size=n)
        rewards = tf.cast(rewards[::-1], dtype=tf.float32)
        discounted_sum = tf.constant(0.0)
        discounted_sum_shape = discounted_sum.shape
        for i in tf.range(n):
            reward = rewards[i]
            discounted_sum = reward + gamma * discounted_sum
            discounted_sum.set_shape(discounted_sum_shape)
            returns = returns.write(i, discounted_sum)
        returns = returns.stack()[::-1]
        if standardize:
            returns = (returns - tf.math.reduce_mean(returns)) / (
                tf.math.reduce_std(returns) + 1e-7
            )
        return returns

    r = tf.constant([1, 1, 0, 2])
    return [expected_return(r, 0.9), expected_return(r, 0.5, standardize=False)]


def attention_by_hand(tf, np):
    def scaled_dot_product_attention(q, k, v, mask):
        matmul_qk = tf.matmul(q, k, transpose_b=True)
        dk = tf.cast(tf.shape(k)[-1], tf.float32)
        logits = matmul_qk / tf.math.sqrt(dk)
        if mask is not None:
            logits += mask * -1e9
        weights = tf.nn.softmax(logits, axis=-1)
        return tf.matmul(weights, v), weights

    def positional_encoding(length, depth):
        positions = np.arange(length)[:, np.newaxis]
        depths = np.arange(depth)[np.newaxis, :] / depth
        angles = positions / 10000**depths
        return tf.cast(np.concatenate([np.sin(angles), np.cos(angles)], axis=-1), dtype=tf.float32)

    x = tf.constant(numbers(2, 4, 6)) + positional_encoding(4, 3)[tf.newaxis]
    heads = tf.transpose(tf.reshape(x, (2, -1, 2, 3)), perm=[0, 2, 1, 3])
    look_ahead = 1 - tf.linalg.band_part(tf.ones((4, 4)), -1, 0)
    out, weights = scaled_dot_product_attention(heads, heads, heads, look_ahead)
    return [out, weights[0, 0]]


def gradient_accumulation_and_clipping(tf, np):
    model = fill(tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(2)]))
    optimizer = tf.keras.optimizers.SGD(0.1)
    total = [tf.Variable(tf.zeros_like(v), trainable=False) for v in model.trainable_variables]
    for k in range(3):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(numbers(4, 3, seed=k)) ** 2) / 3
        for acc, g in zip(total, tape.gradient(loss, model.trainable_variables)):
            acc.assign_add(g)
    grads, norm = tf.clip_by_global_norm([tf.convert_to_tensor(t) for t in total], 0.2)
    optimizer.apply_gradients(zip(grads, model.trainable_variables))
    return [norm, model.get_weights()]
