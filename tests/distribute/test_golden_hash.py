"""The same bits for V = 4 replicas on 1, 2, 3 and 4 workers, over threads, MPI and gRPC.

The mutations at the end prove that the comparison can fail.
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

from distflow.comm import Communicator, InProcessHub, Reduced
from distflow.distribute import MirroredStrategy, MultiWorkerMirroredStrategy
from distflow.distribute.replica import ReplicaContext
from distflow.random import fold_in

JOB = Path(__file__).with_name("golden_job.py")
_spec = importlib.util.spec_from_file_location("golden_job", JOB)
golden_job = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden_job)


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


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_workers_as_threads_give_the_golden_hash(golden, world_size):
    assert train_on_threads(world_size) == [golden] * world_size


@pytest.mark.slow
@pytest.mark.spawn
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_processes_over_grpc_give_the_golden_hash(golden, world_size):
    assert train_on_processes(world_size, "grpc") == [golden] * world_size


@pytest.mark.slow
@pytest.mark.spawn
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_processes_over_mpi_give_the_golden_hash(golden, world_size):
    pytest.importorskip("mpi4py")
    if shutil.which("mpirun", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}") is None:
        pytest.skip("no mpirun: pip install 'distflow[mpi]'")
    assert train_on_processes(world_size, "mpi") == [golden] * world_size


# -- mutations: each must change the hash ----------------------------------------------------


def _ring(self, leaves, *, op="sum", name="", like=None, out=None):
    """Adds in the order of a ring that starts behind each worker, as usual all-reduces do."""
    rows = self.all_gather(leaves, name=name)
    start = (self.local_replicas[0] + 1) % self.num_replicas
    present = [row for row in rows[start:] + rows[:start] if row is not None]
    total = [array.copy() for array in present[0]]
    for row in present[1:]:
        total = [a + b for a, b in zip(total, row)]
    return Reduced(total, len(present))


def test_mutation_ring_order_changes_the_hash(golden, monkeypatch):
    monkeypatch.setattr(Communicator, "all_reduce", _ring)
    hashes = train_on_threads(2)
    assert all(h != golden for h in hashes)


def test_mutation_merged_batches_change_the_hash(golden):
    assert train_on_threads(2, replicas=2)[0] != golden


def test_mutation_worker_dependent_seeds_change_the_hash(golden, monkeypatch):
    def fold_key(self, key):
        own = fold_in(key, self.replica_id_in_sync_group)
        return fold_in(own, self.strategy.worker_rank)

    monkeypatch.setattr(ReplicaContext, "fold_key", fold_key)
    assert train_on_threads(2)[0] != golden
