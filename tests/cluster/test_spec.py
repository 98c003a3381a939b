import pytest
from hypothesis import given
from hypothesis import strategies as st

from distflow.base import errors
from distflow.cluster import ClusterSpec
from distflow.cluster.spec import split_address, training_tasks


def test_sparse_and_dense_jobs_answer_as_tf_does():
    # Expected values: tf.train.ClusterSpec of TensorFlow 2.21.
    spec = ClusterSpec({"worker": {1: "a:1", 3: "b:2"}, "ps": ["c:3"]})
    assert spec.as_dict() == {"worker": {1: "a:1", 3: "b:2"}, "ps": ["c:3"]}
    assert spec.jobs == ["worker", "ps"]
    assert spec.num_tasks("worker") == 2
    assert spec.task_indices("worker") == [1, 3]
    assert spec.job_tasks("worker") == [None, "a:1", None, "b:2"]
    assert spec.task_address("worker", 3) == "b:2"
    assert repr(spec) == "ClusterSpec({'ps': ['c:3'], 'worker': {1: 'a:1', 3: 'b:2'}})"


def test_dictionary_without_gaps_becomes_a_list():
    assert ClusterSpec({"w": {0: "a:1", 1: "b:2"}}).as_dict() == {"w": ["a:1", "b:2"]}


def test_empty_spec_is_false_and_copy_is_equal():
    spec = ClusterSpec({"worker": ["a:1"]})
    assert not ClusterSpec({})
    assert spec
    assert ClusterSpec(spec) == spec
    assert spec != spec.as_dict()


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ([1], "expected a dictionary"),
        ({"worker": "a:1"}, "must be a list of addresses"),
        ({"worker": [3]}, "worker 0: an address must be a string"),
        ({"worker": ["a:b"]}, "worker 0: the port must be a number from 1 to 65535"),
        ({"worker": ["a:70000"]}, "'a:70000'"),
        ({"worker": ["a:0"]}, "1 to 65535"),
        ({"worker": [""]}, "expected host:port"),
        ({"worker": [":22"]}, "expected host:port"),
        ({"worker": ["a b:22"]}, "without blanks"),
        ({"worker": ["http://a:22"]}, "without blanks or slashes"),
        ({"worker": ["a:1", "a:1"]}, "'a:1' for both worker 0 and worker 1"),
        ({"worker": ["a:1"], "ps": ["a:1"]}, "'a:1' for both worker 0 and ps 0"),
        ({"worker": {"x": "a:1"}}, "a task index must be an integer >= 0"),
        ({"worker": {-1: "a:1"}}, "received -1"),
    ],
)
def test_bad_clusters_are_refused_by_name(cluster, words):
    with pytest.raises(errors.InvalidArgumentError) as caught:
        ClusterSpec(cluster)
    assert words in str(caught.value)


def test_unknown_job_and_task_are_value_errors_as_in_tf():
    spec = ClusterSpec({"worker": ["a:1"]})
    with pytest.raises(ValueError, match="the jobs are"):
        spec.num_tasks("x")
    with pytest.raises(ValueError, match="has the tasks"):
        spec.task_address("worker", 1)


def test_chief_is_rank_zero_and_ps_does_not_train():
    spec = ClusterSpec({"worker": ["a:1", "b:1"], "chief": ["c:1"], "ps": ["d:1"]})
    assert training_tasks(spec) == [
        ("chief", 0, "c:1"),
        ("worker", 0, "a:1"),
        ("worker", 1, "b:1"),
    ]


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ({"worker": {0: "a:1", 2: "b:1"}}, "without [1]"),
        ({"worker": ["a"]}, "the address of worker 0 must be host:port"),
        ({"ps": ["a:1"]}, "a job named 'worker'"),
        ({"chief": ["a:1", "b:1"], "worker": ["c:1"]}, "one chief at most"),
    ],
)
def test_clusters_that_cannot_train_are_refused(cluster, words):
    with pytest.raises(errors.InvalidArgumentError) as caught:
        training_tasks(ClusterSpec(cluster))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("[::1]:22", ("::1", 22)),
        ("h", ("h", None)),
        ("::1", ("::1", None)),
        ("h:65535", ("h", 65535)),
    ],
)
def test_addresses_split_into_host_and_port(address, expected):
    assert split_address(address) == expected


@given(st.text(max_size=30))
def test_any_text_is_split_or_refused(text):
    try:
        host, port = split_address(text)
    except errors.InvalidArgumentError:
        return
    assert host
    assert port is None or 1 <= port <= 65535
