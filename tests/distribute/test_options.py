"""CommunicationOptions, and the namespaces of tf.distribute."""

import pytest

import distflow as tf
from distflow.base import errors

Options = tf.distribute.experimental.CommunicationOptions
Implementation = tf.distribute.experimental.CommunicationImplementation


def test_the_timeout_reaches_the_collectives(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    strategy = tf.distribute.MultiWorkerMirroredStrategy(
        communication_options=Options(timeout_seconds=3.5, implementation=Implementation.RING)
    )
    assert strategy.communicator.timeout_seconds == 3.5
    assert strategy.make_lockstep().timeout_seconds == 3.5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"implementation": Implementation.NCCL}, "GPUs"),
        ({"timeout_seconds": 0}, "timeout_seconds must be > 0"),
        ({"bytes_per_pack": -1}, "bytes_per_pack must be >= 0"),
        ({"implementation": "RING"}, "CommunicationImplementation"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(errors.InvalidArgumentError, match=words):
        Options(**options)


def test_options_of_another_kind_are_refused():
    with pytest.raises(errors.InvalidArgumentError, match="CommunicationOptions"):
        tf.distribute.MultiWorkerMirroredStrategy(communication_options={"timeout_seconds": 3})


def test_a_resolver_of_one_worker_is_a_job_of_one(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    strategy = tf.distribute.experimental.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    assert strategy.num_workers == 1
    assert strategy.cluster_resolver is resolver


def test_a_strategy_set_by_hand_is_in_force_until_none():
    strategy = tf.distribute.MirroredStrategy(logical_replicas=2)
    tf.distribute.experimental_set_strategy(strategy)
    try:
        assert tf.distribute.get_strategy() is strategy
    finally:
        tf.distribute.experimental_set_strategy(None)
    assert not tf.distribute.has_strategy()


def test_a_strategy_set_by_hand_inside_a_scope_is_refused():
    strategy = tf.distribute.MirroredStrategy(logical_replicas=2)
    with strategy.scope(), pytest.raises(RuntimeError, match="inside a scope"):
        tf.distribute.experimental_set_strategy(None)


def test_a_cluster_spec_describes_a_cluster_to_a_resolver():
    spec = tf.train.ClusterSpec({"worker": ["localhost:2222"]})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        spec, task_type="worker", task_id=0
    )
    assert resolver.cluster_spec().as_dict() == {"worker": ["localhost:2222"]}
    assert tf.distribute.MultiWorkerMirroredStrategy(resolver).num_workers == 1
