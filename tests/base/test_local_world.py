import pytest

from distflow.base import flags, local_world


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Nothing but the test tells how many workers are here."""
    monkeypatch.setattr(local_world, "_started_beside", lambda: None)
    for name in ("LOCAL_WORLD_SIZE", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(f"DISTFLOW_{name}", raising=False)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, 4),
        ({"MPI_LOCALNRANKS": "3"}, 3),
        ({"PMI_LOCAL_SIZE": "2"}, 2),
        ({"MPI_LOCALNRANKS": "many", "PMI_LOCAL_SIZE": "2"}, 2),
        ({"MPI_LOCALNRANKS": "0"}, None),
        ({"SLURM_STEP_ID": "0", "SLURM_STEP_TASKS_PER_NODE": "4"}, 4),
        ({"SLURM_STEP_ID": "0", "SLURM_NODEID": "1", "SLURM_STEP_TASKS_PER_NODE": "4(x2)"}, 4),
        ({"SLURM_STEPID": "0", "SLURM_NODEID": "1", "SLURM_STEP_TASKS_PER_NODE": "4(x2),3"}, 4),
        ({"SLURM_STEPID": "0", "SLURM_NODEID": "2", "SLURM_STEP_TASKS_PER_NODE": "4(x2),3"}, 3),
        ({"SLURM_STEP_ID": "0", "SLURM_NTASKS_PER_NODE": "6"}, 6),
        ({"SLURM_STEP_ID": "0", "SLURM_STEP_TASKS_PER_NODE": "1", "SLURM_NTASKS_PER_NODE": "6"}, 1),
        ({"SLURM_STEP_ID": "0", "SLURM_STEP_TASKS_PER_NODE": "4(x"}, None),
        # The step is one mpirun a node, whose ranks share it.
        ({"SLURM_STEP_ID": "0", "SLURM_STEP_TASKS_PER_NODE": "1", "MPI_LOCALNRANKS": "8"}, 8),
        # The script of a batch job.
        ({"SLURM_NTASKS_PER_NODE": "6", "SLURM_PROCID": "0"}, None),
    ],
)
def test_local_size_is_read_from_mpi_and_slurm(environment, expected):
    assert local_world.count_from(environment) == expected


def test_a_process_that_nobody_told_is_alone():
    assert local_world.local_world_size() == 1


def test_setting_comes_before_the_process_manager(monkeypatch):
    monkeypatch.setattr(local_world, "_started_beside", lambda: 4)
    assert local_world.local_world_size() == 4
    with flags.override(DISTFLOW_LOCAL_WORLD_SIZE=2):
        assert local_world.local_world_size() == 2


def test_a_local_rank_set_by_hand_means_that_all_workers_may_be_here():
    with flags.override(DISTFLOW_LOCAL_RANK=1):
        assert local_world.local_world_size() == 2
        with flags.override(DISTFLOW_WORLD_SIZE=5):
            assert local_world.local_world_size() == 5
