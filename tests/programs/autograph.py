"""Programs in which Python control flow on tensors takes the turns that people write."""


def early_returns(tf, np):
    @tf.function
    def kind(x):
        if x < 0:
            return tf.constant("negative")
        if x == 0:
            return tf.constant("zero")
        found = tf.constant("other")
        for i in tf.range(x):
            if i * i == x:
                found = tf.constant("square")
                break
        if x > 5 and found != "square":
            return tf.strings.join([found, " and large"])
        return found

    return [kind(tf.constant(v)) for v in (-3, 0, 4, 1, 7)]


def break_continue_else(tf, np):
    @tf.function
    def f(values, limit):
        total = 0
        skipped = 0
        i = 0
        while i < tf.size(values):
            v = values[i]
            i += 1
            if v % 2 == 0:
                skipped += 1
                continue
            total += v
            if total > limit:
                break
        return total, skipped, i

    values = tf.constant([1, 2, 3, 4, 5, 6, 7])
    return [f(values, tf.constant(3)), f(values, tf.constant(100))]


def loops_over_python_and_tensors(tf, np):
    @tf.function
    def f(x, names):
        total = tf.zeros([])
        for k, name in enumerate(names):  # Python: unrolled
            total += float(k) * tf.cast(len(name), tf.float32)
        for row in x:  # tensor: a loop
            total += tf.reduce_sum(row)
        for a, b in zip([1.0, 2.0], [3.0, 4.0]):
            total += a * b
        return total

    return f(tf.constant([[1.0, 2.0], [3.0, 4.0]]), ["a", "bcd"])


def state_in_structures(tf, np):
    @tf.function
    def f(n):
        state = {"a": tf.constant(0), "b": (tf.constant(1.0), tf.constant(2.0))}
        for i in tf.range(n):
            state["a"] += i
            x, y = state["b"]
            state["b"] = (y, x + y)
        return state

    return f(tf.constant(5))


def logical_operators(tf, np):
    @tf.function
    def f(x, y):
        a = x > 0 and y > 0
        b = x > 0 or y > 0
        c = not (x > 0)
        d = 0 < x < 5
        e = x if x > y else y
        return a, b, c, d, e

    return [f(tf.constant(p), tf.constant(q)) for p, q in ((1, 2), (-1, 2), (7, -2))]


def inner_functions_and_recursion(tf, np):
    def factorial(n):
        return 1 if n <= 1 else n * factorial(n - 1)

    def relu_like(x):
        if x > 0:
            return x
        return tf.zeros_like(x)

    @tf.function
    def f(x):
        def scaled(v):
            if v > 2.0:
                v = v * 10.0
            return v

        return scaled(relu_like(x)) * factorial(4)

    return [f(tf.constant(v)) for v in (-1.0, 1.0, 3.0)]


def gradient_through_branches_and_loops(tf, np):
    @tf.function
    def f(x, n):
        y = x
        for i in tf.range(n):
            if i % 2 == 0:
                y = y * x
            else:
                y = tf.sin(y)
        return y

    out = []
    x = tf.Variable(0.8)
    for n in (0, 1, 4):
        with tf.GradientTape() as tape:
            y = f(x, tf.constant(n))
        out.append([y, tape.gradient(y, x)])
    return out


def newton_with_a_tolerance(tf, np):
    @tf.function
    def root(a, tolerance=1e-6):
        x = a
        steps = tf.constant(0)
        while tf.abs(x * x - a) > tolerance * a:
            x = 0.5 * (x + a / x)
            steps += 1
        return x, steps

    return [root(tf.constant(2.0)), root(tf.constant(100.0))]


def training_loop_inside_a_function(tf, np):
    w = tf.Variable([0.0, 0.0])
    x = np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 0.5]], "float32")
    y = x @ np.array([1.0, -2.0], "float32")
    ds = tf.data.Dataset.from_tensor_slices((x, y)).batch(2)

    @tf.function
    def epoch(ds):
        total = tf.constant(0.0)
        for bx, by in ds:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((tf.linalg.matvec(bx, w) - by) ** 2)
            w.assign_sub(0.1 * tape.gradient(loss, w))
            total += loss
        return total

    return [epoch(ds), epoch(ds), w]


def printing_and_asserting(tf, np):
    @tf.function
    def f(x):
        for i in tf.range(2):
            tf.print("step", i, output_stream="file://" + "log.txt")
        tf.debugging.assert_positive(x)
        return x

    values = [f(tf.constant(1))]
    with open("log.txt") as file:
        values.append(file.read())
    try:
        f(tf.constant(-1))
        values.append("accepted")
    except tf.errors.InvalidArgumentError:
        values.append("refused")
    return values


def signatures_on_methods(tf, np):
    class Counter(tf.Module):
        def __init__(self):
            super().__init__()
            self.total = tf.Variable(0.0)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
        def add(self, values):
            for v in values:
                if v > 0:
                    self.total.assign_add(v)
            return self.total.read_value()

    a, b = Counter(), Counter()
    return [a.add([1.0, -5.0, 2.0]), a.add([1.0]), b.add([]), a.total, b.total]


def fewer_retraces(tf, np):
    traced = []

    @tf.function(reduce_retracing=True)
    def f(x):
        traced.append(1)
        return tf.reduce_sum(x)

    values = [f(tf.ones([n])) for n in (1, 2, 3, 4)]
    return values, len(traced) <= 2


def conversion_off(tf, np):
    @tf.autograph.experimental.do_not_convert
    def plain(x):
        return [x + k for k in range(2)]

    @tf.function
    def f(x):
        return plain(x)

    return f(tf.constant(1))


def beam_of_arrays(tf, np):
    @tf.function
    def f(n):
        squares = tf.TensorArray(tf.int32, size=n)
        sums = tf.TensorArray(tf.int32, size=0, dynamic_size=True, clear_after_read=False)
        sums = sums.write(0, 0)
        for i in tf.range(n):
            squares = squares.write(i, i * i)
            sums = sums.write(i + 1, sums.read(i) + i * i)
        return squares.stack(), sums.stack(), sums.size()

    return f(tf.constant(4))
