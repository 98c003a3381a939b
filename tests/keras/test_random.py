"""Keras's randomness: generators, keys, draws and dropout masks."""

import types

import numpy as np
import pytest

import distflow as tf
from distflow.core import context
from distflow.core.variable import VariableAggregation
from distflow.keras import random


def test_generator_counts_in_a_variable():
    generator = random.SeedGenerator(3)
    assert generator.next().numpy().tolist() == [3, 0]
    assert generator.next().numpy().tolist() == [3, 1]
    assert generator.state.numpy().tolist() == [3, 2]
    assert not generator.state.trainable
    assert generator.state.aggregation is VariableAggregation.ONLY_FIRST_REPLICA


def test_generator_counts_inside_a_function():
    generator = random.SeedGenerator(3)
    step = tf.function(lambda: random.uniform((4,), seed=generator))
    assert (step().numpy() != step().numpy()).any()
    assert generator.state.numpy().tolist() == [3, 2]


def test_config_makes_a_generator_of_the_same_seed():
    generator = random.SeedGenerator(3)
    again = random.SeedGenerator.from_config(generator.get_config())
    assert again.state.numpy().tolist() == [3, 0]


@pytest.mark.parametrize("seed", ["a", 1.5, True])
def test_seed_must_be_an_int(seed):
    with pytest.raises(ValueError, match="integer"):
        random.SeedGenerator(seed)


def test_an_int_seed_gives_the_same_draw_again():
    np.testing.assert_array_equal(random.normal((5,), seed=1), random.normal((5,), seed=1))


def test_draws_without_a_seed_differ_until_the_seed_is_set_again():
    random.set_random_seed(1)
    first, second = random.uniform((5,)).numpy(), random.uniform((5,)).numpy()
    random.set_random_seed(1)
    np.testing.assert_array_equal(random.uniform((5,)), first)
    assert (first != second).any()


def test_set_random_seed_sets_python_and_numpy():
    import random as python

    random.set_random_seed(9)
    first = python.random(), np.random.random(), tf.random.uniform((2,)).numpy().tolist()
    random.set_random_seed(9)
    again = python.random(), np.random.random(), tf.random.uniform((2,)).numpy().tolist()
    assert first == again


@pytest.mark.parametrize("seed", [-1, 2**32, "a"])
def test_set_random_seed_checks_its_argument(seed):
    with pytest.raises(ValueError, match="seed"):
        random.set_random_seed(seed)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_uniform_numbers_lie_in_their_interval(dtype):
    values = random.uniform((2000,), -1.0, 3.0, dtype, seed=1).numpy().astype("float64")
    assert values.min() >= -1
    assert values.max() <= 3
    assert values.mean() == pytest.approx(1, abs=0.1)


def test_replicas_draw_different_masks_of_one_count():
    generator = random.SeedGenerator(1)

    def mask(replica_id):
        context.state.replica = types.SimpleNamespace(
            fold_key=lambda key: tf.random.fold_in(key, replica_id)
        )
        try:
            return random.dropout(np.ones(64, "float32"), 0.5, seed=generator).numpy()
        finally:
            context.state.replica = None

    first = mask(0)
    generator.state.assign(np.array([1, 0]))
    second = mask(1)
    generator.state.assign(np.array([1, 0]))
    assert (first != second).any()
    np.testing.assert_array_equal(first, mask(0))


def test_dropout_of_everything_gives_zeros():
    assert (random.dropout(np.ones(5, "float32"), 1.0, seed=1).numpy() == 0).all()


def test_integers_cover_their_range():
    assert set(random.randint((500,), 2, 5, seed=1).numpy().tolist()) == {2, 3, 4}


def test_shuffle_keeps_the_entries():
    x = np.arange(12).reshape(3, 4)
    mixed = random.shuffle(x, axis=1, seed=3).numpy()
    np.testing.assert_array_equal(np.sort(mixed, axis=1), x)
    assert (mixed != x).any()


def test_categories_follow_their_chances():
    draws = random.categorical(np.log([[0.2, 0.8]]), 4000, seed=1).numpy()
    assert draws.mean() == pytest.approx(0.8, abs=0.03)
