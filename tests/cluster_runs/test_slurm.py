"""Programs on a real Slurm of one node: by srun, and by `distflow submit --slurm`."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from distflow.cluster.environments.nodelist import expand
from tests.cluster_runs import manifests
from tests.cluster_runs.slurm_node import DEADLINE, Slurm, missing

pytestmark = [pytest.mark.spawn, pytest.mark.slow]
DIGEST = r"weights sha256 ([0-9a-f]{64})"
TRAIN = """
import sys
sys.path.insert(0, sys.argv[1])
import golden_models as golden
import distflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy(logical_replicas=golden.REPLICAS)
print(strategy.num_workers, "workers", flush=True)
print("weights sha256", golden.train(strategy, "mlp", "adam", steps=6), flush=True)
"""
FOLDER = str(manifests.sources.ROOT / "tests/distribute")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    lost = missing()
    if lost:
        pytest.skip(f"no Slurm here: {lost}")
    made = Slurm(tmp_path_factory.mktemp("slurm"))
    yield made
    made.close()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(TRAIN)
    return tmp_path


def call(slurm: Slurm, place: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=slurm.environment, cwd=place, capture_output=True, text=True,
                          timeout=DEADLINE, check=False)  # fmt: skip


def distflow(slurm: Slurm, place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return call(slurm, place, sys.executable, "-m", "distflow_launcher", *words)


def submit(slurm: Slurm, place: Path, *words: str) -> str:
    """Submits and returns the job's number."""
    done = distflow(slurm, place, "submit", "--slurm", *words)
    assert done.returncode == 0, done.stderr
    found = re.match(r"job (\d+) \(", done.stdout)
    assert found
    return found[1]


def test_srun_alone_trains_to_the_bits_of_one_process(slurm: Slurm, place: Path):
    done = call(slurm, place, "srun", "-n", "2", sys.executable, "train.py", FOLDER)
    assert done.returncode == 0, done.stderr
    wanted = re.search(DIGEST, manifests.golden(str(place / "train.py"), FOLDER))
    assert wanted
    assert done.stdout.count("2 workers") == 2
    assert re.findall(DIGEST, done.stdout) == [wanted[1]] * 2


def test_lists_of_nodes_are_read_as_slurm_reads_them(slurm: Slurm, place: Path):
    text = "n[01-03,7],r[0-1]g[08-11],x[098-101]"
    done = call(slurm, place, "scontrol", "show", "hostnames", text)
    assert done.stdout.split() == expand(text)


@pytest.mark.soak
def test_a_submitted_job_is_watched_to_its_end(slurm: Slurm, place: Path):
    number = submit(slurm, place, "-n", "2", "--name", "golden", "--replicas", "8", "train.py",
                    FOLDER)  # fmt: skip
    waited = distflow(slurm, place, "wait", "--slurm", number)
    logs = distflow(slurm, place, "logs", "--slurm", "golden")
    assert (waited.returncode, waited.stdout.splitlines()[-1]) == (
        0,
        f"job {number} (golden): COMPLETED",
    ), logs.stdout
    assert sorted(re.findall(r"^\[rank (\d)\] 2 workers", logs.stdout, re.MULTILINE)) == ["0", "1"]
    assert len(set(re.findall(DIGEST, logs.stdout))) == 1
    only = distflow(slurm, place, "logs", "--slurm", "--rank", "1", "--tail", "1", number)
    assert re.fullmatch(r"\[rank 1\] weights sha256 \w+\n", only.stdout)
    listed = distflow(slurm, place, "status", "--slurm")
    assert re.search(rf"^{number} +golden +COMPLETED", listed.stdout, re.MULTILINE)


@pytest.mark.soak
def test_a_failed_job_shows_the_end_of_its_output(slurm: Slurm, place: Path):
    (place / "fail.py").write_text("raise SystemExit('no such data')")
    number = submit(slurm, place, "-n", "1", "fail.py")
    followed = distflow(slurm, place, "logs", "--slurm", "-f", number)
    assert "[rank 0] no such data\n" in followed.stdout
    assert distflow(slurm, place, "wait", "--slurm", number).returncode == 1
    status = distflow(slurm, place, "status", "--slurm", number)
    assert status.returncode == 1
    assert "exit code 1:0 (code:signal); the end of its output:" in status.stdout
    assert "[rank 0] no such data\n" in status.stdout


def test_cancel_ends_the_workers(slurm: Slurm, place: Path):
    (place / "sleep.py").write_text("import time; print('here', flush=True); time.sleep(1000)")
    number = submit(slurm, place, "-n", "2", "sleep.py")
    late = distflow(slurm, place, "wait", "--slurm", "--timeout", "0", number)
    assert late.returncode == 75
    done = distflow(slurm, place, "cancel", "--slurm", number)
    assert (done.returncode, done.stdout.rsplit(" ", 1)[1]) == (0, "CANCELLED\n")
    assert not call(slurm, place, "squeue", "--noheader", "--states=R").stdout
