"""Programs of the gradient guides: tapes, what they watch, higher orders, custom gradients."""


def first_gradient(tf, np):
    x = tf.Variable(3.0)
    with tf.GradientTape() as tape:
        y = x**2
    return tape.gradient(y, x)


def gradient_of_a_layer(tf, np):
    w = tf.Variable([[0.5, -0.2], [0.3, 0.1], [0.2, 0.4]], name="w")
    b = tf.Variable(tf.zeros(2, dtype=tf.float32), name="b")
    x = [[1.0, 2.0, 3.0]]
    with tf.GradientTape(persistent=True) as tape:
        y = x @ w + b
        loss = tf.reduce_mean(y**2)
    dw, db = tape.gradient(loss, [w, b])
    named = tape.gradient(loss, {"w": w, "b": b})
    return [dw, db, named["b"], dw.shape]


def gradient_with_respect_to_a_model(tf, np):
    layer = tf.keras.layers.Dense(2, activation="relu")
    x = tf.constant([[1.0, 2.0, 3.0]])
    layer.build((None, 3))
    layer.set_weights([np.arange(6, dtype="float32").reshape(3, 2) / 10, np.zeros(2, "float32")])
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(layer(x) ** 2)
    return tape.gradient(loss, layer.trainable_variables)


def what_the_tape_watches(tf, np):
    x0 = tf.Variable(3.0, name="x0")
    x1 = tf.Variable(3.0, name="x1", trainable=False)
    x2 = tf.Variable(2.0, name="x2") + 1.0
    x3 = tf.constant(3.0, name="x3")
    with tf.GradientTape() as tape:
        y = (x0**2) + (x1**2) + (x2**2)
    watched = [var.name for var in tape.watched_variables()]
    grads = tape.gradient(y, [x0, x1, x2, x3])
    x = tf.constant(3.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = x**2
    chosen = tape.gradient(y, x)
    v0, v1 = tf.Variable(0.0), tf.Variable(10.0)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(v1)
        ys = tf.reduce_sum(tf.math.sin(v0) + tf.nn.softplus(v1))
    return [grads, watched, chosen, tape.gradient(ys, {"x0": v0, "x1": v1})]


def intermediate_results_and_persistent(tf, np):
    x = tf.constant([1, 3.0])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = x * x
        z = y * y
    result = [tape.gradient(z, x), tape.gradient(y, x), tape.gradient(z, y)]
    del tape
    return result


def gradients_of_non_scalar_targets(tf, np):
    x = tf.Variable(2.0)
    with tf.GradientTape(persistent=True) as tape:
        y0 = x**2
        y1 = 1 / x
    sums = tape.gradient({"y0": y0, "y1": y1}, x)
    with tf.GradientTape() as tape:
        y = x * [3.0, 4.0]
    vector = tape.gradient(y, x)
    steps = tf.linspace(-2.0, 2.0, 5)
    with tf.GradientTape() as tape:
        tape.watch(steps)
        y = tf.nn.sigmoid(steps)
    return [sums, vector, tape.gradient(y, steps)]


def control_flow_under_a_tape(tf, np):
    x = tf.constant(1.0)
    v0, v1 = tf.Variable(2.0), tf.Variable(2.0)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        if x > 0.0:
            result = v0
        else:
            result = v1**2
    return [tape.gradient(result, v0), tape.gradient(result, v1), tape.gradient(result, x)]


def none_gradients(tf, np):
    x = tf.Variable(2.0)
    y = tf.Variable(3.0)
    with tf.GradientTape() as tape:
        z = y * y
    unconnected = tape.gradient(z, x)
    for _ in range(2):
        with tf.GradientTape() as tape:
            y = x + 1
        replaced = tape.gradient(y, x)
        x = tf.Variable(x + 1)  # kept a variable: the guide's mistake would lose it
    with tf.GradientTape() as tape:
        outside = tf.constant(np.square(x.numpy()))
    numpys = tape.gradient(outside, x)
    state = tf.Variable(0.0)
    x0 = tf.Variable(3.0)
    with tf.GradientTape() as tape:
        state.assign_add(x0)
        y = state**2
    through_state = tape.gradient(y, x0)
    with tf.GradientTape() as tape:
        z = tf.constant(2.0) * 3
    zero = tape.gradient(z, x0, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [unconnected, replaced, numpys, through_state, zero]


def stop_recording_and_reset(tf, np):
    x = tf.Variable(2.0)
    y = tf.Variable(3.0)
    with tf.GradientTape() as t:
        x_sq = x * x
        with t.stop_recording():
            y_sq = y * y
        z = x_sq + y_sq
    first = t.gradient(z, {"x": x, "y": y})
    with tf.GradientTape() as t:
        y_sq = y * y
        t.reset()
        z = x * x + y_sq
    second = t.gradient(z, {"x": x, "y": y})
    with tf.GradientTape() as t:
        z = x**2 + tf.stop_gradient(y**2)
    return [first, second, t.gradient(z, {"x": x, "y": y})]


def custom_gradients(tf, np):
    @tf.custom_gradient
    def clip_gradients(y):
        def backward(dy):
            return tf.clip_by_norm(dy, 0.5)

        return y, backward

    @tf.custom_gradient
    def log1pexp(x):
        e = tf.exp(x)
        return tf.math.log(1 + e), lambda upstream: upstream * (1 - 1 / (1 + e))

    v = tf.Variable(2.0)
    with tf.GradientTape() as t:
        output = clip_gradients(v * v)
    x = tf.constant(100.0)
    with tf.GradientTape() as t2:
        t2.watch(x)
        y = log1pexp(x)
    inside = tf.function(lambda z: log1pexp(z) * 2)
    z = tf.constant(0.5)
    with tf.GradientTape() as t3:
        t3.watch(z)
        w = inside(z)
    return [t.gradient(output, v), t2.gradient(y, x), t3.gradient(w, z)]


def several_tapes(tf, np):
    x0, x1 = tf.constant(0.0), tf.constant(0.0)
    with tf.GradientTape() as tape0, tf.GradientTape() as tape1:
        tape0.watch(x0)
        tape1.watch(x1)
        ys = tf.reduce_sum(tf.math.sin(x0) + tf.nn.sigmoid(x1))
    return [tape0.gradient(ys, x0), tape1.gradient(ys, x1)]


def higher_order(tf, np):
    x = tf.Variable(1.0)
    with tf.GradientTape() as t2:
        with tf.GradientTape() as t1:
            y = x * x * x
        dy_dx = t1.gradient(y, x)
    d2y = t2.gradient(dy_dx, x)
    third = tf.Variable(0.7)
    with tf.GradientTape() as a:
        with tf.GradientTape() as b:
            with tf.GradientTape() as c:
                y = tf.sin(third) * third
            g = c.gradient(y, third)
        h = b.gradient(g, third)
    return [dy_dx, d2y, a.gradient(h, third)]


def input_gradient_regularisation(tf, np):
    x = tf.constant([[0.1, 0.5, -0.3], [1.0, 0.2, 0.7]])
    layer = tf.keras.layers.Dense(4, activation="tanh")
    layer.build((None, 3))
    layer.set_weights(
        [np.linspace(-1, 1, 12).reshape(3, 4).astype("float32"), np.zeros(4, "float32")]
    )
    with tf.GradientTape() as t2:
        with tf.GradientTape(watch_accessed_variables=False) as t1:
            t1.watch(x)
            y = layer(x)
            out = tf.reduce_sum(layer(x) ** 2)
        g1 = t1.gradient(out, x)
        g1_mag = tf.norm(g1)
    return [y, g1_mag, t2.gradient(g1_mag, layer.trainable_variables)]


def jacobians(tf, np):
    x = tf.linspace(-1.0, 1.0, 4)
    delta = tf.Variable(0.3)
    with tf.GradientTape() as tape:
        y = tf.nn.sigmoid(x + delta)
    scalar_source = tape.jacobian(y, delta)
    w = tf.Variable([[0.1, 0.2], [0.3, -0.4]])
    x = tf.constant([[1.0, 2.0], [0.5, -1.0]])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = tf.nn.relu(x @ w) ** 2
    return [
        scalar_source,
        tape.jacobian(y, w),
        tape.batch_jacobian(y, x),
        tape.jacobian(y, w).shape,
    ]


def hessian_newton_step(tf, np):
    x = tf.Variable([1.5, -0.5])
    with tf.GradientTape() as t2:
        with tf.GradientTape() as t1:
            loss = tf.reduce_sum(x**4) + x[0] * x[1]
        g = t1.gradient(loss, x)
    return [g, t2.jacobian(g, x)]


def gradients_of_integers_are_none(tf, np):
    x = tf.constant(10)
    with tf.GradientTape() as g:
        y = tf.cast(x, tf.float32) * 2
    return g.gradient(y, x)


def embedding_gradient(tf, np):
    table = tf.Variable(np.arange(8, dtype="float32").reshape(4, 2))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.gather(table, [1, 1, 3]) ** 2)
    grad = tape.gradient(loss, table)
    return tf.convert_to_tensor(grad)


def output_gradients_and_accumulation(tf, np):
    x = tf.Variable([1.0, 2.0])
    with tf.GradientTape() as tape:
        y = x**3
    weighted = tape.gradient(y, x, output_gradients=tf.constant([1.0, 10.0]))
    total = tf.zeros([2])
    for k in range(3):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(x * float(k))
        total += tape.gradient(loss, x)
    clipped, norm = tf.clip_by_global_norm([weighted, total], 5.0)
    return [weighted, total, clipped, norm]


def linear_regression_by_hand(tf, np):
    xs = tf.linspace(-2.0, 2.0, 21)
    ys = xs * 3.0 + 2.0
    w, b = tf.Variable(5.0), tf.Variable(0.0)
    history = []
    for _ in range(10):
        with tf.GradientTape() as t:
            loss = tf.reduce_mean(tf.square(ys - (w * xs + b)))
        dw, db = t.gradient(loss, [w, b])
        w.assign_sub(0.1 * dw)
        b.assign_sub(0.1 * db)
        history.append([w.numpy(), b.numpy(), loss.numpy()])
    return history


def polynomial_descent_in_a_function(tf, np):
    x = tf.Variable(4.0)
    optimizer = tf.keras.optimizers.SGD(learning_rate=0.1, momentum=0.5)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = (x - 1.0) ** 2 + 0.1 * x**4
        (grad,) = tape.gradient(loss, [x])
        optimizer.apply_gradients([(grad, x)])
        return loss

    return [step() for _ in range(6)] + [x, optimizer.iterations]
