import os

import pytest

from distflow.cluster.environments.mpi import PROCESS_MANAGERS
from tests.support import ports


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """No test sees the rank of a job that happens to run the tests."""
    names = {name for v in PROCESS_MANAGERS for name in (v.rank, v.size, v.local_rank)}
    for name in list(os.environ):
        if name.startswith(("DISTFLOW_", "SLURM_")) or name in names:
            monkeypatch.delenv(name)
    for name in ("TF_CONFIG", "JOB_COMPLETION_INDEX"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def free_port():
    """A port that nobody listens on."""
    return ports.held(1)[0]
