import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.spawn

ROOT = Path(__file__).parents[2]
MPIRUN = Path(sys.executable).parent / "mpirun"
PROGRAM = """
from distflow.cluster import resolve
from distflow.cluster.client import exchange_addresses
worker = resolve()
line = f"{worker.rank} {worker.world_size} {worker.local_rank} {worker.backend}"
if worker.backend == "grpc":
    line += " " + ",".join(exchange_addresses(worker, f"127.0.0.1:{5000 + worker.rank}", 30))
print(line + chr(10), end="", flush=True)
"""


def start(command, **variables):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.Popen(
        [*command, sys.executable, "-c", PROGRAM],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lines_of(*processes):
    try:
        answers = [process.communicate(timeout=60) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * len(processes), answers
    return sorted(line for out, _ in answers for line in out.splitlines())


@pytest.fixture
def mpirun():
    if not MPIRUN.is_file() or importlib.util.find_spec("mpi4py") is None:
        pytest.skip("no mpirun beside this Python")
    version = subprocess.run([MPIRUN, "--version"], capture_output=True, text=True, timeout=30)
    options = ["--oversubscribe"] if "Open MPI" in version.stdout else []
    return [str(MPIRUN), "-np", "2", *options]


ROOT_USER = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def test_plain_mpirun_gives_ranks(mpirun):
    assert lines_of(start(mpirun, **ROOT_USER)) == ["0 2 0 mpi", "1 2 1 mpi"]


def test_grpc_under_plain_mpirun_meets_at_rank_zero(mpirun, free_port):
    variables = {"DISTFLOW_BACKEND": "grpc", "DISTFLOW_COORDINATOR": f"127.0.0.1:{free_port}"}
    addresses = "127.0.0.1:5000,127.0.0.1:5001"
    assert lines_of(start(mpirun, **ROOT_USER, **variables)) == [
        f"0 2 0 grpc {addresses}",
        f"1 2 1 grpc {addresses}",
    ]


def test_indexed_job_meets_at_pod_zero_in_any_order(free_port):
    variables = {
        "DISTFLOW_WORLD_SIZE": "2",
        "DISTFLOW_COORDINATOR": f"localhost:{free_port}",
        "DISTFLOW_TOKEN": "0123456789abcdef0123456789abcdef",
    }
    workers = [start([], JOB_COMPLETION_INDEX=index, **variables) for index in "10"]
    addresses = "127.0.0.1:5000,127.0.0.1:5001"
    assert lines_of(*workers) == [f"0 2 0 grpc {addresses}", f"1 2 0 grpc {addresses}"]


def test_hand_set_tf_config_gives_ranks():
    cluster = {"worker": ["127.0.0.1:5000", "127.0.0.1:5001"]}
    workers = []
    for index in (0, 1):
        config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        workers.append(start([], TF_CONFIG=json.dumps(config)))
    addresses = "127.0.0.1:5000,127.0.0.1:5001"
    assert lines_of(*workers) == [f"0 2 0 grpc {addresses}", f"1 2 1 grpc {addresses}"]
