"""Variables of a compiled step: updated where they lie, and nobody who holds a value sees it."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import distflow as tf
from distflow.base import dtypes, flags

pytest.importorskip("llvmlite")

START = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture(autouse=True)
def on_the_cpu_executor():
    with flags.override(DISTFLOW_EXECUTOR="cpu"):
        yield


def address(v):
    return v.storage.read().__array_interface__["data"][0]


def growing(v):
    @tf.function
    def step():
        v.assign_add(tf.ones_like(v))

    return step


# -- in place ------------------------------------------------------------------------------


def test_a_variable_stays_where_it_is_from_step_to_step():
    v = tf.Variable(START)
    step = growing(v)
    step()
    places = set()
    for _ in range(4):
        step()
        places.add(address(v))
    assert len(places) == 1
    np.testing.assert_array_equal(v.numpy(), START + 5)


def test_a_variable_goes_back_in_place_once_nobody_holds_it():
    v = tf.Variable(START)
    step = growing(v)
    step()
    held = v.read_value()
    step()
    moved = address(v)
    assert moved != held.numpy().__array_interface__["data"][0]
    del held
    step()
    assert address(v) == moved


HOLDERS = {
    "numpy": lambda v: v.numpy(),
    "asarray": np.asarray,
    "read_value": lambda v: v.read_value(),
    "value": lambda v: v.value(),
    "storage": lambda v: v.storage.read(),
    "slice of a tensor": lambda v: v.read_value()[1:, ::2],
    "slice of an array": lambda v: v.read_value().numpy()[1:, ::2],
    "reversed array": lambda v: v.read_value().numpy()[::-1].T,
    "row": lambda v: v.storage.read()[1],
    "memoryview": lambda v: memoryview(v.storage.read()),
    "memoryview of a view": lambda v: memoryview(v.storage.read()[1:]),
    "flat iterator": lambda v: v.storage.read().flat,
    "bytes-like buffer": lambda v: np.frombuffer(v.storage.read(), np.uint8),
    "tensor of the array": lambda v: tf.constant(v.storage.read()),
    "converted array": lambda v: tf.convert_to_tensor(v.storage.read()),
    "reshaped tensor": lambda v: tf.reshape(v, [4, 3]),
    "identity": tf.identity,
    "transposed": tf.transpose,
    "array protocol": lambda v: v.read_value().__array__(),
    "dlpack": lambda v: np.from_dlpack(v.storage.read()),
}


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS.keys())
def test_what_somebody_holds_of_a_variable_never_changes(hold):
    v = tf.Variable(START)
    step = growing(v)
    step()
    held = hold(v)
    before = np.array(held)
    for _ in range(3):
        step()
    np.testing.assert_array_equal(np.array(held), before)
    np.testing.assert_array_equal(v.numpy(), START + 4)


def test_results_of_a_step_that_are_the_new_value_never_change():
    v = tf.Variable(START)

    @tf.function
    def step():
        v.assign(v * 2.0 + 1.0)
        return v.read_value(), v.value()[1:], tf.transpose(v), tf.identity(v)

    expected = START
    results, wanted = [], []
    for _ in range(3):
        expected = expected * 2 + 1
        results.append(step())
        wanted.append((expected, expected[1:], expected.T, expected))
    for found, want in zip(results, wanted):
        for a, b in zip(found, want):
            np.testing.assert_array_equal(a, b)


def test_results_of_a_step_that_are_the_old_value_never_change():
    v = tf.Variable(START)

    @tf.function
    def step():
        old = v.read_value()
        turned = tf.transpose(v)
        v.assign_add(tf.ones_like(v))
        return old, turned, old[1]

    results = [step() for _ in range(3)]
    for i, (old, turned, row) in enumerate(results):
        np.testing.assert_array_equal(old, START + i)
        np.testing.assert_array_equal(turned, (START + i).T)
        np.testing.assert_array_equal(row, START[1] + i)


def test_the_value_of_a_variable_as_an_argument_is_the_old_one():
    v = tf.Variable(START)

    @tf.function
    def step(x):
        v.assign(v * 2.0)
        return v - x

    v.assign(START)
    step(tf.constant(START))
    for i in range(3):
        np.testing.assert_array_equal(step(v.read_value()), START * 2 ** (i + 1))


def test_variables_made_of_one_array_are_two():
    array = START.copy()
    a, b = tf.Variable(array), tf.Variable(array)

    @tf.function
    def step():
        a.assign_add(tf.ones_like(a))
        b.assign(b * 2.0)

    step()
    step()
    np.testing.assert_array_equal(a, START + 2)
    np.testing.assert_array_equal(b, START * 4)
    np.testing.assert_array_equal(array, START)


def test_a_variable_made_of_another_is_its_own():
    a = tf.Variable(START)
    growing(a)()
    b = tf.Variable(a)
    c = tf.Variable(a.read_value())
    growing(a)()
    np.testing.assert_array_equal(b, START + 1)
    np.testing.assert_array_equal(c, START + 1)


def test_a_variable_assigned_the_value_of_another_is_its_own():
    a, b = tf.Variable(START), tf.Variable(START)
    grow = growing(a)
    grow()
    b.assign(a)
    grow()
    np.testing.assert_array_equal(b, START + 1)


# -- the order within one step -------------------------------------------------------------


def test_reads_before_a_write_see_the_old_value():
    v = tf.Variable(START)

    @tf.function
    def step():
        before = tf.exp(v * 0.1)
        total = tf.reduce_sum(v)
        v.assign(v * 3.0)
        return before, total, tf.matmul(v, v, transpose_b=True)

    for i in range(2):
        old = START * 3**i
        before, total, product = step()
        np.testing.assert_allclose(before, np.exp(old * np.float32(0.1)), rtol=1e-5)
        assert float(total) == old.sum()
        np.testing.assert_allclose(product, (old * 3) @ (old * 3).T, rtol=1e-6)


def test_a_kernel_that_reads_the_old_value_goes_before_the_write():
    w = tf.Variable(np.eye(40, dtype=np.float32))
    x = np.random.default_rng(0).normal(size=(70, 40)).astype(np.float32)

    @tf.function
    def step(x):
        y = tf.matmul(x, w)
        w.assign(w * 2.0)
        return y

    for i in range(3):
        np.testing.assert_array_equal(step(tf.constant(x)), x * 2**i)


def test_two_variables_swap():
    a, b = tf.Variable(START), tf.Variable(-START)

    @tf.function
    def swap():
        old = a.read_value()
        a.assign(b)
        b.assign(old)

    swap()
    np.testing.assert_array_equal(a, -START)
    np.testing.assert_array_equal(b, START)
    swap()
    swap()
    np.testing.assert_array_equal(a, -START)
    np.testing.assert_array_equal(b, START)


def test_an_assigned_variable_is_what_the_next_assignment_reads():
    a, b = tf.Variable(START), tf.Variable(-START)

    @tf.function
    def step():
        a.assign(b)
        b.assign(a)

    step()
    np.testing.assert_array_equal(a, -START)
    np.testing.assert_array_equal(b, -START)


def test_variables_turn_in_a_ring():
    ring = [tf.Variable(np.full((5,), i, np.float32)) for i in range(4)]

    @tf.function
    def turn():
        old = [v.read_value() for v in ring]
        for i, v in enumerate(ring):
            v.assign(old[i - 1] + 0.5)

    turn()
    for i, v in enumerate(ring):
        np.testing.assert_array_equal(v, np.full((5,), (i - 1) % 4 + 0.5))


SHUFFLES = {
    "transposed": (lambda v: tf.transpose(v), lambda a: a.T),
    "reversed": (lambda v: v[::-1], lambda a: a[::-1]),
    "added reversed": (lambda v: v + v[::-1], lambda a: a + a[::-1]),
    "added transposed": (lambda v: v + tf.transpose(v), lambda a: a + a.T),
    "rolled": (lambda v: tf.concat([v[1:], v[:1]], 0), lambda a: np.roll(a, -1, 0)),
    "first row": (lambda v: v * 0.0 + v[0], lambda a: a * 0 + a[0]),
    "last column": (lambda v: v * 0.0 + v[:, -1:], lambda a: a * 0 + a[:, -1:]),
    "less its sum": (lambda v: v - tf.reduce_sum(v), lambda a: a - a.sum()),
    "less sums of rows": (
        lambda v: v - tf.reduce_sum(v, 1, keepdims=True),
        lambda a: a - a.sum(1, keepdims=True),
    ),
    "less sums of columns": (lambda v: v - tf.reduce_sum(v, 0), lambda a: a - a.sum(0)),
    "largest of columns": (lambda v: v * 0.0 + tf.reduce_max(v, 0), lambda a: a * 0 + a.max(0)),
    "product with itself": (lambda v: tf.matmul(v, v), lambda a: a @ a),
    "gathered": (lambda v: tf.gather(v, [3, 0, 0, 1, 2]), lambda a: a[[3, 0, 0, 1, 2]]),
    "running sum": (lambda v: tf.cumsum(v), lambda a: a.cumsum(0)),
    "reshaped back": (lambda v: tf.reshape(tf.reshape(v, [-1])[::-1], v.shape),
                      lambda a: a.reshape(-1)[::-1].reshape(a.shape)),
}  # fmt: skip


@pytest.mark.parametrize("size", [5, 37])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("name", SHUFFLES)
def test_a_new_value_that_reads_the_old_one_all_over(name, count, size):
    ours, theirs = SHUFFLES[name]
    array = np.random.default_rng(1).integers(-4, 5, (size, size)).astype(np.float32)
    v = tf.Variable(array)

    @tf.function
    def step():
        v.assign(ours(v))

    if name == "gathered":
        v = tf.Variable(array[:5])
        array = array[:5]
    with flags.override(DISTFLOW_THREADS=count):
        for _ in range(2):
            step()
            array = theirs(array)
            np.testing.assert_array_equal(v, array)


def test_sums_of_a_variable_and_its_update_in_one_step():
    v = tf.Variable(START)

    @tf.function
    def step():
        rows, columns = tf.reduce_sum(v, 1), tf.reduce_max(v, 0)
        v.assign_sub(0.5 * v)
        return rows, columns, tf.reduce_sum(v)

    rows, columns, after = step()
    np.testing.assert_array_equal(rows, START.sum(1))
    np.testing.assert_array_equal(columns, START.max(0))
    assert float(after) == START.sum() / 2


def test_several_updates_of_one_variable_add_up():
    v = tf.Variable(START)

    @tf.function
    def step(x):
        v.assign_add(x)
        first = v * 1.0
        v.assign(v * v)
        second = tf.reduce_sum(v)
        v.assign_sub(x)
        return first, second, v * 1.0

    first, second, third = step(tf.ones([3, 4]))
    np.testing.assert_array_equal(first, START + 1)
    assert float(second) == ((START + 1) ** 2).sum()
    np.testing.assert_array_equal(third, (START + 1) ** 2 - 1)
    np.testing.assert_array_equal(v, third)


NUMERIC = [d for d in dtypes.ALL if d.name != "string"]


@pytest.mark.parametrize("dtype", NUMERIC, ids=lambda d: d.name)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (7, 3)], ids=str)
def test_variables_of_any_dtype_and_shape(dtype, shape):
    first = np.ones(shape).astype(dtype.numpy)
    second = np.zeros(shape).astype(dtype.numpy)
    v = tf.Variable(first, dtype=dtype)

    @tf.function
    def step(x):
        old = tf.identity(v)
        v.assign(x)
        return old

    np.testing.assert_array_equal(step(tf.constant(second, dtype)), first)
    np.testing.assert_array_equal(v.numpy(), second)
    assert v.storage.read().dtype == dtype.numpy
    np.testing.assert_array_equal(step(tf.constant(first, dtype)), second)


def test_variables_of_strings():
    v = tf.Variable(["a", "b"])

    @tf.function
    def step(x):
        old = tf.identity(v)
        v.assign(x)
        return old

    old = step(tf.constant(["c", "d"]))
    assert old.numpy().tolist() == [b"a", b"b"]
    assert v.numpy().tolist() == [b"c", b"d"]


def test_a_variable_of_unknown_shape_takes_new_shapes():
    v = tf.Variable(np.zeros((0, 2), np.float32), shape=(None, 2))

    @tf.function
    def append(row):
        v.assign(tf.concat([v, row], 0))
        return tf.reduce_sum(v)

    totals = [float(append(tf.fill([1, 2], float(i)))) for i in range(4)]
    assert totals == [0, 2, 6, 12]
    np.testing.assert_array_equal(v, [[0, 0], [1, 1], [2, 2], [3, 3]])


# -- what runs on the host in between ------------------------------------------------------


def test_a_python_function_sees_variables_as_the_program_has_them_so_far():
    v = tf.Variable(START)
    seen = []

    def look():
        seen.append(v.numpy().copy())

    @tf.function
    def step():
        tf.py_function(look, [], [])
        v.assign_add(tf.ones_like(v))
        tf.py_function(look, [], [])
        v.assign(v * 2.0)
        tf.py_function(look, [], [])

    step()
    assert len(seen) == 3
    for found, want in zip(seen, (START, START + 1, (START + 1) * 2)):
        np.testing.assert_array_equal(found, want)


def test_a_python_function_after_the_only_update_sees_it():
    v = tf.Variable(START)
    seen = []

    @tf.function
    def step():
        v.assign_add(tf.ones_like(v))
        tf.py_function(lambda: seen.append(v.numpy().copy()), [], [])

    step()
    step()
    np.testing.assert_array_equal(seen, [START + 1, START + 2])


def test_a_python_function_that_assigns_is_seen_by_the_program():
    v = tf.Variable(START)

    def times_ten():
        v.assign(v * 10.0)

    @tf.function
    def step():
        before = v * 1.0
        tf.py_function(times_ten, [], [])
        return before, v * 1.0

    before, after = step()
    np.testing.assert_array_equal(before, START)
    np.testing.assert_array_equal(after, START * 10)


def test_a_python_function_that_assigns_after_the_program_did():
    v = tf.Variable(START)

    def times_ten():
        v.assign(v * 10.0)

    @tf.function
    def step():
        v.assign_add(tf.ones_like(v))
        tf.py_function(times_ten, [], [])

    step()
    np.testing.assert_array_equal(v, (START + 1) * 10)


def test_print_shows_a_variable_between_its_updates(capfd):
    v = tf.Variable(1.0)

    @tf.function
    def step():
        tf.print("first", v)
        v.assign_add(1.0)
        tf.print("second", v)
        v.assign(v * 5.0)
        tf.print("third", v)

    step()
    step()
    out, err = capfd.readouterr()
    assert (out + err).split() == "first 1 second 2 third 10 first 10 second 11 third 55".split()


def test_what_a_python_function_keeps_of_a_variable_never_changes():
    v = tf.Variable(START)
    kept = []

    @tf.function
    def step():
        tf.numpy_function(
            lambda a: kept.append(a) or np.float32(0), [v], tf.TensorSpec((), tf.float32)
        )
        v.assign_add(tf.ones_like(v))

    for _ in range(3):
        step()
    for i, array in enumerate(kept):
        np.testing.assert_array_equal(array, START + i)


# -- failures ------------------------------------------------------------------------------


def failing():
    raise ValueError("on purpose")


def updates(v, w, x):
    v.assign_add(x)
    w.assign(w * 2.0 + x)


def test_a_failure_before_the_updates_leaves_variables_as_they_were():
    v, w = tf.Variable(START), tf.Variable(-START)

    @tf.function
    def step(x):
        tf.py_function(failing, [], [])
        updates(v, w, x)

    assert_fails_without_trace(step, v, w)


def test_a_failure_after_the_updates_leaves_variables_as_they_were():
    v, w = tf.Variable(START), tf.Variable(-START)

    @tf.function
    def step(x):
        updates(v, w, x)
        tf.py_function(failing, [], [])

    assert_fails_without_trace(step, v, w)


def test_a_failure_that_hangs_on_the_new_value_leaves_variables_as_they_were():
    v, w = tf.Variable(START), tf.Variable(-START)

    @tf.function
    def step(x):
        updates(v, w, x)
        return tf.numpy_function(lambda a: failing(), [v * w], tf.TensorSpec((), tf.float32))

    assert_fails_without_trace(step, v, w)


def test_a_failure_between_the_updates_leaves_variables_as_they_were():
    v, w = tf.Variable(START), tf.Variable(-START)

    @tf.function
    def step(x):
        v.assign_add(x)
        tf.py_function(failing, [], [])
        w.assign(w * 2.0 + x)
        v.assign(v + w)

    assert_fails_without_trace(step, v, w)


def test_a_failure_after_a_wrong_shape_leaves_variables_as_they_were():
    v, w = tf.Variable(START), tf.Variable(-START)

    @tf.function
    def step(x):
        updates(v, w, x)
        y = tf.numpy_function(lambda a: a[:2], [v], tf.TensorSpec((None, 4), tf.float32))
        y.set_shape((3, 4))
        tf.py_function(failing, [], [])
        return tf.exp(y)

    assert_fails_without_trace(step, v, w)


def assert_fails_without_trace(step, v, w):
    for _ in range(2):
        with pytest.raises(Exception, match="on purpose"):
            step(tf.ones([3, 4]))
        np.testing.assert_array_equal(v, START)
        np.testing.assert_array_equal(w, -START)


def test_an_index_out_of_range_raises_and_leaves_variables_as_they_were():
    table = tf.Variable(np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32))
    count = tf.Variable(0.0)
    before = table.numpy().copy()

    @tf.function
    def step(indices):
        count.assign_add(1.0)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.gather(table, indices) ** 2.0)
        table.assign_sub(0.1 * tf.convert_to_tensor(tape.gradient(loss, table)))
        return loss

    for bad in ([0, 10], [-1, 0]):
        with pytest.raises(tf.errors.InvalidArgumentError):
            step(tf.constant(bad))
        np.testing.assert_array_equal(table, before)
        assert float(count) == 0
    step(tf.constant([0, 9]))
    assert float(count) == 1
    np.testing.assert_allclose(table[9], before[9] * 0.8, rtol=1e-6)
    np.testing.assert_array_equal(table[1:9], before[1:9])


def test_a_loop_that_fails_after_some_turns_leaves_variables_as_they_were():
    v = tf.Variable([1.0, 2.0])

    @tf.function
    def step(indices):
        for i in tf.range(3):
            v.assign_add(tf.gather(tf.ones([2, 2]), indices[i]))

    with pytest.raises(tf.errors.InvalidArgumentError):
        step(tf.constant([0, 1, 7]))
    np.testing.assert_array_equal(v, [1.0, 2.0])
    step(tf.constant([0, 1, 1]))
    np.testing.assert_array_equal(v, [4.0, 5.0])


def test_a_step_works_after_one_that_failed():
    v = tf.Variable(START)
    fail = [True]

    @tf.function
    def step():
        v.assign_add(tf.ones_like(v))
        tf.py_function(lambda: failing() if fail[0] else None, [], [])

    with pytest.raises(Exception, match="on purpose"):
        step()
    fail[0] = False
    step()
    np.testing.assert_array_equal(v, START + 1)


# -- several threads, several replicas -----------------------------------------------------


def test_calls_of_one_function_at_once_do_not_share_memory():
    w = tf.Variable(np.eye(30, dtype=np.float32) * 2)

    @tf.function
    def f(x):
        return tf.exp(tf.matmul(x, w) * 0.01) - x

    rng = np.random.default_rng(2)
    inputs = [rng.normal(size=(50, 30)).astype(np.float32) for _ in range(24)]
    expected = [f(tf.constant(x)).numpy() for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for found, want in zip(pool.map(lambda x: f(tf.constant(x)).numpy(), inputs), expected):
                np.testing.assert_array_equal(found, want)


def test_updates_from_several_threads_are_none_lost():
    v = tf.Variable(np.zeros(200_000, np.float32))
    step = growing(v)
    step()
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(step) for _ in range(200)]:
            future.result()
    np.testing.assert_array_equal(v, np.full(200_000, 201, np.float32))


def test_what_another_thread_reads_is_a_whole_value():
    v = tf.Variable(np.zeros(200_000, np.float32))
    step = growing(v)
    step()

    def look(_):
        held = v.read_value().numpy()
        first = held.copy()
        return first.min() == first.max(), (held == first).all()

    with ThreadPoolExecutor(3) as pool:
        steps = [pool.submit(step) for _ in range(100)]
        looks = list(pool.map(look, range(100)))
        for future in steps:
            future.result()
    assert all(whole and same for whole, same in looks)


@pytest.mark.parametrize("replicas", [1, 2])
def test_variables_of_a_strategy(replicas):
    strategy = tf.distribute.MirroredStrategy(logical_replicas=replicas)
    with strategy.scope():
        v = tf.Variable(START, aggregation=tf.VariableAggregation.MEAN)

    @tf.function
    def step():
        def replica():
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            v.assign_add(tf.ones_like(v) * (tf.cast(number, tf.float32) + 1.0))

        strategy.run(replica)

    held = []
    for _ in range(3):
        step()
        held.append(v.read_value())
    gain = np.float32(np.mean(np.arange(replicas) + 1))
    for i, value in enumerate(held):
        np.testing.assert_array_equal(value, START + gain * (i + 1))


def test_one_function_for_variables_of_different_kinds():
    with tf.distribute.MirroredStrategy(logical_replicas=2).scope():
        mirrored = tf.Variable(START, aggregation=tf.VariableAggregation.SUM)
    plain = tf.Variable(START)

    @tf.function
    def step(a, b):
        a.assign(a * 2.0)
        b.assign(b + 1.0)

    step(mirrored, plain)
    step(plain, mirrored)
    np.testing.assert_array_equal(mirrored, START * 2 + 1)
    np.testing.assert_array_equal(plain, (START + 1) * 2)


def test_one_variable_given_twice():
    v = tf.Variable(START)

    @tf.function
    def step(a, b):
        a.assign(a * 2.0)
        b.assign(b + 1.0)
        return a * 1.0

    np.testing.assert_array_equal(step(v, v), START * 2 + 1)
    np.testing.assert_array_equal(v, START * 2 + 1)


def test_a_program_finds_a_variable_that_was_replaced():
    v = tf.Variable(START)
    step = growing(v)
    step()
    v.assign(-START)
    step()
    np.testing.assert_array_equal(v, 1 - START)
