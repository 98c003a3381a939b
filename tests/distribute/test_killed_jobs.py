"""A whole job that dies by kill -9 goes on from its backup, on another number of workers."""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from distflow.distribute import MirroredStrategy
from tests.distribute import backup_job, golden_job

pytestmark = [pytest.mark.spawn, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
DEADLINE = 100


@pytest.fixture(scope="module")
def golden():
    """The hash of one process that is not interrupted."""
    return backup_job.train(MirroredStrategy(logical_replicas=golden_job.REPLICAS), None)


@pytest.fixture
def start():
    """Starts a job in a process group of its own; nothing of it outlives the test."""
    jobs = []

    def make(options, folder, seconds, *more):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("DISTFLOW_")}
        job = subprocess.Popen(
            [sys.executable, "-m", "launcher", "run", *options, "-m", "tests.distribute.backup_job",
             str(folder), str(seconds), *map(str, more)],
            cwd=ROOT, env=environment, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        jobs.append(job)
        return job

    yield make
    for job in jobs:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)
        job.wait(10)
        job.stdout.close()


def kill_at(job, step):
    """Kills the launcher without warning, and with it all workers, when a step was done."""
    for line in job.stdout:
        if re.search(rf"step {step}$", line.strip()):
            job.kill()
            break
    else:
        raise AssertionError("the job ended before")
    job.wait(DEADLINE)
    job.stdout.read()  # ends when the last worker has


def hashes(job):
    text, _ = job.communicate(timeout=DEADLINE)
    assert job.returncode == 0, text
    return re.findall(r"workers=(\d) sha256=(\w+)", text), text


def test_a_killed_job_of_three_goes_on_with_two(start, golden, tmp_path):
    kill_at(start(["-n", "3", "--backend", "grpc"], tmp_path, 0.2), 4)
    found, text = hashes(start(["-n", "2", "--backend", "grpc"], tmp_path, 0))
    assert found == [("2", golden)] * 2
    first = int(re.search(r"step (\d+)", text)[1])
    # The chief may not have written the newest ones when another worker reached step 4.
    assert 1 < first <= 6, "it must not start anew"


@pytest.mark.soak
def test_a_job_killed_again_and_again_ends_with_the_golden_hash(start, golden, tmp_path):
    for step, workers in ((2, 1), (4, 4), (7, 2), (9, 3)):
        kill_at(start(["-n", str(workers), "--backend", "grpc"], tmp_path, 0.2), step)
    found, _ = hashes(start(["-n", "4", "--backend", "shm"], tmp_path, 0))
    assert found == [("4", golden)] * 4


@pytest.mark.soak
def test_an_elastic_job_goes_on_from_the_backup_of_a_static_one(start, golden, tmp_path):
    kill_at(start(["-n", "1", "--replicas", "4"], tmp_path, 0.2), 5)
    found, _ = hashes(start(["-n", "3", "--elastic", "2:4"], tmp_path, 0))
    assert [digest for _, digest in found] == [golden] * 3


@pytest.mark.soak
@pytest.mark.parametrize("rank", [0, 2])
def test_an_elastic_job_that_was_resumed_may_lose_workers(start, golden, tmp_path, rank):
    """The chief among them: another one reads nothing anew, but writes the next backups."""
    kill_at(start(["-n", "1", "--replicas", "4"], tmp_path, 0.2), 4)
    job = start(["-n", "3", "--elastic", "2:4"], tmp_path, 0.3)
    lines = []
    for line in job.stdout:
        lines.append(line)
        found = re.search(rf"rank {rank}\] pid (\d+) step 7$", line.strip())
        if found:
            os.kill(int(found[1]), signal.SIGKILL)
            break
    rest, _ = job.communicate(timeout=DEADLINE)
    text = "".join(lines) + rest
    assert job.returncode == 0, text
    found = re.findall(r"workers=\d sha256=(\w+)", text)
    assert set(found) == {golden}, text
    assert len(found) >= 2, text
    assert not list(tmp_path.glob("*.index")), "the last chief removes the backups"


@pytest.mark.soak
def test_a_static_job_goes_on_from_the_backup_of_an_elastic_one(start, golden, tmp_path):
    kill_at(start(["-n", "3", "--elastic", "2:4"], tmp_path, 0.2), 5)
    found, _ = hashes(start(["-n", "1", "--replicas", "4"], tmp_path, 0))
    assert found == [("1", golden)]


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(4))
def test_a_job_whose_chief_dies_at_random_bytes_of_its_backups(start, golden, tmp_path, seed):
    """Again and again, each time on other workers; then a job that may live."""
    draw = random.Random(seed)
    deaths = 0
    for _ in range(5):
        options = ["-n", str(draw.randint(1, 4)), "--replicas", "4", "--max-restarts", "0"]
        job = start(options, tmp_path, 0, draw.randrange(80_000))
        text, _ = job.communicate(timeout=DEADLINE)
        assert "sha256=" in text or job.returncode == 128 + signal.SIGKILL, text
        assert set(re.findall(r"sha256=(\w+)", text)) <= {golden}
        deaths += "dies in" in text
    assert deaths >= 3
    found, text = hashes(start(["-n", "3", "--replicas", "4"], tmp_path, 0))
    assert found == [("3", golden)] * 3, text
