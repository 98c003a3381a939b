"""Slurm's node lists and the place of a task in its step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distflow.base import errors
from distflow.cluster import resolve
from distflow.cluster.environments import slurm
from distflow.cluster.environments.nodelist import MAX_HOSTS, expand

TOKEN = "0123456789abcdef0123456789abcdef"
STEP = {
    "SLURM_JOB_ID": "1234", "SLURM_STEP_ID": "1", "SLURM_PROCID": "2", "SLURM_LOCALID": "0",
    "SLURM_NTASKS": "9", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NODELIST": "node[08-09,11]",
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        # As `scontrol show hostnames` of Slurm 22.05 prints them.
        ("vm", ["vm"]),
        ("a,b-1.example.org", ["a", "b-1.example.org"]),
        ("n[1-3]", ["n1", "n2", "n3"]),
        ("n[01-03,7],g1", ["n01", "n02", "n03", "n7", "g1"]),
        ("n[08-11]", ["n08", "n09", "n10", "n11"]),
        ("n[098-101]", ["n098", "n099", "n100", "n101"]),
        ("n[9-11]", ["n9", "n10", "n11"]),
        ("r[0-1]n[0-1]", ["r0n0", "r0n1", "r1n0", "r1n1"]),
        ("n[1-2]-ib", ["n1-ib", "n2-ib"]),
        ("[1-2]", ["1", "2"]),
    ],
)
def test_lists(text: str, hosts: list[str]):
    assert expand(text) == hosts


prefixes = st.from_regex(r"[a-z][a-z0-9.-]{0,5}[a-z-]", fullmatch=True)
ranges = st.tuples(st.integers(0, 3000), st.integers(0, 20), st.integers(1, 6))


@given(
    st.lists(
        st.tuples(prefixes, st.lists(ranges, max_size=3), st.sampled_from(["", "-ib", ".x"])),
        min_size=1,
        max_size=4,
    )
)
def test_what_is_written_by_the_rules_is_read_back(groups: list):
    texts, hosts = [], []
    for prefix, parts, suffix in groups:
        written = []
        for first, more, width in parts:
            start = f"{first:0{width}}"
            written.append(f"{start}-{first + more:0{width}}" if more else start)
            numbers = range(first, first + more + 1)
            hosts += [f"{prefix}{n:0{len(start)}}{suffix}" for n in numbers]
        if parts:
            texts.append(f"{prefix}[{','.join(written)}]{suffix}")
        else:
            texts.append(prefix + suffix)
            hosts.append(prefix + suffix)
    assert expand(",".join(texts)) == hosts


@given(st.text(alphabet="ab[]-,019 \n", max_size=12))
def test_any_text_gives_hosts_or_the_typed_error(text: str):
    try:
        hosts = expand(text)
    except errors.InvalidArgumentError:
        return
    assert hosts
    assert all(host and not set(host) & set("[], \n") for host in hosts)


@pytest.mark.parametrize(
    "text", ["", ",", "a,", "n[1-", "n1]", "n[]", "n[3-1]", "n[a-b]", "n[[1]]", "n[1,]", "a b",
             "n[-1]", "n[1-2-3]", "n[²]"],
)  # fmt: skip
def test_what_is_no_list_is_refused(text: str):
    with pytest.raises(errors.InvalidArgumentError, match="as Slurm writes them"):
        expand(text)


@pytest.mark.parametrize("text", ["n[0-999999999999]", "a[0-999]b[0-999]"])
def test_a_list_of_too_many_hosts_is_refused_at_once(text: str):
    with pytest.raises(errors.InvalidArgumentError):
        expand(text)
    assert MAX_HOSTS == 65_536


def step(monkeypatch: pytest.MonkeyPatch, **changes: str | None) -> None:
    for name, value in {**STEP, **changes}.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)


def test_a_task_has_its_place_in_the_step(monkeypatch: pytest.MonkeyPatch):
    step(monkeypatch, DISTFLOW_TOKEN=TOKEN)
    worker = resolve()
    assert (worker.rank, worker.world_size, worker.local_rank) == (2, 4, 0)
    assert worker.coordinator == f"node08:{slurm.port(1234, 1)}"
    assert worker.backend == "grpc"
    assert not worker.hosts_coordinator
    assert worker.token == TOKEN
    assert worker.source == "Slurm's environment"


def test_rank_0_hosts_the_meeting(monkeypatch: pytest.MonkeyPatch):
    step(monkeypatch, DISTFLOW_TOKEN=TOKEN, SLURM_PROCID="0")
    assert resolve().hosts_coordinator


def test_one_host_meets_on_loopback_and_needs_no_token(monkeypatch: pytest.MonkeyPatch):
    step(monkeypatch, SLURM_STEP_NODELIST="vm", SLURM_LOCALID="2")
    worker = resolve()
    assert worker.coordinator == f"127.0.0.1:{slurm.port(1234, 1)}"
    assert worker.local_rank == 2


def test_a_step_of_one_task_is_a_job_of_one_worker(monkeypatch: pytest.MonkeyPatch):
    step(monkeypatch, SLURM_STEP_NUM_TASKS="1", SLURM_PROCID="0", SLURM_STEP_NODELIST="vm")
    assert resolve().backend == "local"


def test_without_a_step_size_the_jobs_holds(monkeypatch: pytest.MonkeyPatch):
    step(monkeypatch, SLURM_STEP_NUM_TASKS=None, SLURM_STEP_NODELIST="vm")
    assert resolve().world_size == 9


def test_a_batch_script_without_srun_is_a_job_of_one(monkeypatch: pytest.MonkeyPatch):
    step(monkeypatch, SLURM_STEP_ID=None, SLURM_STEP_NODELIST=None, SLURM_PROCID="0")
    assert resolve().world_size == 1


def test_the_launchers_and_mpis_variables_come_first(monkeypatch: pytest.MonkeyPatch):
    step(monkeypatch, OMPI_COMM_WORLD_RANK="1", OMPI_COMM_WORLD_SIZE="3")
    assert resolve().source == "Open MPI's environment"
    monkeypatch.setenv("DISTFLOW_RANK", "0")
    monkeypatch.setenv("DISTFLOW_WORLD_SIZE", "1")
    assert resolve().source == "the DISTFLOW_* variables"


def test_another_place_to_meet_may_be_named(monkeypatch: pytest.MonkeyPatch):
    step(monkeypatch, DISTFLOW_TOKEN=TOKEN, DISTFLOW_COORDINATOR="login:5000")
    assert resolve().coordinator == "login:5000"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "4 workers on 3 hosts need DISTFLOW_TOKEN"),
        ({"SLURM_PROCID": "x"}, "SLURM_PROCID must be an integer"),
        ({"SLURM_STEP_NODELIST": None}, "expected SLURM_STEP_NODELIST beside SLURM_STEP_ID"),
        ({"SLURM_STEP_NODELIST": "n[1-"}, "SLURM_STEP_NODELIST: expected host names"),
        ({"SLURM_STEP_NODELIST": "vm", "SLURM_PROCID": "4"}, "rank must be from 0 to 3"),
    ],
)
def test_what_is_missing_or_wrong_is_named(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str | None], words: str
):
    step(monkeypatch, **changes)
    with pytest.raises(errors.InvalidArgumentError, match=words):
        resolve()


@given(st.integers(1, 2**31), st.integers(0, 2**31))
def test_ports_are_below_those_of_outgoing_connections(job: int, number: int):
    assert 20_000 <= slurm.port(job, number) < 32_000


def test_the_first_steps_of_a_job_and_its_neighbours_have_ports_of_their_own():
    ports = [slurm.port(job, number) for job in range(100, 200) for number in range(8)]
    assert len(set(ports)) == len(ports)
