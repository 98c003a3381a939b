"""The same bits: W workers x transports x models x optimizers x executors, V = 8.

What is expected comes from `golden_oracle`, which knows no strategy. A diagonal of the matrix runs
always, the whole of it with the soak tests. That each kind of difference would be found is shown
in `test_golden_mutations`.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from distflow.base import flags
from distflow.distribute import MirroredStrategy
from tests.distribute import golden_models, golden_oracle
from tests.distribute.workers import on_threads

JOB = Path(golden_models.__file__)
V, JOBS, STEPS = golden_models.REPLICAS, golden_models.JOBS, golden_models.STEPS
WORLDS = [1, 2, 3, 4, 5, 8]
BACKENDS = ["grpc", "mpi", "shm"]
_golden = {}


def golden(executor, names, steps=STEPS):
    """The hash that plain Python, without any strategy, ends with."""
    key = executor, names, steps
    if key not in _golden:
        with flags.override(DISTFLOW_EXECUTOR=executor):
            _golden[key] = golden_models.digest(golden_oracle.train(*names, steps))
    return _golden[key]


def on_processes(world_size, backend, steps=STEPS):
    """Returns {(executor, model, optimizer): hashes of all workers} of one start of processes."""
    if backend == "mpi":
        pytest.importorskip("mpi4py")
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        if shutil.which("mpirun", path=path) is None:
            pytest.skip("no mpirun: pip install 'distflow[mpi]'")
    command = [
        sys.executable, "-m", "distflow_launcher", "run", "-n", str(world_size),
        "--backend", backend, str(JOB),
    ]  # fmt: skip
    # The job is run by its path: what it imports is found beside the tests.
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = dict(os.environ, GOLDEN_STEPS=str(steps), PYTHONPATH=path)
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=840, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    row = rf"workers={world_size} (\w+)/(\w+)/(\w+) sha256=([0-9a-f]{{64}})"
    hashes = {}
    for *names, digest in re.findall(row, done.stdout):
        hashes.setdefault(tuple(names), []).append(digest)
    return hashes


# -- always ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "world_size"),
    [
        (("mlp", "clipnorm"), 5), (("cnn", "adam"), 3), (("embedding", "momentum"), 8),
        (("lstm", "adam"), 2), (("attention", "clipnorm"), 4),
    ],
    ids=lambda x: "-".join(x) if isinstance(x, tuple) else str(x),
)  # fmt: skip
def test_each_kind_of_model_ends_with_the_golden_hash(executor, names, world_size):
    found = on_threads(world_size, V, lambda s: golden_models.train(s, *names, 4))
    assert found == [golden(executor, names, 4)] * world_size


def test_the_jobs_differ():
    hashes = {golden("numpy", names, 4) for names in JOBS}
    assert len(hashes) == len(JOBS)


# -- the matrix ------------------------------------------------------------------------------------


@pytest.mark.soak
@pytest.mark.parametrize("names", JOBS, ids="-".join)
def test_one_process_gives_the_golden_hash(executor, names):
    strategy = MirroredStrategy(logical_replicas=V)
    assert golden_models.train(strategy, *names) == golden(executor, names)


@pytest.mark.soak
@pytest.mark.parametrize("names", JOBS, ids="-".join)
@pytest.mark.parametrize("world_size", WORLDS)
def test_workers_as_threads(executor, world_size, names):
    found = on_threads(world_size, V, lambda s: golden_models.train(s, *names))
    assert found == [golden(executor, names)] * world_size


@pytest.mark.soak
@pytest.mark.spawn
@pytest.mark.timeout(900)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("world_size", WORLDS)
def test_workers_as_processes(world_size, backend):
    expected = {
        (executor, *names): [golden(executor, names)] * world_size
        for executor in golden_models.EXECUTORS
        for names in JOBS
    }
    assert on_processes(world_size, backend) == expected
