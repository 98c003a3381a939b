"""The same bits for V = 4 replicas on 1, 2, 3 and 4 workers, over threads, MPI and gRPC.

The whole matrix is `test_golden_matrix`; that the comparison can fail, `test_golden_mutations`.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from distflow.comm import Communicator, InProcessHub
from distflow.distribute import MirroredStrategy, MultiWorkerMirroredStrategy

JOB = Path(__file__).with_name("golden_job.py")
_spec = importlib.util.spec_from_file_location("golden_job", JOB)
golden_job = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden_job)


def one_of_four(always):
    """Returns 1 to 4 workers as parameters; all but one run with the soak tests only."""
    return [w if w == always else pytest.param(w, marks=pytest.mark.soak) for w in (1, 2, 3, 4)]


@pytest.fixture(scope="module")
def golden():
    """The hash of one process without any network: four replicas in turn."""
    return golden_job.train(MirroredStrategy(logical_replicas=golden_job.REPLICAS))


def train_on_threads(world_size, replicas=golden_job.REPLICAS, train=golden_job.train):
    """Returns the hash that each of `world_size` workers (threads) ends with."""
    hub = InProcessHub(world_size)
    hashes, failures = [None] * world_size, []

    def work(rank):
        try:
            with Communicator(hub.endpoint(rank), replicas, timeout_seconds=60) as communicator:
                strategy = MultiWorkerMirroredStrategy(communicator=communicator)
                hashes[rank] = train(strategy)
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(r,), daemon=True) for r in range(world_size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    if failures:
        raise failures[0]
    return hashes


def train_on_processes(world_size, backend):
    """Returns the hash that each of `world_size` processes prints."""
    command = [
        sys.executable, "-m", "distflow_launcher", "run", "-n", str(world_size),
        "--backend", backend, str(JOB),
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=110, env=dict(os.environ), check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(rf"workers={world_size} sha256=([0-9a-f]{{64}})", done.stdout)
    assert len(found) == world_size, done.stdout + done.stderr
    return found


def test_training_twice_gives_the_same_hash(golden):
    assert golden_job.train(MirroredStrategy(logical_replicas=golden_job.REPLICAS)) == golden


def test_eager_steps_do_what_compiled_ones_do(executor):
    """To the bit on numpy. On cpu, eager operations on small arrays stay with NumPy while compiled
    steps round in their own way: the same bits are promised within each of the two modes."""
    compiled, eager = (
        golden_job.trained(MirroredStrategy(logical_replicas=golden_job.REPLICAS), run_eagerly=e)
        for e in (False, True)
    )
    for a, b in zip(compiled, eager):
        if executor == "numpy":
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("executor")
def test_eager_steps_on_two_workers_give_the_bits_of_one():
    def train(strategy):
        return golden_job.digest(golden_job.trained(strategy, 10, True))

    one = train(MirroredStrategy(logical_replicas=golden_job.REPLICAS))
    assert train_on_threads(2, train=train) == [one] * 2


@pytest.mark.usefixtures("executor")
def test_each_executor_gives_its_bits_on_two_workers():
    one = golden_job.train(MirroredStrategy(logical_replicas=golden_job.REPLICAS), 10)
    assert train_on_threads(2, train=lambda s: golden_job.train(s, 10)) == [one] * 2


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_workers_as_threads_give_the_golden_hash(golden, world_size):
    assert train_on_threads(world_size) == [golden] * world_size


@pytest.mark.slow
@pytest.mark.spawn
@pytest.mark.parametrize("world_size", one_of_four(2))
def test_processes_over_grpc_give_the_golden_hash(golden, world_size):
    assert train_on_processes(world_size, "grpc") == [golden] * world_size


@pytest.mark.slow
@pytest.mark.spawn
@pytest.mark.parametrize("world_size", one_of_four(3))
def test_processes_over_mpi_give_the_golden_hash(golden, world_size):
    pytest.importorskip("mpi4py")
    if shutil.which("mpirun", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}") is None:
        pytest.skip("no mpirun: pip install 'distflow[mpi]'")
    assert train_on_processes(world_size, "mpi") == [golden] * world_size
