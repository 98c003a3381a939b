import os
import socket

import pytest

from distflow.cluster.environments.mpi import PROCESS_MANAGERS


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
    """A port that nobody listens on; the system does not give it out again for a while."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
