"""Workers that compute other bits are refused when they join, in jobs that are not elastic."""

import json
import os
import re
import subprocess
import sys

import pytest

from distflow.base import errors
from distflow.comm import Communicator, InProcessHub
from distflow.distribute import MultiWorkerMirroredStrategy, fingerprint
from tests.distribute.workers import on_threads

SAME = [["version of numpy", "2"], ["NumPy's exp", "a"], ["BLAS", "b"]]


def compared(fingerprints, replicas=None):
    """Returns what `compare` gave each of the workers, which have these fingerprints."""

    def work(strategy):
        mine = json.dumps(fingerprints[strategy.worker_rank])
        return fingerprint.compare(strategy.communicator, mine)

    return on_threads(len(fingerprints), replicas or len(fingerprints), work)


@pytest.mark.parametrize("replicas", [3, 8])
def test_equal_ones_may_train(replicas):
    assert compared([SAME] * 3, replicas) == [None] * 3


@pytest.mark.parametrize("odd", [0, 1, 2])
def test_another_one_is_named_to_everybody(odd):
    fingerprints = [SAME, SAME, SAME]
    fingerprints[odd] = [*SAME[:2], ["BLAS", "c"]]
    for error in compared(fingerprints, 5):
        assert isinstance(error, errors.NumericMismatchError)
        assert f"rank {odd or 1} (" in str(error)
        assert "computes other bits than rank 0 (" in str(error)
        assert "BLAS is " in str(error)
        assert "OPENBLAS_CORETYPE" in str(error)


def test_the_first_difference_is_the_one_that_is_named():
    other = [["version of numpy", "3"], ["NumPy's exp", "x"], ["BLAS", "y"]]
    for error in compared([SAME, other]):
        assert "version of numpy is 2 on rank 0" in str(error)
        assert "BLAS" not in str(error)


def test_a_fingerprint_that_is_none_is_said():
    for error in compared([SAME, 7]):
        assert "a fingerprint cannot be read" in str(error)


def test_a_strategy_on_collectives_that_exist_compares_nothing(monkeypatch):
    """Workers as threads of one process compute the same."""
    monkeypatch.setattr(fingerprint, "fingerprint", lambda: pytest.fail("taken"))
    with Communicator(InProcessHub(1).endpoint(0), 2) as communicator:
        MultiWorkerMirroredStrategy(communicator=communicator)


JOB = """
import os, sys
os.environ["DISTFLOW_EXECUTOR"] = ["cpu", "numpy"][os.environ["DISTFLOW_RANK"] == "2"]
import distflow as tf
tf.distribute.MultiWorkerMirroredStrategy()
sys.stdout.write("trains\\n")
"""


@pytest.mark.spawn
def test_a_job_with_another_executor_on_one_worker_does_not_start(tmp_path):
    (tmp_path / "job.py").write_text(JOB)
    command = [sys.executable, "-m", "distflow_launcher", "run", "-n", "3", "--backend", "grpc"]
    done = subprocess.run(
        [*command, str(tmp_path / "job.py")], capture_output=True, text=True, timeout=60,
        env={k: v for k, v in os.environ.items() if not k.startswith("DISTFLOW_")}, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "trains" not in said
    assert re.search(r"rank 2 \(.*\) computes other bits than rank 0 ", said), said
    assert "executor is cpu on rank 0" in said
    assert "Set DISTFLOW_EXECUTOR to the same for all workers." in said
