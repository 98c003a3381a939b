"""multi_worker.py runs jobs of workers, reports who cannot, and judges by the fastest peer."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def multi_worker(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("multi_worker")


def row(step, start):
    return {"samples": [step], "starts": [start]}


@pytest.mark.slow
@pytest.mark.spawn
def test_two_workers_train_and_a_peer_that_cannot_start_is_named():
    command = [sys.executable, str(BENCHMARKS / "multi_worker.py"), "--models", "cnn"]
    limits = ["--rounds", "1", "--starts", "1", "--peer", "tensorflow=false"]
    done = subprocess.run([*command, *limits], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "| distflow 0" in done.stdout
    assert "- TF MultiWorkerMirrored: nothing in its log" in done.stdout


def test_the_step_is_judged_against_the_fastest_peer_and_the_start_against_the_quickest(
    multi_worker,
):
    results = {
        "distflow": row(1.0, 1.0),
        "torch DDP": row(8.0, 2.0),
        "TF MultiWorkerMirrored": row(5.0, 4.0),
    }
    assert multi_worker.verdict("cnn", results) == [
        ("cnn: step / best peer (TF MultiWorkerMirrored)", 0.2, 0.25, True),
        ("cnn: start / best peer (torch DDP)", 0.5, 1 / 3, False),
    ]


def test_scaling_is_the_step_of_one_worker_over_that_of_two(multi_worker):
    results = {
        "1 worker": row(10.0, 1.0),
        "2 workers, auto": row(5.0, 1.0),
        "2 workers, grpc": row(8.0, 1.0),
    }
    found = [(speed, met) for _, speed, _, met in multi_worker.scaling_verdict(results)]
    assert found == [(2.0, True), (1.25, False)]


def test_workers_train_on_different_rows(multi_worker):
    batches = importlib.import_module("workers.batches")
    first, second = (batches.of_worker("cnn", 4, rank)[0][0] for rank in (0, 1))
    assert first.shape == second.shape == (4, 28, 28, 1)
    assert not (first == second).any()
