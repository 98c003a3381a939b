"""Random numbers: pure functions of keys, the right distributions, the seed rule."""

import numpy as np
import pytest

import distflow as tf
from distflow.core import context
from distflow.random import key_from_seed
from distflow.random.keys import fold_in, split_key
from tests.support.executors import assert_like_eager

N = 100_000
FLOATS = [tf.float16, tf.bfloat16, tf.float32, tf.float64]


def numbers(tensor):
    return np.asarray(tensor).astype(np.float64)


# -- keys ----------------------------------------------------------------------------------


def test_key_of_an_int_is_that_of_its_tensor():
    for seed in (0, 5, -5, 2**40 + 1):
        np.testing.assert_array_equal(key_from_seed(seed), key_from_seed(np.int64(seed)))


def test_all_bits_of_a_seed_count():
    seeds = [0, 1, 2**32, 2**63, -1, [0, 1], [1, 0], np.array([0, 2**40])]
    keys = {tuple(np.asarray(key_from_seed(s)).tolist()) for s in seeds}
    # 2^63 and -1 differ in their low 64 bits as well; [1, 0] is the seed 1.
    assert len(keys) == len(seeds) - 1


def test_a_key_is_its_own_key():
    key = key_from_seed(3)
    assert key.dtype == tf.uint32
    np.testing.assert_array_equal(key_from_seed(key), key)


def test_derived_keys_differ_from_each_other_and_from_numbers():
    key = key_from_seed(3)
    words = np.asarray(tf.random.stateless_uniform([2], key, None, None, tf.int32))
    found = [fold_in(key, 0), fold_in(key, 1), *split_key(key, 3)]
    found = {tuple(np.asarray(k).tolist()) for k in found} | {tuple(words.view(np.uint32))}
    assert len(found) == 6


def test_bad_seed_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"shape \[2\]"):
        tf.random.stateless_uniform([1], [1, 2, 3])


# -- distributions -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
def test_uniform_numbers_are_uniform_below_one(dtype):
    u = numbers(tf.random.stateless_uniform([N], [1, 2], dtype=dtype))
    assert u.min() >= 0
    assert u.max() < 1
    step = 2.0**-8 if dtype == tf.bfloat16 else 2.0**-11
    np.testing.assert_allclose([u.mean(), u.var()], [0.5, 1 / 12], atol=0.005 + step)
    counts = np.histogram(u, 16, (0, 1))[0]
    assert abs(counts - N / 16).max() < 6 * np.sqrt(N / 16)


def test_float32_has_24_bits_and_float64_53():
    u = numbers(tf.random.stateless_uniform([1000], 1)) * 2**24
    np.testing.assert_array_equal(u, np.round(u))
    assert (u % 2 == 1).any()
    v = numbers(tf.random.stateless_uniform([1000], 1, dtype=tf.float64)) * 2.0**53
    assert (v % 2 == 1).any()


def test_uniform_range():
    u = numbers(tf.random.stateless_uniform([N], 1, -2, 3))
    assert -2 <= u.min() < -1.99
    assert 2.99 < u.max() < 3


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64, tf.uint32, tf.uint8])
def test_ints_are_uniform_in_the_range(dtype):
    counts = np.bincount(
        np.asarray(tf.random.stateless_uniform([N], 7, 3, 10, dtype)), minlength=11
    )
    assert counts[:3].sum() == counts[10] == 0
    assert abs(counts[3:10] - N / 7).max() < 5 * np.sqrt(N / 7)


def test_negative_and_wide_ranges():
    small = np.asarray(tf.random.stateless_uniform([N], 7, -3, 2, tf.int32))
    assert (small.min(), small.max()) == (-3, 1)
    wide = np.asarray(tf.random.stateless_uniform([N], 7, -(2**62), 2**62, tf.int64))
    assert wide.min() < -(2**61)
    assert wide.max() > 2**61


def test_full_range_of_ints():
    words = np.asarray(tf.random.stateless_uniform([N], 7, None, None, tf.int32))
    assert abs(numbers(words).mean()) < 2**31 / 50


def test_ints_need_a_maximum_above_the_minimum():
    with pytest.raises(tf.errors.InvalidArgumentError, match="maxval must be given"):
        tf.random.uniform([1], dtype=tf.int32)
    with pytest.raises(tf.errors.InvalidArgumentError, match="minval must be < maxval"):
        tf.random.uniform([1], 3, 3, tf.int32)


@pytest.mark.parametrize("dtype", FLOATS)
def test_normal_moments(dtype):
    z = numbers(tf.random.stateless_normal([N], [3, 4], dtype=dtype))
    assert np.isfinite(z).all()
    found = [z.mean(), z.var(), (z**3).mean(), (z**4).mean()]
    np.testing.assert_allclose(found, [0, 1, 0, 3], atol=0.1)
    np.testing.assert_allclose((abs(z) < 1).mean(), 0.6827, atol=0.01)


def test_normal_mean_and_stddev():
    z = numbers(tf.random.stateless_normal([N], 1, 5.0, 0.1))
    np.testing.assert_allclose([z.mean(), z.std()], [5, 0.1], rtol=0.01)


@pytest.mark.parametrize("dtype", FLOATS)
def test_truncated_normal_stays_within_two_deviations(dtype):
    z = numbers(tf.random.stateless_truncated_normal([N], [3, 4], dtype=dtype))
    assert abs(z).max() <= 2
    # Standard deviation of a normal truncated at 2: 0.8796 (Johnson, Kotz & Balakrishnan 13.10).
    np.testing.assert_allclose([z.mean(), z.std()], [0, 0.8796], atol=0.01)
    np.testing.assert_allclose((abs(z) < 1).mean(), 0.6827 / 0.9545, atol=0.01)


def test_categorical_follows_the_probabilities():
    ids = tf.random.stateless_categorical(np.log([[0.2, 0.3, 0.5]]), N, [1, 1])
    assert ids.dtype == tf.int64
    np.testing.assert_allclose(np.bincount(ids[0]) / N, [0.2, 0.3, 0.5], atol=0.01)


def test_shuffle_is_a_permutation_of_rows():
    x = np.arange(20).reshape(10, 2)
    y = np.asarray(tf.random.shuffle(x, seed=1))
    assert not np.array_equal(x, y)
    np.testing.assert_array_equal(np.sort(y[:, 0]), x[:, 0])
    np.testing.assert_array_equal(y[:, 1] - y[:, 0], 1)


def test_same_seed_gives_the_same_numbers_traced(executor):
    draw = tf.function(lambda s: tf.random.stateless_normal([5], s))
    expected = tf.random.stateless_normal([5], [1, 2])
    assert_like_eager(draw(tf.constant([1, 2])), expected, executor, "erfinv")


def test_numbers_do_not_depend_on_the_shape():
    flat = tf.random.stateless_uniform([6], 1)
    np.testing.assert_array_equal(tf.reshape(tf.random.stateless_uniform([2, 3], 1), [6]), flat)


# -- global state --------------------------------------------------------------------------


def test_global_seed_repeats_the_sequence():
    tf.random.set_seed(1)
    first = [tf.random.normal([2]), tf.random.normal([2])]
    tf.random.set_seed(1)
    again = [tf.random.normal([2]), tf.random.normal([2])]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])


def test_operation_seed_forms_a_sequence_of_its_own():
    tf.random.set_seed(1)
    first = [tf.random.normal([2], seed=7) for _ in range(2)]
    tf.random.set_seed(1)
    tf.random.normal([2])
    again = [tf.random.normal([2], seed=7) for _ in range(2)]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])


def test_other_seeds_give_other_numbers():
    tf.random.set_seed(1)
    first = np.asarray(tf.random.normal([2], seed=7))
    tf.random.set_seed(2)
    assert not np.array_equal(first, tf.random.normal([2], seed=7))


def test_a_traced_function_draws_anew_at_every_run():
    def make():
        tf.random.set_seed(3)
        return tf.function(lambda: (tf.random.normal([2]), tf.random.normal([2])))

    draw = make()
    runs = [np.asarray(part) for _ in range(2) for part in draw()]
    assert len({r.tobytes() for r in runs}) == 4
    again = make()
    np.testing.assert_array_equal([p for _ in range(2) for p in again()], runs)


class Replica:
    """The one thing that random operations ask of a replica context."""

    def __init__(self, number):
        self.replica_id_in_sync_group = number


def test_replicas_draw_their_own_numbers_whatever_their_order():
    def draw(order):
        tf.random.set_seed(1)
        found = {}
        for number in order:
            before, context.state.replica = context.state.replica, Replica(number)
            try:
                found[number] = np.asarray(tf.random.normal([2]))
            finally:
                context.state.replica = before
        return found

    first, second = draw([0, 1]), draw([1, 0])
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert not np.array_equal(first[0], first[1])


def test_dropout_zeroes_at_the_rate_and_scales_the_rest():
    y = np.asarray(tf.nn.dropout(tf.ones([N]), 0.25, seed=1))
    np.testing.assert_allclose((y == 0).mean(), 0.25, atol=0.01)
    np.testing.assert_allclose(np.unique(y), [0, 4 / 3], rtol=1e-6)


def test_dropout_noise_shape_shares_choices():
    y = np.asarray(tf.nn.dropout(tf.ones([100, 5]), 0.5, noise_shape=[None, 1]))
    assert (y == y[:, :1]).all()


def test_dropout_rate_of_one_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"rate must be in \[0, 1\)"):
        tf.nn.dropout([1.0], 1.0)


# -- generator -----------------------------------------------------------------------------


def test_generators_of_one_seed_agree_and_go_on():
    a, b = (tf.random.Generator.from_seed(5) for _ in range(2))
    np.testing.assert_array_equal(a.normal([3]), b.normal([3]))
    later = a.uniform([3])
    assert not np.array_equal(later, tf.random.Generator.from_seed(5).uniform([3]))
    np.testing.assert_array_equal(later, b.uniform([3]))


def test_generator_in_a_function_equals_eager(executor):
    a, b = (tf.random.Generator.from_seed(5) for _ in range(2))
    draw = tf.function(lambda: a.normal([3]))
    eager = np.stack([b.normal([3]), b.normal([3])])
    assert_like_eager(np.stack([draw(), draw()]), eager, executor, "erfinv")


def test_generator_state_can_be_saved():
    a = tf.random.Generator.from_seed(5)
    a.normal([3])
    b = tf.random.Generator.from_state(a.state.numpy(), "philox")
    np.testing.assert_array_equal(a.normal([3]), b.normal([3]))
    a.reset_from_seed(5)
    np.testing.assert_array_equal(a.normal([3]), tf.random.Generator.from_seed(5).normal([3]))


def test_split_generators_are_independent():
    parts = tf.random.Generator.from_seed(5).split(2)
    assert not np.array_equal(parts[0].normal([3]), parts[1].normal([3]))
    again = tf.random.Generator.from_seed(5).split(2)
    np.testing.assert_array_equal(parts[0].state[2], again[0].state[2])


def test_skip_is_so_many_calls():
    a, b = (tf.random.Generator.from_seed(5) for _ in range(2))
    a.normal([3])
    a.normal([3])
    b.skip(2)
    np.testing.assert_array_equal(a.normal([3]), b.normal([3]))


def test_public_split_and_fold_in_keep_the_seed_dtype():
    seeds = tf.random.split(tf.constant([1, 2]), 3)
    assert (seeds.shape, seeds.dtype) == ((3, 2), tf.int32)
    assert tf.random.fold_in(tf.constant([1, 2], tf.int64), 3).dtype == tf.int64


def test_initializers_draw_from_the_global_state():
    tf.random.set_seed(1)
    first = tf.random_normal_initializer(stddev=2.0)([3])
    tf.random.set_seed(1)
    np.testing.assert_array_equal(tf.random_normal_initializer(stddev=2.0)([3]), first)
    np.testing.assert_array_equal(tf.constant_initializer(3)([2], tf.float32), [3, 3])
