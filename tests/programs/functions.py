"""Programs of the tf.function and graph guides."""


def simple_functions(tf, np):
    @tf.function
    def add(a, b):
        return a + b

    v = tf.Variable(1.0)
    with tf.GradientTape() as tape:
        result = add(v, 1.0)

    @tf.function
    def dense_layer(x, w, b):
        return add(tf.matmul(x, w), b)

    return [
        add(tf.ones([2, 2]), tf.ones([2, 2])),
        tape.gradient(result, v),
        dense_layer(tf.ones([3, 2]), tf.ones([2, 2]), tf.ones([2])),
        add(tf.constant("a"), tf.constant("b")),
        add(1, 2),
    ]


def retracing(tf, np):
    traced = []

    @tf.function
    def double(a):
        traced.append(1)
        return a + a

    results = [
        double(tf.constant(1)),
        double(tf.constant(1.1)),
        double(tf.constant(2)),
        double(3),
        double(4),
    ]
    return results, len(traced), double.experimental_get_tracing_count()


def input_signatures(tf, np):
    calls = []

    @tf.function(input_signature=(tf.TensorSpec(shape=[None], dtype=tf.int32),))
    def next_collatz(x):
        calls.append(1)
        return tf.where(x % 2 == 0, x // 2, 3 * x + 1)

    values = [next_collatz(tf.constant([1, 2])), next_collatz(tf.constant([1, 2, 3]))]
    for bad in (tf.constant([[1, 2], [3, 4]]), tf.constant([1.0, 2.0])):
        try:
            next_collatz(bad)
            values.append("accepted")
        except (TypeError, ValueError):
            values.append("refused")
    return values, len(calls)


def concrete_functions(tf, np):
    @tf.function
    def power(a, b):
        return a**b

    square = power.get_concrete_function(a=tf.TensorSpec([], tf.float32), b=2)
    double = power.get_concrete_function(
        tf.TensorSpec([None], tf.float32), tf.TensorSpec([], tf.float32)
    )
    return [
        square(tf.constant(10.0)), double(tf.constant([1.0, 3.0]), tf.constant(3.0)),
        double.structured_outputs.dtype,
    ]  # fmt: skip


def python_side_effects_happen_once(tf, np):
    seen = []

    @tf.function
    def f(x):
        seen.append("python")
        return x + 1

    for _ in range(3):
        f(tf.constant(1))
    f(2), f(2), f(3)
    return seen


def conditionals(tf, np):
    @tf.function
    def sign(x):
        if x > 0:
            return 1
        elif x < 0:
            return -1
        else:
            return 0

    @tf.function
    def clip(x, low=0.0, high=1.0):
        if x < low:
            x = low * tf.ones_like(x)
        if x > high:
            x = high * tf.ones_like(x)
        return x

    @tf.function
    def both(x, y):
        if x > 0 and not y:
            z = x * 2
        else:
            z = x - 1
        return z if z > 0 else -z

    return [
        [sign(tf.constant(v)) for v in (5, -2, 0)],
        [clip(tf.constant(v)) for v in (-1.0, 0.5, 3.0)],
        [both(tf.constant(2), tf.constant(y)) for y in (True, False)],
        tf.cond(tf.constant(1) < 2, lambda: tf.constant("yes"), lambda: tf.constant("no")),
        tf.case([(tf.constant(False), lambda: 1)], default=lambda: 2),
        tf.switch_case(tf.constant(1), [lambda: 10, lambda: 20]),
    ]


def fizzbuzz(tf, np):
    @tf.function
    def fizzbuzz(n):
        words = tf.TensorArray(tf.int32, size=0, dynamic_size=True)
        for i in tf.range(1, n + 1):
            if i % 15 == 0:
                code = -15
            elif i % 5 == 0:
                code = -5
            elif i % 3 == 0:
                code = -3
            else:
                code = i
            words = words.write(i - 1, code)
        return words.stack()

    return fizzbuzz(tf.constant(16))


def loops(tf, np):
    @tf.function
    def collatz(n):
        steps = 0
        while n != 1:
            if n % 2 == 0:
                n = n // 2
            else:
                n = 3 * n + 1
            steps += 1
        return steps

    @tf.function
    def first_over(values, limit):
        found = tf.constant(-1.0)
        for v in values:
            if v < 0:
                continue
            if v > limit:
                found = v
                break
        return found

    @tf.function
    def tanh_until_small(x):
        while tf.reduce_sum(x) > 1:
            x = tf.tanh(x)
        return x

    @tf.function
    def nested(n):
        total = 0
        for i in tf.range(n):
            for j in tf.range(i):
                total += i * j
        return total

    return [
        collatz(tf.constant(27)), first_over(tf.constant([-9.0, 1.0, 5.0, 7.0]), 4.0),
        tanh_until_small(tf.constant([0.9, 0.8, 0.7])), nested(tf.constant(5)),
        tf.while_loop(lambda i, s: i < 5, lambda i, s: (i + 1, s + i), [0, 10]),
    ]  # fmt: skip


def loops_over_a_dataset_in_a_function(tf, np):
    @tf.function
    def total(ds):
        s = tf.constant(0, tf.int64)
        for x in ds:
            s += x
        return s

    return total(tf.data.Dataset.range(6))


def gradient_through_a_loop(tf, np):
    w = tf.Variable(0.5)

    @tf.function
    def unroll(x, steps):
        for _ in tf.range(steps):
            x = tf.tanh(w * x + 0.1)
        return x

    with tf.GradientTape() as tape:
        y = unroll(tf.constant(0.3), tf.constant(4))
    return [y, tape.gradient(y, w)]


def rnn_with_tensor_array(tf, np):
    @tf.function
    def dynamic_rnn(rnn_step, input_data, initial_state):
        input_data = tf.transpose(input_data, [1, 0, 2])
        max_seq_len = tf.shape(input_data)[0]
        states = tf.TensorArray(tf.float32, size=max_seq_len)
        state = initial_state
        for i in tf.range(max_seq_len):
            state = rnn_step(input_data[i], state)
            states = states.write(i, state)
        return tf.transpose(states.stack(), [1, 0, 2])

    data = np.arange(12, dtype="float32").reshape(2, 3, 2) / 10
    return dynamic_rnn(lambda x, s: tf.tanh(x + s), data, tf.zeros([2, 2]))


def variables_in_functions(tf, np):
    class Count(tf.Module):
        def __init__(self):
            super().__init__()
            self.count = None

        @tf.function
        def __call__(self):
            if self.count is None:
                self.count = tf.Variable(0)
            return self.count.assign_add(1)

    c = Count()

    @tf.function
    def bad(x):
        return tf.Variable(1.0) + x

    try:
        bad(1.0)
        refused = False
    except ValueError:
        refused = True
    return [c(), c(), Count()(), refused]


def methods_and_closures(tf, np):
    class Model(tf.Module):
        def __init__(self, scale):
            super().__init__()
            self.scale = scale
            self.bias = tf.Variable(0.0)

        @tf.function
        def __call__(self, x):
            return x * self.scale + self.bias

    m = Model(2.0)
    before = m(tf.constant(3.0))
    m.bias.assign(10.0)

    def make(k):
        @tf.function
        def f(x):
            return x * k

        return f

    captured = tf.Variable(2.0)
    later = tf.function(lambda x: x * captured)
    first = later(tf.constant(1.0))
    captured.assign(5.0)
    return [before, m(tf.constant(3.0)), make(3)(tf.constant(2)), first, later(tf.constant(1.0))]


def structured_arguments(tf, np):
    @tf.function
    def f(batch, *, training=False, scale=1.0):
        out = {"y": batch["x"] * scale, "n": tf.shape(batch["x"])[0]}
        if training:
            out["loss"] = tf.reduce_sum(out["y"])
        return out, (batch["x"][0],)

    batch = {"x": tf.constant([1.0, 2.0])}
    return [f(batch), f(batch, training=True), f(batch, training=True, scale=3.0)]


def functional_tools(tf, np):
    elems = tf.constant([1.0, 2.0, 3.0])
    return [
        tf.map_fn(lambda x: x * x, elems),
        tf.map_fn(lambda x: (x, -x), elems, fn_output_signature=(tf.float32, tf.float32)),
        tf.scan(lambda a, x: a + x, elems), tf.foldl(lambda a, x: a * x, elems),
        tf.vectorized_map(lambda x: tf.reduce_sum(x * x), tf.reshape(tf.range(6.0), [3, 2])),
        tf.py_function(lambda x: x + 1, [elems], tf.float32),
        tf.numpy_function(lambda x: np.cumsum(x), [elems], tf.float32),
    ]  # fmt: skip


def numpy_and_py_functions_inside(tf, np):
    log = []

    @tf.function
    def f(x):
        y = tf.py_function(
            lambda v: (log.append(float(v)), v * 3)[1], [x], tf.TensorSpec([], tf.float32)
        )
        return tf.ensure_shape(y, []) + 1

    return [f(tf.constant(2.0)), f(tf.constant(4.0)), log]


def running_eagerly(tf, np):
    seen = []

    @tf.function
    def f(x):
        seen.append(1)
        return x + 1

    tf.config.run_functions_eagerly(True)
    try:
        f(tf.constant(1)), f(tf.constant(1))
    finally:
        tf.config.run_functions_eagerly(False)
    return len(seen), f(tf.constant(1)), len(seen), tf.config.functions_run_eagerly()


def assertions_in_functions(tf, np):
    @tf.function
    def root(x):
        tf.debugging.assert_non_negative(x, message="negative")
        tf.debugging.Assert(tf.reduce_all(x < 100), [x])
        return tf.sqrt(x)

    out = [root(tf.constant([4.0, 9.0]))]
    for bad in (-1.0, 400.0):
        try:
            root(tf.constant([bad, 1.0]))
            out.append("accepted")
        except tf.errors.InvalidArgumentError:
            out.append("refused")
    return out


def short_circuits_and_strings(tf, np):
    @tf.function
    def f(x, mode="train"):
        if mode == "train":  # plain Python: decided while tracing
            x = x + 1
        y = x if tf.reduce_sum(x) > 10 else x * 100
        assert mode in ("train", "test")
        values = [y * k for k in range(3)]
        return tf.stack(values), len(values)

    return [f(tf.constant([1, 2])), f(tf.constant([1, 2]), "test"), f(tf.constant([10, 20]))]
