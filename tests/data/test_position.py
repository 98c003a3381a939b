"""The position of random steps: another process can start the same pass again."""

import json

import pytest

import distflow as tf
from distflow.data import position


def numbers(ds):
    return [int(x) for x in ds.as_numpy_iterator()]


def pipeline(**arguments):
    return tf.data.Dataset.range(20).shuffle(8, **arguments)


@pytest.mark.parametrize("arguments", [{}, {"seed": 3}, {"reshuffle_each_iteration": False}])
def test_the_next_pass_is_the_same_in_another_process(arguments):
    ds = pipeline(**arguments)
    numbers(ds)
    saved = json.loads(json.dumps(position.state(ds.node)))
    expected = [numbers(ds), numbers(ds)]
    other = pipeline(**arguments)
    position.set_state(other.node, saved)
    assert [numbers(other), numbers(other)] == expected


def test_looking_does_not_move():
    ds = pipeline()
    _ = position.state(ds.node), position.state(ds.node)
    assert position.state(ds.node)[0][1] == 0


def test_below_a_full_cache_stands_the_pass_that_filled_it():
    ds = pipeline().cache().shuffle(5)
    for _ in range(3):
        numbers(ds)
    saved = position.state(ds.node)
    assert [passes for _, passes in saved] == [0, 3]
    expected = numbers(ds)
    other = pipeline().cache().shuffle(5)
    position.set_state(other.node, saved)
    assert numbers(other) == expected


def test_a_cache_that_is_not_full_counts_passes_below():
    ds = pipeline().cache()
    next(iter(ds))
    assert position.state(ds.node)[0][1] == 1


def test_a_step_that_two_branches_share_is_there_once():
    shared = pipeline()
    ds = tf.data.Dataset.zip(shared.take(3), shared.skip(3))
    assert len(position.state(ds.node)) == 1


def test_another_pipeline_is_refused():
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"2 random steps.*1"):
        position.set_state(pipeline().node, position.state(pipeline().shuffle(3).node))
