import importlib.util

import pytest

from distflow.base import flags
from launcher import env, plan
from launcher.mpirun import Mpirun, identify

OPEN_MPI = Mpirun("/x/mpirun", "Open MPI", "5.0.11", ("--oversubscribe", "--bind-to", "none"))


@pytest.fixture
def mpi(monkeypatch):
    """Says whether mpirun and mpi4py are there."""

    def have(mpirun, mpi4py, shares_memory=False):
        monkeypatch.setattr(plan, "_shares_memory", lambda: shares_memory)
        monkeypatch.setattr(plan, "find_mpirun", lambda: mpirun)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: mpi4py or None)

    return have


@pytest.mark.parametrize(
    ("mpirun", "mpi4py", "workers", "expected"),
    [
        (OPEN_MPI, True, 2, "mpi"),
        (OPEN_MPI, False, 2, "grpc"),
        (None, True, 2, "grpc"),
        (OPEN_MPI, True, 1, "grpc"),
    ],
)
def test_without_shared_memory_auto_takes_mpi_where_all_of_it_is_there(
    mpi, mpirun, mpi4py, workers, expected
):
    mpi(mpirun, mpi4py)
    chosen = plan.make_plan(["x"], num_workers=workers)
    assert chosen.backend == expected
    assert chosen.variables["DISTFLOW_BACKEND"] == "auto"  # so that workers may share memory


def test_auto_needs_no_mpi_where_workers_share_memory(mpi):
    mpi(OPEN_MPI, True, shares_memory=True)
    chosen = plan.make_plan(["x"], num_workers=2)
    assert (chosen.backend, chosen.mpirun) == ("grpc", None)
    assert chosen.variables["DISTFLOW_BACKEND"] == "auto"


@pytest.mark.parametrize(("backend", "meets"), [("mpi", "mpi"), ("grpc", "grpc"), ("shm", "grpc")])
def test_a_backend_that_was_asked_for_is_told_to_the_workers(mpi, backend, meets):
    mpi(OPEN_MPI, True)
    chosen = plan.make_plan(["x"], num_workers=2, backend=backend)
    assert (chosen.backend, chosen.variables["DISTFLOW_BACKEND"]) == (meets, backend)


@pytest.mark.parametrize(("mpirun", "missing"), [(OPEN_MPI, "mpi4py"), (None, "an mpirun")])
def test_mpi_that_is_not_there_is_refused_with_the_pip_command(mpi, mpirun, missing):
    mpi(mpirun, False)
    with pytest.raises(plan.UsageError, match=missing) as caught:
        plan.make_plan(["x"], num_workers=2, backend="mpi")
    assert 'pip install "distflow[mpi]"' in str(caught.value)


def test_fewer_replicas_than_workers_are_refused():
    with pytest.raises(plan.UsageError, match="at least the number of workers"):
        plan.make_plan(["x"], num_workers=4, backend="grpc", replicas=3)


def test_the_contract_cannot_be_overridden():
    with pytest.raises(plan.UsageError, match="DISTFLOW_RANK is set by distflow run"):
        plan.make_plan(["x"], num_workers=1, variables={"DISTFLOW_RANK": "1"})


def test_missing_script_is_refused():
    with pytest.raises(plan.UsageError, match=r"'no\.py', which is not there"):
        plan.worker_command("no.py", [], is_module=False)


def test_description_hides_the_token():
    job = plan.make_plan(["x"], num_workers=2, backend="grpc")
    assert "DISTFLOW_TOKEN=<secret>" in job.describe()
    assert job.variables["DISTFLOW_TOKEN"] not in job.describe()


def test_tokens_and_ids_differ_between_jobs():
    one, other = (plan.make_plan(["x"], num_workers=1, backend="grpc") for _ in range(2))
    assert one.job != other.job
    assert one.variables["DISTFLOW_TOKEN"] != other.variables["DISTFLOW_TOKEN"]


@pytest.mark.parametrize("root", [True, False])
def test_defaults_leave_alone_what_is_set(root):
    none = env.defaults({}, mpi=True, root=root)
    assert none["OMP_NUM_THREADS"] == "1"
    assert none["OMPI_MCA_btl"] == "^ofi"
    assert ("OMPI_ALLOW_RUN_AS_ROOT" in none) == root
    given = {"OMP_NUM_THREADS": "3", "OMPI_MCA_btl": "self"}
    assert not set(env.defaults(given, mpi=True, root=root)) & set(given)
    assert not any(name.startswith("OMPI") for name in env.defaults({}, mpi=False, root=root))


def test_contract_and_settings_agree():
    """What the launcher sets is what the library reads."""
    assert set(env.CONTRACT) <= set(flags.FLAGS)


@pytest.mark.parametrize(
    ("text", "name", "version", "command"),
    [
        (
            "mpirun (Open MPI) 5.0.11\n\nReport bugs to https://www.open-mpi.org/",
            "Open MPI",
            "5.0.11",
            ["m", "-n", "3", "--oversubscribe", "--bind-to", "none", "w"],
        ),
        (
            "HYDRA build details:\n    Version:             5.0.2\n    Release Date:  Fri",
            "MPICH",
            "5.0.2",
            ["m", "-n", "3", "-genvall", "w"],
        ),
        ("Some MPI 1.2", "an unknown MPI", "Some MPI 1.2", ["m", "-n", "3", "w"]),
    ],
)
def test_mpiruns_are_told_apart_by_what_they_say(text, name, version, command):
    mpirun = identify("m", text)
    assert (mpirun.name, mpirun.version) == (name, version)
    assert mpirun.command(3, ["w"]) == command
