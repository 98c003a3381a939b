"""Programs about tensors: making, slicing, combining, casting, NumPy, strings."""


def making_tensors(tf, np):
    scalar = tf.constant(4)
    vector = tf.constant([2.0, 3.0, 4.0])
    matrix = tf.constant([[1, 2], [3, 4], [5, 6]], dtype=tf.float16)
    cube = tf.constant([[[0, 1], [2, 3]], [[4, 5], [6, 7]]])
    filled = tf.fill([2, 3], 9)
    return {
        "dtypes": [scalar.dtype, vector.dtype, matrix.dtype, cube.dtype, filled.dtype],
        "shapes": [scalar.shape, vector.shape, matrix.shape, cube.shape, filled.shape],
        "text": [str(scalar), repr(vector), repr(cube[0])],
        "values": [matrix, cube, filled, tf.ones([2]), tf.zeros_like(cube), tf.eye(2, 3)],
        "lines": [tf.linspace(0.0, 1.0, 5), tf.range(3, 18, 3), tf.range(2.0)],
        "rank_size": [tf.rank(cube), tf.size(cube), cube.ndim, len(cube), tf.shape(cube)],
    }


def arithmetic(tf, np):
    a = tf.constant([[1, 2], [3, 4]])
    b = tf.ones([2, 2], dtype=tf.int32)
    x = tf.constant([[4.0, 5.0], [10.0, 1.0]])
    return {
        "named": [tf.add(a, b), tf.multiply(a, b), tf.matmul(a, b)],
        "operators": [a + b, a * b, a @ b, a - 1, 2 - a, a // 2, a % 2, a**2, -a, a / 2],
        "reduce": [
            tf.reduce_max(x),
            tf.math.argmax(x),
            tf.nn.softmax(x),
            tf.reduce_mean(x, axis=0),
        ],
        "compare": [a > 2, a == b, a != b, tf.equal(a, 3), (a > 1) & (a < 4), ~(a > 1)],
        "add_n": tf.add_n([x, x, 2 * x]),
        "clip": [tf.clip_by_value(x, 2, 6), tf.clip_by_norm(x, 1.0), tf.norm(x)],
        "maths": [tf.exp(x / 10), tf.sqrt(x), tf.abs(-x), tf.sign(x - 4.5), tf.math.log(x)],
        "divide": [
            7 // tf.constant(-2),
            7 % tf.constant(-2),
            tf.truediv(7, 2),
            tf.math.floordiv(7.0, 2.0),
        ],
        "round": [tf.round([0.5, 1.5, -2.5, 2.6]), tf.floor([-0.5, 1.7]), tf.math.ceil([0.2])],
    }


def slicing(tf, np):
    t = tf.range(24)
    cube = tf.reshape(t, [2, 3, 4])
    return [
        t[0], t[-1], t[1:4], t[::2], t[::-1][:3], t[20:], t[3:2],
        cube[0], cube[:, 1], cube[..., -1], cube[1, 2, 3], cube[:, ::-1, 1:3],
        cube[tf.newaxis].shape, cube[:, tf.newaxis, ..., 0].shape, cube[0][1:, 2],
        cube[tf.constant(1), :, tf.constant(0)],
        tf.slice(cube, [0, 1, 1], [2, 2, -1]),
        t[tf.constant(2) : tf.constant(5)],
        tf.strided_slice(t, [1], [9], [3]),
        tf.boolean_mask(t, t % 7 == 0),
    ]  # fmt: skip


def shapes_and_reshaping(tf, np):
    x = tf.constant([[1], [2], [3]])
    y = tf.reshape(x, [1, -1])
    cube = tf.reshape(tf.range(30), [3, 2, 5])
    return {
        "reshape": [y, tf.reshape(cube, [-1])[:3], tf.reshape(cube, [3, -1]), x.shape.as_list()],
        "transpose": [tf.transpose(y), tf.transpose(cube, [2, 0, 1]).shape],
        "expand": [tf.expand_dims(x, 0).shape, tf.expand_dims(x, -1).shape, tf.squeeze(x)],
        "squeeze_axis": tf.squeeze(tf.zeros([1, 2, 1]), axis=0).shape,
        "concat": [
            tf.concat([x, x], axis=1),
            tf.concat([x, x], 0),
            tf.stack([x, x], axis=-1).shape,
        ],
        "split": [tf.split(tf.range(6), 3), tf.split(tf.range(6), [1, 5]), tf.unstack(x)],
        "tile": [tf.tile(x, [1, 2]), tf.repeat([1, 2], 2), tf.repeat([1, 2], [1, 3])],
        "pad": [tf.pad(x, [[1, 0], [0, 1]]), tf.pad([[1, 2, 3]], [[0, 0], [2, 2]], "REFLECT")],
        "reverse": [tf.reverse(x, [0]), tf.roll(tf.range(5), 2, 0)],
        "static": [tf.TensorShape([None, 3]).as_list(), tf.TensorShape([2, 3]).num_elements()],
        "meshgrid": tf.meshgrid([1, 2], [3, 4, 5]),
    }


def broadcasting(tf, np):
    x = tf.constant([1, 2, 3])
    column = tf.reshape(x, [3, 1])
    row = tf.range(1, 5)
    return [
        tf.multiply(x, 2), x * tf.constant([2, 2, 2]), column * row, column + x,
        tf.broadcast_to(x, [2, 3]), tf.broadcast_static_shape(column.shape, row.shape),
        tf.maximum(column, 2), tf.where(column > 1, row, 0),
    ]  # fmt: skip


def gathering(tf, np):
    t = tf.constant([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    updates = tf.tensor_scatter_nd_update(tf.zeros([4], tf.int32), [[1], [3]], [5, 7])
    return {
        "gather": [tf.gather(t, [0, 2]), tf.gather(t, [2, 0], axis=1), tf.gather(t, 1)],
        "batch": tf.gather(t, [[0, 0], [2, 1], [1, 1]], batch_dims=1),
        "gather_nd": tf.gather_nd(t, [[0, 0], [2, 1]]),
        "scatter": [tf.scatter_nd([[1], [1]], [2, 3], [3]), updates],
        "add": tf.tensor_scatter_nd_add(t, [[0, 0], [0, 0]], [10, 100]),
        "where": [tf.where([True, False, True]), tf.where(t > 5, t, -t)],
        "one_hot": [tf.one_hot([0, 2, -1], 3), tf.one_hot([1], 3, on_value=5, off_value=-1)],
        "unique": [*tf.unique([3, 1, 3, 2])],
        "sort": [tf.sort([3, 1, 2], direction="DESCENDING"), tf.argsort([3, 1, 2])],
        "top": [*tf.math.top_k([1.0, 9.0, 4.0], k=2)],
        "mask": tf.sequence_mask([1, 3, 2], 4),
        "partition": tf.dynamic_partition([1, 2, 3, 4], [0, 1, 0, 1], 2),
        "segment": tf.math.unsorted_segment_sum([1.0, 2.0, 3.0], [0, 1, 0], 3),
        "lookup": tf.nn.embedding_lookup(tf.eye(3), [2, 0]),
    }


def reductions(tf, np):
    x = tf.constant([[1.0, 2.0, 3.0], [4.0, 5.0, 6.5]])
    return [
        tf.reduce_sum(x), tf.reduce_sum(x, 1), tf.reduce_sum(x, axis=[0, 1]),
        tf.reduce_mean(x, axis=-1, keepdims=True), tf.reduce_prod(x, 0), tf.reduce_min(x),
        tf.math.reduce_std(x), tf.math.reduce_variance(x, 0), tf.reduce_logsumexp(x, 1),
        tf.reduce_any(x > 6), tf.reduce_all(x > 0, axis=1), tf.argmax(x, axis=1), tf.argmin(x, 0),
        tf.cumsum(x, axis=1), tf.cumsum([1, 2, 3], exclusive=True, reverse=True),
        tf.math.count_nonzero(x > 2), tf.reduce_mean([1, 2, 4]), tf.nn.moments(x, [0]),
        tf.math.l2_normalize([3.0, 4.0]), tf.math.confusion_matrix([0, 1, 1], [0, 1, 0]),
        tf.math.cumprod([1.0, 2.0, 3.0]),
    ]  # fmt: skip


def products(tf, np):
    a = tf.reshape(tf.range(12.0), [2, 2, 3])
    b = tf.reshape(tf.range(12.0), [2, 3, 2])
    m = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    return [
        tf.matmul(a, b), tf.einsum("bij,bjk->bik", a, b), tf.einsum("bij->ji", a),
        tf.einsum("...i,...i->...", a, a), tf.tensordot(a, b, [[2], [1]]),
        tf.matmul(m, m, transpose_b=True), tf.linalg.matvec(m, [1.0, 1.0]),
        tf.linalg.diag([1.0, 2.0]),
        tf.linalg.trace(m), tf.linalg.band_part(m, 0, -1), tf.linalg.matmul(m, m, transpose_a=True),
        tf.linalg.norm(m, ord=1), tf.linalg.diag_part(m), tf.einsum("ii", m),
        tf.einsum("bii,ij->bj", a[:, :, :2], m),
    ]  # fmt: skip


def dtypes_and_casting(tf, np):
    half = tf.constant([2.2, 3.3, 4.4], dtype=tf.float64)
    as_half = tf.cast(half, dtype=tf.float16)
    as_bytes = tf.cast(as_half, dtype=tf.uint8)
    return {
        "cast": [as_half.dtype, as_bytes, tf.cast([0, 1, 2], tf.bool), tf.cast(True, tf.float32)],
        "negative": tf.cast([-1.7, 1.7], tf.int32),
        "python": [(tf.constant(1.5) + 1).dtype, (tf.constant([1, 2]) * 2).dtype],
        "numpy": [tf.constant(np.arange(3.0)).dtype, tf.constant(np.arange(3)).dtype],
        "truediv": [(tf.constant(3) / 2).dtype, (tf.constant(3, tf.int64) / 2).dtype],
        "names": [tf.float32.name, tf.as_dtype("int64").size, tf.bool.is_bool, tf.int32.max],
        "saturate": tf.saturate_cast([300, -5], tf.uint8),
        "strings": [tf.as_string([1, 2]), tf.strings.to_number(["1.5", "2"])],
        "shape": [tf.shape([1, 2]).dtype, tf.size([1]).dtype, tf.argmax([1, 2]).dtype],
    }


def casting_errors(tf, np):
    def fails(f):
        try:
            f()
        except (TypeError, ValueError, tf.errors.InvalidArgumentError):
            return True
        return False

    return [
        fails(lambda: tf.constant(1) + tf.constant(1.0)),
        fails(lambda: tf.constant([1.0]) @ tf.constant([[1]])),
        fails(lambda: tf.constant(1, tf.int32) + tf.constant(1, tf.int64)),
        fails(lambda: tf.constant([[1], [2, 3]])),
        fails(lambda: tf.constant(2) + 2.5),
        fails(lambda: tf.constant("a") + 1),
        fails(lambda: tf.constant([1.0]).__bool__() and tf.constant([1.0, 2.0]).__bool__()),
        fails(lambda: tf.constant(1.0) + np.float32(2)),
        fails(lambda: tf.constant([1, 2]) + np.array([1, 2], "int32")),
    ]


def numpy_interoperation(tf, np):
    ndarray = np.ones([3, 3])
    tensor = tf.math.multiply(ndarray, 42)
    t = tf.constant([[1.0, 2.0]])
    return {
        "to_tensor": [tensor, tensor.dtype],
        "ufunc": np.add(tensor, 1),
        "to_numpy": [tensor.numpy()[0], np.array(t), np.asarray(t).dtype.name, t.numpy().shape],
        "functions": [np.sum(t), np.mean(t), np.sin(t), np.concatenate([t, t])],
        "mixed": [(t + np.ones(2, "float32")).dtype, (t + np.array([1.0, 2.0])).dtype],
        "python": [
            float(t[0, 1]),
            int(tf.constant(3)),
            bool(tf.constant(True)),
            [1, 2, 3][tf.constant(1)],
        ],
        "iterate": [float(x) for x in t[0]],
        "unpack": [v for row in tf.constant([[1, 2], [3, 4]]) for v in row],
        "format": f"{tf.constant(2.5):.2f}",
    }


def text(tf, np):
    gray = tf.constant(["Gray wolf", "Quick brown fox", "Lazy dog"])
    return [
        gray.shape, gray.dtype, gray[0], tf.strings.length(gray), tf.strings.upper(gray),
        tf.strings.join([gray, gray], separator="-")[0], tf.strings.substr(gray, 0, 4),
        tf.strings.reduce_join(gray, separator="|"), tf.strings.regex_replace(gray, "o", "0"),
        tf.strings.regex_full_match(gray, ".*dog"), tf.strings.strip(["  a "]), gray == "Lazy dog",
        tf.strings.to_hash_bucket_fast(gray, 100), gray.numpy()[1], tf.strings.lower("ABC"),
    ]  # fmt: skip


def variables(tf, np):
    v = tf.Variable([[1.0, 2.0], [3.0, 4.0]], name="first")
    copy = tf.Variable(v)
    v.assign_add([[1.0, 1.0], [1.0, 1.0]])
    v[0, 1].assign(9.0)
    flags = tf.Variable([False, True])
    counter = tf.Variable(0, trainable=False)
    for _ in range(3):
        counter.assign_add(1)
    copy.assign_sub(tf.ones([2, 2]))
    return {
        "values": [v, copy, flags, counter, v + 1, v.read_value(), 2 * v],
        "facts": [v.shape, v.dtype, counter.trainable, v.name, flags.dtype],
        "ops": [tf.reshape(v, [1, 4]), tf.argmax(v), tf.convert_to_tensor(copy), v[1]],
        "numpy": v.numpy(),
        "assign": v.assign(copy * 2),
        "chain": counter.assign(10).assign_add(1),
        "scatter": tf.Variable([1.0, 2.0, 3.0]).scatter_nd_add([[0], [2]], [10.0, 10.0]),
    }


def neural_network_ops(tf, np):
    x = tf.reshape(tf.range(32.0), [1, 4, 4, 2]) / 10
    k = tf.reshape(tf.range(36.0), [3, 3, 2, 2]) / 30
    logits = tf.constant([[2.0, 1.0, 0.1], [0.5, 2.5, 0.3]])
    return {
        "conv": [tf.nn.conv2d(x, k, 1, "SAME")[0, :2], tf.nn.conv2d(x, k, 2, "VALID")],
        "pool": [tf.nn.max_pool2d(x, 2, 2, "SAME"), tf.nn.avg_pool2d(x, 2, 2, "VALID")],
        "bias": tf.nn.bias_add(logits, [1.0, 2.0, 3.0]),
        "activations": [f(logits - 1) for f in (tf.nn.relu, tf.nn.sigmoid, tf.nn.tanh, tf.nn.elu,
                                                tf.nn.selu, tf.nn.softplus, tf.nn.gelu,
                                                tf.nn.silu, tf.nn.relu6, tf.nn.log_softmax)],
        "leaky": tf.nn.leaky_relu(logits - 1),
        "losses": [
            tf.nn.softmax_cross_entropy_with_logits([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]], logits),
            tf.nn.sparse_softmax_cross_entropy_with_logits([2, 1], logits),
            tf.nn.sigmoid_cross_entropy_with_logits([[1.0, 0.0, 1.0]], logits[:1]),
            tf.nn.l2_loss(logits),
            tf.nn.weighted_cross_entropy_with_logits(tf.ones([2, 3]), logits, 2.0),
        ],
        "average": tf.nn.compute_average_loss([1.0, 2.0], global_batch_size=4),
        "l2": tf.nn.scale_regularization_loss(3.0),
        "norm": tf.nn.batch_normalization(logits, 0.5, 2.0, 0.1, 1.0, 1e-3),
        "in_top": tf.math.in_top_k([2, 1], logits, 1),
        "stateless": tf.random.stateless_uniform([3], seed=[1, 2]).shape,
    }  # fmt: skip


def random_numbers_repeat(tf, np):
    tf.random.set_seed(5)
    a = tf.random.normal([2, 3])
    b = tf.random.uniform([4], maxval=10, dtype=tf.int32)
    tf.random.set_seed(5)
    same = tf.random.normal([2, 3])
    g1, g2 = (tf.random.Generator.from_seed(1) for _ in range(2))
    big = tf.random.normal([10000], 2.0, 3.0)
    return [
        bool(tf.reduce_all(a == same)), a.shape, bool(tf.reduce_all((b >= 0) & (b < 10))), b.dtype,
        bool(tf.reduce_all(g1.normal([3]) == g2.normal([3]))),
        abs(float(tf.reduce_mean(big)) - 2) < 0.2,
        abs(float(tf.math.reduce_std(big)) - 3) < 0.2,
        sorted(tf.random.shuffle([3, 1, 2]).numpy().tolist()),
        tf.random.truncated_normal([2]).shape, tf.random.categorical([[0.0, 99.0]], 3),
    ]  # fmt: skip


def structures(tf, np):
    nested = {"a": [tf.constant(1), tf.constant(2)], "b": (tf.constant(3),)}
    return [
        tf.nest.flatten(nested),
        tf.nest.map_structure(lambda x: x * 2, nested),
        tf.nest.pack_sequence_as(nested, [7, 8, 9]),
        tf.nest.is_nested(nested), tf.is_tensor(nested["a"][0]), tf.executing_eagerly(),
    ]  # fmt: skip
