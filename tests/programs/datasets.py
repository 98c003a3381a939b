"""Programs of the data guide: sources, transformations, batches, order."""


def _list(ds):
    return list(ds.as_numpy_iterator())


def basic_mechanics(tf, np):
    dataset = tf.data.Dataset.from_tensor_slices([8, 3, 0, 8, 2, 1])
    it = iter(dataset)
    return [
        [elem.numpy() for elem in dataset], next(it).numpy(), next(it).numpy(), len(dataset),
        dataset.reduce(0, lambda state, value: state + value), dataset.element_spec.dtype,
        dataset.cardinality(), tf.data.experimental.cardinality(dataset), _list(dataset),
    ]  # fmt: skip


def structure_of_elements(tf, np):
    a = tf.data.Dataset.from_tensor_slices(np.arange(8).reshape(4, 2).astype("float32"))
    b = tf.data.Dataset.from_tensor_slices(
        (np.array([1, 2, 3, 4]), {"k": np.ones([4, 3], "int32")})
    )
    both = tf.data.Dataset.zip((a, b))
    return {
        "spec": [a.element_spec.shape, b.element_spec[1]["k"].shape, both.element_spec[1][0].dtype],
        "first": next(iter(both)),
        "shapes": [(x.shape, y.shape, z["k"].shape) for x, (y, z) in both.take(1)],
        "tensors": _list(tf.data.Dataset.from_tensors([1, 2])),
        "dict": _list(tf.data.Dataset.from_tensor_slices({"a": [1, 2], "b": [3.0, 4.0]})),
    }


def generators(tf, np):
    def count(stop):
        i = 0
        while i < stop:
            yield i
            i += 1

    def series():
        for i, size in enumerate([3, 1, 2]):
            yield i, np.arange(size, dtype="float32")

    counter = tf.data.Dataset.from_generator(
        count, args=[25], output_types=tf.int32, output_shapes=()
    )
    ragged = tf.data.Dataset.from_generator(
        series,
        output_signature=(
            tf.TensorSpec(shape=(), dtype=tf.int32),
            tf.TensorSpec(shape=(None,), dtype=tf.float32),
        ),
    )
    return [
        list(counter.repeat().batch(10).take(4)), ragged.element_spec[1].shape,
        _list(ragged.padded_batch(3)), ragged.cardinality(),
    ]  # fmt: skip


def batching(tf, np):
    inc = tf.data.Dataset.range(8)
    both = tf.data.Dataset.zip((inc, inc.map(lambda x: -x)))
    return [
        _list(both.batch(3)), _list(inc.batch(3, drop_remainder=True)),
        inc.batch(3).element_spec.shape, inc.batch(3, drop_remainder=True).element_spec.shape,
        _list(inc.batch(3).unbatch()), len(inc.batch(3)), _list(inc.batch(2).batch(2)),
    ]  # fmt: skip


def padded_batches(tf, np):
    ds = tf.data.Dataset.range(1, 6).map(lambda x: tf.fill([tf.cast(x, tf.int32)], x))
    return [
        _list(ds.padded_batch(2, padded_shapes=(None,))),
        _list(ds.padded_batch(2, padded_shapes=[6], padding_values=tf.constant(-1, tf.int64))),
    ]


def repeat_and_shuffle_order(tf, np):
    ds = tf.data.Dataset.range(10)
    shuffled = ds.shuffle(10, seed=3)
    fixed = ds.shuffle(10, seed=3, reshuffle_each_iteration=False)
    first, second = _list(fixed), _list(fixed)
    before = _list(ds.shuffle(5).batch(5).repeat(2))
    return [
        sorted(_list(shuffled)) == list(range(10)), first == second, first != list(range(10)),
        _list(ds.repeat(2).batch(7)), _list(ds.batch(7).repeat(2)),
        sorted(np.concatenate(before[:2])) == list(range(10)), len(ds),
        _list(ds.shuffle(1)), ds.repeat().cardinality(), max(_list(ds.shuffle(3).take(1))) < 3,
    ]  # fmt: skip


def mapping(tf, np):
    ds = tf.data.Dataset.from_tensor_slices({"x": np.arange(4.0), "y": [0, 1, 0, 1]})
    pairs = ds.map(lambda d: (d["x"] * 2, d["y"]), num_parallel_calls=tf.data.AUTOTUNE)

    def augment(x, y):
        if y > 0:
            x = -x
        return {"image": x, "twice": [x, x]}, tf.one_hot(y, 2)

    return [
        _list(pairs), _list(pairs.map(augment)), _list(pairs.filter(lambda x, y: y == 1)),
        _list(pairs.map(lambda x, y: tf.py_function(lambda v: v + 1, [x], tf.float64))),
        pairs.map(augment).element_spec[0]["image"].dtype,
        _list(tf.data.Dataset.range(4).map(lambda x: tf.numpy_function(lambda v: v * v, [x],
        tf.int64))),
    ]  # fmt: skip


def rearranging(tf, np):
    ds = tf.data.Dataset.range(10)
    return [
        _list(ds.skip(7)), _list(ds.take(3)), _list(ds.enumerate(start=5).take(2)),
        _list(ds.shard(3, 1)), _list(ds.take(2).concatenate(ds.skip(8))),
        _list(ds.window(3, shift=2, drop_remainder=True).flat_map(lambda w: w.batch(3))),
        _list(tf.data.Dataset.range(1, 4).interleave(
            lambda x: tf.data.Dataset.from_tensors(x).repeat(2), cycle_length=2, block_length=1)),
        _list(ds.filter(lambda x: x % 3 == 0).prefetch(1).cache()),
        _list(tf.data.Dataset.range(3).flat_map(lambda x: tf.data.Dataset.range(x))),
    ]  # fmt: skip


def caching_and_options(tf, np):
    calls = []

    def note(x):
        calls.append(1)
        return x

    ds = tf.data.Dataset.range(3).map(lambda x: tf.py_function(note, [x], tf.int64)).cache()
    runs = [_list(ds), _list(ds)]
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    options.deterministic = True
    return [runs, len(calls), _list(ds.with_options(options))]


def train_test_split(tf, np):
    xs, ys = np.arange(20, dtype="float32").reshape(10, 2), np.arange(10) % 2
    ds = tf.data.Dataset.from_tensor_slices((xs, ys))
    test = ds.take(3).batch(2)
    train = ds.skip(3).shuffle(7).repeat(2).batch(4).prefetch(tf.data.AUTOTUNE)
    seen = np.concatenate([x.numpy()[:, 0] for x, _ in train])
    return [_list(test), sorted(seen.tolist()), len(train)]


def tensors_with_time(tf, np):
    series = tf.data.Dataset.range(12)
    batches = series.batch(4, drop_remainder=True)

    def dense_1_step(batch):
        return batch[:-1], batch[1:]

    scan = series.take(4).scan(tf.constant(0, tf.int64), lambda s, x: (s + x, s + x))
    return [
        _list(batches.map(dense_1_step)),
        _list(scan),
        _list(series.take_while(lambda x: x < 3)),
    ]
