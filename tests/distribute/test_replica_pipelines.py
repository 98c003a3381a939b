"""A pipeline a replica, the end of data as an Optional, reduction of a distributed data set."""

import numpy as np
import pytest

import distflow as tf
from distflow.base import errors
from distflow.distribute import MirroredStrategy
from tests.distribute.workers import on_threads

D = tf.distribute
PER_REPLICA = D.InputOptions(experimental_replication_mode=D.InputReplicationMode.PER_REPLICA)
V = 5


def pipeline(context):
    """Rows of its own, of lengths that differ: replica r has 6 + 2 r."""
    start = 100 * context.input_pipeline_id
    rows = tf.data.Dataset.range(start, start + 6 + 2 * context.input_pipeline_id)
    return rows.shuffle(20).batch(3)


def seen(strategy):
    data = strategy.distribute_datasets_from_function(pipeline, PER_REPLICA)
    found = {}
    for step, element in enumerate(data):
        parts = strategy.experimental_local_results(element)
        for replica, part in zip(strategy.local_replicas, parts):
            found[step, replica] = part.numpy().tolist()
    return found


def test_what_a_replica_reads_depends_on_no_number_of_workers(monkeypatch):
    monkeypatch.setattr("random.getrandbits", lambda bits: 7)
    (golden,) = on_threads(1, V, seen)
    for workers in 2, 3, 5:
        found = {}
        for parts in on_threads(workers, V, seen):
            assert isinstance(parts, dict), parts
            found |= parts
        assert found == golden
    rows = sorted(row for part in golden.values() for row in part)
    assert rows == [100 * r + i for r in range(V) for i in range(6 + 2 * r)]
    assert max(step for step, _ in golden) == 4  # ceil(14 / 3) steps, as long as the longest
    assert golden[4, 0] == []


def test_the_function_is_told_its_replica():
    contexts = []

    def make(context):
        contexts.append(context)
        return tf.data.Dataset.range(2).batch(1)

    MirroredStrategy(3).distribute_datasets_from_function(make, PER_REPLICA)
    assert contexts == [D.InputContext(3, replica, 3) for replica in range(3)]


def test_a_position_comes_back(tmp_path, monkeypatch):
    strategy = MirroredStrategy(2)

    def start():
        return iter(strategy.distribute_datasets_from_function(pipeline, PER_REPLICA))

    def rows(iterator):
        return [part.numpy().tolist() for part in next(iterator).values]

    iterator = start()
    rows(iterator)
    path = tf.train.Checkpoint(iterator=iterator).write(tmp_path / "c")
    expected = rows(iterator)
    other = start()
    tf.train.Checkpoint(iterator=other).read(path)
    assert rows(other) == expected


# -- Optional --------------------------------------------------------------------------------------


def test_the_end_is_an_optional_without_a_value():
    strategy = MirroredStrategy(2)
    data = tf.data.Dataset.range(6).batch(4)
    iterator = iter(strategy.experimental_distribute_dataset(data))
    found = []
    while bool((optional := iterator.get_next_as_optional()).has_value()):
        found.append([part.numpy().tolist() for part in optional.get_value().values])
    assert found == [[[0, 1], [2, 3]], [[4], [5]]]
    with pytest.raises(errors.InvalidArgumentError, match="Ask has_value"):
        optional.get_value()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_function_stops_at_the_end(workers):
    """TF's guide: has_value decides inside the function, nobody knows the number of steps."""

    def work(strategy):
        with strategy.scope():
            total = tf.Variable(0.0, aggregation=tf.VariableAggregation.SUM)

        @tf.function
        def train(iterator):
            steps = 0
            for _ in tf.range(100):
                optional = iterator.get_next_as_optional()
                if not optional.has_value():
                    break
                strategy.run(
                    lambda x: total.assign_add(tf.reduce_sum(tf.cast(x, tf.float32))),
                    args=(optional.get_value(),),
                )
                steps += 1
            return steps

        data = tf.data.Dataset.range(11).batch(4)
        steps = train(iter(strategy.experimental_distribute_dataset(data)))
        return int(steps), float(total)

    assert on_threads(workers, 2, work) == [(3, 55.0)] * workers


def test_the_value_of_none_is_an_error_when_the_function_runs():
    strategy = MirroredStrategy(1)
    iterator = iter(strategy.experimental_distribute_dataset(tf.data.Dataset.range(2).batch(2)))

    @tf.function
    def take():
        return iterator.get_next_as_optional().get_value()

    np.testing.assert_array_equal(take(), [0, 1])
    with pytest.raises(errors.InvalidArgumentError, match="Ask has_value"):
        take()


def test_plain_iterators_have_optionals_too():
    iterator = iter(tf.data.Dataset.range(1))
    first, last = iterator.get_next_as_optional(), iterator.get_next_as_optional()
    assert bool(first.has_value())
    assert int(first.get_value()) == 0
    assert first.element_spec == last.element_spec == tf.TensorSpec((), tf.int64)
    assert not bool(last.has_value())


def test_a_distributed_data_set_is_reduced():
    strategy = MirroredStrategy(2)
    data = strategy.experimental_distribute_dataset(tf.data.Dataset.range(10).batch(4))
    assert data.reduce(0, lambda state, element: state + len(element.values)) == 6


def test_optional_is_where_tf_has_it():
    some = tf.experimental.Optional.from_value((1, [2.0]))
    assert bool(some.has_value())
    assert int(some.get_value()[0]) == 1
    none = tf.experimental.Optional.empty(some.element_spec)
    assert not bool(none.has_value())
    assert none.element_spec == (tf.TensorSpec((), tf.int32), [tf.TensorSpec((), tf.float32)])
