import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from distflow.base import errors
from distflow.cluster import resolve
from distflow.cluster.environments import ENVIRONMENTS, tf_config

TWO = {"worker": ["host0:2222", "host1:2222"]}
TOKEN = "0123456789abcdef0123456789abcdef"


def set_tf_config(monkeypatch, cluster=TWO, task_type="worker", index=1, **more):
    config = {"cluster": cluster, "task": {"type": task_type, "index": index}, **more}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))


def test_no_environment_is_a_job_of_one():
    worker = resolve()
    assert (worker.rank, worker.world_size, worker.backend) == (0, 1, "local")
    assert worker.is_chief


def test_table_is_in_the_documented_order():
    names = [environment.name for environment in ENVIRONMENTS]
    assert names == ["launcher", "tf_config", "mpi", "slurm", "kubernetes"]


def test_tf_config_gives_rank_and_addresses(monkeypatch):
    set_tf_config(monkeypatch)
    worker = resolve()
    assert (worker.rank, worker.world_size, worker.backend) == (1, 2, "grpc")
    assert worker.addresses == TWO["worker"]
    assert worker.coordinator is None
    assert worker.source == "TF_CONFIG"


def test_tf_config_ranks_the_chief_first(monkeypatch):
    set_tf_config(monkeypatch, {"chief": ["c:1"], "worker": ["w:1", "c:2"]}, "worker", 1)
    worker = resolve()
    assert (worker.rank, worker.local_rank) == (2, 1)  # host c has the chief as well
    assert worker.addresses == ["c:1", "w:1", "c:2"]
    assert (worker.task_type, worker.task_id) == ("worker", 1)


def test_tf_config_of_one_worker_needs_no_transport(monkeypatch):
    set_tf_config(monkeypatch, {"worker": ["h:1"]}, "worker", 0)
    assert resolve().backend == "local"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{cluster", "expected JSON"),
        ("[1]", "expected a JSON object"),
        ('{"task": {"type": "worker", "index": 0}}', 'expected an entry "cluster"'),
        ('{"cluster": {}}', 'expected an entry "cluster"'),
        ('{"cluster": ["a:1"]}', 'expected an entry "cluster"'),
        ('{"cluster": {"worker": ["a:1"]}}', 'expected an entry "task"'),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker"}}', '"task" with "type"'),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": "x"}}',
            "an integer",
        ),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": 1, "index": 0}}', "must be a string"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 2}}', "0 to 0"),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}',
            "'chief' must be",
        ),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}', "chief or worker"),
        ('{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}', "both"),
        ('{"cluster": {"worker": ["a:x"]}, "task": {"type": "worker", "index": 0}}', "the port"),
        ('{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}', "host:port"),
    ],
)
def test_malformed_tf_config_is_one_clear_error(monkeypatch, text, words):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(errors.InvalidArgumentError) as caught:
        resolve()
    assert str(caught.value).startswith("TF_CONFIG: ")
    assert words in str(caught.value)
    assert "Example for worker 0" in str(caught.value)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda s: (
            st.lists(s, max_size=3)
            | st.dictionaries(
                st.sampled_from(["cluster", "task", "type", "index", "worker"]), s, max_size=3
            )
        ),
    )
)
def test_any_json_is_read_or_refused(config):
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
        assume(tf_config.is_present())
        try:
            worker = tf_config.read()
        except errors.InvalidArgumentError as error:
            refusal = str(error)
        else:
            refusal = ""
            assert worker.source == "TF_CONFIG"
    assert not refusal or refusal.startswith("TF_CONFIG: ")


def test_mpi_backend_without_mpirun_is_refused(monkeypatch):
    set_tf_config(monkeypatch)
    monkeypatch.setenv("DISTFLOW_BACKEND", "mpi")
    with pytest.raises(errors.InvalidArgumentError, match="mpirun"):
        resolve()


@pytest.mark.parametrize(
    ("variables", "source"),
    [
        (
            ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
            "Open MPI",
        ),
        (("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"), "MPICH"),
        (("PMIX_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"), "PMIx"),
    ],
)
def test_mpi_variables_are_read(monkeypatch, variables, source):
    for name, value in zip(variables, ("2", "4", "1"), strict=True):
        monkeypatch.setenv(name, value)
    worker = resolve()
    assert (worker.rank, worker.world_size, worker.local_rank) == (2, 4, 1)
    assert worker.backend == "mpi"
    assert source in worker.source


def test_grpc_under_mpirun_without_coordinator_says_what_to_set(monkeypatch):
    monkeypatch.setenv("PMI_RANK", "1")
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setenv("DISTFLOW_BACKEND", "grpc")
    with pytest.raises(errors.InvalidArgumentError, match="-x DISTFLOW_COORDINATOR="):
        resolve()


def test_grpc_under_mpirun_meets_at_the_coordinator_of_rank_zero(monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setenv("DISTFLOW_BACKEND", "grpc")
    monkeypatch.setenv("DISTFLOW_COORDINATOR", "127.0.0.1:2222")
    hosts = []
    for rank in "01":
        monkeypatch.setenv("PMI_RANK", rank)
        worker = resolve()
        assert (worker.backend, worker.coordinator) == ("grpc", "127.0.0.1:2222")
        hosts.append(worker.hosts_coordinator)
    assert hosts == [True, False]


def test_mpi_rank_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv("PMI_RANK", "one")
    monkeypatch.setenv("PMI_SIZE", "2")
    with pytest.raises(errors.InvalidArgumentError, match="PMI_RANK must be an integer"):
        resolve()


def test_launcher_variables_are_read_and_token_is_not_shown(monkeypatch):
    for name, value in {
        "DISTFLOW_RANK": "1",
        "DISTFLOW_WORLD_SIZE": "2",
        "DISTFLOW_LOCAL_RANK": "1",
        "DISTFLOW_COORDINATOR": "127.0.0.1:2222",
        "DISTFLOW_TOKEN": TOKEN,
        "DISTFLOW_JOB": "abc",
        "PMI_RANK": "0",
        "PMI_SIZE": "1",
    }.items():
        monkeypatch.setenv(name, value)
    worker = resolve()
    assert (worker.rank, worker.world_size, worker.local_rank, worker.backend) == (1, 2, 1, "grpc")
    assert worker.token == TOKEN
    assert TOKEN not in repr(worker)
    assert not worker.hosts_coordinator
    assert worker.job == "abc"


@pytest.mark.parametrize(("asked", "backend"), [("mpi", "mpi"), ("auto", "grpc")])
def test_members_of_an_elastic_job_have_a_coordinator_over_mpi_too(monkeypatch, asked, backend):
    monkeypatch.setenv("DISTFLOW_RANK", "1")
    monkeypatch.setenv("DISTFLOW_WORLD_SIZE", "3")
    monkeypatch.setenv("DISTFLOW_BACKEND", asked)
    monkeypatch.setenv("DISTFLOW_ELASTIC", "1:3")
    monkeypatch.setenv("DISTFLOW_COORDINATOR", "127.0.0.1:2222")
    monkeypatch.setenv("DISTFLOW_JOB", "a")
    monkeypatch.setenv("DISTFLOW_TOKEN", TOKEN)
    worker = resolve()
    assert (worker.backend, worker.coordinator) == (backend, "127.0.0.1:2222")
    assert not worker.hosts_coordinator


def test_rank_zero_hosts_the_meeting_where_no_launcher_does(monkeypatch):
    monkeypatch.setenv("DISTFLOW_RANK", "0")
    monkeypatch.setenv("DISTFLOW_WORLD_SIZE", "2")
    monkeypatch.setenv("DISTFLOW_COORDINATOR", "127.0.0.1:2222")
    assert resolve().hosts_coordinator


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"DISTFLOW_RANK": "0"}, "needs DISTFLOW_WORLD_SIZE"),
        ({"DISTFLOW_WORLD_SIZE": "2"}, "needs DISTFLOW_RANK"),
        ({"DISTFLOW_RANK": "0", "DISTFLOW_WORLD_SIZE": "2"}, "need DISTFLOW_COORDINATOR"),
        ({"DISTFLOW_RANK": "2", "DISTFLOW_WORLD_SIZE": "1"}, "from 0 to 0"),
        ({"DISTFLOW_RANK": "x", "DISTFLOW_WORLD_SIZE": "2"}, "DISTFLOW_RANK"),
        ({"DISTFLOW_BACKEND": "smoke"}, "auto, mpi, grpc, shm"),
        ({"JOB_COMPLETION_INDEX": "0"}, "- name: DISTFLOW_WORLD_SIZE"),
        ({"JOB_COMPLETION_INDEX": "0", "DISTFLOW_WORLD_SIZE": "2"}, "- name: DISTFLOW_COORDINATOR"),
        ({"JOB_COMPLETION_INDEX": "a", "DISTFLOW_WORLD_SIZE": "2"}, "must be an integer"),
    ],
)
def test_incomplete_variables_say_what_is_missing(monkeypatch, variables, words):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(errors.InvalidArgumentError) as caught:
        resolve()
    assert words in str(caught.value)


def test_indexed_job_takes_its_rank_from_the_completion_index(monkeypatch):
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "0")
    monkeypatch.setenv("DISTFLOW_WORLD_SIZE", "3")
    monkeypatch.setenv("DISTFLOW_COORDINATOR", "train-0.train:2222")
    worker = resolve()
    assert (worker.rank, worker.world_size, worker.hosts_coordinator) == (0, 3, True)
