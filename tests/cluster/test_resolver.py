import json

import pytest

from distflow.base import errors
from distflow.cluster import (
    ClusterResolver,
    ClusterSpec,
    EnvironmentClusterResolver,
    MPIClusterResolver,
    SimpleClusterResolver,
    TFConfigClusterResolver,
    resolve,
)


@pytest.fixture
def config(monkeypatch):
    value = {
        "cluster": {"worker": ["a:1", "b:2"], "ps": ["c:3"]},
        "task": {"type": "worker", "index": 1},
    }
    monkeypatch.setenv("TF_CONFIG", json.dumps(value))


def test_tf_config_resolver_answers_as_tf_does(config):
    # Expected values: tf.distribute.cluster_resolver of TensorFlow 2.21.
    resolver = TFConfigClusterResolver()
    assert resolver.cluster_spec() == ClusterSpec({"worker": ["a:1", "b:2"], "ps": ["c:3"]})
    assert (resolver.task_type, resolver.task_id, resolver.rpc_layer) == ("worker", 1, None)
    assert resolver.master() == "b:2"
    assert resolver.master("ps", 0) == "c:3"
    assert resolver.num_accelerators() == {}
    with pytest.raises(ValueError, match="ps"):
        resolver.master("ps", 3)


def test_tf_config_resolver_without_tf_config_is_one_worker():
    resolver = TFConfigClusterResolver()
    assert resolver.cluster_spec() == ClusterSpec({})
    assert (resolver.task_type, resolver.task_id, resolver.master()) == (None, None, "")
    assert resolve(resolver).world_size == 1


def test_tf_config_resolver_arguments_override_the_task(config):
    assert resolve(TFConfigClusterResolver(task_id=0)).rank == 0


def test_simple_resolver_answers_as_tf_does():
    spec = ClusterSpec({"worker": ["a:1", "b:2"], "ps": ["c:3"]})
    resolver = SimpleClusterResolver(spec, task_type="worker", task_id=1)
    assert resolver.master() == ""
    assert resolver.master("ps", 0) == "c:3"
    assert resolver.master("ps", 0, rpc_layer="grpc") == "grpc://c:3"
    assert resolver.environment == ""
    assert SimpleClusterResolver(spec, "x", num_accelerators={"GPU": 2}).num_accelerators() == {
        "GPU": 2
    }


def test_simple_resolver_places_the_worker():
    spec = ClusterSpec({"worker": ["a:1", "b:2"]})
    worker = resolve(SimpleClusterResolver(spec, task_type="worker", task_id=1))
    assert (worker.rank, worker.addresses) == (1, ["a:1", "b:2"])
    assert worker.source == "SimpleClusterResolver"


def test_simple_resolver_refuses_a_plain_dictionary():
    with pytest.raises(TypeError, match="must be a ClusterSpec"):
        SimpleClusterResolver({"worker": ["a:1"]})


def test_mpi_resolver_names_its_ranks(monkeypatch):
    monkeypatch.setenv("PMI_RANK", "1")
    monkeypatch.setenv("PMI_SIZE", "2")
    resolver = MPIClusterResolver()
    assert resolver.cluster_spec().as_dict() == {"worker": ["rank-0", "rank-1"]}
    assert (resolver.task_type, resolver.task_id) == ("worker", 1)
    assert resolve(resolver).backend == "mpi"


def test_mpi_resolver_outside_mpirun_says_how_to_start():
    with pytest.raises(errors.InvalidArgumentError, match="mpirun -np 4"):
        MPIClusterResolver()


def test_environment_resolver_shows_tf_configs_cluster(config):
    resolver = EnvironmentClusterResolver()
    assert resolver.cluster_spec().num_tasks("ps") == 1
    assert resolver.worker_environment().rank == 1


def test_a_users_own_resolver_is_enough():
    class Own(ClusterResolver):
        task_type, task_id = "worker", 0

        def cluster_spec(self):
            return ClusterSpec({"worker": ["a:1", "b:1"]})

    assert resolve(Own()).world_size == 2
    assert Own().master() == "a:1"
